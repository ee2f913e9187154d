package sim

import (
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/ashlar-storage/ashlar/controlplane/schedule"
)

// small is a cluster in which much happens.
func small(seed uint64, change func(*config)) config {
	c := config{name: "small", seed: seed, days: 60, zones: 6, nodes: 60, stores: 4,
		copysets: 1500, capacity: 1 << 40, full: 0.3, diskAFR: 0.4, nodeAFR: 0.2, restarts: 10,
		outageDay: 45, addDay: 30, addNodes: 6, fillRate: 64 << 20, writeRate: 200 << 20,
		limits: limits(nil)}
	if change != nil {
		change(&c)
	}
	return c
}

func ran(t *testing.T, c config) *world {
	t.Helper()
	w, err := newWorld(c)
	if err != nil {
		t.Fatal(err)
	}
	w.run()
	return w
}

// check fails the test when the books of a run are wrong.
func (w *world) check(t *testing.T) {
	t.Helper()
	w.checkIndex(t)
	held := make([]int, len(w.disks))
	for i := range w.view.Copysets {
		c := &w.view.Copysets[i]
		zones := map[string]bool{}
		good := 0
		for _, r := range c.Replicas {
			s := &w.view.Stores[r.Store-1]
			if zones[s.Zone] {
				t.Fatalf("copyset %d has two replicas in zone %s", c.ID, s.Zone)
			}
			zones[s.Zone] = true
			held[r.Store-1]++
			if !w.disks[r.Store-1].held[i] {
				t.Fatalf("store %d does not know that it holds copyset %d", r.Store, c.ID)
			}
			if s.Up != r.CaughtUp {
				t.Fatalf("copyset %d: store %d is up %v, its replica %v", c.ID, r.Store, s.Up,
					r.CaughtUp)
			}
			if s.Up {
				good++
			}
		}
		if good != w.groups[i].good {
			t.Fatalf("copyset %d has %d good replicas, the books say %d", c.ID, good,
				w.groups[i].good)
		}
	}
	for s, n := range held {
		if n != len(w.disks[s].held) {
			t.Fatalf("store %d holds %d, the books say %d", s+1, n, len(w.disks[s].held))
		}
	}
}

// checkIndex fails the test when the schedulers were not told of a change.
func (w *world) checkIndex(t *testing.T) {
	t.Helper()
	for i, c := range w.view.Copysets {
		if !w.changed[i] && !reflect.DeepEqual(w.index.Copyset(c.ID), c) {
			t.Fatalf("copyset %d is\n%+v\nand the schedulers have it as\n%+v", c.ID, c,
				w.index.Copyset(c.ID))
		}
	}
}

func TestAClusterSurvivesTwoMonthsOfFailures(t *testing.T) {
	seeds := uint64(3)
	if testing.Short() {
		seeds = 1
	}
	for seed := range seeds {
		w := ran(t, small(seed, nil))
		w.check(t)
		y := &w.tally
		if y.deadStores < 10 || y.restarts < 50 || len(y.recovered) < y.deadStores-6 {
			t.Errorf("seed %d: %d stores died, %d of them are made good, %d restarts", seed,
				y.deadStores, len(y.recovered), y.restarts)
		}
		if y.noMajority != 0 {
			t.Errorf("seed %d: %d copysets lost their majority", seed, y.noMajority)
		}
		if q := y.quantile(0.99); q > 12*time.Hour {
			t.Errorf("seed %d: of a hundred recoveries one took %v", seed, q)
		}
		last := y.courses[len(y.courses)-1]
		if last.high > 1.3 || y.begun[schedule.BalanceReplica] == 0 {
			t.Errorf("seed %d: the fullest store has %.2f times the mean", seed, last.high)
		}
	}
}

// Without the schedulers the same failures lose data, or the test above would show nothing.
func TestWithoutRecoveryTheSameFailuresLoseCopysets(t *testing.T) {
	w := ran(t, small(0, func(c *config) { c.limits.LostAfter = year }))
	w.check(t)
	if w.tally.noMajority == 0 || w.tally.begun[schedule.RecoverReplica] != 0 {
		t.Errorf("%d copysets lost their majority", w.tally.noMajority)
	}
}

func TestOneSeedGivesOneRun(t *testing.T) {
	a, b := ran(t, small(7, nil)), ran(t, small(7, nil))
	a.tally.took, b.tally.took = 0, 0
	if !reflect.DeepEqual(a.tally, b.tally) {
		t.Error("two runs of a seed differ")
	}
	if c := ran(t, small(8, nil)); reflect.DeepEqual(a.tally.recovered, c.tally.recovered) {
		t.Error("two seeds give the same run")
	}
}

func TestTheFigureAndTheTableAreWhole(t *testing.T) {
	w := ran(t, small(1, func(c *config) { c.days, c.addDay, c.outageDay = 10, 3, 7 }))
	for what, want := range map[string]string{table([]*world{w, w}): "| small | small |\n",
		draw(w): "</svg>\n"} {
		if !strings.Contains(what, want) {
			t.Errorf("no %q in %s", want, what)
		}
	}
}
