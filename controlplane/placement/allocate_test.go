package placement

import (
	"errors"
	"math/rand/v2"
	"slices"
	"testing"
)

const mib = 1 << 20

// gib is a segment of 1 GiB in chunks of 16 MiB.
var gib = Shape{Width: 16, Chunks: 64, ChunkBytes: 16 * mib}

// fill allocates segments until none fits and returns how many were, and the bytes on each store.
// It checks what holds for every segment.
func fill(t *testing.T, sets []Copyset, space map[uint64]Space, shape Shape, most int) (
	segments int, used map[uint64]uint64,
) {
	t.Helper()
	a := NewAllocator(sets, space)
	used = map[uint64]uint64{}
	for at := range uint64(most) {
		picked, err := a.Segment(at, shape)
		if errors.Is(err, ErrFull) {
			break
		}
		if err != nil || len(picked) == 0 || len(picked) > shape.Width {
			t.Fatalf("%v %v", picked, err)
		}
		segments++
		seen := map[int]bool{}
		for chunk := range shape.Chunks {
			for _, id := range sets[picked[chunk%len(picked)]] {
				used[id] += shape.ChunkBytes
			}
		}
		for _, i := range picked {
			if seen[i] {
				t.Fatalf("segment %d has copyset %d twice", at, i)
			}
			seen[i] = true
		}
	}
	for id, bytes := range used {
		if bytes > space[id].Left {
			t.Fatalf("store %d was given %d bytes, it had %d", id, bytes, space[id].Left)
		}
	}
	return segments, used
}

func TestEqualCopysetsAreUsedAlikeFromTheFirstSegments(t *testing.T) {
	stores := grid(4, 4, 4)
	for _, n := range []int{4, 16, 40, 100} {
		sets, err := Generate(stores, Params{Replicas: 3, Copysets: n})
		if err != nil {
			t.Fatal(err)
		}
		a := NewAllocator(sets, roomy(stores, 1<<50))
		uses, first := make([]int, n), make([]int, n)
		const segments = 200
		for at := range uint64(segments) {
			picked, err := a.Segment(at, gib)
			if err != nil || len(picked) != min(16, n) {
				t.Fatalf("%v %v", picked, err)
			}
			for _, i := range picked {
				uses[i]++
			}
			first[picked[0]]++
		}
		mean := float64(segments*min(16, n)) / float64(n)
		for i := range sets {
			if d := float64(uses[i]) - mean; d > 3 || d < -3 {
				t.Errorf("%d copysets: %d is used %d times, the mean is %v", n, i, uses[i], mean)
			}
			if most := 3*segments/n + 1; first[i] > most {
				t.Errorf("%d copysets: %d is first %d times of %d", n, i, first[i], segments)
			}
		}
	}
}

func roomy(stores []Store, each uint64) map[uint64]Space {
	space := map[uint64]Space{}
	for _, s := range stores {
		space[s.ID] = Space{each, each}
	}
	return space
}

// However unequal the stores are, they run full together, and no store waits for others.
func TestStoresRunFullTogetherAndNoneWaitsForOthers(t *testing.T) {
	stores := grid(2, 2, 2, 2)
	space := map[uint64]Space{}
	for i := range stores {
		stores[i].Weight = uint64(1 + 3*(i%2))
		bytes := stores[i].Weight * 200 << 30
		space[stores[i].ID] = Space{bytes, bytes}
	}
	sets, err := Generate(stores, Params{Replicas: 3, Copysets: 120})
	if err != nil {
		t.Fatal(err)
	}
	for _, part := range []int{20, 100, 1 << 20} {
		segments, used := fill(t, sets, space, gib, part)
		low, high := 1.0, 0.0
		for id, s := range space {
			full := float64(used[id]) / float64(s.Left)
			low, high = min(low, full), max(high, full)
		}
		if high-low > 0.02 {
			t.Errorf("after %d segments stores are %.3f to %.3f full", segments, low, high)
		}
		if part > segments && low < 0.97 {
			t.Errorf("full after %d segments, and a store is %.3f full", segments, low)
		}
	}
}

// Stores that hold data already get less until they are level with the rest.
func TestUnequalFreeSpaceIsEvenedOut(t *testing.T) {
	stores := grid(4, 4, 4)
	sets, err := Generate(stores, Params{Replicas: 3, Copysets: 100})
	if err != nil {
		t.Fatal(err)
	}
	space := roomy(stores, 400<<30)
	for _, s := range stores {
		if s.ID%4 == 0 {
			space[s.ID] = Space{100 << 30, 100 << 30}
		}
	}
	_, used := fill(t, sets, space, gib, 100)
	for id := uint64(4); id <= 12; id += 4 {
		if full, other := used[id], used[id-1]; full*2 > other {
			t.Errorf("store %d has a quarter of the room of %d, and got %d GiB beside %d", id, id-1,
				full>>30, other>>30)
		} else if full == 0 {
			t.Errorf("store %d has room and got nothing", id)
		}
	}
	segments, _ := fill(t, sets, space, gib, 1<<20)
	// The 3900 GiB of a zone with 1300 GiB bound what three copies can take.
	if segments < 1200 || segments > 1300 {
		t.Errorf("%d segments fit, 1300 at most could", segments)
	}
}

func TestFullCopysetGetsNothingWhileOthersHaveRoom(t *testing.T) {
	sets := []Copyset{{1, 2, 3}, {4, 5, 6}, {7, 8, 9}}
	space := roomy(grid(3, 3, 3), 100<<30)
	space[5] = Space{100 << 30, 10 * mib} // its disk is full, whatever it was given
	space[9] = Space{0, 100 << 30}        // takes nothing new
	a := NewAllocator(sets, space)
	for at := range uint64(50) {
		picked, err := a.Segment(at, gib)
		if err != nil || len(picked) > 2 || picked[0] != 0 && picked[len(picked)-1] != 0 {
			t.Fatalf("segment %d: %v %v", at, picked, err)
		}
		for _, i := range picked {
			if i == 2 {
				t.Fatalf("segment %d uses the copyset whose store takes nothing", at)
			}
		}
	}
	// A disk that is full is used only where nothing else is left.
	only := NewAllocator(sets[1:], space)
	if picked, err := only.Segment(1, gib); err != nil || len(picked) != 1 || picked[0] != 0 {
		t.Errorf("%v %v", picked, err)
	}
	space[5] = Space{}
	if picked, err := NewAllocator(sets[1:], space).Segment(1, gib); !errors.Is(err, ErrFull) {
		t.Errorf("%v %v", picked, err)
	}
}

func TestPoolOfOneTripleIsFilledToTheLastChunk(t *testing.T) {
	sets := make([]Copyset, 16)
	for i := range sets {
		sets[i] = Copyset{1, 2, 3}
	}
	space := roomy(grid(1, 1, 1), 100<<30)
	if segments, _ := fill(t, sets, space, gib, 1000); segments != 100 {
		t.Errorf("%d segments of 1 GiB fit on 100 GiB", segments)
	}
	odd := Shape{Width: 15, Chunks: 7, ChunkBytes: 16 * mib}
	if segments, _ := fill(t, sets, space, odd, 1000); segments != 914 {
		t.Errorf("%d segments of 112 MiB fit on 100 GiB", segments)
	}
	if segments, _ := fill(t, sets, space, Shape{16, 1, 16 * mib}, 1<<20); segments != 6400 {
		t.Errorf("%d segments of one chunk fit on 100 GiB", segments)
	}
}

// Whatever the pool is, no store is given more than it has, and what is left when nothing fits any
// more is less than a segment on some store of every copyset.
func TestAllocatorGoesOnUntilNothingFitsForAnyInput(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 9))
	for i := range 100 {
		perZone := make([]int, 3+rng.IntN(3))
		for z := range perZone {
			perZone[z] = 1 + rng.IntN(4)
		}
		stores := grid(perZone...)
		sets, err := Generate(stores, Params{Replicas: 3, Copysets: 1 + rng.IntN(60),
			Seed: uint64(i)})
		if err != nil {
			t.Fatal(err)
		}
		space := map[uint64]Space{}
		for _, s := range stores {
			space[s.ID] = Space{uint64(rng.IntN(40)) << 30, uint64(rng.IntN(40)) << 30}
		}
		shape := Shape{Width: 1 + rng.IntN(16), Chunks: 1 + rng.IntN(64), ChunkBytes: 16 * mib}
		_, used := fill(t, sets, space, shape, 1<<20)
		for _, set := range sets {
			least := uint64(1 << 62)
			for _, id := range set {
				least = min(least, space[id].Left-used[id])
			}
			if least >= uint64(shape.Chunks)*shape.ChunkBytes {
				t.Fatalf("zones %v, %+v: copyset %v has room for %d MiB left", perZone, shape, set,
					least>>20)
			}
		}
	}
}

func TestShapelessSegmentIsRefused(t *testing.T) {
	a := NewAllocator([]Copyset{{1}}, roomy(grid(1), 1<<30))
	for _, shape := range []Shape{{}, {0, 1, 1}, {1, 0, 1}, {1, 1, 0}} {
		if _, err := a.Segment(0, shape); !errors.Is(err, ErrImpossible) {
			t.Errorf("%+v: %v", shape, err)
		}
	}
	if _, err := NewAllocator(nil, nil).Segment(0, gib); !errors.Is(err, ErrFull) {
		t.Error(err)
	}
}

func TestAnAllocatorWhoseCopysetsMoveIsLikeANewOne(t *testing.T) {
	rng := rand.New(rand.NewPCG(4, 4))
	sets := make([]Copyset, 60)
	draw := func() (set Copyset) {
		for _, id := range rng.Perm(20)[:rng.IntN(4)] {
			set = append(set, uint64(id))
		}
		return set
	}
	for i := range sets {
		sets[i] = draw()
	}
	kept := NewAllocator(sets, nil)
	shape := Shape{Width: 8, Chunks: 64, ChunkBytes: 1 << 20}
	for round := range 50 {
		for range 5 {
			i := rng.IntN(len(sets))
			sets[i] = draw()
			kept.Replace(i, sets[i])
		}
		space := map[uint64]Space{}
		for id := range uint64(20) {
			space[id] = Space{Left: rng.Uint64N(1 << 34), Free: rng.Uint64N(1 << 34)}
		}
		kept.Refill(space)
		fresh := NewAllocator(sets, space)
		for at := range uint64(5) {
			have, err := kept.Segment(at, shape)
			want, wantErr := fresh.Segment(at, shape)
			if !slices.Equal(have, want) || (err == nil) != (wantErr == nil) {
				t.Fatalf("round %d: %v %v, a new one gives %v %v", round, have, err, want, wantErr)
			}
		}
	}
}
