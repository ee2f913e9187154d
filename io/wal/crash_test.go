package wal

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"

	"github.com/ashlar-storage/ashlar/io/disk"
)

var (
	crashBits = flag.Int("crash.bits", 8,
		"unsynced sectors up to which every subset is tried")
	crashDeep = flag.Int("crash.deep", 200, "crashes of each workload that go on to a second")

	crashRandom = flag.Int("crash.random", 24, "random subsets tried above crash.bits")
)

// budget is what a test may spend: the flag's value, or less where time is short (-short, as under
// the race detector, which looks for races and not for crash states).
func budget(flag *int, short int) int {
	if testing.Short() {
		return min(*flag, short)
	}
	return *flag
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
}

func newHistory() *history { return &history{bounds: map[int]bool{0: true}} }

// after returns the history as a recovery that ended at length left it.
func (h *history) after(length int) *history {
	c := &history{next: h.next + 1000, log: slices.Clone(h.log[:length]),
		bounds: map[int]bool{}, acked: length, needed: min(h.needed, length)}
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
	if _, err := r.readIdentity(); err != nil {
		return nil, nil, err
	}
	err = r.run()
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
	rng     *rand.Rand
	crashes []crash
	sparse  bool // a few subsets for each boundary
	off     bool
}

func newExplorer(d *disk.Sim, h *history, seed uint64) *explorer {
	x := &explorer{sim: d, hist: h, rng: rand.New(rand.NewPCG(seed, 9))}
	d.OnStep(x.step)
	return x
}

// step collects what a power cut may leave now.
func (x *explorer) step(s disk.Step) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.off {
		return
	}
	h := x.hist.after(len(x.hist.log))
	h.acked = x.hist.acked
	n := len(x.sim.Unsynced())
	list := plans(n, x.rng)
	if x.sparse {
		x.rng.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
		list = list[:min(len(list), 6)]
	}
	for _, keep := range list {
		// The other goroutine of the log may add sectors meanwhile.
		c := x.sim.Crash(disk.CrashPlan{Keep: func(i int, _ disk.Sector) bool {
			return i < len(keep) && keep[i]
		}})
		x.crashes = append(x.crashes, crash{c, h, fmt.Sprintf("step %d of %s+%d keeps %v",
			s.Kind, s.Name, s.Off, keep)})
	}
}

// plans returns the subsets of n sectors to try: all when few, else none, all, prefixes, one
// missing, one present, and random ones.
func plans(n int, rng *rand.Rand) (list [][]bool) {
	subset := func(keep func(i int) bool) {
		p := make([]bool, n)
		for i := range p {
			p[i] = keep(i)
		}
		list = append(list, p)
	}
	if n <= budget(crashBits, 3) {
		for bits := range 1 << n {
			subset(func(i int) bool { return bits>>i&1 == 1 })
		}
		return list
	}
	for k := 0; k <= n; k++ {
		subset(func(i int) bool { return i < k })
		subset(func(i int) bool { return i != k })
		subset(func(i int) bool { return i == k })
	}
	for range budget(crashRandom, 1) {
		bias := rng.Float64()
		subset(func(int) bool { return rng.Float64() < bias })
	}
	return list
}

// append gives the log one request of records of these sizes in blocks, and waits for it.
func (x *explorer) append(l *Log, blocks ...int) *Append {
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
		x.mu.Lock()
		h.acked += len(a.Records)
		x.mu.Unlock()
		close(done)
	}}
	l.Append(a)
	<-done
	return a
}

// ops are the operations of crash workloads, by letter.
var ops = map[byte]func(x *explorer, l *Log){
	'm': func(x *explorer, l *Log) { x.append(l, 0) },
	'b': func(x *explorer, l *Log) { x.append(l, 1) },
	'B': func(x *explorer, l *Log) { x.append(l, 1, 0, 1) },
	'r': func(x *explorer, l *Log) {
		x.mu.Lock()
		x.hist.needed = x.hist.acked
		x.mu.Unlock()
		l.Release(l.Head())
	},
}

// run opens the log, does the operations and returns the crashes met.
func (x *explorer) run(t *testing.T, work string) []crash {
	t.Helper()
	l, rec, got := reopen(t, crashConfig(x.sim))
	if _, err := x.hist.check(got, rec); err != nil {
		t.Fatalf("%s: open: %v", work, err)
	}
	for i := range len(work) {
		if op := ops[work[i]]; op != nil {
			op(x, l)
		}
	}
	closed(t, l)
	x.off = true
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

func TestEveryCrashKeepsWhatWasAcknowledged(t *testing.T) {
	states := 0
	for _, work := range words("mbBr", 3) {
		x := newExplorer(newSim(), newHistory(), 1)
		for _, c := range x.run(t, work) {
			c.verify(t, work)
			states++
		}
	}
	t.Logf("%d crash states", states)
}

func TestCrashesOfALongRunKeepWhatWasAcknowledged(t *testing.T) {
	states := 0
	rng := rand.New(rand.NewPCG(5, 5))
	for seed := range uint64(6) {
		work := make([]byte, 40)
		for i := range work {
			work[i] = "mbbBr"[rng.IntN(5)]
		}
		x := newExplorer(newSim(), newHistory(), seed)
		for _, c := range x.run(t, string(work)) {
			c.verify(t, string(work))
			states++
		}
	}
	t.Logf("%d crash states", states)
}

// A log that crashes, goes on, and crashes again never shows what the recovery between did not
// have, and keeps all that it had.
func TestASecondCrashNeverRevivesWhatTheFirstLost(t *testing.T) {
	states := 0
	rng := rand.New(rand.NewPCG(7, 7))
	for _, work := range []string{"b", "mb", "bbb", "bbrbbr", "BrBrBrB", "bbrbrbbbrmbrb"} {
		x := newExplorer(newSim(), newHistory(), 3)
		first := x.run(t, work)
		rng.Shuffle(len(first), func(i, j int) { first[i], first[j] = first[j], first[i] })
		for i := range min(len(first), budget(crashDeep, 5)) {
			h := first[i].verify(t, work)
			next := words("mbr", 2)[rng.IntN(9)]
			y := newExplorer(first[i].sim, h, uint64(i))
			y.sparse = true
			for _, c := range y.run(t, work+"|"+next) {
				c.verify(t, work+"|"+next)
				states++
			}
		}
	}
	t.Logf("%d crash states at depth 2", states)
}

func TestALogLivesThroughManyCrashesInARow(t *testing.T) {
	for seed := range uint64(10) {
		rng := rand.New(rand.NewPCG(seed, 11))
		sim, hist := newSim(), newHistory()
		for range 20 {
			work := words("mbBr", 3)[rng.IntN(64)]
			x := newExplorer(sim, hist, rng.Uint64())
			x.sparse = true
			list := x.run(t, work)
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
