package placement

import (
	"errors"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"
)

// even is a grid of zones of the same size.
func even(zones, each int) []Store { return grid(slices.Repeat([]int{each}, zones)...) }

// What comes to a pool goes to the stores that came, one replica of each copyset in a zone.
func TestGrowthGoesToTheStoresThatLackIt(t *testing.T) {
	p := Params{Replicas: 3, Copysets: 12, ScatterWidth: 4, Seed: 1}
	have, err := Generate(even(3, 2), p)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		zones, copysets int
		each            int // memberships of each new store
	}{
		{4, 4, 2},  // one new zone takes one replica of each: four on two stores
		{6, 12, 6}, // three new zones take all
		{9, 24, 6}, // and so do six, of twice as many
	} {
		p.Copysets = c.copysets
		stores := even(c.zones, 2)
		more, err := Grow(stores, have, p)
		if err != nil {
			t.Fatal(err)
		}
		n := check(t, stores, more, p)
		for _, s := range stores[6:] {
			if n[s.ID] != c.each {
				t.Errorf("%d copysets more over %d zones: store %d is in %d", c.copysets, c.zones,
					s.ID, n[s.ID])
			}
		}
		if again, _ := Grow(stores, have, p); !reflect.DeepEqual(again, more) {
			t.Error("the same seed gives another growth")
		}
	}
}

func TestGrownCopysetsLieInDistinctZonesWhateverThereIs(t *testing.T) {
	rng := rand.New(rand.NewPCG(4, 2))
	for range 300 {
		zones := 3 + rng.IntN(5)
		p := Params{Replicas: 1 + rng.IntN(3), Copysets: 1 + rng.IntN(30),
			ScatterWidth: rng.IntN(8), Seed: rng.Uint64()}
		have, err := Generate(even(3, 1+rng.IntN(4)), p)
		if err != nil {
			t.Fatal(err)
		}
		stores := even(zones, 1+rng.IntN(4))
		for i := range stores {
			stores[i].Weight = 1 + rng.Uint64N(1<<12)
		}
		p.Copysets = 1 + rng.IntN(30)
		more, err := Grow(stores, have, p)
		if err != nil {
			t.Fatal(err)
		}
		check(t, stores, more, p)
	}
}

func TestImpossibleGrowthIsRefused(t *testing.T) {
	have, _ := Generate(even(3, 1), Params{Replicas: 3, Copysets: 6})
	for _, c := range []struct {
		zones, copysets int
	}{{3, 0}, {3, -1}, {3, MaxCopysets - 5}, {2, 1}} {
		p := Params{Replicas: 3, Copysets: c.copysets}
		if _, err := Grow(even(c.zones, 1), have, p); !errors.Is(err, ErrImpossible) {
			t.Errorf("%+v: %v", c, err)
		}
	}
}
