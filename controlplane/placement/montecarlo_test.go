package placement

import (
	"math"
	"math/rand/v2"
	"testing"
	"time"
)

// pool is what the simulation needs of a placement. It shares no formula with Assess.
type pool struct {
	rate     float64   // failures per year of a store that works
	rebuild  []float64 // years, by store
	fixed    bool      // a rebuild lasts just that long; else exponentially long on average
	sets     [][]int
	of       [][]int // the sets of a store
	held     []float64
	majority int // members that must be up
}

// year counts what happened in some simulated years.
type year struct{ lostBytes, losses, minorities float64 }

// run lets stores fail and come back for so many years.
func (p *pool) run(rng *rand.Rand, years float64) (y year) {
	n := len(p.rebuild)
	down, next, gone := make([]bool, n), make([]float64, n), make([]int, len(p.sets))
	for i := range next {
		next[i] = rng.ExpFloat64() / p.rate
	}
	for {
		s := 0
		for i := range next {
			if next[i] < next[s] {
				s = i
			}
		}
		now := next[s]
		if now > years {
			return y
		}
		if down[s] {
			down[s], next[s] = false, now+rng.ExpFloat64()/p.rate
			for _, g := range p.of[s] {
				gone[g]--
			}
			continue
		}
		down[s], next[s] = true, now+p.rebuild[s]
		if !p.fixed {
			next[s] = now + rng.ExpFloat64()*p.rebuild[s]
		}
		p.fail(s, gone, &y)
	}
}

func (p *pool) fail(s int, gone []int, y *year) {
	lost, minority := 0.0, 0.0
	for _, g := range p.of[s] {
		gone[g]++
		size := len(p.sets[g])
		if gone[g] == size {
			lost = 1
			y.lostBytes += p.held[g]
		}
		if gone[g] == size-p.majority+1 {
			minority = 1
		}
	}
	y.losses += lost
	y.minorities += minority
}

// sample is a mean with its standard error.
type sample struct{ mean, err float64 }

func measure(values []float64) sample {
	n := float64(len(values))
	sum, squares := 0.0, 0.0
	for _, v := range values {
		sum += v
	}
	for _, v := range values {
		squares += (v - sum/n) * (v - sum/n)
	}
	return sample{sum / n, math.Sqrt(squares/(n-1)) / math.Sqrt(n)}
}

// simulated is a pool whose stores fail so often that losses can be counted, as the arithmetic sees
// it and as the simulation does.
func simulated(t *testing.T, replicas int, perZone []int, width int) (Durability, *pool) {
	t.Helper()
	stores := grid(perZone...)
	sets, err := Generate(stores, Params{Replicas: replicas, ScatterWidth: width,
		Copysets: CountFor(len(stores), replicas, width)})
	if err != nil {
		t.Fatal(err)
	}
	m := Model{AFR: 0.6, RebuildRate: 1e6, Detect: 48 * time.Hour, InPlace: true}
	p := &pool{rate: -math.Log(1 - m.AFR), of: make([][]int, len(stores)),
		majority: replicas/2 + 1}
	bytes := map[uint64]float64{}
	for i, s := range stores {
		days := 5 + 3*float64(i%7) // rebuilds differ, or a mean in place of each would pass
		bytes[s.ID] = days * 86400 * m.RebuildRate
		p.rebuild = append(p.rebuild, (days+2)/365.25)
	}
	for g, set := range sets {
		var members []int
		held := 0.0
		for _, id := range set {
			members = append(members, int(id-1))
			p.of[id-1] = append(p.of[id-1], g)
		}
		p.sets, p.held = append(p.sets, members), append(p.held, held)
	}
	for g, members := range p.sets {
		for _, s := range members {
			p.held[g] += bytes[uint64(s+1)] / float64(len(p.of[s])) / float64(replicas)
		}
	}
	d, err := Assess(stores, sets, bytes, m)
	if err != nil {
		t.Fatal(err)
	}
	return d, p
}

// The bytes lost must lie within four standard errors of the mean of 200 independent histories,
// which a right formula misses once in 16,000 seeds; and that must be narrow enough to refute one
// that is wrong by a tenth. Losses and Minorities are upper bounds that the counts come near.
func TestArithmeticAgreesWithSimulatedFailuresAndRebuilds(t *testing.T) {
	years := 600.0
	if testing.Short() {
		years = 150
	}
	for _, c := range []struct {
		name     string
		replicas int
		perZone  []int
		width    int
		tolerate float64 // how far below its bound a count may be
	}{
		{"pairs", 2, []int{4, 4, 4}, 4, 0.15},
		{"triples", 3, []int{5, 5, 5, 5}, 6, 0.15},
		{"disjoint triples", 3, []int{7, 7, 7}, 2, 0.1},
	} {
		for _, fixed := range []bool{false, true} {
			d, p := simulated(t, c.replicas, c.perZone, c.width)
			p.fixed = fixed
			rng := rand.New(rand.NewPCG(uint64(c.replicas), 2026))
			var bytes, losses, minorities []float64
			for range 200 {
				y := p.run(rng, years)
				bytes = append(bytes, y.lostBytes/years)
				losses = append(losses, y.losses/years)
				minorities = append(minorities, y.minorities/years)
			}
			b, l, m := measure(bytes), measure(losses), measure(minorities)
			t.Logf("%s, fixed %v: bytes %.4g +- %.2g of %.4g, losses %.4g +- %.2g of %.4g, "+
				"minorities %.4g +- %.2g of %.4g", c.name, fixed, b.mean, b.err, d.LostBytes,
				l.mean, l.err, d.Losses, m.mean, m.err, d.Minorities)
			if math.Abs(b.mean-d.LostBytes) > 4*b.err {
				t.Errorf("%s: bytes: %v simulated, %v computed", c.name, b, d.LostBytes)
			}
			if !testing.Short() && 8*b.err > 0.2*d.LostBytes {
				t.Errorf("%s: an error of a tenth could pass: %v of %v", c.name, b, d.LostBytes)
			}
			below(t, c.name+": losses", l, d.Losses, c.tolerate)
			below(t, c.name+": minorities", m, d.Minorities, c.tolerate)
		}
	}
}

// below checks that a count is under its upper bound and near it.
func below(t *testing.T, what string, got sample, bound, tolerate float64) {
	t.Helper()
	if got.mean > bound+4*got.err || got.mean < bound*(1-tolerate)-4*got.err {
		t.Errorf("%s: %v simulated, bound %v", what, got, bound)
	}
}
