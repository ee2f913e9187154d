package chunkfile

import (
	"errors"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"testing"

	"github.com/ashlar-storage/ashlar/io/disk"
)

var crashSeeds = flag.Int("crash-seeds", 10, "operation sequences to cut the power in")

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
}

// crashRun drives a pool on a simulated disk and cuts the power at every step.
type crashRun struct {
	t      *testing.T
	rng    *rand.Rand
	sim    *disk.Sim
	pool   *Pool
	model  map[ID]*modelChunk
	serial uint64
	plans  int
	states int
	depth2 int
	lazy   bool
	bad    int // blocks reported as corrupt, over all states
	what   string
}

func crashConfig(d disk.Disk) Config {
	cfg := testConfig(d)
	cfg.ChunkSize = crashBlocks * BlockSize
	return cfg
}

// cut tries power cuts at this moment: nothing kept, all kept, and drawn subsets.
func (r *crashRun) cut() {
	r.try(disk.CrashPlan{Keep: disk.KeepNothing})
	if len(r.sim.Unsynced()) == 0 {
		return
	}
	r.try(disk.CrashPlan{Keep: disk.KeepAll})
	for range r.plans {
		r.try(disk.CrashPlan{Seed: r.rng.Uint64()})
	}
}

// try recovers from one crash state, checks it, cuts the power during the recovery, and
// checks that recovering twice is recovering once.
func (r *crashRun) try(plan disk.CrashPlan) {
	r.states++
	r.lazy = !r.lazy
	crashed := r.sim.Crash(plan)
	var again []*disk.Sim
	crashed.OnStep(func(disk.Step) {
		again = append(again, crashed.Crash(disk.CrashPlan{Seed: r.rng.Uint64()}))
	})
	first := r.recover(crashed)
	again = append(again, crashed.Crash(disk.CrashPlan{Keep: disk.KeepNothing}))
	for _, sim := range again {
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
		cfg.CacheChunks = 1 // all but one are opened by their headers
	}
	p, err := Open(cfg)
	if err != nil {
		r.t.Fatalf("%s: %v", r.what, err)
	}
	if list := fatal(p); len(list) != 0 {
		r.t.Fatalf("%s: a power cut left damage: %+v", r.what, list)
	}
	for index := range uint64(crashChunks) {
		id := ID{Group: 1, Index: index}
		c, ok := p.Get(id)
		found += fmt.Sprintf("%v: %s\n", id, r.compare(id, c, ok))
	}
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
	m := r.model[id]
	if m == nil {
		r.what = fmt.Sprintf("create %v", id)
		if _, err := r.pool.Create(id); err != nil {
			r.t.Fatal(err)
		}
		r.model[id] = &modelChunk{now: image{blocks: map[int]uint64{}},
			loose: map[int]bool{}, looser: map[int]bool{}}
		return
	}
	c := get(r.t, r.pool, id)
	r.serial++
	switch n := r.rng.IntN(10); {
	case n < 5:
		r.write(c, m)
	case n < 6:
		block := r.rng.IntN(crashBlocks)
		r.what = fmt.Sprintf("zero %v block %d", id, block)
		c.Zero(block, 1)
		delete(m.now.blocks, block)
	case n < 9:
		r.checkpoint(c, m)
	default:
		r.what = fmt.Sprintf("delete %v", id)
		m.deleting = true
		if err := r.pool.Delete(id); err != nil {
			r.t.Fatal(err)
		}
		delete(r.model, id)
	}
}

func (r *crashRun) write(c *Chunk, m *modelChunk) {
	block := r.rng.IntN(crashBlocks)
	count := 1 + r.rng.IntN(crashBlocks-block)
	r.what = fmt.Sprintf("write %v blocks %d+%d = %d..", c.id, block, count, r.serial*10)
	var data []uint64
	for i := range count {
		value := r.serial*10 + uint64(i)
		data = append(data, value)
		m.loose[block+i], m.looser[block+i] = true, true
	}
	write(r.t, c, block, data...)
	for i, value := range data {
		m.now.blocks[block+i] = value
	}
}

func (r *crashRun) checkpoint(c *Chunk, m *modelChunk) {
	r.what = fmt.Sprintf("checkpoint %v at %d", c.id, r.serial)
	if !c.Dirty() {
		checkpoint(r.t, c, r.serial)
		return
	}
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
}

func TestAPowerCutLeavesTheOldOrTheNewVersion(t *testing.T) {
	seeds, steps, plans := *crashSeeds, 60, 6
	if testing.Short() || raceEnabled {
		seeds, steps, plans = 3, 40, 3
	}
	var states, depth2, bad int
	for seed := range uint64(seeds) {
		sim := disk.NewSim(disk.SimConfig{Seed: seed, Inline: true})
		r := &crashRun{t: t, rng: rand.New(rand.NewPCG(seed, 1)), sim: sim,
			pool: openPool(t, crashConfig(sim)), model: map[ID]*modelChunk{}, plans: plans}
		sim.OnStep(func(s disk.Step) {
			r.cut()
			r.lateWrite(s)
		})
		for range steps {
			r.step()
			r.cut()
		}
		sim.OnStep(nil)
		closePool(t, r.pool)
		states, depth2, bad = states+r.states, depth2+r.depth2, bad+r.bad
	}
	t.Logf("crash states %d, crashes during recovery %d, blocks reported as corrupt %d",
		states, depth2, bad)
	if bad == 0 {
		t.Fatal("no cut left a block newer than its table: the test does not reach it")
	}
}

// lateWrite writes a block while a checkpoint syncs: the table being written has its old crc.
func (r *crashRun) lateWrite(s disk.Step) {
	if s.Kind != disk.StepSync || r.rng.IntN(2) == 0 {
		return
	}
	for id, m := range r.model {
		if m.pending == nil {
			continue
		}
		c := get(r.t, r.pool, id)
		r.serial++
		block := r.rng.IntN(crashBlocks)
		m.loose[block], m.looser[block] = true, true
		m.now.blocks[block] = r.serial * 10
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
