package disk

import (
	"math/rand/v2"
	"slices"
	"testing"
)

// Blocks are given out once, come back whole, and the gaps stay sorted and apart.
func TestSpaceGivesEachBlockOutOnce(t *testing.T) {
	all := extent{first: 10, count: 500}
	s, _, ok := newSpace(all, nil)
	if !ok || s.free != all.count {
		t.Fatal(s)
	}
	rng := rand.New(rand.NewPCG(3, 1))
	var held []extent
	for range 5000 {
		if rng.IntN(2) == 0 {
			if e, ok := s.take(rng.Int64N(40), rng.IntN(3) == 0); ok {
				held = append(held, e)
			}
		} else if len(held) > 0 {
			i := rng.IntN(len(held))
			s.give(held[i])
			held = slices.Delete(held, i, i+1)
		}
		fresh, at, ok := newSpace(all, slices.Clone(held))
		if !ok {
			t.Fatalf("block %d is given out twice or is none of ours", at.first)
		}
		if !slices.Equal(fresh.gaps, s.gaps) || fresh.free != s.free {
			t.Fatalf("gaps %v, want %v", s.gaps, fresh.gaps)
		}
	}
	if len(held) == 0 || s.largest() == 0 {
		t.Error("nothing was held in the end: the test does not reach it")
	}
}

func TestSpaceRefusesExtentsThatOverlapOrLeaveTheDevice(t *testing.T) {
	all := extent{first: 10, count: 20}
	for _, used := range [][]extent{
		{{9, 2}}, {{29, 2}}, {{12, 3}, {14, 1}}, {{12, 3}, {12, 3}}, {{40, 1}},
	} {
		if _, _, ok := newSpace(all, used); ok {
			t.Errorf("%v is accepted", used)
		}
	}
	if s, _, ok := newSpace(all, []extent{{12, 3}, {0, 0}, {10, 2}}); !ok || s.free != 15 {
		t.Error(s, ok)
	}
}

func TestSmallFilesComeFromTheEndOfADevice(t *testing.T) {
	s, _, _ := newSpace(extent{first: 10, count: 20}, []extent{{15, 1}})
	small, _ := s.take(2, true)
	large, _ := s.take(6, false)
	if small.first != 28 || large.first != 16 {
		t.Errorf("small at %d, large at %d", small.first, large.first)
	}
	if _, ok := s.take(7, false); ok {
		t.Error("took more than is in a row")
	}
	if e, ok := s.take(0, true); !ok || e.count != 0 {
		t.Error("an empty file has no blocks")
	}
}
