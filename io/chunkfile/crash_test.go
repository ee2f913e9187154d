package chunkfile

import (
	"errors"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"testing"

	"github.com/ashlar-storage/ashlar/internal/evidence"
	"github.com/ashlar-storage/ashlar/io/disk"
)

var crashLevel = flag.String("crash", "share",
	"how many crash states are tried: share (of every test run), full, or nightly")

// crashBudget is how thoroughly a level looks.
type crashBudget struct {
	subsets      disk.Subsets
	seeds, steps int // random sequences, and their length
}

func budget(t *testing.T) crashBudget {
	t.Helper()
	switch *crashLevel {
	case "share":
		if testing.Short() || raceEnabled {
			return crashBudget{disk.Subsets{All: 2, Each: 1, Random: 1}, 3, 30}
		}
		return crashBudget{disk.Subsets{All: 4, Each: 2, Random: 2}, 5, 45}
	case "full":
		return crashBudget{disk.Subsets{All: 8, Each: 16, Random: 16}, 6, 60}
	case "nightly":
		return crashBudget{disk.Subsets{All: 10, Each: 64, Random: 64}, 40, 60}
	}
	t.Fatalf("-crash=%s: give share, full or nightly", *crashLevel)
	return crashBudget{}
}

// crashBlocks keeps crash states small, so that many are tried.
const crashBlocks = 4

// image is a chunk at one metadata version: what a crash may bring back.
type image struct {
	applied uint64
	blocks  map[int]uint64 // written blocks and their values
}

func (m image) clone() image { return image{m.applied, maps.Clone(m.blocks)} }

// modelChunk is what the test knows of a chunk.
type modelChunk struct {
	now      image
	durable  *image // of the last checkpoint that was done; nil: none
	pending  *image // of a checkpoint that is running
	deleting bool
	// loose are the blocks written since the durable version was taken, and since the
	// pending one: their bytes on the device may be newer than the table.
	loose, looser map[int]bool
	dirty         bool   // there is something that no version holds, nor the pending one
	home          uint64 // the slot of the durable version
	twins         modelTwins
}

// crashRun drives a pool on a simulated disk and cuts the power at every step.
type crashRun struct {
	t      *testing.T
	rng    *rand.Rand
	sim    *disk.Sim
	pool   *Pool
	model  map[ID]*modelChunk
	kept   map[uint64]*keptSlot
	serial uint64
	lazy   bool
	what   string
	*crashTally

	subsets disk.Subsets
	off     bool // no cuts for now
	late    bool // a write comes while a checkpoint syncs
}

// crashTally counts what was tried, each state once.
type crashTally struct {
	seen     map[string]bool
	states   int64
	repeated int64
	depth2   int64 // states that a cut in the recovery left
	bad      int64 // blocks reported as corrupt, over all states
}

// record leaves the counts as evidence.
func (n *crashTally) record(t *testing.T, name string) {
	t.Helper()
	evidence.Record(t, evidence.Item{Lane: "crash", Name: name, Promises: []string{"P1", "P4",
		"P6"}, Test: "io/chunkfile " + t.Name(), Counts: map[string]int64{
		"states": n.states + n.depth2, "states met again": n.repeated,
		"cut again in the recovery": n.depth2, "blocks reported as corrupt": n.bad,
		"violations": 0}})
}

func newCrashRun(t *testing.T, b crashBudget, n *crashTally, seed uint64) *crashRun {
	sim := disk.NewSim(disk.SimConfig{Seed: seed, Inline: true})
	return &crashRun{t: t, rng: rand.New(rand.NewPCG(seed, 1)), sim: sim,
		pool: openPool(t, crashConfig(sim)), model: map[ID]*modelChunk{}, subsets: b.subsets,
		kept: map[uint64]*keptSlot{}, crashTally: n}
}

func crashConfig(d disk.Disk) Config {
	cfg := testConfig(d)
	cfg.ChunkSize = crashBlocks * BlockSize
	return cfg
}

// cut tries power cuts at this moment.
func (r *crashRun) cut() {
	if r.off {
		return
	}
	for _, plan := range r.subsets.Plans(r.sim.Unsynced(), r.rng) {
		r.try(plan)
	}
}

// first reports whether a state was not met before with this to be compared with.
func (r *crashRun) first(sim *disk.Sim) bool {
	key := fmt.Sprint(sim.Fingerprint(), r.serial, r.what)
	for id, m := range r.model {
		key += fmt.Sprint(id, m.durable != nil, m.pending != nil, m.deleting)
	}
	for slot, k := range r.kept {
		key += fmt.Sprint(slot, len(k.blocks))
	}
	if r.seen[key] {
		r.repeated++
		return false
	}
	if r.seen == nil {
		r.seen = map[string]bool{}
	}
	r.seen[key] = true
	return true
}

// try recovers from one crash state, checks it, cuts the power during the recovery, and
// checks that recovering twice is recovering once.
func (r *crashRun) try(plan disk.CrashPlan) {
	r.lazy = !r.lazy
	crashed := r.sim.Crash(plan)
	if !r.first(crashed) {
		return
	}
	r.states++
	var again []*disk.Sim
	crashed.OnStep(func(disk.Step) {
		again = append(again, crashed.Crash(disk.CrashPlan{Seed: r.rng.Uint64()}))
	})
	first := r.recover(crashed)
	again = append(again, crashed.Crash(disk.CrashPlan{Keep: disk.KeepNothing}))
	for _, sim := range again {
		if !r.first(sim) {
			continue
		}
		r.depth2++
		if second := r.recover(sim); second != first {
			r.t.Fatalf("%s: recovered to\n%s\nand after a crash in the recovery to\n%s",
				r.what, first, second)
		}
	}
}

// recover opens a crashed disk and compares it with the model. It returns what it found.
func (r *crashRun) recover(sim *disk.Sim) (found string) {
	cfg := crashConfig(sim)
	if r.lazy {
		cfg.CacheChunks = 1 // several are opened by their headers
	}
	p, err := Open(cfg)
	if err != nil {
		r.t.Fatalf("%s: %v", r.what, err)
	}
	if list := fatal(p); len(list) != 0 {
		r.t.Fatalf("%s: a power cut left damage: %+v", r.what, list)
	}
	r.keepAll(p)
	for index := range uint64(crashChunks) {
		id := ID{Group: 1, Index: index}
		c, ok := p.Get(id)
		found += fmt.Sprintf("%v: %s\n", id, r.compare(id, c, ok))
	}
	r.compareKept(p)
	if err := p.Close(); err != nil {
		r.t.Fatal(err)
	}
	return found
}

// compare checks one chunk found after a crash.
func (r *crashRun) compare(id ID, c *Chunk, ok bool) string {
	m := r.model[id]
	if m == nil {
		m = &modelChunk{}
	}
	if !ok {
		if m.durable != nil && !m.deleting {
			r.t.Fatalf("%s: chunk %v is gone", r.what, id)
		}
		return "absent"
	}
	for _, v := range []struct {
		image *image
		loose map[int]bool
	}{{m.durable, m.loose}, {m.pending, m.looser}} {
		if v.image != nil && c.Applied() == v.image.applied {
			return r.compareBlocks(c, v.image, v.loose)
		}
	}
	r.t.Fatalf("%s: chunk %v at applied index %d: neither the old nor the new version",
		r.what, id, c.Applied())
	return ""
}

func (r *crashRun) compareBlocks(c *Chunk, want *image, loose map[int]bool) string {
	found := fmt.Sprintf("applied %d:", want.applied)
	buf := alignedBytes(BlockSize)
	for b := range crashBlocks {
		value, has := want.blocks[b]
		fill(buf, value)
		written, crc, err := c.BlockState(b)
		if err != nil || written != has || crc != crcOf(buf) {
			r.t.Fatalf("%s: chunk %v block %d: written %v, crc %08x, error %v: a mix of versions",
				r.what, c.id, b, written, crc, err)
		}
		x := readIO(b, 1)
		err = perform(c, x, false)
		switch {
		case err == nil && crcOf(x.Vec[0]) != crcOf(buf):
			r.t.Fatalf("%s: chunk %v block %d: wrong bytes returned", r.what, c.id, b)
		case err == nil:
			found += fmt.Sprintf(" %d", value)
		case !errors.Is(err, ErrCorrupt) || fmt.Sprint(x.Bad) != fmt.Sprintf("[%d]", b):
			r.t.Fatalf("%s: chunk %v block %d: %v", r.what, c.id, b, err)
		case !loose[b]:
			r.t.Fatalf("%s: chunk %v block %d was not touched since: %v", r.what, c.id, b, err)
		default:
			r.bad++
			found += " bad"
		}
	}
	return found
}

const crashChunks = 3

// step does one operation; the disk's hook cuts the power within it.
func (r *crashRun) step() {
	id := ID{Group: 1, Index: uint64(r.rng.IntN(crashChunks))}
	if r.model[id] == nil {
		r.create(id)
		return
	}
	r.serial++
	c, m := get(r.t, r.pool, id), r.model[id]
	switch n := r.rng.IntN(15); {
	case n < 4:
		r.write(c, m)
	case n < 5:
		r.zeroAt(c, m, r.rng.IntN(crashBlocks), 1)
	case n < 9:
		r.twinStep(c, m)
	case n < 14:
		if r.rng.IntN(2) == 0 {
			m.twins.close()
		}
		r.checkpoint(c, m)
	default:
		r.delete(id)
	}
}

func (r *crashRun) create(id ID) {
	r.what = fmt.Sprintf("create %v", id)
	create(r.t, r.pool, id)
	r.model[id] = &modelChunk{now: image{blocks: map[int]uint64{}},
		loose: map[int]bool{}, looser: map[int]bool{}, dirty: true}
}

func (r *crashRun) delete(id ID) {
	r.what = fmt.Sprintf("delete %v", id)
	r.model[id].deleting = true
	r.model[id].twins.close()
	if err := r.pool.Delete(id); err != nil {
		r.t.Fatal(err)
	}
	delete(r.model, id)
	r.unkeep(id)
}

func (r *crashRun) zeroAt(c *Chunk, m *modelChunk, block, count int) {
	r.what = fmt.Sprintf("zero %v blocks %d+%d", c.id, block, count)
	c.Zero(block, count)
	m.dirty = true
	for b := block; b < block+count; b++ {
		delete(m.now.blocks, b)
	}
}

func (r *crashRun) write(c *Chunk, m *modelChunk) {
	block := r.rng.IntN(crashBlocks)
	r.writeAt(c, m, block, 1+r.rng.IntN(crashBlocks-block))
}

func (r *crashRun) writeAt(c *Chunk, m *modelChunk, block, count int) {
	r.writeValues(c, m, block, series(r.serial*10, count)...)
}

func (r *crashRun) writeValues(c *Chunk, m *modelChunk, block int, data ...uint64) {
	r.what = fmt.Sprintf("write %v block %d.. = %d", c.id, block, data)
	for i := range data {
		r.touch(c, m, block+i)
	}
	write(r.t, c, block, data...)
	m.dirty = true
	for i, value := range data {
		m.now.blocks[block+i] = value
	}
}

func (r *crashRun) checkpoint(c *Chunk, m *modelChunk) {
	r.what = fmt.Sprintf("checkpoint %v at %d", c.id, r.serial)
	if c.Dirty() != m.dirty {
		r.t.Fatalf("%s: dirty %v, want %v: a version lacks a change", r.what, c.Dirty(), m.dirty)
	}
	if !m.dirty {
		checkpoint(r.t, c, r.serial)
		return
	}
	m.dirty = false
	slot := r.predictMove(c, m)
	next := m.now.clone()
	next.applied = r.serial
	m.pending, m.looser = &next, map[int]bool{}
	done := 0
	c.Checkpoint(r.serial, func(err error) {
		if err != nil {
			r.t.Fatal(err)
		}
		done++
	})
	if done != 1 {
		r.t.Fatalf("%s: done called %d times", r.what, done)
	}
	m.durable, m.loose, m.pending = m.pending, m.looser, nil
	m.looser = map[int]bool{}
	maps.Copy(m.looser, m.loose)
	if m.home = c.Slot(); m.home != slot {
		r.t.Fatalf("%s: the chunk is in slot %d, want %d", r.what, m.home, slot)
	}
	if t := m.twins.beside; t != nil {
		r.kept[t.Slot()].settled = true
	}
	m.twins.beside, m.twins.turned = nil, nil
	r.unkeep(c.id)
}

func TestAPowerCutLeavesTheOldOrTheNewVersion(t *testing.T) {
	b := budget(t)
	var n crashTally
	for seed := range uint64(b.seeds) {
		r := newCrashRun(t, b, &n, seed)
		r.sim.OnStep(func(s disk.Step) {
			r.cut()
			r.lateWrite(s)
		})
		for range b.steps {
			r.step()
			r.cut()
		}
		r.sim.OnStep(nil)
		closePool(t, r.pool)
	}
	n.record(t, "chunk files, random sequences")
	if n.bad == 0 {
		t.Fatal("no cut left a block newer than its table: the test does not reach it")
	}
}

// crashOps are the operations of crash workloads on one chunk, by letter: a write, an overwrite of
// the same block and the next, a big write of all, a trim, a checkpoint, a checkpoint with a write
// meanwhile, and recycling: the chunk is deleted and made again in a free slot.
var crashOps = map[rune]func(r *crashRun, c *Chunk, m *modelChunk){
	'w': func(r *crashRun, c *Chunk, m *modelChunk) { r.writeAt(c, m, 1, 1) },
	'o': func(r *crashRun, c *Chunk, m *modelChunk) { r.writeAt(c, m, 1, 2) },
	'b': func(r *crashRun, c *Chunk, m *modelChunk) { r.writeAt(c, m, 0, crashBlocks) },
	't': func(r *crashRun, c *Chunk, m *modelChunk) { r.zeroAt(c, m, 1, 2) },
	'c': func(r *crashRun, c *Chunk, m *modelChunk) { r.checkpoint(c, m) },
	'k': func(r *crashRun, c *Chunk, m *modelChunk) {
		r.late = true
		r.checkpoint(c, m)
		r.late = false
	},
	'x': func(r *crashRun, c *Chunk, _ *modelChunk) {
		r.delete(c.id)
		r.create(c.id)
	},
}

const crashLetters = "wobtckx" + twinLetters

func crashWords(length int) []string {
	if length == 0 {
		return []string{""}
	}
	var list []string
	for _, w := range crashWords(length - 1) {
		for _, c := range crashLetters {
			list = append(list, w+string(c))
		}
	}
	return list
}

// runWord does a workload on a chunk that lived before, in a slot that another chunk had. The
// crashes of all but its last operation are those of shorter workloads.
func (r *crashRun) runWord(work string) {
	other, id := ID{Group: 1, Index: 1}, ID{Group: 1, Index: 0}
	do := func(id ID, word string, cutFrom int) {
		for i, letter := range word {
			r.off = i < cutFrom
			r.serial++
			op := crashOps[letter]
			if op == nil {
				op = twinOps[letter]
			}
			op(r, get(r.t, r.pool, id), r.model[id])
			r.cut()
		}
	}
	r.off = true
	r.create(other)
	do(other, "bcwc", 4)
	r.delete(other)
	r.create(id)
	do(id, "bcoc", 4)
	r.create(other)
	do(other, "wc", 2)
	do(id, work, len(work)-1)
}

func TestEveryCrashOfAPoolLeavesTheOldOrTheNewVersion(t *testing.T) {
	b := budget(t)
	for length := 1; length <= 3; length++ {
		var n crashTally
		for _, work := range crashWords(length) {
			if !worthTrying(work) {
				continue
			}
			r := newCrashRun(t, b, &n, 1)
			r.sim.OnStep(func(s disk.Step) {
				r.cut()
				if r.late {
					r.lateWrite(s)
				}
			})
			r.runWord(work)
			r.sim.OnStep(nil)
			closePool(t, r.pool)
		}
		n.record(t, fmt.Sprintf("chunk files, length %d", length))
	}
}

// lateWrite writes a block while a checkpoint syncs: the table being written has its old crc. It
// has that too when the write comes during a move, and waits for its end.
func (r *crashRun) lateWrite(s disk.Step) {
	if !r.late && r.rng.IntN(2) == 0 {
		return
	}
	for id, m := range r.model {
		if m.pending == nil {
			continue
		}
		c := get(r.t, r.pool, id)
		if s.Kind != disk.StepSync && !c.moving {
			continue
		}
		r.serial++
		block := r.rng.IntN(crashBlocks)
		r.touch(c, m, block)
		m.now.blocks[block] = r.serial * 10
		m.dirty = true
		x := writeIO(block, r.serial*10)
		x.Done = func(x *IO) {
			if x.Err != nil {
				r.t.Error(x.Err)
			}
		}
		c.Write(x)
		r.sim.Flush()
	}
}
