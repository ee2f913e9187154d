package placement

import "fmt"

// leanShare is how much more of new copysets a store gets for each membership that it lacks, than
// one that has its part.
const leanShare = 64

// Grow draws p.Copysets copysets beside those that there are, on any stores. Each store is to have
// its part of all of them, by weight, so new ones lie where most is missing, as on stores that have
// come since, as far as zones allow; partners that stores have already are not looked for again.
// Nothing that exists is moved.
func Grow(stores []Store, have []Copyset, p Params) ([]Copyset, error) {
	if p.Copysets < 1 || p.Copysets > MaxCopysets-len(have) {
		return nil, fmt.Errorf("%w: %d copysets beside %d, want 1 to %d", ErrImpossible,
			p.Copysets, len(have), MaxCopysets-len(have))
	}
	zones, err := byZone(stores)
	if err != nil {
		return nil, err
	}
	weight := 0
	for _, z := range zones {
		weight += z.weight
	}
	had := map[uint64]int{}
	for _, set := range have {
		for _, id := range set {
			had[id]++
		}
	}
	total := (len(have) + p.Copysets) * p.Replicas
	var lean []Store
	for _, z := range zones {
		for _, s := range z.stores {
			lacks := max(0, total*s.weight/weight-had[s.id])
			lean = append(lean, Store{ID: s.id, Zone: z.name, Weight: uint64(1 + leanShare*lacks)})
		}
	}
	return generate(lean, have, p)
}
