package load

import (
	"context"
	"math"
	"sync"
	"testing"
	"time"

	"github.com/ashlar-storage/ashlar/perf/hist"
)

func TestArrivalsKeepTheirRate(t *testing.T) {
	for _, poisson := range []bool{false, true} {
		a := newArrivals(10_000, poisson, 7, 2e9)
		n := 0
		var gaps, squares float64
		last := int64(0)
		for now := int64(0); now < 3e9; now += 1e6 {
			a.advance(now)
			for {
				at, ok := a.pop()
				if !ok {
					break
				}
				gap := float64(at - last)
				gaps, squares, last = gaps+gap, squares+gap*gap, at
				n++
			}
		}
		mean := gaps / float64(n)
		spread := math.Sqrt(squares/float64(n)-mean*mean) / mean
		if n < 19_000 || n > 21_000 || !a.over() {
			t.Errorf("poisson %t: %d arrivals in 2 s at 10000 a second", poisson, n)
		}
		if poisson && (spread < 0.9 || spread > 1.1) || !poisson && spread > 0.01 {
			t.Errorf("poisson %t: gaps deviate by %.2f of their mean", poisson, spread)
		}
	}
}

func TestBacklogIsBoundedAndItsLossCounted(t *testing.T) {
	a := newArrivals(1e6, false, 1, math.MaxInt64)
	a.advance(1e9)
	if a.n != backlogMax || a.dropped == 0 || a.n+int(a.dropped) < 999_999 {
		t.Errorf("%d wait, %d dropped", a.n, a.dropped)
	}
}

// staller answers at once, but for one stall in which nothing is answered.
type staller struct {
	mu      sync.Mutex
	from    time.Time
	begin   time.Duration
	length  time.Duration
	waiting []*Op
	opened  bool
}

func (s *staller) Submit(op *Op) {
	s.mu.Lock()
	at := time.Since(s.from)
	if at < s.begin || at > s.begin+s.length {
		s.mu.Unlock()
		op.Done(op)
		return
	}
	s.waiting = append(s.waiting, op)
	if !s.opened {
		s.opened = true
		time.AfterFunc(s.length, func() {
			s.mu.Lock()
			waiting := s.waiting
			s.waiting = nil
			s.mu.Unlock()
			for _, op := range waiting {
				op.Done(op)
			}
		})
	}
	s.mu.Unlock()
}

// A closed loop of depth 4 has 4 slow operations of thousands; an open loop has all that were to
// begin in the stall.
func TestStallIsSeenByEverythingThatItDelayed(t *testing.T) {
	const stall = 100 * time.Millisecond
	stalled := func(rate float64) (long, all uint64) {
		e := &staller{from: time.Now(), begin: 50 * time.Millisecond, length: stall}
		j := reads(4, 300*time.Millisecond)
		j.Rate[Read], j.Poisson = rate, rate > 0
		res, err := Run(context.Background(), e, j)
		if err != nil {
			t.Fatal(err)
		}
		h := res.Lat()
		for _, p := range []float64{50, 75} {
			t.Logf("rate %v: p%v %d ns", rate, p, h.Percentile(p))
		}
		for i := range hist.Buckets {
			if c := h.Bucket(i); c > 0 && hist.Value(i) >= 10_000_000 {
				long += c
			}
		}
		return long, h.Count()
	}
	if long, all := stalled(0); long > 60 || all < 100 {
		t.Errorf("closed loop: %d of %d operations took 10 ms or more", long, all)
	}
	// 2000 a second for 90 ms of the stall are 180.
	if long, all := stalled(2000); long < 120 {
		t.Errorf("open loop: %d of %d operations took 10 ms or more", long, all)
	}
}

func TestRateThatIsTooHighIsReported(t *testing.T) {
	m := newMemory()
	m.delay = 2 * time.Millisecond
	j := reads(1, 100*time.Millisecond)
	j.Rate[Read] = 10_000
	res, err := Run(context.Background(), m, j)
	if err != nil || res.Unserved < 500 {
		t.Errorf("%d unserved, %v", res.Unserved, err)
	}
}
