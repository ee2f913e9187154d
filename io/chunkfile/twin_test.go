package chunkfile

import (
	"errors"
	"slices"
	"testing"

	"github.com/ashlar-storage/ashlar/io/disk"
)

// lend makes a slot if none is ready, and lends it.
func lend(t testing.TB, p *Pool, id ID) *Twin {
	t.Helper()
	if err := p.addSlot(1); err != nil {
		t.Fatal(err)
	}
	tw := p.Lend(id)
	if tw == nil {
		t.Fatal("no slot is ready")
	}
	return tw
}

// twinWrite writes one value per block to a twin, and returns their checksums.
func twinWrite(tw *Twin, block int, values ...uint64) ([]uint32, error) {
	x, done := writeIO(block, values...), make(chan struct{})
	w := &TwinWrite{Block: block, Vec: x.Vec, Done: func(*TwinWrite) { close(done) }}
	tw.Write(w)
	tw.pool.disk.Flush()
	<-done
	return x.CRCs, w.Err
}

// stage claims blocks of a twin and writes them.
func stage(t testing.TB, tw *Twin, block int, values ...uint64) []uint32 {
	t.Helper()
	if !tw.Claim(block, len(values)) {
		t.Fatalf("blocks %d+%d are not given", block, len(values))
	}
	crcs, err := twinWrite(tw, block, values...)
	if err != nil {
		t.Fatal(err)
	}
	return crcs
}

// turn stages blocks and has the chunk read them.
func turn(t testing.TB, c *Chunk, tw *Twin, block int, values ...uint64) {
	t.Helper()
	if ok, err := c.Turn(tw, block, stage(t, tw, block, values...)); !ok || err != nil {
		t.Fatal(ok, err)
	}
}

// series is n values from one on.
func series(from uint64, n int) (list []uint64) {
	for i := range n {
		list = append(list, from+uint64(i))
	}
	return list
}

// stands expects values in a slot, whosever it is.
func stands(t testing.TB, p *Pool, slot uint64, block int, want ...uint64) {
	t.Helper()
	x := readIO(block, len(want))
	if err := p.ReadSlot(slot, block, x.Vec[0]); err != nil {
		t.Fatal(err)
	}
	if got := values(t, x); !slices.Equal(got, want) {
		t.Fatalf("slot %d, blocks %d..: %v, want %v", slot, block, got, want)
	}
}

// slots expects how many slots are free, used and lent.
func slots(t testing.TB, p *Pool, free, used, lent int) {
	t.Helper()
	s := p.Stats()
	if s.Free != free || s.Used != used || s.Lent != lent || s.Damaged != 0 ||
		s.Slots != free+used+lent {
		t.Fatalf("%d free, %d used, %d lent, %d damaged of %d; want %d, %d, %d", s.Free, s.Used,
			s.Lent, s.Damaged, s.Slots, free, used, lent)
	}
}

// after opens what a power cut leaves that loses all it may lose.
func after(t testing.TB, sim *disk.Sim) *Pool {
	t.Helper()
	p := reopen(t, sim.Crash(disk.CrashPlan{Keep: disk.KeepNothing}))
	if len(p.Damage()) != 0 {
		t.Fatal(p.Damage())
	}
	return p
}

func TestBlocksOfATwinAreClaimedOnce(t *testing.T) {
	_, p, _ := newChunk(t, nil)
	tw := lend(t, p, idA)
	for _, tc := range []struct {
		block, count int
		want         bool
	}{
		{0, 4, true}, {0, 4, false}, {3, 1, false}, {2, 4, false}, {4, 2, true}, {-1, 1, false},
		{15, 2, false}, {16, 1, false}, {6, 0, false}, {7, -1, false}, {15, 1, true},
		{6, 9, true}, {0, testBlocks, false},
	} {
		if got := tw.Claim(tc.block, tc.count); got != tc.want {
			t.Errorf("%d+%d: %v, want %v", tc.block, tc.count, got, tc.want)
		}
	}
}

func TestAClosedTwinGivesNoBlocksButTakesThoseItGave(t *testing.T) {
	_, p, c := newChunk(t, nil)
	tw := lend(t, p, idA)
	if !tw.Claim(0, 1) || tw.Settled() {
		t.Fatal("an open twin gives nothing, or has settled")
	}
	tw.Close()
	if tw.Claim(1, 1) || !tw.Settled() {
		t.Fatal("a closed twin gives blocks, or has not settled")
	}
	crcs, err := twinWrite(tw, 0, 5)
	if err != nil {
		t.Fatal(err)
	}
	stands(t, p, tw.Slot(), 0, 5)
	if ok, err := c.Turn(tw, 0, crcs); !ok || err != nil || tw.Settled() {
		t.Fatal(ok, err)
	}
	expect(t, c, 0, 5)
	checkpoint(t, c, 1)
	if ok, err := c.Turn(tw, 0, crcs); ok || err != nil || !tw.Settled() {
		t.Fatal("a twin that has settled is turned to", ok, err)
	}
	expect(t, c, 0, 5)
}

func TestTurnIsRefusedWhereTheChunkCannotReadThatTwin(t *testing.T) {
	_, p, c := newChunk(t, nil)
	tw, second, others := lend(t, p, idA), lend(t, p, idA), lend(t, p, idB)
	refused := func(what string, tw *Twin) {
		t.Helper()
		crcs := stage(t, tw, 8, 7)
		if ok, err := c.Turn(tw, 8, crcs); ok || err != nil {
			t.Fatal(what, ok, err)
		}
	}
	refused("another chunk's", others)
	turn(t, c, tw, 0, 1)
	refused("a second one", second)
	for _, bad := range [][2]int{{-1, 1}, {testBlocks, 1}, {testBlocks - 1, 2}, {0, 0}} {
		if _, err := c.Turn(tw, bad[0], make([]uint32, bad[1])); !errors.Is(err, ErrInvalid) {
			t.Fatal(bad, err)
		}
	}
	expect(t, c, 0, 1, 0)
	checkpoint(t, c, 1)
	turn(t, c, second, 2, 3) // there is room beside the chunk again
	expect(t, c, 0, 1, 0, 3, 0)
	if err := p.Delete(idA); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Turn(second, 2, make([]uint32, 1)); !errors.Is(err, ErrDeleted) {
		t.Fatal(err)
	}
}

func TestOneIOTakesBlocksFromBothSlotsInRuns(t *testing.T) {
	sim, p, c := newChunk(t, nil)
	write(t, c, 0, series(10, 10)...)
	tw := lend(t, p, idA)
	turn(t, c, tw, 4, 104, 105)
	turn(t, c, tw, 6, 106)
	before := sim.Stats()
	want := []uint64{10, 11, 12, 13, 104, 105, 106, 17, 18, 19, 0}
	expect(t, c, 0, want...)
	if n := sim.Stats().Reads - before.Reads; n != 3 {
		t.Fatalf("%d reads of two runs in one slot and one in the other", n)
	}
	before = sim.Stats()
	write(t, c, 2, 22, 23, 24, 25)
	if n := sim.Stats().Writes - before.Writes; n != 2 {
		t.Fatalf("%d writes of a run in each slot", n)
	}
	expect(t, c, 0, 10, 11, 22, 23, 24, 25, 106, 17)
	stands(t, p, tw.Slot(), 4, 24, 25, 106)
	stands(t, p, c.Slot(), 0, 10, 11, 22, 23, 14, 15, 16, 17)
	x := &IO{Block: 3, Count: 4, CRCs: nil}
	done := make(chan struct{})
	x.Done = func(*IO) { close(done) }
	c.Sums(x)
	<-done
	if want := writeIO(3, 23, 24, 25, 106).CRCs; !slices.Equal(x.CRCs, want) || x.Written != 4 {
		t.Fatal(x.CRCs, want, x.Written)
	}
}

func TestZeroOfATurnedBlockAndAWriteAfterIt(t *testing.T) {
	sim, p, c := newChunk(t, nil)
	tw := lend(t, p, idA)
	turn(t, c, tw, 0, series(1, 8)...)
	c.Zero(2, 3)
	expect(t, c, 0, 1, 2, 0, 0, 0, 6, 7, 8)
	write(t, c, 3, 33)
	expect(t, c, 0, 1, 2, 0, 33, 0, 6, 7, 8)
	stands(t, p, tw.Slot(), 2, 3, 33, 5)
	checkpoint(t, c, 1)
	expect(t, c, 0, 1, 2, 0, 33, 0, 6, 7, 8)
	expect(t, get(t, after(t, sim), idA), 0, 1, 2, 0, 33, 0, 6, 7, 8)
}

func TestAChunkWrittenFromEndToEndCopiesNothing(t *testing.T) {
	sim, p, c := newChunk(t, nil)
	write(t, c, 0, series(10, testBlocks)...)
	checkpoint(t, c, 1)
	home, tw := c.Slot(), lend(t, p, idA)
	for b := range testBlocks / 4 {
		turn(t, c, tw, 4*b, series(uint64(100+4*b), 4)...)
	}
	slots(t, p, 0, 1, 1)
	before := sim.Stats()
	checkpoint(t, c, 2)
	s, d := p.Stats(), sim.Stats()
	if s.Adopted != 1 || s.CopiedBlocks != 0 || s.TurnedBlocks != testBlocks || s.TwinWrites != 4 ||
		s.TwinBlocks != testBlocks || d.Reads != before.Reads || d.Writes != before.Writes {
		t.Fatalf("%+v, device %+v then %+v", s, before, d)
	}
	if c.Slot() != tw.Slot() || !tw.Settled() {
		t.Fatal(c.Slot(), home, tw.Slot(), tw.Settled())
	}
	slots(t, p, 1, 1, 0)
	expect(t, c, 0, series(100, testBlocks)...)
	q := after(t, sim)
	slots(t, q, 1, 1, 0)
	got := get(t, q, idA)
	expect(t, got, 0, series(100, testBlocks)...)
	if got.Applied() != 2 || got.Slot() != tw.Slot() || got.Version() != c.Version() {
		t.Fatal(got.Applied(), got.Slot(), got.Version(), c.Version())
	}
	p.Unkeep(tw.Slot()) // it is the chunk's
	slots(t, p, 1, 1, 0)
	if other := create(t, p, idB); other.Slot() != home {
		t.Fatal("the old slot is not used again")
	}
}

func TestATwinThatHasMostTakesTheRest(t *testing.T) {
	sim, p, c := newChunk(t, nil)
	write(t, c, 0, series(10, 2)...)
	write(t, c, 14, 24, 25)
	c.Zero(1, 1)
	tw := lend(t, p, idA)
	turn(t, c, tw, 3, 13, 14, 15)
	checkpoint(t, c, 1)
	want := []uint64{10, 0, 0, 13, 14, 15, 0, 0, 0, 0, 0, 0, 0, 0, 24, 25}
	expect(t, c, 0, want...)
	if s := p.Stats(); s.Adopted != 1 || s.CopiedBlocks != 3 || c.Slot() != tw.Slot() {
		t.Fatalf("%+v, slot %d", s, c.Slot())
	}
	expect(t, get(t, after(t, sim), idA), 0, want...)
}

func TestATwinThatHasLessIsCopiedBack(t *testing.T) {
	sim, p, c := newChunk(t, nil)
	write(t, c, 0, series(10, 9)...)
	home, tw := c.Slot(), lend(t, p, idA)
	turn(t, c, tw, 2, 102, 103)
	turn(t, c, tw, 8, 108, 109)
	checkpoint(t, c, 1)
	want := []uint64{10, 11, 102, 103, 14, 15, 16, 17, 108, 109, 0}
	expect(t, c, 0, want...)
	if s := p.Stats(); s.Adopted != 0 || s.CopiedBlocks != 4 || c.Slot() != home {
		t.Fatalf("%+v, slot %d", s, c.Slot())
	}
	slots(t, p, 0, 1, 1)
	stands(t, p, tw.Slot(), 8, 108, 109)
	if !tw.Settled() {
		t.Fatal("nothing reads the twin, and it has not settled")
	}
	p.Unkeep(tw.Slot())
	slots(t, p, 1, 1, 0)
	expect(t, get(t, after(t, sim), idA), 0, want...)
}

func TestLongRunsAreMovedInPieces(t *testing.T) {
	const blocks = 4 * moveBlocks
	for _, most := range []bool{true, false} {
		sim, p, c := newChunk(t, func(cfg *Config) { cfg.ChunkSize = blocks * BlockSize })
		n := blocks - moveBlocks - 1
		if most {
			n = moveBlocks + 1
		}
		write(t, c, 0, series(1, n)...)
		tw := lend(t, p, idA)
		turn(t, c, tw, n, series(uint64(n+1), blocks-n)...)
		checkpoint(t, c, 1)
		expect(t, c, 0, series(1, blocks)...)
		if s := p.Stats(); s.CopiedBlocks != moveBlocks+1 || s.Adopted == 1 != most {
			t.Fatalf("%+v", s)
		}
		cfg := p.cfg
		cfg.Disk = sim.Crash(disk.CrashPlan{Keep: disk.KeepNothing})
		q := openPool(t, cfg)
		expect(t, get(t, q, idA), 0, series(1, blocks)...)
		closePool(t, q)
	}
}

func TestTurnAllocatesNothingAfterTheFirst(t *testing.T) {
	_, p, c := newChunk(t, nil)
	tw := lend(t, p, idA)
	crcs := stage(t, tw, 0, 1, 2)
	again := func() {
		if ok, err := c.Turn(tw, 0, crcs); !ok || err != nil {
			t.Fatal(ok, err)
		}
	}
	again()
	if n := testing.AllocsPerRun(100, again); n != 0 {
		t.Fatalf("%v allocations", n)
	}
}

func TestReadSlotNamesWhatItCannotRead(t *testing.T) {
	_, p, c := newChunk(t, nil)
	buf := alignedBytes(2 * BlockSize)
	if err := p.ReadSlot(99, 0, buf); !errors.Is(err, ErrNotExist) {
		t.Fatal(err)
	}
	for _, block := range []int{-1, testBlocks - 1, testBlocks} {
		if err := p.ReadSlot(c.Slot(), block, buf); !errors.Is(err, ErrInvalid) {
			t.Fatal(block, err)
		}
	}
	slot := c.Slot()
	closePool(t, p)
	if err := p.ReadSlot(slot, 0, buf); !errors.Is(err, disk.ErrClosed) {
		t.Fatal(err)
	}
	if p.Lend(idA) != nil {
		t.Fatal("a closed pool lends")
	}
}

func TestAChunkWhoseTableIsNotInMemoryIsTurned(t *testing.T) {
	_, p, c := evicted(t)
	loads := p.Stats().TableLoads
	tw := lend(t, p, idA)
	turn(t, c, tw, 1, 22)
	if n := p.Stats().TableLoads - loads; n != 1 {
		t.Fatalf("%d loads of the table", n)
	}
	expect(t, c, 0, 1, 22, 3, 4, 0)
}
