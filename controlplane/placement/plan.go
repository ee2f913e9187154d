package placement

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
)

const (
	// MaxPlanStores and MaxPlanCopysets bound a plan, so that it is made in a quarter of a minute.
	MaxPlanStores   = 1 << 13
	MaxPlanCopysets = 1 << 16
	// planRow bounds the copysets of a row that nobody asked for.
	planRow = 1 << 13
)

// Planned is a pool that does not exist yet: equal stores, spread evenly over zones.
type Planned struct {
	Stores, Zones, Replicas int
	ScatterWidth            int     // 0: none in particular
	BytesEach               float64 // on every store, copies included
	Failures                int     // in one moment, for Option.LossAtOnce; 0: Replicas
	Model                   Model
}

// Option is a way to place the pool, and what it is worth.
type Option struct {
	ScatterWidth int     // wanted; 0: none
	Random       bool    // every chunk picks its stores at random
	AtOnceOf     int     // Planned.Failures, or its default
	LossAtOnce   float64 // of that many
	Durability
}

// Options compares the pool's placements, from disjoint groups of stores through scatter widths
// that double, with Planned.ScatterWidth among them, to random placement. The copysets of each are
// drawn by Generate as a pool of that size would draw them.
func Options(p Planned) ([]Option, error) {
	stores, err := p.grid()
	if err != nil {
		return nil, err
	}
	held := make(map[uint64]float64, len(stores))
	for _, s := range stores {
		held[s.ID] = p.BytesEach
	}
	var options []Option
	for _, width := range p.widths() {
		sets, err := Generate(stores, Params{Replicas: p.Replicas, ScatterWidth: width, Seed: 1,
			Copysets: CountFor(p.Stores, p.Replicas, width)})
		if err != nil {
			return nil, err
		}
		d, err := Assess(stores, sets, held, p.Model)
		if err != nil {
			return nil, err
		}
		options = append(options, p.option(d, Option{ScatterWidth: width}))
	}
	d, err := AssessRandom(stores, p.Replicas, p.BytesEach, p.Model)
	if err != nil {
		return nil, err
	}
	return append(options, p.option(d, Option{Random: true})), nil
}

func (p Planned) option(d Durability, o Option) Option {
	o.Durability, o.AtOnceOf = d, cmp.Or(p.Failures, p.Replicas)
	o.LossAtOnce = LossAtOnce(d.Stores, d.Replicas, d.Distinct, o.AtOnceOf)
	return o
}

// grid is the stores. Errors name what is wrong.
func (p Planned) grid() ([]Store, error) {
	bad := func(format string, args ...any) ([]Store, error) {
		return nil, fmt.Errorf("%w: "+format, append([]any{ErrImpossible}, args...)...)
	}
	switch {
	case p.Stores < 1 || p.Stores > MaxPlanStores:
		return bad("%d stores: want 1 to %d", p.Stores, MaxPlanStores)
	case p.Zones < 1 || p.Zones > p.Stores:
		return bad("%d zones: want 1 to %d, the stores", p.Zones, p.Stores)
	case p.Replicas < 1 || p.Replicas > p.Zones:
		return bad("%d replicas: want 1 to %d, the zones", p.Replicas, p.Zones)
	case p.BytesEach < 0:
		return bad("stores of %v bytes", p.BytesEach)
	case p.Failures != 0 && (p.Failures < p.Replicas || p.Failures > p.Stores):
		return bad("%d failures at once: want %d, the replicas, to %d, the stores", p.Failures,
			p.Replicas, p.Stores)
	}
	widest := p.widest()
	if w := p.ScatterWidth; w != 0 && (w < p.Replicas-1 || w > widest) {
		return bad("scatter width %d: want %d, the other replicas, to %d, the stores of the other "+
			"zones", w, p.Replicas-1, widest)
	}
	if n := CountFor(p.Stores, p.Replicas, p.ScatterWidth); n > MaxPlanCopysets {
		return bad("scatter width %d needs %d copysets, at most %d are made: use a smaller width",
			p.ScatterWidth, n, MaxPlanCopysets)
	}
	stores := make([]Store, p.Stores)
	for i := range stores {
		stores[i] = Store{ID: uint64(i + 1), Zone: strconv.Itoa(i % p.Zones)}
	}
	return stores, nil
}

// widest is how many stores the fullest zone leaves as partners.
func (p Planned) widest() int { return p.Stores - ceil(p.Stores, p.Zones) }

// widths are those of the options, rising.
func (p Planned) widths() []int {
	if p.Replicas == 1 {
		return []int{0}
	}
	var widths []int
	for width := p.Replicas - 1; width <= p.widest(); width *= 2 {
		if CountFor(p.Stores, p.Replicas, width) > planRow {
			break
		}
		widths = append(widths, width)
	}
	if p.ScatterWidth > 0 {
		widths = append(widths, p.ScatterWidth)
	}
	slices.Sort(widths)
	return slices.Compact(widths)
}
