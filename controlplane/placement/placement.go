package placement

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
)

// ErrImpossible: no placement can satisfy what was asked.
var ErrImpossible = errors.New("placement: impossible")

const (
	// MaxCopysets bounds one call of Generate.
	MaxCopysets = 1 << 20
	// MaxWeight bounds the sum of all weights of a call.
	MaxWeight = 1 << 32
)

// Store is a place for a replica.
type Store struct {
	ID   uint64
	Zone string // stores that may fail together
	// Weight is what the store can take beside the others, such as its GiB; 0 counts as 1.
	Weight uint64
}

// Params is what is wanted.
type Params struct {
	Replicas     int    // members of each copyset, at least 1
	Copysets     int    // how many, 1 to MaxCopysets
	ScatterWidth int    // distinct partners wanted per store; 0: as many as come
	Seed         uint64 // breaks ties
}

// Copyset is the stores of one copyset, in no meaningful order.
type Copyset []uint64

// CountFor returns how many copysets give every one of n stores a scatter width, when each brings a
// store replicas-1 new partners.
func CountFor(n, replicas, scatterWidth int) int {
	if n <= 0 || replicas < 1 {
		return 0
	}
	if replicas == 1 || scatterWidth <= 0 {
		return max(1, n/replicas)
	}
	perStore := ceil(scatterWidth, replicas-1)
	return max(1, ceil(perStore*n, replicas))
}

func ceil(a, b int) int { return (a + b - 1) / b }

// Generate draws p.Copysets copysets over the stores. See the package comment.
func Generate(stores []Store, p Params) ([]Copyset, error) { return generate(stores, nil, p) }

// generate draws copysets beside others.
func generate(stores []Store, others []Copyset, p Params) ([]Copyset, error) {
	zones, err := byZone(stores)
	if err != nil {
		return nil, err
	}
	switch {
	case p.Replicas < 1:
		return nil, fmt.Errorf("%w: %d replicas, want at least 1", ErrImpossible, p.Replicas)
	case p.Copysets < 1 || p.Copysets > MaxCopysets:
		return nil, fmt.Errorf("%w: %d copysets, want 1 to %d", ErrImpossible, p.Copysets,
			MaxCopysets)
	case p.ScatterWidth < 0:
		return nil, fmt.Errorf("%w: scatter width %d is negative", ErrImpossible, p.ScatterWidth)
	case len(zones) < p.Replicas:
		return nil, fmt.Errorf("%w: %d replicas need as many zones, the %d stores lie in %d",
			ErrImpossible, p.Replicas, len(stores), len(zones))
	}
	d := &draw{
		p: p, zones: zones,
		rng:   rand.New(rand.NewPCG(p.Seed, 0x9e3779b97f4a7c15)),
		peers: make(map[uint64]map[uint64]int, len(stores)),
	}
	for _, set := range others {
		d.record(set)
	}
	d.setQuotas()
	sets := make([]Copyset, 0, p.Copysets)
	for range p.Copysets {
		sets = append(sets, d.next())
	}
	return sets, nil
}

// zone is the stores of one zone and how many memberships each still gets.
type zone struct {
	name   string
	stores []place
	weight int // sum over stores
	left   int // sum over stores
}

type place struct {
	id     uint64
	weight int
	left   int
}

// byZone sorts, so that the order of the input does not matter.
func byZone(stores []Store) ([]*zone, error) {
	byName := map[string]*zone{}
	seen := map[uint64]bool{}
	var zones []*zone
	sum := uint64(0)
	for _, s := range stores {
		if seen[s.ID] {
			return nil, fmt.Errorf("%w: store %d is listed twice", ErrImpossible, s.ID)
		}
		seen[s.ID] = true
		weight := max(1, s.Weight)
		if weight > MaxWeight || sum+weight > MaxWeight {
			return nil, fmt.Errorf("%w: store %d of weight %d makes the sum exceed %d: use a "+
				"larger unit", ErrImpossible, s.ID, weight, uint64(MaxWeight))
		}
		sum += weight
		z := byName[s.Zone]
		if z == nil {
			z = &zone{name: s.Zone}
			byName[s.Zone] = z
			zones = append(zones, z)
		}
		z.stores = append(z.stores, place{id: s.ID, weight: int(weight)})
		z.weight += int(weight)
	}
	slices.SortFunc(zones, func(a, b *zone) int {
		return slices.Compare([]byte(a.name), []byte(b.name))
	})
	for _, z := range zones {
		slices.SortFunc(z.stores, func(a, b place) int {
			if a.id < b.id {
				return -1
			}
			return 1
		})
	}
	return zones, nil
}

// draw is the state of one Generate.
type draw struct {
	p     Params
	zones []*zone
	rng   *rand.Rand
	peers map[uint64]map[uint64]int // store -> partner -> copysets in common
}

// setQuotas shares Copysets x Replicas memberships over the stores by weight, where no zone takes
// more than one per copyset. Zones that would are fixed at that, smallest need first.
func (d *draw) setQuotas() {
	total := d.p.Copysets * d.p.Replicas
	open := slices.Clone(d.zones)
	for {
		weight := 0
		for _, z := range open {
			weight += z.weight
		}
		capped := slices.IndexFunc(open, func(z *zone) bool {
			return z.weight*total > d.p.Copysets*weight
		})
		if capped < 0 {
			d.share(open, total, weight)
			break
		}
		open[capped].left = d.p.Copysets
		total -= d.p.Copysets
		open = slices.Delete(open, capped, capped+1)
	}
	for _, z := range d.zones {
		d.spread(z)
	}
}

// share gives each open zone its part of total by weight, rounded by largest remainder; where
// that is a tie, by chance. A zone at its cap takes no rounding.
func (d *draw) share(open []*zone, total, weight int) {
	if weight == 0 {
		return
	}
	d.rng.Shuffle(len(open), func(i, j int) { open[i], open[j] = open[j], open[i] })
	rest := total
	for _, z := range open {
		z.left = total * z.weight / weight
		rest -= z.left
	}
	slices.SortStableFunc(open, func(a, b *zone) int {
		return total*b.weight%weight - total*a.weight%weight
	})
	for i := 0; rest > 0; i = (i + 1) % len(open) {
		if z := open[i]; z.left < d.p.Copysets {
			z.left++
			rest--
		}
	}
}

// spread divides a zone's memberships over its stores by weight, rounded by largest remainder;
// where that is a tie, by chance.
func (d *draw) spread(z *zone) {
	rest := z.left
	for i := range z.stores {
		s := &z.stores[i]
		s.left = z.left * s.weight / z.weight
		rest -= s.left
	}
	order := d.rng.Perm(len(z.stores))
	slices.SortStableFunc(order, func(i, j int) int {
		return z.left*z.stores[j].weight%z.weight - z.left*z.stores[i].weight%z.weight
	})
	for _, i := range order[:rest] {
		z.stores[i].left++
	}
}

// next draws one copyset: from the zones with the most memberships left, which is what keeps the
// rest possible, one store each.
func (d *draw) next() Copyset {
	d.rng.Shuffle(len(d.zones), func(i, j int) {
		d.zones[i], d.zones[j] = d.zones[j], d.zones[i]
	})
	slices.SortStableFunc(d.zones, func(a, b *zone) int { return b.left - a.left })
	set := make(Copyset, 0, d.p.Replicas)
	chosen := slices.Clone(d.zones[:d.p.Replicas])
	d.rng.Shuffle(len(chosen), func(i, j int) { chosen[i], chosen[j] = chosen[j], chosen[i] })
	for _, z := range chosen {
		set = append(set, d.pick(z, set))
	}
	d.record(set)
	return set
}

// pick takes the store of z that serves the scatter width best beside those already in set.
func (d *draw) pick(z *zone, set Copyset) uint64 {
	best, bestScore := -1, 0
	for _, i := range d.rng.Perm(len(z.stores)) {
		s := z.stores[i]
		if s.left == 0 {
			continue
		}
		if score := d.score(s, set); best < 0 || score > bestScore {
			best, bestScore = i, score
		}
	}
	z.stores[best].left--
	z.left--
	return z.stores[best].id
}

// score prefers, in this order: useful new partners (or, where the width is reached, none), and
// memberships still to give, so that no store is left to the end with too few choices.
func (d *draw) score(s place, set Copyset) int {
	score := 0
	for _, other := range set {
		if d.peers[s.id][other] > 0 {
			continue
		}
		wanted := 0
		for _, id := range []uint64{s.id, other} {
			if d.p.ScatterWidth == 0 || len(d.peers[id]) < d.p.ScatterWidth {
				wanted++
			}
		}
		score += wanted*2 - 1
	}
	return score*MaxCopysets + s.left
}

func (d *draw) record(set Copyset) {
	for _, a := range set {
		if d.peers[a] == nil {
			d.peers[a] = map[uint64]int{}
		}
		for _, b := range set {
			if a != b {
				d.peers[a][b]++
			}
		}
	}
}

// Widths returns the number of distinct partners of every store in the copysets.
func Widths(sets []Copyset) map[uint64]int {
	d := draw{peers: map[uint64]map[uint64]int{}}
	for _, set := range sets {
		d.record(set)
	}
	widths := make(map[uint64]int, len(d.peers))
	for id, partners := range d.peers {
		widths[id] = len(partners)
	}
	return widths
}
