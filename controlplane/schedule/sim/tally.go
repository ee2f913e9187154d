package sim

import (
	"slices"
	"time"

	"github.com/ashlar-storage/ashlar/controlplane/schedule"
)

// tally is what a run has shown.
type tally struct {
	byGood     [replicas + 1]int         // copysets by members that are up
	hours      [replicas + 1]float64     // the same, added up over time
	moved      map[schedule.Kind]float64 // bytes
	begun      map[schedule.Kind]int
	deadStores int
	deadNodes  int
	restarts   int
	noMajority int // copysets whose majority died before it was replaced
	lost       int // copysets of which nothing is left
	recovered  []time.Duration
	rounds     int
	took       time.Duration // by the clock on the wall, in the schedulers

	courses []sample
	next    time.Duration // of the next sample
	worst   int           // copysets short of a member, at most, since the last one
}

// sample is how the cluster was at a time.
type sample struct {
	at    time.Duration
	short int // the most copysets short of a member, since the sample before
	// Replicas on a store that lives, by the mean: all but one in a hundred have more than the
	// first, none more than the second.
	low, high float64
}

const sampleEvery = 3 * time.Hour

func (t *tally) begin(w *world) {
	t.byGood[replicas] = len(w.view.Copysets)
	t.moved, t.begun = map[schedule.Kind]float64{}, map[schedule.Kind]int{}
}

// pass adds a stretch of time up in which nothing changed.
func (t *tally) pass(w *world, d time.Duration) {
	short := 0
	for good, n := range t.byGood {
		t.hours[good] += float64(n) * d.Hours()
		if good < replicas {
			short += n
		}
	}
	t.worst = max(t.worst, short)
	if t.next >= w.now+d {
		return
	}
	s := w.sample()
	for ; t.next < w.now+d; t.next += sampleEvery {
		s.at, s.short = t.next, t.worst
		t.courses = append(t.courses, s)
		t.worst = short
	}
}

func (t *tally) end(w *world) { t.courses = append(t.courses, w.sample()) }

func (t *tally) count(kind schedule.Kind, bytes float64) { t.moved[kind] += bytes }

func (w *world) sample() sample {
	s := sample{at: w.now, short: w.tally.worst}
	var held []int
	for i := range w.disks {
		if !w.disks[i].dead {
			held = append(held, len(w.disks[i].held))
		}
	}
	slices.Sort(held)
	mean := float64(len(w.view.Copysets)*replicas) / float64(len(held))
	s.low, s.high = float64(held[len(held)/100])/mean, float64(held[len(held)-1])/mean
	return s
}

// leaders is how many copysets the store leads that leads most, by the mean.
func (w *world) leaders() float64 {
	led := map[uint64]int{}
	most, live := 0, 0
	for i := range w.view.Copysets {
		c := &w.view.Copysets[i]
		for j := range c.Replicas {
			if r := &c.Replicas[j]; r.ID == c.Leader {
				led[r.Store]++
				most = max(most, led[r.Store])
			}
		}
	}
	for i := range w.disks {
		if !w.disks[i].dead {
			live++
		}
	}
	return float64(most) * float64(live) / float64(len(w.view.Copysets))
}

// quantile of the times that a dead store's replicas took to be whole again.
func (t *tally) quantile(q float64) time.Duration {
	if len(t.recovered) == 0 {
		return 0
	}
	list := slices.Sorted(slices.Values(t.recovered))
	return list[min(len(list)-1, int(q*float64(len(list))))]
}
