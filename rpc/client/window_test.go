package client

import (
	"math/rand/v2"
	"testing"
)

func TestLowWaterIsTheLowestUnfinishedID(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	w := newWindow()
	open := map[uint64]bool{}
	var last uint64
	for range 200_000 {
		if len(open) < 700 && (len(open) == 0 || rng.IntN(2) == 0) {
			id := w.start()
			if id != last+1 {
				t.Fatalf("id %d after %d", id, last)
			}
			last = id
			open[id] = true
		} else {
			for id := range open {
				// Keep one old id open for long, so that the ring must grow.
				if id%5000 == 1 && rng.IntN(1000) != 0 && len(open) > 1 {
					continue
				}
				w.finish(id)
				delete(open, id)
				break
			}
		}
		low := last + 1
		for id := range open {
			low = min(low, id)
		}
		if w.low != low {
			t.Fatalf("low water %d, lowest open id %d", w.low, low)
		}
	}
}

func TestFinishingTwiceIsAnInvariantBreak(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Error("no panic")
		}
	}()
	w := newWindow()
	w.start()
	id := w.start()
	w.finish(id)
	w.finish(id)
}

func TestSteadyWindowDoesNotAllocate(t *testing.T) {
	w := newWindow()
	if n := testing.AllocsPerRun(10_000, func() { w.finish(w.start()) }); n != 0 {
		t.Errorf("%v allocations per id", n)
	}
}
