package suite

import (
	"time"

	"github.com/ashlar-storage/ashlar/perf/load"
)

const liveEvery = 500 * time.Millisecond

// Status is how jobs under way are. Bytes and Ops are per second since the last one, by direction.
type Status struct {
	Jobs       int
	Bytes, Ops [2]float64
	Share      float64       // of the wave that is done; 0 when unknown
	Left       time.Duration // of the longest job; 0 when unknown
}

// watch calls Live until the function that it returns is called.
func (r *running) watch(done []*Done) (stop func()) {
	if r.cfg.Live == nil {
		return func() {}
	}
	quit, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		tick := time.NewTicker(liveEvery)
		defer tick.Stop()
		began, last := time.Now(), time.Now()
		var before [2][2]int64
		for {
			select {
			case <-quit:
				return
			case now := <-tick.C:
				s := Status{Jobs: len(done)}
				s.rates(done, &before, now.Sub(last).Seconds())
				s.ahead(done, now.Sub(began))
				last = now
				r.cfg.Live(s)
			}
		}
	}()
	return func() {
		close(quit)
		<-ended
	}
}

func (s *Status) rates(done []*Done, before *[2][2]int64, seconds float64) {
	for k := range s.Ops {
		var ops, bytes int64
		for _, d := range done {
			ops += d.Load.Progress.Ops[k].Load()
			bytes += d.Load.Progress.Bytes[k].Load()
		}
		s.Ops[k] = float64(ops-before[k][0]) / seconds
		s.Bytes[k] = float64(bytes-before[k][1]) / seconds
		before[k] = [2]int64{ops, bytes}
	}
}

// ahead tells by time, operations or bytes, whatever will end a job first, how far it is.
func (s *Status) ahead(done []*Done, since time.Duration) {
	least := 1.0
	for _, d := range done {
		p, share := d.Load.Progress, 0.0
		count := func(part, whole float64) {
			if whole > 0 {
				share = max(share, part/whole)
			}
		}
		if d.Load.Duration > 0 {
			count(float64(since), float64(d.Load.Ramp+d.Load.Duration))
		}
		count(float64(p.Ops[load.Read].Load()+p.Ops[load.Write].Load()), float64(d.Load.Ops))
		count(float64(p.Bytes[load.Read].Load()+p.Bytes[load.Write].Load()), float64(d.Load.Bytes))
		least = min(least, share)
	}
	if s.Share = least; least > 0 {
		s.Left = time.Duration(float64(since) * (1 - least) / least)
	}
}
