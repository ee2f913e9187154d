package disk

import "math/rand/v2"

// Subsets says which subsets of the unsynced sectors an enumeration of power cuts tries. Sectors
// that are Same do not count: they make no difference.
type Subsets struct {
	// All is up to how many sectors every subset is tried.
	All int
	// Each bounds, above All, the prefixes, the subsets with one sector missing and those with
	// one present; where there are more, so many are drawn of each. None and all are always tried.
	Each int
	// Random is how many more are drawn then, each with a bias of its own.
	Random int
}

// Plans returns a power cut for each subset of what Unsynced gave. Sectors that were written
// since are lost in all of them.
func (b Subsets) Plans(list []Sector, rng *rand.Rand) []CrashPlan {
	rank := make([]int, len(list)) // place among the sectors that matter; -1: none of them
	n := 0
	for i := range list {
		if rank[i] = -1; !list[i].Same {
			rank[i] = n
			n++
		}
	}
	var plans []CrashPlan
	b.choose(n, rng, func(keep func(int) bool) {
		plans = append(plans, CrashPlan{Keep: func(i int, _ Sector) bool {
			return i < len(rank) && (rank[i] < 0 || keep(rank[i]))
		}})
	})
	return plans
}

// choose calls subset with the subsets of n sectors.
func (b Subsets) choose(n int, rng *rand.Rand, subset func(keep func(int) bool)) {
	if n <= b.All {
		for bits := range uint64(1) << n {
			subset(func(i int) bool { return bits>>i&1 == 1 })
		}
		return
	}
	subset(func(int) bool { return false })
	subset(func(int) bool { return true })
	drawn := func(use func(k int)) {
		if n <= b.Each {
			for k := range n {
				use(k)
			}
			return
		}
		for range b.Each {
			use(rng.IntN(n))
		}
	}
	drawn(func(k int) { subset(func(i int) bool { return i < k }) })
	drawn(func(k int) { subset(func(i int) bool { return i != k }) })
	drawn(func(k int) { subset(func(i int) bool { return i == k }) })
	for range b.Random {
		pick := make([]bool, n)
		bias := rng.Float64()
		for i := range pick {
			pick[i] = rng.Float64() < bias
		}
		subset(func(i int) bool { return pick[i] })
	}
}
