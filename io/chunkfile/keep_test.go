package chunkfile

import (
	"errors"
	"testing"
	"time"

	"github.com/ashlar-storage/ashlar/io/disk"
)

func TestLentSlotsAreUsedForNothingElse(t *testing.T) {
	_, p, c := newChunk(t, func(cfg *Config) {
		cfg.LimitBytes = 2 * newGeometry(testChunk).slotBytes()
	})
	if p.Lend(idA) != nil {
		t.Fatal("lent what is not there")
	}
	tw := lend(t, p, idA)
	slots(t, p, 0, 1, 1)
	if _, err := p.Create(idB); !errors.Is(err, ErrNoSpace) {
		t.Fatal(err)
	}
	if p.Lend(idB) != nil {
		t.Fatal("one slot is lent to two")
	}
	tw.Close()
	p.Unkeep(tw.Slot())
	slots(t, p, 1, 1, 0)
	if other := create(t, p, idB); other.Slot() != tw.Slot() || other.Slot() == c.Slot() {
		t.Fatal(other.Slot(), tw.Slot(), c.Slot())
	}
	if s := p.Stats(); s.UsedBytes != 2*s.SlotBytes {
		t.Fatalf("%+v", s)
	}
}

func TestKeptSlotsAreUsedForNoOtherChunk(t *testing.T) {
	_, p, c := newChunk(t, nil)
	tw := lend(t, p, idA)
	stage(t, tw, 4, 44)
	tw.Close()
	p.Unkeep(tw.Slot())
	p.Keep(tw.Slot()) // as after a restart: the slot is ready for anything
	p.Keep(tw.Slot())
	p.Keep(99) // no such slot
	p.Unkeep(99)
	slots(t, p, 0, 1, 1)
	if other := create(t, p, idB); other.Slot() == tw.Slot() {
		t.Fatal("a kept slot was given to a chunk")
	}
	slots(t, p, 0, 2, 1)
	stands(t, p, tw.Slot(), 4, 44)

	write(t, c, 0, 1, 2, 3)
	p.Keep(c.Slot()) // it has a chunk, which goes on
	slots(t, p, 0, 2, 1)
	checkpoint(t, c, 1)
	if err := p.Delete(idA); err != nil {
		t.Fatal(err)
	}
	slots(t, p, 0, 1, 2)
	stands(t, p, c.Slot(), 0, 1, 2, 3)
	p.Unkeep(c.Slot())
	p.Unkeep(c.Slot())
	slots(t, p, 1, 1, 1)
	p.Unkeep(tw.Slot())
	slots(t, p, 2, 1, 0)
}

func TestTheSlotThatATwinTakesThePlaceOfStaysWhereItIsKept(t *testing.T) {
	sim, p, c, first := halfTurned(t)
	checkpoint(t, c, 2)
	slots(t, p, 1, 1, 0)
	second := lend(t, p, idA) // the slot that it had at first
	turn(t, c, second, 0, series(101, 16)...)
	checkpoint(t, c, 3)
	slots(t, p, 0, 1, 1)
	stands(t, p, first.Slot(), 0, series(1, 16)...)
	expect(t, get(t, after(t, sim), idA), 0, series(101, 16)...)
	p.Unkeep(first.Slot())
	slots(t, p, 1, 1, 0)
	p.Unkeep(second.Slot())
	slots(t, p, 1, 1, 0)
}

func TestDeleteOfAChunkWithATwinLeavesBothAsTheyAre(t *testing.T) {
	sim, p, _, tw := halfTurned(t)
	if err := p.Delete(idA); err != nil {
		t.Fatal(err)
	}
	if !tw.Settled() || tw.Claim(0, 1) {
		t.Fatal("the twin of a deleted chunk goes on")
	}
	slots(t, p, 1, 0, 1)
	stands(t, p, tw.Slot(), 8, series(9, 8)...)
	if c := create(t, p, idA); c.Slot() == tw.Slot() {
		t.Fatal("the twin was used for a new chunk")
	} else if ok, err := c.Turn(tw, 8, make([]uint32, 8)); ok || err != nil {
		t.Fatal("a new chunk takes the twin of the one before", ok, err)
	}
	p.Unkeep(tw.Slot())
	slots(t, p, 1, 1, 0)
	slots(t, after(t, sim), 2, 0, 0)
}

func TestDeleteWaitsForAMove(t *testing.T) {
	sim, p, c, tw := halfTurned(t)
	release := stall(t, sim, only(disk.Write, tw.slot.name, p.geometry.dataOffset(0), 1))
	done := startCheckpoint(c, 2)
	wrote := start(c, writeIO(0, 5), true)
	deleted := make(chan error)
	go func() { deleted <- p.Delete(idA) }()
	select {
	case err := <-deleted:
		t.Fatalf("deleted during a move: %v", err)
	case <-time.After(20 * time.Millisecond):
	}
	release()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	wrote(t)
	if err := <-deleted; err != nil {
		t.Fatal(err)
	}
	slots(t, p, 1, 0, 1)
	if list := after(t, sim).List(idA.Group); len(list) != 0 {
		t.Fatal(list)
	}
}

func TestCloseWaitsForAWriteToATwin(t *testing.T) {
	sim, p, _ := newChunk(t, nil)
	tw := lend(t, p, idA)
	release := stall(t, sim, only(disk.Write, tw.slot.name, p.geometry.dataOffset(2), 1))
	wrote := make(chan error, 1)
	x := writeIO(2, 3)
	w := &TwinWrite{Block: 2, Vec: x.Vec, Done: func(w *TwinWrite) { wrote <- w.Err }}
	tw.Write(w)
	sim.Flush()
	closed := make(chan error, 1)
	go func() { closed <- p.Close() }()
	select {
	case err := <-closed:
		t.Fatalf("closed with a write in flight: %v", err)
	case <-time.After(20 * time.Millisecond):
	}
	release()
	if err := <-wrote; err != nil {
		t.Fatal(err)
	}
	if err := <-closed; err != nil {
		t.Fatal(err)
	}
	tw.Write(w)
	sim.Flush()
	if err := <-wrote; !errors.Is(err, disk.ErrClosed) {
		t.Fatal(err)
	}
}

func TestAFailedWriteToATwinSaysSo(t *testing.T) {
	sim, p, c := newChunk(t, nil)
	tw := lend(t, p, idA)
	sim.FailWrites(func(string, int64) error { return errors.New("gone") })
	if !tw.Claim(0, 1) {
		t.Fatal("not given")
	}
	if _, err := twinWrite(tw, 0, 1); !errors.Is(err, disk.ErrIO) {
		t.Fatal(err)
	}
	sim.FailWrites(nil)
	if tw.Claim(0, 1) {
		t.Fatal("given again after a failed write")
	}
	expect(t, c, 0, 0)
}
