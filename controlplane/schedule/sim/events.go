package sim

import (
	"container/heap"
	"math"
	"time"
)

// event is something that happens to the cluster.
type event struct {
	at time.Duration
	no int // events of one time happen in the order in which they were foreseen
	do func()
}

type events struct {
	list []event
	next int
}

func (e *events) Len() int { return len(e.list) }
func (e *events) Less(i, j int) bool {
	a, b := &e.list[i], &e.list[j]
	return a.at < b.at || a.at == b.at && a.no < b.no
}
func (e *events) Swap(i, j int) { e.list[i], e.list[j] = e.list[j], e.list[i] }
func (e *events) Push(x any)    { e.list = append(e.list, x.(event)) }
func (e *events) Pop() any {
	x := e.list[len(e.list)-1]
	e.list = e.list[:len(e.list)-1]
	return x
}

// after has something happen in a while; what lies beyond the end of the run is left out.
func (w *world) after(d time.Duration, do func()) {
	if at := w.now + d; at <= time.Duration(w.cfg.days)*day {
		w.events.next++
		heap.Push(&w.events, event{at: at, no: w.events.next, do: do})
	}
}

// draw is the time until something happens that comes so often in a year.
func (w *world) draw(perYear float64) time.Duration {
	if perYear <= 0 {
		return math.MaxInt64 / 4
	}
	return time.Duration(min(w.rng.ExpFloat64()/perYear, 100) * float64(year))
}

// foresee draws what does not come of a store or a node.
func (w *world) foresee() {
	if w.cfg.outageDay > 0 {
		w.after(time.Duration(w.cfg.outageDay)*day, func() {
			w.setZone(0, 1)
			w.after(outage, func() { w.setZone(0, -1) })
		})
	}
	if w.cfg.addDay > 0 {
		w.after(time.Duration(w.cfg.addDay)*day, func() {
			for i := range w.cfg.addNodes {
				w.addNode(i % w.cfg.zones)
			}
			w.dirty = true
		})
	}
}

func (w *world) foreseeStore(s int) {
	w.after(w.draw(w.cfg.diskAFR), func() {
		if w.disks[s].dead {
			return
		}
		w.kill(s)
		w.after(w.cfg.limits.LostAfter, func() { w.dirty = true })
		w.after(replaceDisk, func() {
			w.addStore(w.disks[s].node)
			w.dirty = true
		})
	})
}

func (w *world) foreseeNode(n int) {
	w.after(w.draw(w.cfg.nodeAFR), func() {
		for _, s := range w.nodes[n].stores {
			w.kill(s)
		}
		w.tally.deadNodes++
		w.after(w.cfg.limits.LostAfter, func() { w.dirty = true })
		w.after(replaceDisk, func() {
			w.addNode(w.nodes[n].zone) // another machine
			w.dirty = true
		})
	})
	w.foreseeRestart(n)
}

// foreseeRestart draws a restart: of twenty, sixteen take some minutes, three up to an hour, one
// some hours.
func (w *world) foreseeRestart(n int) {
	w.after(w.draw(w.cfg.restarts), func() {
		least, most := 3*time.Minute, 10*time.Minute
		switch kind := w.rng.IntN(20); {
		case kind == 0:
			least, most = 2*time.Hour, 8*time.Hour
		case kind < 4:
			least, most = 20*time.Minute, time.Hour
		}
		w.setNode(n, 1)
		w.tally.restarts++
		w.after(w.cfg.limits.LostAfter, func() { w.dirty = true })
		w.after(least+time.Duration(w.rng.Int64N(int64(most-least))), func() { w.setNode(n, -1) })
		w.foreseeRestart(n)
	})
}

func (w *world) setNode(n, change int) {
	w.nodes[n].down += change
	for _, s := range w.nodes[n].stores {
		w.refresh(s)
	}
}

func (w *world) setZone(z, change int) {
	w.zones[z] += change
	for n := range w.nodes {
		if w.nodes[n].zone == z {
			w.setNode(n, 0)
		}
	}
	if change > 0 {
		w.after(w.cfg.limits.LostAfter, func() { w.dirty = true })
	}
}
