package store

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"runtime"
	"runtime/debug"
	"slices"
	"testing"

	"github.com/ashlar-storage/ashlar/internal/evidence"
	"github.com/ashlar-storage/ashlar/io/buf"
	"github.com/ashlar-storage/ashlar/io/chunkfile"
	"github.com/ashlar-storage/ashlar/io/disk"
)

var crashLevel = flag.String("crash", "share",
	"how many crash states are tried: share (of every test run), full, or nightly")

// crashBudgets are what is tried, by level and by length of the workloads; length 0 is a store
// that starts.
var crashBudgets = map[string][4]budget{
	"short": {
		{disk.Subsets{Random: 1}, 0, 10},
		{disk.Subsets{All: 1, Each: 1}, 10, 10},
		{disk.Subsets{Random: 1}, 20, 20},
		{disk.Subsets{}, 0, 20},
	},
	"share": {
		{disk.Subsets{All: 3, Each: 2, Random: 2}, 0, 10},
		{disk.Subsets{All: 5, Each: 3, Random: 3}, 40, 10},
		{disk.Subsets{All: 3, Each: 1, Random: 1}, 100, 20},
		{disk.Subsets{All: 2, Each: 0, Random: 1}, 0, 100},
	},
	"full": {
		{disk.Subsets{All: 8, Each: 8, Random: 8}, 0, 8},
		{disk.Subsets{All: 10, Each: 32, Random: 32}, 20, 4},
		{disk.Subsets{All: 9, Each: 24, Random: 24}, 60, 8},
		{disk.Subsets{All: 7, Each: 16, Random: 16}, 200, 16},
	},
	"nightly": {
		{disk.Subsets{All: 10, Each: 32, Random: 32}, 100, 8},
		{disk.Subsets{All: 12, Each: 256, Random: 256}, 10, 4},
		{disk.Subsets{All: 10, Each: 128, Random: 128}, 30, 8},
		{disk.Subsets{All: 9, Each: 64, Random: 64}, 100, 16},
	},
}

func newVerifier(t *testing.T, length int) *verifier {
	levels, ok := crashBudgets[*crashLevel]
	if *crashLevel == "share" && testing.Short() { // the race detector looks for races
		levels = crashBudgets["short"]
	}
	if !ok {
		t.Fatalf("-crash=%s: give share, full or nightly", *crashLevel)
	}
	pool, err := buf.NewPool(buf.Config{Bytes: 64 << 20})
	if err != nil {
		t.Fatal(err)
	}
	gc := debug.SetGCPercent(800) // much is made and dropped
	t.Cleanup(func() {
		debug.SetGCPercent(gc)
		if err := pool.Close(); err != nil {
			t.Error(err)
		}
	})
	return &verifier{pool: pool, budget: levels[length], seen: map[uint64]bool{},
		rng: rand.New(rand.NewPCG(1, 2))}
}

// record leaves counts as evidence.
func record(t *testing.T, name string, counts map[string]int64) {
	counts["violations"] = 0
	if t.Failed() {
		counts["violations"] = 1 // a test ends with its first one
	}
	evidence.Record(t, evidence.Item{Lane: "crash", Name: name,
		Promises: []string{"P1", "P3", "P6"}, Test: "dataplane/store " + t.Name(), Counts: counts})
}

func (v *verifier) record(t *testing.T, name string) {
	record(t, name, map[string]int64{"states": v.states.Load(),
		"states met again": v.again.Load(), "recoveries": v.recoveries.Load()})
}

// lived is the disk of a lone store that has been in use for a while, as a power cut left it: its
// free log segments and slots hold what they held before, and part of what it knows is only in
// the log.
func lived(t *testing.T, v *verifier) (*disk.Sim, client) {
	t.Helper()
	sim := disk.NewSim(disk.SimConfig{Seed: 1, Inline: true})
	l, err := openLone(sim, v.pool, v.place)
	if err != nil {
		t.Fatal(err)
	}
	defer l.leave()
	if err := l.found(); err != nil {
		t.Fatal(err)
	}
	x := &explorer{sim: sim, lone: l}
	if v.place > 0 {
		spareSlots(t, l)
	}
	for _, c := range "LrcrbcrMcxwrcrrcxrLcrtw" {
		if err := x.letter(byte(c)); err != nil {
			t.Fatalf("%c: %v", c, err)
		}
	}
	if n := l.store.wal.Stats().Recycled; n < 4 {
		t.Fatalf("only %d log segments were recycled", n)
	}
	if n := l.store.chunks.Stats().Slots; n > loneChunks && v.place == 0 {
		t.Fatalf("%d slots for %d chunks: none was taken again", n, loneChunks)
	}
	return sim.Crash(disk.CrashPlan{Keep: disk.KeepAll}), x.client
}

// spareSlots makes slots that can be lent: a lone store makes none ahead.
func spareSlots(t *testing.T, l *lone) {
	t.Helper()
	for i := range uint64(5) {
		if _, err := l.store.chunks.Create(chunkfile.ID{Group: 99, Index: i}); err != nil {
			t.Fatal(err)
		}
	}
	for i := range uint64(5) {
		if err := l.store.chunks.Delete(chunkfile.ID{Group: 99, Index: i}); err != nil {
			t.Fatal(err)
		}
	}
}

// shards runs f for each workload, on as many goroutines as there are processors.
func shards(t *testing.T, works []string, f func(work string) error) {
	count := min(runtime.GOMAXPROCS(0), len(works))
	t.Run("shards", func(t *testing.T) {
		for i := range count {
			t.Run(fmt.Sprint(i), func(t *testing.T) {
				t.Parallel()
				for k := i; k < len(works); k += count {
					if err := f(works[k]); err != nil {
						t.Fatalf("%q: %v", works[k], err)
					}
				}
			})
		}
	})
}

func TestEveryCrashOfAStoreKeepsWhatWasAcknowledged(t *testing.T) {
	var deep, continued, recycled int64
	for length := 1; length <= 3; length++ {
		t.Run(fmt.Sprintf("length %d", length), func(t *testing.T) {
			v := newVerifier(t, length)
			base, c := lived(t, v)
			works := workloads(length)
			if length == 3 && *crashLevel == "share" {
				every := 8
				if testing.Short() {
					every = 64
				}
				works = slices.DeleteFunc(works, func(string) bool { return !v.draw(every) })
			}
			shards(t, works, func(work string) error { return v.explore(base, c, work) })
			v.record(t, fmt.Sprintf("store, length %d", length))
			deep, continued = deep+v.deep.Load(), continued+v.continued.Load()
			recycled += v.recycled.Load()
		})
	}
	if recycled == 0 {
		t.Error("no workload had a log segment recycled: the test does not reach it")
	}
	record(t, "store, cut again in its recovery", map[string]int64{"states": deep})
	record(t, "store, went on after its recovery and cut again",
		map[string]int64{"states": continued})
}

// The same for a store that places writes of two blocks and more: their bytes are in slots that the
// log names, which chunks take over or give back.
func TestEveryCrashOfAStoreThatPlacesKeepsWhatWasAcknowledged(t *testing.T) {
	var deep, continued, placed, adopted, copied int64
	for length := 1; length <= 3; length++ {
		t.Run(fmt.Sprintf("length %d", length), func(t *testing.T) {
			v := newVerifier(t, length)
			v.place = 2 * block
			base, c := lived(t, v)
			works := placedWorkloads(length)
			if length == 3 && *crashLevel != "nightly" {
				every := 16
				if testing.Short() {
					every = 128
				}
				works = slices.DeleteFunc(works, func(string) bool { return !v.draw(every) })
			}
			shards(t, works, func(work string) error { return v.explore(base, c, work) })
			v.record(t, fmt.Sprintf("store that places, length %d", length))
			deep, continued = deep+v.deep.Load(), continued+v.continued.Load()
			placed, adopted = placed+v.placed.Load(), adopted+v.adopted.Load()
			copied += v.copied.Load()
		})
	}
	if placed == 0 || adopted == 0 || copied == 0 && !testing.Short() {
		t.Errorf("%d blocks placed, %d twins taken over, %d blocks copied: it is not reached",
			placed, adopted, copied)
	}
	record(t, "store that places, cut again in its recovery", map[string]int64{"states": deep})
	record(t, "store that places, went on after its recovery and cut again",
		map[string]int64{"states": continued})
}

// A recovery may be cut at any of its steps and leaves nothing that the next one would take for
// something else.
func TestARecoveryOfAStoreMayBeCutAnywhere(t *testing.T) {
	v := newVerifier(t, 0)
	base, c := lived(t, v)
	works := append(workloads(0), workloads(1)...)
	if *crashLevel != "share" {
		works = append(works, workloads(2)...)
	}
	shards(t, works, func(work string) error { return v.exploreStart(base, c, work) })
	v.record(t, "store, starting")
}

func TestAStoreIsMadeWholeOrNotAtAll(t *testing.T) {
	v := newVerifier(t, 1)
	v.unmade = true
	sim := disk.NewSim(disk.SimConfig{Seed: 1, Inline: true})
	x := v.explorer(sim, client{})
	x.on = true
	sim.OnStep(x.step)
	l, err := openLone(sim, v.pool, v.place)
	if err != nil {
		t.Fatal(err)
	}
	x.lone = l
	err = l.found()
	if err == nil {
		err = x.letter('w')
	}
	sim.OnStep(nil)
	l.leave()
	if err != nil {
		t.Fatal(err)
	}
	if err := v.checkAll(x); err != nil {
		t.Fatal(err)
	}
	v.record(t, "store, being made")
}
