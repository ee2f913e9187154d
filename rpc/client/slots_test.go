package client

import (
	"math/rand/v2"
	"testing"
)

func TestSlotsMatchAMap(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	var s slots
	model := map[uint64]*piece{}
	var stale []uint64
	for range 100_000 {
		switch {
		case len(model) < 50 && rng.IntN(2) == 0:
			x := &piece{}
			id := s.add(x)
			if id == 0 || id >= pingID || model[id] != nil {
				t.Fatalf("bad id %#x", id)
			}
			model[id] = x
		case len(stale) > 0 && rng.IntN(4) == 0:
			if id := stale[rng.IntN(len(stale))]; s.take(id) != nil {
				t.Fatalf("stale id %#x found something", id)
			}
		default:
			for id, x := range model {
				if s.take(id) != x {
					t.Fatalf("id %#x lost", id)
				}
				delete(model, id)
				stale = append(stale, id)
				break
			}
		}
		if s.n != len(model) {
			t.Fatalf("%d in use, want %d", s.n, len(model))
		}
	}
	for _, id := range []uint64{0, pingID, 1 << 40, 1<<64 - 1} {
		if s.take(id) != nil {
			t.Errorf("id %#x found something", id)
		}
	}
}
