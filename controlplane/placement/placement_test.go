package placement

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"
)

// grid is stores numbered from 1, per zone as many as given.
func grid(perZone ...int) []Store {
	var stores []Store
	for z, n := range perZone {
		for range n {
			stores = append(stores, Store{ID: uint64(len(stores) + 1), Zone: fmt.Sprint("z", z)})
		}
	}
	return stores
}

// check verifies what holds for every placement and returns memberships by store.
func check(t *testing.T, stores []Store, sets []Copyset, p Params) map[uint64]int {
	t.Helper()
	zoneOf := map[uint64]string{}
	members := map[uint64]int{}
	for _, s := range stores {
		zoneOf[s.ID], members[s.ID] = s.Zone, 0
	}
	if len(sets) != p.Copysets {
		t.Fatalf("%d copysets, want %d", len(sets), p.Copysets)
	}
	for _, set := range sets {
		zones := map[string]bool{}
		for _, id := range set {
			zone, known := zoneOf[id]
			if !known {
				t.Fatalf("store %d is nobody's", id)
			}
			zones[zone] = true
			members[id]++
		}
		if len(set) != p.Replicas || len(zones) != p.Replicas {
			t.Fatalf("copyset %v lies in %d zones, want %d", set, len(zones), p.Replicas)
		}
	}
	return members
}

func spread(counts map[uint64]int, ids func(uint64) bool) (low, high int) {
	low, high = 1<<30, 0
	for id, n := range counts {
		if ids(id) {
			low, high = min(low, n), max(high, n)
		}
	}
	return low, high
}

func all(uint64) bool { return true }

func TestMembersAreInDistinctZonesAndBalancedForAnyInput(t *testing.T) {
	rng := rand.New(rand.NewPCG(7, 7))
	for i := range 400 {
		replicas := 1 + rng.IntN(5)
		perZone := make([]int, replicas+rng.IntN(6))
		for z := range perZone {
			perZone[z] = 1 + rng.IntN(6)
		}
		stores := grid(perZone...)
		p := Params{Replicas: replicas, Copysets: 1 + rng.IntN(120), Seed: uint64(i),
			ScatterWidth: rng.IntN(10)}
		sets, err := Generate(stores, p)
		if err != nil {
			t.Fatal(err)
		}
		members := check(t, stores, sets, p)
		// Inside a zone the balance never depends on the other zones.
		for z := range perZone {
			zone := fmt.Sprint("z", z)
			low, high := spread(members, func(id uint64) bool {
				return stores[id-1].Zone == zone
			})
			if high-low > 1 {
				t.Fatalf("zones %v, %+v: %s has %d to %d memberships", perZone, p, zone, low, high)
			}
		}
		checkAcross(t, perZone, p, stores, members)
	}
}

// checkAcross: a zone below its cap never has a store with two memberships fewer than any other
// store, or the placement could be evened out.
func checkAcross(t *testing.T, perZone []int, p Params, stores []Store, members map[uint64]int) {
	t.Helper()
	sum := map[string]int{}
	for id, n := range members {
		sum[stores[id-1].Zone] += n
	}
	_, high := spread(members, all)
	for id, n := range members {
		if z := stores[id-1].Zone; n < high-2 && sum[z] < p.Copysets {
			t.Fatalf("zones %v, %+v: store %d has %d memberships, another has %d, and zone %s "+
				"has room", perZone, p, id, n, high, z)
		}
	}
}

func TestEqualZonesBalanceToWithinOne(t *testing.T) {
	for _, c := range []struct {
		perZone  []int
		replicas int
		copysets int
	}{
		{[]int{1, 1, 1}, 3, 16}, {[]int{2, 2, 2}, 3, 17}, {[]int{1, 1, 1, 1, 1}, 3, 16},
		{[]int{4, 4, 4, 4}, 3, 100}, {[]int{1}, 1, 16}, {[]int{3}, 1, 16},
		{[]int{10, 10, 10, 10, 10, 10}, 3, 400},
	} {
		stores := grid(c.perZone...)
		p := Params{Replicas: c.replicas, Copysets: c.copysets}
		sets, err := Generate(stores, p)
		if err != nil {
			t.Fatal(err)
		}
		if low, high := spread(check(t, stores, sets, p), all); high-low > 1 {
			t.Errorf("zones %v: %d to %d memberships", c.perZone, low, high)
		}
	}
}

func TestLargeZoneIsUsedInEveryCopysetAndOthersShareTheRest(t *testing.T) {
	stores := grid(1, 1, 1, 20)
	p := Params{Replicas: 2, Copysets: 60}
	sets, err := Generate(stores, p)
	if err != nil {
		t.Fatal(err)
	}
	members := check(t, stores, sets, p)
	low, high := spread(members, func(id uint64) bool { return id <= 3 })
	if low != 20 || high != 20 {
		t.Errorf("small zones have %d to %d memberships, want 20", low, high)
	}
}

func TestScatterWidthIsReachedAndNotMuchExceeded(t *testing.T) {
	for _, width := range []int{4, 10, 20} {
		stores := grid(10, 10, 10, 10, 10)
		p := Params{Replicas: 3, Copysets: 2 * CountFor(len(stores), 3, width), Seed: 3,
			ScatterWidth: width}
		sets, err := Generate(stores, p)
		if err != nil {
			t.Fatal(err)
		}
		check(t, stores, sets, p)
		low, high := spread(Widths(sets), all)
		if low < width || high > 2*width+2 {
			t.Errorf("width %d wanted, got %d to %d", width, low, high)
		}
		p.ScatterWidth = 0
		free, err := Generate(stores, p)
		if err != nil {
			t.Fatal(err)
		}
		if wide, _ := spread(Widths(free), all); wide <= low {
			t.Errorf("without a bound the width is %d, with %d it is %d", wide, width, low)
		}
	}
}

func TestCountForReachesTheWidthWithRoomForOverlap(t *testing.T) {
	for _, c := range []struct{ stores, replicas, width, want int }{
		{3, 3, 2, 1}, {9, 3, 4, 6}, {999, 3, 2, 333}, {10, 1, 0, 10}, {0, 3, 2, 0}, {3, 0, 1, 0},
	} {
		if got := CountFor(c.stores, c.replicas, c.width); got != c.want {
			t.Errorf("%+v: got %d", c, got)
		}
	}
}

func TestSameSeedGivesTheSameWhateverTheOrderOfInput(t *testing.T) {
	stores := grid(3, 4, 5, 2)
	p := Params{Replicas: 3, Copysets: 50, ScatterWidth: 6, Seed: 9}
	a, err := Generate(stores, p)
	if err != nil {
		t.Fatal(err)
	}
	slices.Reverse(stores)
	b, err := Generate(stores, p)
	if err != nil || !reflect.DeepEqual(a, b) {
		t.Fatalf("differs: %v", err)
	}
	p.Seed++
	if c, _ := Generate(stores, p); reflect.DeepEqual(a, c) {
		t.Fatal("the seed has no effect")
	}
}

func TestImpossibleRequestsSayWhatIsMissing(t *testing.T) {
	twice := []Store{{ID: 1, Zone: "a"}, {ID: 1, Zone: "b"}}
	for name, c := range map[string]struct {
		stores []Store
		p      Params
	}{
		"too few zones":     {grid(5, 5), Params{Replicas: 3, Copysets: 1}},
		"no stores":         {nil, Params{Replicas: 1, Copysets: 1}},
		"no replicas":       {grid(1), Params{Replicas: 0, Copysets: 1}},
		"no copysets":       {grid(1), Params{Replicas: 1}},
		"too many copysets": {grid(1), Params{Replicas: 1, Copysets: MaxCopysets + 1}},
		"negative width":    {grid(1), Params{Replicas: 1, Copysets: 1, ScatterWidth: -1}},
		"store twice":       {twice, Params{Replicas: 2, Copysets: 1}},
	} {
		if sets, err := Generate(c.stores, c.p); !errors.Is(err, ErrImpossible) || sets != nil {
			t.Errorf("%s: %v %v", name, sets, err)
		}
	}
}
