package wal

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"

	counts "github.com/ashlar-storage/ashlar/internal/evidence"
	"github.com/ashlar-storage/ashlar/io/disk"
)

var crashLevel = flag.String("crash", "share",
	"how many crash states are tried: share (of every test run), full, or nightly")

// crashBudget is how thoroughly a level looks.
type crashBudget struct {
	subsets disk.Subsets
	deep    int // crashes of each workload that go on to a second
	runs    int // long runs
}

func budget(t *testing.T) crashBudget {
	t.Helper()
	share := crashBudget{disk.Subsets{All: 8, Each: 8, Random: 8}, 60, 2}
	switch *crashLevel {
	case "share":
		if testing.Short() { // as under the race detector, which looks for races
			share = crashBudget{disk.Subsets{All: 3, Each: 2, Random: 1}, 5, 1}
		}
		return share
	case "full":
		return crashBudget{disk.Subsets{All: 10, Each: 32, Random: 24}, 200, 2}
	case "nightly":
		return crashBudget{disk.Subsets{All: 11, Each: 64, Random: 64}, 1000, 10}
	}
	t.Fatalf("-crash=%s: give share, full or nightly", *crashLevel)
	return share
}

// tally counts the crash states of a test, each once.
type tally struct {
	seen             map[string]bool
	states, repeated int64
}

// first reports whether a state was not met before with what was known then.
func (n *tally) first(c *crash) bool {
	key := fmt.Sprint(c.sim.Fingerprint(), c.hist.next, c.hist.acked, c.hist.needed)
	if n.seen[key] {
		n.repeated++
		return false
	}
	if n.seen == nil {
		n.seen = map[string]bool{}
	}
	n.seen[key] = true
	n.states++
	return true
}

// record leaves the counts as evidence. Each state is recovered twice.
func (n *tally) record(t *testing.T, name string) {
	t.Helper()
	counts.Record(t, counts.Item{Lane: "crash", Name: name, Promises: []string{"P1", "P6"},
		Test: "io/wal " + t.Name(), Counts: map[string]int64{"states": n.states,
			"states met again": n.repeated, "recoveries": 2 * n.states, "violations": 0}})
}

const crashSegment = 16 << 10

func crashConfig(d disk.Disk) Config {
	cfg := testConfig(d)
	cfg.SegmentSize = crashSegment
	return cfg
}

// history is what a log was asked to hold, over all its lives. Indices of records are never
// used twice, so that a record from a lost life cannot pass for another.
type history struct {
	next   uint64
	log    []Record     // what was appended, and not cut by a recovery since
	bounds map[int]bool // lengths of log at which an append ends
	acked  int
	needed int // log[:needed] has been released
	end    LSN // what Durable was
}

func newHistory() *history { return &history{bounds: map[int]bool{0: true}} }

// after returns the history as a recovery that ended at length left it.
func (h *history) after(length int) *history {
	c := &history{next: h.next + 1000, log: slices.Clone(h.log[:length]),
		bounds: map[int]bool{}, acked: length, needed: min(h.needed, length),
		end: h.end}
	for b := range h.bounds {
		if b <= length {
			c.bounds[b] = true
		}
	}
	return c
}

// check compares a recovery with the history and returns how much of it survived.
func (h *history) check(got []Record, rec *Recovery) (length int, err error) {
	if len(rec.Damage) != 0 {
		return 0, fmt.Errorf("a crash is taken for damage: %v", rec.Damage[0].Err)
	}
	if rec.End < h.end {
		return 0, fmt.Errorf("the log ends at %d, and was durable up to %d", rec.End, h.end)
	}
	if len(got) == 0 {
		if h.acked > h.needed {
			return 0, fmt.Errorf("%d acknowledged records are lost", h.acked-h.needed)
		}
		return h.acked, nil
	}
	first := slices.IndexFunc(h.log, func(r Record) bool { return same(&r, &got[0]) })
	if first < 0 {
		return 0, fmt.Errorf("invented: %s", describe(&got[0]))
	}
	if first > h.needed {
		return 0, fmt.Errorf("starts at record %d, %d is needed", first, h.needed)
	}
	length = first + len(got)
	for i := range got {
		if first+i >= len(h.log) || !same(&got[i], &h.log[first+i]) {
			return 0, fmt.Errorf("record %d is %s", first+i, describe(&got[i]))
		}
	}
	if length < h.acked {
		return 0, fmt.Errorf("ends at record %d, %d were acknowledged", length, h.acked)
	}
	if !h.bounds[length] {
		return 0, fmt.Errorf("ends at record %d, inside an append", length)
	}
	return length, nil
}

// recovered runs a recovery without opening the log for writing.
func recovered(cfg Config) (got []Record, rec *Recovery, err error) {
	r := newRecovery(cfg, func(r *Record) error {
		got = append(got, clone(r))
		return nil
	})
	defer r.close()
	if err := r.disk.MkdirAll(r.dir); err != nil {
		return nil, nil, err
	}
	id, err := r.readIdentity()
	if err != nil {
		return nil, nil, err
	}
	err = r.run(id)
	return got, r.out, err
}

// crash is one power cut: what is left, and what was known when it happened.
type crash struct {
	sim  *disk.Sim
	hist *history
	what string
}

// explorer drives a log on a simulated disk and collects crashes at every boundary.
type explorer struct {
	mu      sync.Mutex
	sim     *disk.Sim
	hist    *history
	log     *Log
	rng     *rand.Rand
	crashes []crash
	subsets disk.Subsets
	tally   *tally // of states met before, which are left out; nil: none is
	off     bool
}

func newExplorer(d *disk.Sim, h *history, subsets disk.Subsets, seed uint64,
	n *tally) *explorer {
	x := &explorer{sim: d, hist: h, subsets: subsets, tally: n, rng: rand.New(rand.NewPCG(seed, 9))}
	d.OnStep(x.step)
	return x
}

// sparse are the subsets where many crashes go on: a few at each boundary.
var sparse = disk.Subsets{All: 1, Each: 1, Random: 1}

// step collects what a power cut may leave now.
func (x *explorer) step(s disk.Step) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.off {
		return
	}
	h := x.hist.after(len(x.hist.log))
	h.acked, h.end = x.hist.acked, x.hist.end
	for i, plan := range x.subsets.Plans(x.sim.Unsynced(), x.rng) {
		c := crash{x.sim.Crash(plan), h,
			fmt.Sprintf("step %d of %s+%d, subset %d", s.Kind, s.Name, s.Off, i)}
		if x.tally == nil || x.tally.first(&c) {
			x.crashes = append(x.crashes, c)
		}
	}
}

func (x *explorer) setOff(off bool) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.off = off
}

// append gives the log one request of records of these sizes in blocks, and waits for it.
func (x *explorer) append(blocks ...int) *Append {
	x.mu.Lock()
	h := x.hist
	rs := make([]Record, len(blocks))
	for i, b := range blocks {
		h.next++
		rs[i] = record(h.next%3, h.next, b, int(h.next%40))
	}
	h.log = append(h.log, rs...)
	h.bounds[len(h.log)] = true
	x.mu.Unlock()
	done := make(chan struct{})
	a := &Append{Records: rs, Done: func(a *Append) {
		end := x.log.Durable()
		x.mu.Lock()
		h.acked, h.end = h.acked+len(a.Records), max(h.end, end)
		x.mu.Unlock()
		close(done)
	}}
	x.log.Append(a)
	<-done
	return a
}

// ops are the operations of crash workloads, by letter: appends without payload, of one block, and
// of two (which fill a segment, so the log rotates), the release of everything, after which
// segment files are recycled, and a close in good order.
var ops = map[byte]func(t *testing.T, x *explorer){
	'm': func(_ *testing.T, x *explorer) { x.append(0) },
	'b': func(_ *testing.T, x *explorer) { x.append(1) },
	'B': func(_ *testing.T, x *explorer) { x.append(1, 0, 1) },
	'r': func(_ *testing.T, x *explorer) {
		x.mu.Lock()
		x.hist.needed = x.hist.acked
		x.mu.Unlock()
		x.log.Release(x.log.Head())
	},
	'o': func(t *testing.T, x *explorer) {
		closed(t, x.log)
		x.open(t)
	},
}

const opLetters = "mbBro"

func (x *explorer) open(t *testing.T) {
	t.Helper()
	l, rec, got := reopen(t, crashConfig(x.sim))
	if _, err := x.hist.check(got, rec); err != nil {
		t.Fatalf("open: %v", err)
	}
	x.log = l
}

// run opens the log, does the operations and returns the crashes met from the operation at from
// on; 0: of the opening too.
func (x *explorer) run(t *testing.T, work string, from int) []crash {
	t.Helper()
	x.setOff(from > 0)
	x.open(t)
	for i := range len(work) {
		x.setOff(i < from)
		if op := ops[work[i]]; op != nil {
			op(t, x)
		}
	}
	closed(t, x.log)
	x.setOff(true)
	return x.crashes
}

// verify recovers a crash twice, and returns how much of the history survived.
func (c *crash) verify(t *testing.T, work string) *history {
	t.Helper()
	got, rec, err := recovered(crashConfig(c.sim))
	if err != nil {
		t.Fatalf("%s, %s: %v", work, c.what, err)
	}
	length, err := c.hist.check(got, rec)
	if err == nil && len(rec.Repaired) > 0 {
		err = fmt.Errorf("a crash looks like rot: %+v", rec.Repaired)
	}
	if err != nil {
		t.Fatalf("%s, %s: %v", work, c.what, err)
	}
	cut := c.sim.Crash(disk.CrashPlan{Keep: disk.KeepNothing})
	again, recAgain, err := recovered(crashConfig(cut))
	if err != nil || recAgain.TruncatedAt != rec.TruncatedAt {
		t.Fatalf("%s, %s: second recovery %+v, first %+v, %v", work, c.what, recAgain, rec, err)
	}
	wantRecords(t, again, got)
	return c.hist.after(length)
}

// words returns all words of a length over the operations.
func words(letters string, length int) []string {
	if length == 0 {
		return []string{""}
	}
	var list []string
	for _, w := range words(letters, length-1) {
		for _, c := range letters {
			list = append(list, w+string(c))
		}
	}
	return list
}

// The crashes of all but the last operation of a workload are those of shorter workloads.
func TestEveryCrashKeepsWhatWasAcknowledged(t *testing.T) {
	b := budget(t)
	for length := 1; length <= 3; length++ {
		var n tally
		for _, work := range words(opLetters, length) {
			x := newExplorer(newSim(), newHistory(), b.subsets, 1, &n)
			for _, c := range x.run(t, work, length-1) {
				c.verify(t, work)
			}
		}
		n.record(t, fmt.Sprintf("log, length %d", length))
	}
}

func TestCrashesOfALongRunKeepWhatWasAcknowledged(t *testing.T) {
	b := budget(t)
	var n tally
	rng := rand.New(rand.NewPCG(5, 5))
	for seed := range uint64(b.runs) {
		work := make([]byte, 40)
		for i := range work {
			work[i] = "mbbBr"[rng.IntN(5)]
		}
		x := newExplorer(newSim(), newHistory(), b.subsets, seed, &n)
		for _, c := range x.run(t, string(work), 0) {
			c.verify(t, string(work))
		}
	}
	n.record(t, "log, long runs")
}

// A log that crashes, goes on, and crashes again never shows what the recovery between did not
// have, and keeps all that it had.
func TestASecondCrashNeverRevivesWhatTheFirstLost(t *testing.T) {
	b := budget(t)
	var n tally
	rng := rand.New(rand.NewPCG(7, 7))
	for _, work := range []string{"b", "mb", "bbb", "bbrbbr", "BrBrBrB", "bbrbrbbbrmbrb"} {
		x := newExplorer(newSim(), newHistory(), b.subsets, 3, nil)
		first := x.run(t, work, 0)
		rng.Shuffle(len(first), func(i, j int) { first[i], first[j] = first[j], first[i] })
		for i := range min(len(first), b.deep) {
			h := first[i].verify(t, work)
			next := words("mbr", 2)[rng.IntN(9)]
			y := newExplorer(first[i].sim, h, sparse, uint64(i), &n)
			for _, c := range y.run(t, work+"|"+next, 0) {
				c.verify(t, work+"|"+next)
			}
		}
	}
	n.record(t, "log, a second crash")
}

func TestALogLivesThroughManyCrashesInARow(t *testing.T) {
	for seed := range uint64(10) {
		rng := rand.New(rand.NewPCG(seed, 11))
		sim, hist := newSim(), newHistory()
		for range 20 {
			work := words("mbBr", 3)[rng.IntN(64)]
			x := newExplorer(sim, hist, sparse, rng.Uint64(), nil)
			list := x.run(t, work, 0)
			if len(list) == 0 {
				continue
			}
			c := list[rng.IntN(len(list))]
			hist = c.verify(t, work)
			sim = c.sim
		}
	}
}

// A process killed in a write leaves bytes in the device's cache. What a recovery replays from
// there must survive the power cut that follows.
func TestRecoveredRecordsSurviveAPowerCutAfterAKill(t *testing.T) {
	d := newSim()
	l := opened(t, testConfig(d))
	must(t, l, record(1, 1, 1, 0))
	var once sync.Once
	d.OnStep(func(s disk.Step) {
		if s.Kind != disk.StepWrite {
			return
		}
		once.Do(func() {
			d.OnStep(nil)
			got, rec, err := recovered(testConfig(d))
			if err != nil || len(got) != 2 {
				t.Errorf("%d records after the kill, %+v, %v", len(got), rec, err)
			}
			got, rec, err = recovered(testConfig(d.Crash(disk.CrashPlan{Keep: disk.KeepNothing})))
			if err != nil || len(got) != 2 {
				t.Errorf("%d records after the power cut, %+v, %v", len(got), rec, err)
			}
		})
	})
	must(t, l, record(1, 2, 1, 0))
	closed(t, l)
}
