package load

import (
	"math"
	"math/rand/v2"
)

// arrivals decides when the operations of an open loop are to begin. It is pure: time is what the
// caller says it is, ns from the beginning of the run.
type arrivals struct {
	rng      *rand.Rand
	gap      float64 // mean, ns
	poisson  bool
	next     float64
	end      float64 // nothing is to begin from here on
	waiting  []int64 // ring of intended times
	head, n  int
	dropped  int64
	capacity int
}

func newArrivals(rate float64, poisson bool, seed uint64, end float64) *arrivals {
	a := &arrivals{rng: rand.New(rand.NewPCG(seed, 2)), gap: 1e9 / rate, poisson: poisson,
		end: end, waiting: make([]int64, backlogMax), capacity: backlogMax}
	a.step()
	return a
}

func (a *arrivals) step() {
	if a.poisson {
		a.next += a.gap * -math.Log(1-a.rng.Float64())
	} else {
		a.next += a.gap
	}
}

// advance lets everything arrive that was to begin by now.
func (a *arrivals) advance(now int64) {
	for a.next <= float64(now) && a.next < a.end {
		if a.n == a.capacity {
			a.dropped++
		} else {
			a.waiting[(a.head+a.n)%a.capacity] = int64(a.next)
			a.n++
		}
		a.step()
	}
}

// pop takes the arrival that waits longest.
func (a *arrivals) pop() (intended int64, ok bool) {
	if a.n == 0 {
		return 0, false
	}
	intended = a.waiting[a.head]
	a.head = (a.head + 1) % a.capacity
	a.n--
	return intended, true
}

// over reports that nothing will arrive any more.
func (a *arrivals) over() bool { return a.next >= a.end }
