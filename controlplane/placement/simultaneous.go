package placement

import (
	"encoding/binary"
	"math"
	"slices"
)

// LossAtOnce is the probability that failed stores of n, picked evenly and lost in one moment, take
// every replica of at least one of the distinct copysets.
//
// For failed = replicas it is exact: the sets of stores that hold data over all that could have
// failed, distinct / C(n, replicas). For more, distinct * C(failed, replicas) / C(n, replicas)
// copysets are lost on average, and the answer is the chance that a Poisson number of this mean is
// not 0. That takes copysets for independent, and is low by some hundredths of itself where a fifth
// of all stores fails. It gives the published figures of Cidon et al., "Copysets: Reducing the
// Frequency of Data Loss in Cloud Storage", USENIX ATC 2013, whose argument all of this file is.
//
// Arguments that make no sense (distinct or replicas below 1, fewer stores than replicas) give 0.
func LossAtOnce(n, replicas int, distinct float64, failed int) float64 {
	switch {
	case replicas < 1 || distinct < 1 || failed < replicas || n < replicas:
		return 0
	case failed >= n:
		return 1
	}
	share := min(1, distinct/choose(n, replicas))
	if failed == replicas || share == 1 {
		return share
	}
	return -math.Expm1(-share * choose(failed, replicas))
}

// choose is the number of ways to take k of n.
func choose(n, k int) float64 {
	ways := 1.0
	for i := range k {
		ways *= float64(n-i) / float64(i+1)
	}
	return math.Round(ways)
}

// Combinations is how many copysets differ in their stores at most, when no two members may share
// a zone: where every chunk picks its stores at random, this many are in use sooner or later.
// perZone is the number of stores of each zone; with one each it is C(n, replicas).
func Combinations(perZone []int, replicas int) float64 {
	if replicas < 1 {
		return 0
	}
	ways := make([]float64, replicas+1) // by members chosen among the zones seen so far
	ways[0] = 1
	for _, stores := range perZone {
		for k := replicas; k > 0; k-- {
			ways[k] += ways[k-1] * float64(stores)
		}
	}
	return ways[replicas]
}

// Distinct counts the copysets that differ in their stores.
func Distinct(sets []Copyset) int {
	n := 0
	eachSubset(sets, 0, func([]uint64) { n++ })
	return n
}

// eachSubset calls f once for every distinct group of size stores inside a copyset, in rising order
// of ids and in the order of the copysets; size 0 means the whole copyset.
func eachSubset(sets []Copyset, size int, f func(ids []uint64)) {
	seen := map[string]bool{}
	var key []byte
	visit := func(ids []uint64) {
		key = key[:0]
		for _, id := range ids {
			key = binary.BigEndian.AppendUint64(key, id)
		}
		if !seen[string(key)] {
			seen[string(key)] = true
			f(ids)
		}
	}
	for _, set := range sets {
		ids := slices.Sorted(slices.Values(set))
		want := size
		if want == 0 {
			want = len(ids)
		}
		combine(ids, make([]uint64, 0, want), want, visit)
	}
}

// combine calls f with taken and every choice of want-len(taken) of ids behind it.
func combine(ids, taken []uint64, want int, f func([]uint64)) {
	if len(taken) == want {
		f(taken)
		return
	}
	for i := range ids {
		combine(ids[i+1:], append(taken, ids[i]), want, f)
	}
}
