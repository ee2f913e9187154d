package sim

import (
	"container/heap"
	"slices"
	"time"

	"github.com/ashlar-storage/ashlar/controlplane/schedule"
)

// run lets the days pass.
func (w *world) run() {
	end := time.Duration(w.cfg.days) * day
	for w.now < end {
		w.advance(min(end, w.nextStop()))
		for w.events.Len() > 0 && w.events.list[0].at <= w.now {
			heap.Pop(&w.events).(event).do()
		}
		if w.dirty || w.stale && w.now-w.looked >= calm {
			w.round()
		}
	}
	w.tally.end(w)
}

// nextStop is when something may change: a step further while something is under way, else the next
// event.
func (w *world) nextStop() time.Duration {
	next := time.Duration(w.cfg.days) * day
	if w.events.Len() > 0 {
		next = w.events.list[0].at
	}
	if len(w.fills) > 0 || w.dirty || w.stale {
		next = min(next, w.now.Truncate(step)+step)
	}
	return next
}

// advance lets time pass, in which new members are filled.
func (w *world) advance(to time.Duration) {
	w.tally.pass(w, to-w.now)
	seconds := (to - w.now).Seconds()
	w.now = to
	w.view.Now = w.time()
	if seconds <= 0 || len(w.fills) == 0 {
		return
	}
	feeding, filling := map[uint64]int{}, map[uint64]int{}
	for _, f := range w.fills {
		if from, to := w.ends(f); from != 0 {
			feeding[from]++
			filling[to]++
		}
	}
	var done []*fill
	for _, f := range w.fills {
		from, to := w.ends(f)
		if from == 0 {
			continue
		}
		bytes := seconds * min(w.cfg.fillRate/float64(feeding[from]),
			w.cfg.writeRate/float64(filling[to]))
		w.tally.count(w.view.Copysets[f.copyset].Why, min(bytes, f.left))
		if f.left -= bytes; f.left <= 0 {
			done = append(done, f)
		}
	}
	for _, f := range done {
		w.finish(f)
	}
}

// ends are the stores between which a member is filled; 0 while it waits for one of them.
func (w *world) ends(f *fill) (from, to uint64) {
	c := &w.view.Copysets[f.copyset]
	if !w.view.Stores[c.Joining.Store-1].Up {
		return 0, 0
	}
	for i := range c.Replicas {
		if r := &c.Replicas[i]; r.ID == c.Leader && r.CaughtUp {
			return r.Store, c.Joining.Store
		}
	}
	return 0, 0
}

// finish has a new member take the old one's place.
func (w *world) finish(f *fill) {
	w.fills = slices.DeleteFunc(w.fills, func(g *fill) bool { return g == f })
	i := f.copyset
	c := &w.view.Copysets[i]
	old := int(w.replica(c, c.Leaving).Store - 1)
	r := w.replica(c, c.Leaving)
	if c.Preferred == r.ID {
		c.Preferred = c.Joining.ID
	}
	was := r.CaughtUp
	*r = *c.Joining
	r.CaughtUp = true
	c.Joining, c.Leaving, c.Why = nil, 0, ""
	delete(w.disks[old].held, i)
	w.disks[r.Store-1].held[i] = true
	w.view.Stores[old].Used -= w.size()
	w.view.Stores[r.Store-1].Used += w.size()
	if w.disks[old].dead {
		w.groups[i].gone--
		w.checkEmptied(old)
	}
	good := w.groups[i].good
	if !was {
		good++
	}
	w.setGood(i, good) // also when all is as before: the one that left may have led
	w.stale, w.dirty = true, w.dirty || w.short
}

func (w *world) replica(c *schedule.Copyset, id uint64) *schedule.Replica {
	i := slices.IndexFunc(c.Replicas, func(r schedule.Replica) bool { return r.ID == id })
	return &c.Replicas[i]
}

// round has the schedulers look and does what they want.
func (w *world) round() {
	w.dirty, w.stale, w.looked = false, false, w.now
	leaders := timed(w, func() []schedule.Operator {
		return w.index.Leaders(w.view.Scene, w.cfg.limits)
	})
	for _, op := range leaders {
		c := &w.view.Copysets[op.Copyset-1]
		c.Leader, c.LastOperator = op.To, w.view.Now
		w.changed[int(op.Copyset-1)] = true
	}
	plan := timed(w, func() schedule.Plan { return w.index.Moves(w.view.Scene, w.cfg.limits) })
	w.view.Resume = plan.Resume
	w.tally.rounds++
	for _, op := range plan.Operators {
		w.begin(op)
	}
	w.short = len(plan.Waiting) > 0
	if len(leaders)+len(plan.Operators) > 0 {
		w.stale, w.dirty = true, w.short
	} else if w.short && len(w.fills) == 0 && !w.retries {
		w.retries = true // there are limits that time alone lifts
		w.after(retry, func() { w.retries, w.dirty = false, true })
	}
	if len(w.fills) == 0 && len(plan.Operators) == 0 {
		w.respread()
	}
}

func (w *world) begin(op schedule.Operator) {
	i := int(op.Copyset - 1)
	c := &w.view.Copysets[i]
	if c.Joining != nil {
		w.fills = slices.DeleteFunc(w.fills, func(f *fill) bool { return f.copyset == i })
	}
	w.last++
	c.Joining, c.Leaving = &schedule.Replica{ID: w.last, Store: op.Store}, op.From
	c.Why, c.LastRepair, c.LastOperator = op.Kind, w.view.Now, w.view.Now
	w.changed[i] = true
	if op.Lost {
		c.Losses = c.Losses.Add(w.view.Now, w.cfg.limits)
	}
	w.fills = append(w.fills, &fill{copyset: i, left: float64(w.size())})
	w.tally.begun[op.Kind]++
}

// timed has the schedulers do something with the copysets as they are.
func timed[T any](w *world, fn func() T) T {
	began := time.Now()
	for i := range w.changed {
		c := w.view.Copysets[i]
		c.Replicas = slices.Clone(c.Replicas)
		w.index.Put(c)
	}
	clear(w.changed)
	done := fn()
	w.tally.took += time.Since(began)
	return done
}

// respread evens out the preferred leaders.
func (w *world) respread() {
	for _, wish := range timed(w, w.index.Respread) {
		w.view.Copysets[wish.Copyset-1].Preferred, w.dirty = wish.Replica, true
	}
}
