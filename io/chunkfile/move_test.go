package chunkfile

import (
	"errors"
	"fmt"
	"sync/atomic"
	"testing"

	"github.com/ashlar-storage/ashlar/io/disk"
)

// halfTurned is a chunk with blocks 0..7 in its slot and 8..15 in a twin, which it will keep, all
// with the number of the block + 1 as their value. The last checkpoint was before the twin.
func halfTurned(t *testing.T) (*disk.Sim, *Pool, *Chunk, *Twin) {
	t.Helper()
	sim, p, c := newChunk(t, nil)
	write(t, c, 0, series(1, 8)...)
	checkpoint(t, c, 1)
	tw := lend(t, p, idA)
	turn(t, c, tw, 8, series(9, 8)...)
	return sim, p, c, tw
}

// startCheckpoint asks for a checkpoint that is not done at once.
func startCheckpoint(c *Chunk, applied uint64) chan error {
	done := make(chan error, 1)
	c.Checkpoint(applied, func(err error) { done <- err })
	return done
}

// start begins an IO that does not end before wait.
func start(c *Chunk, x *IO, write bool) (wait func(t *testing.T)) {
	done := begin(c, x, write)
	return func(t *testing.T) {
		t.Helper()
		if <-done; x.Err != nil {
			t.Fatal(x.Err)
		}
	}
}

// stall holds operations back until release, or the end of the test.
func stall(t *testing.T, sim *disk.Sim, match func(disk.Kind, string, int64) bool) func() {
	release := sim.Stall(match)
	t.Cleanup(release)
	return release
}

// only matches one kind of operation at one place, and the first so many of them.
func only(kind disk.Kind, name string, off int64, times int32) func(disk.Kind, string, int64) bool {
	var n atomic.Int32
	return func(k disk.Kind, nm string, o int64) bool {
		return k == kind && nm == name && o == off && n.Add(1) <= times
	}
}

func TestIODuringAMoveIsRight(t *testing.T) {
	for _, back := range []bool{false, true} {
		sim, p, c, tw := halfTurned(t)
		from, first := c.slot, 0
		if back {
			write(t, c, 3, 4) // nothing new
			c.Zero(12, 4)
			from, first = tw.slot, 8
		}
		release := stall(t, sim, only(disk.Read, from.name, p.geometry.dataOffset(first), 1))
		done := startCheckpoint(c, 2)
		wrote := start(c, writeIO(7, 77, 88), true)
		expect(t, c, 0, series(1, 12)...) // the write waits, and the read does not
		c.Zero(1, 1)
		if ok, err := c.Turn(tw, 12, nil); ok || !errors.Is(err, ErrInvalid) {
			t.Fatal(ok, err)
		}
		if ok, err := c.Turn(tw, 12, make([]uint32, 1)); ok || err != nil {
			t.Fatal("turned during a move", ok, err)
		}
		release()
		wrote(t)
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		want := []uint64{1, 0, 3, 4, 5, 6, 7, 77, 88, 10, 11, 12}
		expect(t, c, 0, want...)
		if (c.Slot() == tw.Slot()) == back {
			t.Fatal("back", back, "slot", c.Slot())
		}
		checkpoint(t, c, 3)
		expect(t, get(t, after(t, sim), idA), 0, want...)
	}
}

func TestAWriteInFlightWhenAMoveBeginsIsMovedToo(t *testing.T) {
	for _, back := range []bool{false, true} {
		sim, p, c, tw := halfTurned(t)
		file, block := c.slot.name, 0
		if back { // what is in flight is for the twin, and new there
			c.Zero(8, 4)
			file, block = tw.slot.name, 8
		} else {
			c.Zero(0, 4)
		}
		release := stall(t, sim, only(disk.Write, file, p.geometry.dataOffset(block), 1))
		wrote := start(c, writeIO(block, 70, 71), true)
		done := startCheckpoint(c, 2)
		late := start(c, writeIO(6, 66), true)
		release()
		wrote(t)
		late(t)
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		expect(t, c, block, 70, 71, 0, 0)
		expect(t, c, 4, 5, 6, 66, 8)
		checkpoint(t, c, 3)
		got := get(t, after(t, sim), idA)
		expect(t, got, block, 70, 71, 0, 0)
		expect(t, got, 4, 5, 6, 66, 8)
		if (c.Slot() == tw.Slot()) == back {
			t.Fatal("back", back, "slot", c.Slot())
		}
	}
}

// A small write may come before a large one in the log that is in its slot already: the twin must
// not be where it goes to.
func TestAWriteLeavesWhatATwinHasThatIsNotTurned(t *testing.T) {
	sim, p, c, tw := halfTurned(t)
	c.Zero(0, 4)
	crcs := stage(t, tw, 1, 101, 102) // of blocks that the chunk does not have
	checkpoint(t, c, 2)
	write(t, c, 0, 50, 51, 52)
	stands(t, p, tw.Slot(), 1, 101, 102)
	if ok, err := c.Turn(tw, 1, crcs); ok || err != nil {
		t.Fatal(ok, err)
	}
	checkpoint(t, c, 3)
	q := after(t, sim)
	q.Keep(tw.Slot())
	stands(t, q, tw.Slot(), 1, 101, 102)
	expect(t, get(t, q, idA), 0, 50, 51, 52, 0, 5)
}

func TestAReadFromASlotThatTheChunkLeftIsRepeated(t *testing.T) {
	for _, back := range []bool{false, true} {
		sim, p, c, tw := halfTurned(t)
		from, block, value := c.slot, 7, uint64(8)
		if back {
			c.Zero(8, 4)
			from, block, value = tw.slot, 15, 16
		}
		release := stall(t, sim, only(disk.Read, from.name, p.geometry.dataOffset(block), 1))
		x := readIO(block, 1)
		read := start(c, x, false)
		checkpoint(t, c, 2)
		p.Unkeep(tw.Slot())
		other := create(t, p, idB)
		if other.Slot() != from.number {
			t.Fatal("the slot is not used again")
		}
		write(t, other, block, 99)
		release()
		read(t)
		if got := values(t, x); got[0] != value || len(x.Bad) != 0 {
			t.Fatalf("block %d: %v, bad %v", block, got, x.Bad)
		}
		if n := p.Stats().CorruptBlocks; n != 0 {
			t.Fatalf("%d corrupt blocks", n)
		}
	}
}

func TestABlockThatCannotBeReadIsBadInItsCopyToo(t *testing.T) {
	sim, p, c, tw := halfTurned(t)
	sim.BadSectors(c.slot.name, p.geometry.dataOffset(3), 1)
	checkpoint(t, c, 2)
	if c.Slot() != tw.Slot() {
		t.Fatal("not moved")
	}
	for _, p := range []*Pool{p, after(t, sim)} {
		c := get(t, p, idA)
		x := readIO(0, 16)
		if err := perform(c, x, false); !errors.Is(err, ErrCorrupt) || fmt.Sprint(x.Bad) != "[3]" {
			t.Fatal(err, x.Bad)
		}
		expect(t, c, 0, 1, 2, 3)
		expect(t, c, 4, series(5, 12)...)
	}
	write(t, c, 3, 4) // repair
	expect(t, c, 0, series(1, 16)...)
}

func TestAMoveThatCannotWriteFailsTheCheckpoint(t *testing.T) {
	sim, p, c, tw := halfTurned(t)
	broken := errors.New("broken")
	sim.FailWrites(func(name string, _ int64) error {
		if name == tw.slot.name {
			return broken
		}
		return nil
	})
	if err := checkpointErr(c, 2); !errors.Is(err, broken) || !errors.Is(err, disk.ErrIO) {
		t.Fatal(err)
	}
	sim.FailWrites(nil)
	if !c.Dirty() || c.Applied() != 1 || c.Slot() == tw.Slot() || tw.Settled() {
		t.Fatal(c.Dirty(), c.Applied(), c.Slot(), tw.Settled())
	}
	expect(t, c, 0, series(1, 16)...)
	write(t, c, 9, 100)
	expect(t, get(t, after(t, sim), idA), 0, 1, 2, 3, 4, 5, 6, 7, 8, 0)
	checkpoint(t, c, 3)
	expect(t, get(t, after(t, sim), idA), 8, 9, 100, 11)
	slots(t, p, 1, 1, 0)
}

// failMeta has all writes of metadata fail in files that match, until the result is called.
func failMeta(sim *disk.Sim, p *Pool, names ...string) (mend func()) {
	sim.FailWrites(func(name string, off int64) error {
		for _, n := range names {
			if n == name && off < p.geometry.dataOffset(0) {
				return errors.New("broken")
			}
		}
		return nil
	})
	return func() { sim.FailWrites(nil) }
}

func TestACheckpointThatFailedAfterAMoveIsTakenUpAgain(t *testing.T) {
	for _, tc := range []struct {
		name        string
		of          func(home, twin string) []string
		applied     uint64 // of the durable version, after the failure
		free, again int    // free slots after the failure, and in the end
	}{
		{"version", func(_, twin string) []string { return []string{twin} }, 1, 0, 1},
		{"freeing", func(home, _ string) []string { return []string{home} }, 2, 0, 1},
	} {
		t.Run(tc.name, func(t *testing.T) {
			sim, p, c, tw := halfTurned(t)
			mend := failMeta(sim, p, tc.of(c.slot.name, tw.slot.name)...)
			if err := checkpointErr(c, 2); !errors.Is(err, disk.ErrIO) {
				t.Fatal(err)
			}
			mend()
			if c.Applied() != tc.applied {
				t.Fatalf("applied %d, want %d", c.Applied(), tc.applied)
			}
			if len(fatal(after(t, sim))) != 0 {
				t.Fatal("a failed checkpoint left damage")
			}
			second := lend(t, p, idA)
			turn(t, c, second, 0, series(101, 16)...) // it would take the chunk over
			checkpoint(t, c, 3)
			expect(t, c, 0, series(101, 16)...)
			q := after(t, sim)
			expect(t, get(t, q, idA), 0, series(101, 16)...)
			slots(t, q, 2, 1, 0)
			slots(t, p, 1, 1, 1)
			p.Unkeep(second.Slot())
			slots(t, p, 2, 1, 0)
		})
	}
}

func TestDeleteAfterAFailedMoveFreesBothSlots(t *testing.T) {
	sim, p, c, tw := halfTurned(t)
	mend := failMeta(sim, p, tw.slot.name)
	if err := checkpointErr(c, 2); !errors.Is(err, disk.ErrIO) {
		t.Fatal(err)
	}
	mend()
	if err := p.Delete(idA); err != nil {
		t.Fatal(err)
	}
	if list := after(t, sim).List(idA.Group); len(list) != 0 {
		t.Fatalf("deleted, and back after a restart: %v", list)
	}
	p.Unkeep(tw.Slot())
	slots(t, p, 2, 0, 0)
}

// amidMove is what a power cut leaves when a chunk has its first version in its twin, and its old
// slot has one too.
func amidMove(t *testing.T) (crashed *disk.Sim, home, twin *slot) {
	t.Helper()
	sim, _, c, tw := halfTurned(t)
	home = c.slot
	sim.OnStep(func(s disk.Step) {
		if s.Kind == disk.StepWrite && s.Name == home.name && crashed == nil {
			crashed = sim.Crash(disk.CrashPlan{Keep: disk.KeepNothing})
		}
	})
	checkpoint(t, c, 2)
	if crashed == nil {
		t.Fatal("the old slot was not freed")
	}
	return crashed, home, tw.slot
}

func TestOpenEndsAMoveThatAPowerCutInterrupted(t *testing.T) {
	for _, lazy := range []bool{false, true} {
		crashed, _, twin := amidMove(t)
		cfg := testConfig(crashed)
		if lazy {
			cfg.CacheChunks = 1 // by their headers
		}
		p := openPool(t, cfg)
		c := get(t, p, idA)
		if len(p.Damage()) != 0 || c.Applied() != 2 || c.Slot() != twin.number {
			t.Fatal(p.Damage(), c.Applied(), c.Slot())
		}
		slots(t, p, 1, 1, 0)
		expect(t, c, 0, series(1, 16)...)
		if s := p.Stats(); s.Resident != 1 {
			t.Fatalf("%d tables", s.Resident)
		}
		closePool(t, p)
		slots(t, after(t, crashed), 1, 1, 0)
	}
}

func TestAnOpenThatCannotFreeTheSlotBeforeLeavesItToACheckpoint(t *testing.T) {
	crashed, home, twin := amidMove(t)
	crashed.FailWrites(func(string, int64) error { return errors.New("broken") })
	p := reopen(t, crashed)
	crashed.FailWrites(nil)
	c := get(t, p, idA)
	write(t, c, 0, 100)
	checkpoint(t, c, 3)
	q := after(t, crashed)
	if got := get(t, q, idA); got.Slot() != twin.number {
		t.Fatal(got.Slot())
	}
	expect(t, get(t, q, idA), 0, 100, 2, 3)
	slots(t, q, 1, 1, 0)
	if other := create(t, p, idB); other.Slot() != home.number {
		t.Fatal("the old slot is not used again")
	}
}

func TestAppliedIsNeverLessWhileAChunkMoves(t *testing.T) {
	sim := disk.NewSim(disk.SimConfig{Inline: true})
	p := reopen(t, sim)
	c := create(t, p, idA)
	write(t, c, 0, 1)
	checkpoint(t, c, 1)
	tw := lend(t, p, idA)
	turn(t, c, tw, 1, series(2, 15)...)
	steps := 0
	sim.OnStep(func(disk.Step) {
		steps++
		if n := c.Applied(); n < 1 || c.Version() == 0 {
			t.Errorf("step %d: applied %d, version %d", steps, n, c.Version())
		}
	})
	checkpoint(t, c, 2)
	if steps < 6 || c.Applied() != 2 { // copy, sync, version, seal, free, seal
		t.Fatal(steps, c.Applied())
	}
}

func TestOnlyThePieceWithABadBlockIsCopiedBlockByBlock(t *testing.T) {
	const home, blocks = 3*moveBlocks + 8, 512
	sim, p, c := newChunk(t, func(cfg *Config) { cfg.ChunkSize = blocks * BlockSize })
	write(t, c, 0, series(1, home)...)
	checkpoint(t, c, 1)
	tw := lend(t, p, idA)
	turn(t, c, tw, home, series(home+1, blocks-home)...)
	sim.BadSectors(c.slot.name, p.geometry.dataOffset(3), 1)
	before := sim.Stats()
	checkpoint(t, c, 2)
	after := sim.Stats()
	if n := after.Reads - before.Reads; n != moveBlocks-1+3 || c.Slot() != tw.Slot() {
		t.Fatalf("%d reads, slot %d", n, c.Slot())
	}
	if n := after.Errors - before.Errors; n != 2 { // of the piece, and of the block
		t.Fatalf("%d reads failed", n)
	}
	expect(t, c, 4, series(5, blocks-4)...)
}
