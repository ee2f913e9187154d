package placement

import (
	"errors"
	"math"
	"math/rand/v2"
	"testing"
)

// shares returns memberships, weights and their sums by zone.
func shares(stores []Store, members map[uint64]int) (sums, weights map[string]float64) {
	sums, weights = map[string]float64{}, map[string]float64{}
	for _, s := range stores {
		sums[s.Zone] += float64(members[s.ID])
		weights[s.Zone] += float64(max(1, s.Weight))
	}
	return sums, weights
}

func TestMembershipsFollowTheWeightsForAnyInput(t *testing.T) {
	rng := rand.New(rand.NewPCG(11, 4))
	for i := range 400 {
		replicas := 1 + rng.IntN(4)
		perZone := make([]int, replicas+rng.IntN(5))
		for z := range perZone {
			perZone[z] = 1 + rng.IntN(6)
		}
		stores := grid(perZone...)
		for s := range stores {
			stores[s].Weight = uint64(rng.IntN(9)) * uint64(1+rng.IntN(1000))
		}
		p := Params{Replicas: replicas, Copysets: 1 + rng.IntN(300), Seed: uint64(i),
			ScatterWidth: rng.IntN(12)}
		sets, err := Generate(stores, p)
		if err != nil {
			t.Fatal(err)
		}
		members := check(t, stores, sets, p)
		sums, weights := shares(stores, members)
		for _, s := range stores {
			want := sums[s.Zone] * float64(max(1, s.Weight)) / weights[s.Zone]
			if math.Abs(float64(members[s.ID])-want) >= 1 {
				t.Fatalf("%+v: store %+v of zones %v has %d memberships, its part is %.2f", p, s,
					perZone, members[s.ID], want)
			}
		}
		// A zone below its cap is not behind any other by a whole membership.
		for z := range sums {
			for y := range sums {
				if sums[z] < float64(p.Copysets) &&
					(sums[z]+1)/weights[z] <= (sums[y]-1)/weights[y] {
					t.Fatalf("%+v, zones %v: %s has %v memberships for a weight of %v, %s has "+
						"%v for %v", p, perZone, z, sums[z], weights[z], y, sums[y], weights[y])
				}
			}
		}
	}
}

func TestStoreOfTwiceTheWeightIsInTwiceTheCopysets(t *testing.T) {
	stores := grid(2, 2, 2)
	for i := range stores {
		stores[i].Weight = uint64(1 + i%2)
	}
	p := Params{Replicas: 3, Copysets: 30}
	sets, err := Generate(stores, p)
	if err != nil {
		t.Fatal(err)
	}
	for id, n := range check(t, stores, sets, p) {
		if want := 10 * int(stores[id-1].Weight); n != want {
			t.Errorf("store %d has %d memberships, want %d", id, n, want)
		}
	}
}

func TestWeightsTooLargeAreRefusedNamingTheStore(t *testing.T) {
	stores := grid(1, 1)
	stores[0].Weight, stores[1].Weight = MaxWeight, 1
	_, err := Generate(stores, Params{Replicas: 2, Copysets: 1})
	if !errors.Is(err, ErrImpossible) {
		t.Fatal(err)
	}
	stores[0].Weight = math.MaxUint64
	if _, err = Generate(stores, Params{Replicas: 2, Copysets: 1}); !errors.Is(err, ErrImpossible) {
		t.Fatal(err)
	}
	stores[0].Weight = MaxWeight - 1
	if _, err = Generate(stores, Params{Replicas: 2, Copysets: 9}); err != nil {
		t.Fatal(err)
	}
}
