package store

import (
	"errors"
	"fmt"
	"hash/maphash"
	"math/rand/v2"
	"sync"
	"sync/atomic"

	"github.com/ashlar-storage/ashlar/io/buf"
	"github.com/ashlar-storage/ashlar/io/disk"
)

// crash is one state that a power cut may leave, and what had been promised by then.
type crash struct {
	sim    *disk.Sim
	client client
	what   string
}

// explorer drives a workload on a lone store and collects the crash states met on the way.
type explorer struct {
	mu      sync.Mutex // of all below: the disk's steps come from several goroutines
	sim     *disk.Sim
	lone    *lone
	client  client
	subsets disk.Subsets
	rng     *rand.Rand
	on      bool
	first   func(*crash) bool // whether a state was not met before
	crashes []crash
}

// step collects what a power cut may leave now. The client does nothing meanwhile.
func (x *explorer) step(s disk.Step) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if !x.on {
		return
	}
	for i, plan := range x.subsets.Plans(x.sim.Unsynced(), x.rng) {
		c := crash{x.sim.Crash(plan), x.client,
			fmt.Sprintf("step %d of %s%s+%d, subset %d", s.Kind, s.Name, s.To, s.Off, i)}
		if x.first(&c) {
			x.crashes = append(x.crashes, c)
		}
	}
}

func (x *explorer) locked(f func()) {
	x.mu.Lock()
	defer x.mu.Unlock()
	f()
}

// letter does one operation of a workload.
func (x *explorer) letter(c byte) error {
	for _, a := range letters[c] {
		work := func() error { return x.perform(a.op) }
		var err error
		switch {
		case a.flush:
			err = x.lone.flush()
		case a.op == nil:
			err = x.lone.checkpoint(nil)
		case a.checkpoint:
			err = x.lone.checkpoint(work)
		default:
			err = work()
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// perform has the client do an operation and wait for the answer.
func (x *explorer) perform(make func(uint64) *operation) error {
	var op *operation
	x.locked(func() { op = x.client.begin(make) })
	if err := x.lone.perform(op); err != nil {
		return fmt.Errorf("operation %d: %w", op.id, err)
	}
	x.locked(x.client.acknowledged)
	return nil
}

// run does a workload. The crashes of all but its last operation are those of shorter workloads.
func (x *explorer) run(work string) error {
	for i := range len(work) {
		x.locked(func() { x.on = i == len(work)-1 })
		if err := x.letter(work[i]); err != nil {
			return err
		}
	}
	x.step(disk.Step{Name: "rest"})
	return nil
}

// explore does a workload on a copy of a disk and checks every crash state met.
func (v *verifier) explore(base *disk.Sim, c client, work string) error {
	x, err := v.begin(base, c)
	if err != nil {
		return err
	}
	sim, l := x.sim, x.lone
	sim.OnStep(x.step)
	err = x.run(work)
	sim.OnStep(nil)
	v.recycled.Add(int64(l.store.wal.Stats().Recycled))
	v.countPlaced(l)
	l.leave()
	if err != nil {
		return err
	}
	return v.checkAll(x)
}

func (v *verifier) countPlaced(l *lone) {
	st := l.store.chunks.Stats()
	v.placed.Add(int64(st.TwinBlocks))
	v.adopted.Add(int64(st.Adopted))
	v.copied.Add(int64(st.CopiedBlocks))
}

// exploreStart does a workload, cuts the power, and checks every state that another cut leaves
// while the store starts.
func (v *verifier) exploreStart(base *disk.Sim, c client, work string) error {
	x, err := v.begin(base, c)
	if err != nil {
		return err
	}
	sim, l := x.sim, x.lone
	for i := range len(work) {
		if err = x.letter(work[i]); err != nil {
			break
		}
	}
	x.sim = sim.Crash(disk.CrashPlan{Seed: v.seed()})
	l.leave()
	if err != nil {
		return err
	}
	x.on = true
	x.sim.OnStep(x.step)
	l, err = v.start(x.sim)
	if err != nil {
		return err
	}
	x.sim.OnStep(nil)
	l.leave()
	return v.checkAll(x)
}

// begin starts the store on a copy of a disk.
func (v *verifier) begin(base *disk.Sim, c client) (*explorer, error) {
	x := v.explorer(base.Crash(disk.CrashPlan{Keep: disk.KeepAll}), c)
	var err error
	x.lone, err = v.start(x.sim)
	return x, err
}

func (v *verifier) explorer(sim *disk.Sim, c client) *explorer {
	return &explorer{sim: sim, client: c, subsets: v.budget.subsets,
		rng: rand.New(rand.NewPCG(v.seed(), 1)), first: v.first}
}

// checkAll checks what an explorer met.
func (v *verifier) checkAll(x *explorer) error {
	for i := range x.crashes {
		if err := v.check(&x.crashes[i]); err != nil {
			return err
		}
		x.crashes[i] = crash{} // and lets its memory go
	}
	return nil
}

// verifier recovers crash states and compares what comes back with what was promised.
type verifier struct {
	pool   *buf.Pool
	budget budget
	mu     sync.Mutex
	seen   map[uint64]bool // states, with their promises
	rng    *rand.Rand

	states, again, recoveries, deep, continued atomic.Int64
	recycled                                   atomic.Int64
	place                                      int // bytes from which on writes are placed; 0: none
	placed, adopted, copied                    atomic.Int64
	// unmade says that a store which has no replica yet may be given one again.
	unmade bool
}

// budget says how thoroughly a test looks.
type budget struct {
	subsets disk.Subsets
	// deepEvery is of how many states one is cut again at every step of its recovery, and
	// goOnEvery of how many one goes on after its recovery; 0: none.
	deepEvery, goOnEvery int
}

var stateSeed = maphash.MakeSeed()

// first reports whether a state was not met before.
func (v *verifier) first(c *crash) bool {
	var h maphash.Hash
	h.SetSeed(stateSeed)
	maphash.WriteComparable(&h, c.sim.Fingerprint())
	maphash.WriteComparable(&h, c.client.serial)
	for _, m := range []*image{&c.client.was, &c.client.will} {
		for _, p := range m {
			for at := 0; at < block; at += disk.SectorSize {
				h.Write(p.bytes()[at : at+8])
			}
		}
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	key := h.Sum64()
	if v.seen[key] {
		v.again.Add(1)
		return false
	}
	v.seen[key] = true
	return true
}

func (v *verifier) draw(every int) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	return every > 0 && v.rng.IntN(every) == 0
}

func (v *verifier) seed() uint64 {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.rng.Uint64()
}

// start recovers a disk into a store that serves.
func (v *verifier) start(sim *disk.Sim) (*lone, error) {
	v.recoveries.Add(1)
	l, err := openLone(sim, v.pool, v.place)
	if err != nil {
		return nil, err
	}
	err = l.lead()
	if v.unmade && errors.Is(err, errNoReplica) {
		err = l.found()
	}
	if err != nil {
		l.leave()
		return nil, err
	}
	return l, nil
}

// recovers starts a disk and looks; the store goes on to then, which may be nil.
func (v *verifier) recovers(sim *disk.Sim, was, will *image, then func(*lone, *image) error) (
	image, error) {
	l, err := v.start(sim)
	if err != nil {
		return image{}, err
	}
	defer l.leave()
	found, err := l.look(was, will)
	if err == nil && then != nil {
		err = then(l, &found)
	}
	return found, err
}

// check recovers one crash state, and again from what the first recovery left.
func (v *verifier) check(c *crash) error {
	v.states.Add(1)
	var deeper []*disk.Sim
	if v.draw(v.budget.deepEvery) {
		v.cutAgain(c.sim, &deeper)
	}
	var cut *disk.Sim
	found, err := v.recovers(c.sim, &c.client.was, &c.client.will,
		func(*lone, *image) error {
			c.sim.OnStep(nil)
			cut = c.sim.Crash(disk.CrashPlan{Seed: v.seed()})
			return nil
		})
	if err != nil {
		return fmt.Errorf("%s: %w", c.what, err)
	}
	var then func(l *lone, found *image) error
	if v.draw(v.budget.goOnEvery) {
		then = func(l *lone, found *image) error { return v.goOn(l, c.client, *found) }
	}
	if _, err := v.recovers(cut, &found, &found, then); err != nil {
		return fmt.Errorf("%s: second recovery: %w", c.what, err)
	}
	return v.checkDeeper(c, deeper, &found)
}

// cutAgain collects what power cuts during the recovery of a disk may leave.
func (v *verifier) cutAgain(sim *disk.Sim, list *[]*disk.Sim) {
	var mu sync.Mutex
	rng := rand.New(rand.NewPCG(v.seed(), 1))
	sim.OnStep(func(disk.Step) {
		mu.Lock()
		defer mu.Unlock()
		for _, plan := range deepSubsets.Plans(sim.Unsynced(), rng) {
			*list = append(*list, sim.Crash(plan))
		}
	})
}

// deepSubsets are those tried at every step of a recovery.
var deepSubsets = disk.Subsets{All: 2, Each: 1, Random: 1}

// checkDeeper recovers what crashes during a recovery left.
func (v *verifier) checkDeeper(c *crash, deeper []*disk.Sim, found *image) error {
	for i, sim := range deeper {
		if !v.first(&crash{sim: sim, client: c.client}) {
			continue
		}
		v.deep.Add(1)
		if _, err := v.recovers(sim, found, found, nil); err != nil {
			return fmt.Errorf("%s: cut again in the recovery, state %d: %w", c.what, i, err)
		}
	}
	return nil
}

// goOn has the client go on after a recovery: it sends again what it has no answer to, writes
// something new, and a late copy of the older operation arrives. Then the power goes once more.
func (v *verifier) goOn(l *lone, c client, found image) error {
	old := c.last
	if c.current != nil {
		old = c.current
		if err := l.perform(old); err != nil {
			return fmt.Errorf("sent again: %w", err)
		}
		found = found.after(old)
	}
	fresh := writeOf(0, block, block)(c.serial + 1000)
	found = found.after(fresh)
	late := []*operation{fresh}
	if old != nil {
		fresh.lowWater = old.id
		late = append(late, old)
	}
	for _, op := range late {
		if err := l.perform(op); err != nil {
			return fmt.Errorf("after the recovery: %w", err)
		}
	}
	var err error
	switch {
	case v.draw(checkpointEveryth):
		err = l.checkpoint(nil)
	case v.draw(flushEveryth):
		err = l.flush()
	}
	if err != nil {
		return fmt.Errorf("checkpoint or flush after the recovery: %w", err)
	}
	cut := l.sim.Crash(disk.CrashPlan{Seed: v.seed()})
	if !v.first(&crash{sim: cut, client: client{serial: fresh.id, was: found, will: found}}) {
		return nil
	}
	v.continued.Add(1)
	if _, err := v.recovers(cut, &found, &found, nil); err != nil {
		return fmt.Errorf("went on after the recovery: %w", err)
	}
	return nil
}

// checkpointEveryth is of how many stores that go on one takes a checkpoint, which waits for a
// timer; flushEveryth, of how many one writes to its chunk files.
const (
	checkpointEveryth = 20
	flushEveryth      = 3
)
