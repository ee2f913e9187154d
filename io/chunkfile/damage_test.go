package chunkfile

import (
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/ashlar-storage/ashlar/io/disk"
)

// ruined returns a disk with chunks A (blocks 0, 1 = 1, 2) and B in slots 0 and 1, closed,
// after a test changed it. Both chunks have had two checkpoints, all that was written is
// durable.
func ruined(t testing.TB, ruin func(sim *disk.Sim, p *Pool, a, b *Chunk)) *disk.Sim {
	t.Helper()
	sim := disk.NewSim(disk.SimConfig{Seed: 3})
	p := openPool(t, testConfig(sim))
	a, b := create(t, p, idA), create(t, p, idB)
	for i, c := range []*Chunk{a, b} {
		write(t, c, 0, 7)
		checkpoint(t, c, 1)
		write(t, c, 0, uint64(10*i+1), uint64(10*i+2))
		checkpoint(t, c, 2)
	}
	crashed := sim.Crash(disk.CrashPlan{Keep: disk.KeepAll})
	ruin(crashed, p, a, b)
	closePool(t, p)
	return crashed
}

// contents reads bytes of a file of a simulated disk.
func contents(t testing.TB, sim *disk.Sim, name string, off int64, n int) []byte {
	t.Helper()
	f, err := sim.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	b := alignedBytes(n)
	if _, err := f.ReadAt(b, off); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	return b
}

func TestLostMetadataIsReportedAndNeverReused(t *testing.T) {
	g := newGeometry(testChunk)
	for name, tc := range map[string]struct {
		ruin  func(sim *disk.Sim, p *Pool, a, b *Chunk)
		known bool
		class error
	}{
		"both halves zeroed": {func(s *disk.Sim, _ *Pool, a, _ *Chunk) {
			s.Corrupt(a.slot.name, 0, make([]byte, 2*g.metaSize))
		}, false, ErrCorrupt},
		"the newest half": {func(s *disk.Sim, _ *Pool, a, _ *Chunk) {
			s.Corrupt(a.slot.name, g.halfOffset(a.slot.top.half)+200, []byte{1})
		}, true, ErrCorrupt},
		"the newest table": {func(s *disk.Sim, _ *Pool, a, _ *Chunk) {
			s.Corrupt(a.slot.name, g.halfOffset(a.slot.top.half)+int64(g.metaSize)-1, []byte{1})
		}, true, ErrCorrupt},
		"both tables": {func(s *disk.Sim, _ *Pool, a, _ *Chunk) {
			s.Corrupt(a.slot.name, headerPage, []byte{0x55})
			s.Corrupt(a.slot.name, int64(g.metaSize)+headerPage, []byte{0x55})
		}, true, ErrCorrupt},
		"a slot of another store": {func(s *disk.Sim, p *Pool, a, _ *Chunk) {
			stranger := testConfig(disk.NewSim(disk.SimConfig{}))
			stranger.StoreID = [16]byte{9}
			q := openPool(t, stranger)
			checkpoint(t, create(t, q, idA), 1)
			image := contents(t, stranger.Disk.(*disk.Sim), a.slot.name, 0, 2*g.metaSize)
			closePool(t, q)
			s.Corrupt(a.slot.name, 0, image)
		}, false, ErrForeign},
		"another slot's metadata": {func(s *disk.Sim, _ *Pool, a, b *Chunk) {
			s.Corrupt(a.slot.name, 0, contents(t, s, b.slot.name, 0, 2*g.metaSize))
		}, false, ErrForeign},
	} {
		t.Run(name, func(t *testing.T) {
			sim := ruined(t, tc.ruin)
			p := reopen(t, sim)
			list := fatal(p)
			if len(list) != 1 || list[0].Slot != 0 || list[0].File != "chunks/slot-0000000000" ||
				!errors.Is(list[0].Err, tc.class) || list[0].IDKnown != tc.known {
				t.Fatalf("damage %+v", list)
			}
			if tc.known && list[0].ID != idA {
				t.Fatalf("chunk %v", list[0].ID)
			}
			if !strings.Contains(list[0].Err.Error(), "offset") {
				t.Fatal(list[0].Err)
			}
			expect(t, get(t, p, idB), 0, 11, 12)
			checkDamagedChunk(t, p, tc.known)
			if c := create(t, p, ID{Group: 50}); c.Slot() == 0 {
				t.Fatal("a damaged slot was reused")
			}
			restore(t, p, tc.known)
			again := reopen(t, sim.Crash(disk.CrashPlan{Keep: disk.KeepNothing}))
			if list := again.Damage(); len(list) != 0 {
				t.Fatalf("after the slot was given up: %+v", list)
			}
			expect(t, get(t, again, idB), 0, 11, 12)
		})
	}
}

// checkDamagedChunk expects chunk A to refuse everything, or to be unknown.
func checkDamagedChunk(t *testing.T, p *Pool, known bool) {
	t.Helper()
	c, ok := p.Get(idA)
	if ok != known {
		t.Fatalf("chunk known: %v, want %v", ok, known)
	}
	if !known {
		return
	}
	if err := perform(c, readIO(0, 1), false); !errors.Is(err, ErrCorrupt) {
		t.Fatal(err)
	}
	if err := perform(c, writeIO(0, 1), true); !errors.Is(err, ErrCorrupt) {
		t.Fatal(err)
	}
	if err := checkpointErr(c, 1); !errors.Is(err, ErrCorrupt) {
		t.Fatal(err)
	}
	if _, err := p.Create(idA); !errors.Is(err, ErrExists) {
		t.Fatal(err)
	}
	if err := p.Discard(0); !errors.Is(err, ErrExists) {
		t.Fatal(err)
	}
}

// restore gives the damaged slot 0 up, and expects it to be free.
func restore(t *testing.T, p *Pool, known bool) {
	t.Helper()
	give := func() error { return p.Discard(0) }
	if known {
		give = func() error { return p.Delete(idA) }
	}
	if err := give(); err != nil {
		t.Fatal(err)
	}
	if err := give(); !errors.Is(err, ErrNotExist) {
		t.Fatal(err)
	}
	c := create(t, p, idA)
	if c.Slot() != 0 || len(fatal(p)) != 0 {
		t.Fatal(c.Slot(), p.Damage())
	}
	expect(t, c, 0, 0, 0)
}

func TestLosingTheSupersededHalfCostsNothing(t *testing.T) {
	g := newGeometry(testChunk)
	sim := ruined(t, func(s *disk.Sim, _ *Pool, a, _ *Chunk) {
		s.Corrupt(a.slot.name, g.halfOffset(a.slot.inactive()), make([]byte, g.metaSize))
	})
	p := reopen(t, sim)
	list := p.Damage()
	if len(list) != 1 || list[0].Fatal || list[0].ID != idA || !errors.Is(list[0].Err, ErrCorrupt) {
		t.Fatalf("%+v", list)
	}
	c := get(t, p, idA)
	expect(t, c, 0, 1, 2, 0)
	write(t, c, 2, 3)
	checkpoint(t, c, 3) // heals it
	again := reopen(t, sim.Crash(disk.CrashPlan{Keep: disk.KeepNothing}))
	if len(again.Damage()) != 0 {
		t.Fatal(again.Damage())
	}
	expect(t, get(t, again, idA), 0, 1, 2, 3)
}

func TestOpenSealsWhatAPowerCutLeftUnsealed(t *testing.T) {
	sim, p, c := newChunk(t, nil)
	write(t, c, 0, 1)
	checkpoint(t, c, 1)
	crashed := sim.Crash(disk.CrashPlan{Keep: disk.KeepNothing}) // the seal was not durable
	if s := reopen(t, crashed).Stats(); s.Used != 1 {
		t.Fatalf("%+v", s)
	}
	crashed.Corrupt(c.slot.name, p.geometry.halfOffset(c.slot.top.half), make([]byte, headerPage))
	again := reopen(t, crashed)
	if list := fatal(again); len(list) != 1 || list[0].ID != idA {
		t.Fatalf("going back to the version before was not noticed: %+v", again.Damage())
	}
}

func TestALostMetadataWriteIsDetected(t *testing.T) {
	sim, p, c := newChunk(t, nil)
	write(t, c, 0, 1)
	checkpoint(t, c, 1)
	write(t, c, 0, 2)
	off := p.geometry.halfOffset(c.slot.inactive())
	sim.RedirectWrites(func(_ string, at int64) (int64, bool) {
		return at, at != off // acknowledged, not done
	})
	checkpoint(t, c, 2)
	sim.RedirectWrites(nil)
	again := reopen(t, sim.Crash(disk.CrashPlan{Keep: disk.KeepAll}))
	if list := fatal(again); len(list) != 1 || list[0].ID != idA {
		t.Fatalf("%+v", again.Damage())
	}
}

func TestMisdirectedMetadataIsDetectedAtBothPlaces(t *testing.T) {
	sim, p, c := newChunk(t, nil)
	write(t, c, 0, 1)
	checkpoint(t, c, 1)
	write(t, c, 0, 2)
	from, to := p.geometry.halfOffset(c.slot.inactive()), p.geometry.dataOffset(0)
	sim.RedirectWrites(func(_ string, at int64) (int64, bool) {
		if at == from {
			return to, true
		}
		return at, true
	})
	checkpoint(t, c, 2)
	sim.RedirectWrites(nil)
	if err := perform(c, readIO(0, 1), false); !errors.Is(err, ErrCorrupt) {
		t.Fatal(err)
	}
	again := reopen(t, sim.Crash(disk.CrashPlan{Keep: disk.KeepAll}))
	if len(fatal(again)) != 1 {
		t.Fatalf("%+v", again.Damage())
	}
}

func TestTwoSlotsWithOneChunkAreBothDamaged(t *testing.T) {
	sim := ruined(t, func(s *disk.Sim, p *Pool, a, b *Chunk) {
		g := p.geometry
		h := b.slot.top
		h.id = idA
		h.next = successor{}
		half := make([]byte, g.metaSize)
		encodeHalf(half, g, &h, nil)
		s.Corrupt(b.slot.name, g.halfOffset(h.half), half)
	})
	p := reopen(t, sim)
	if list := fatal(p); len(list) != 2 {
		t.Fatalf("%+v", list)
	}
	expectRefused(t, p)
	if err := p.Delete(idA); err != nil {
		t.Fatal(err)
	}
	if err := p.Discard(1); err != nil {
		t.Fatal(err)
	}
	if s := p.Stats(); s.Free != 2 || s.Damaged != 0 || s.Resident != 0 {
		t.Fatalf("%+v", s)
	}
}

func expectRefused(t *testing.T, p *Pool) {
	t.Helper()
	if err := perform(get(t, p, idA), readIO(0, 1), false); !errors.Is(err, ErrCorrupt) {
		t.Fatal(err)
	}
}

func TestMissingAndShortSlotFilesAreReported(t *testing.T) {
	sim := ruined(t, func(s *disk.Sim, p *Pool, a, b *Chunk) {
		if err := s.Remove(a.slot.name); err != nil {
			t.Fatal(err)
		}
		if err := s.Remove(b.slot.name); err != nil {
			t.Fatal(err)
		}
		f, err := s.Create(b.slot.name, BlockSize)
		if err != nil {
			t.Fatal(err)
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
	})
	p := reopen(t, sim)
	list := fatal(p)
	if len(list) != 2 || list[0].Slot != 0 || list[1].Slot != 1 || list[0].IDKnown {
		t.Fatalf("%+v", list)
	}
	if err := p.Discard(1); err != nil {
		t.Fatal(err)
	}
	for _, want := range []uint64{1, 0} { // the short one was replaced, the missing one is made
		c := create(t, p, ID{Group: 60, Index: want})
		if c.Slot() != want {
			t.Fatalf("slot %d, want %d", c.Slot(), want)
		}
		write(t, c, 0, 5)
		expect(t, c, 0, 5, 0)
	}
}

func TestUnreadableSlotsAreReportedAndOthersServe(t *testing.T) {
	sim := ruined(t, func(*disk.Sim, *Pool, *Chunk, *Chunk) {})
	sim.FailReads(func(name string, off int64) error {
		if strings.HasSuffix(name, "0") {
			return errors.New("the device is gone")
		}
		return nil
	})
	p := reopen(t, sim)
	sim.FailReads(nil)
	if list := fatal(p); len(list) != 1 || !errors.Is(list[0].Err, disk.ErrIO) {
		t.Fatalf("%+v", list)
	}
	expect(t, get(t, p, idB), 0, 11, 12)
}

// Every block of both halves, read whole and by headers first: an error of the device costs what
// the block's rot would.
func TestAnUnreadableBlockOfMetadataCostsItsHalf(t *testing.T) {
	g := newGeometry(testChunk)
	for _, lazy := range []bool{false, true} {
		for off := int64(0); off < 2*int64(g.metaSize); off += BlockSize {
			var newest bool
			sim := ruined(t, func(s *disk.Sim, _ *Pool, a, _ *Chunk) {
				s.BadSectors(a.slot.name, off+512, 1)
				newest = off/int64(g.metaSize) == int64(a.slot.top.half)
			})
			cfg := testConfig(sim)
			if lazy {
				cfg.CacheChunks = 1
			}
			if in := inspect(t, sim, 0); !in.Used || in.ID != idA || newest != (in.Err != nil) {
				t.Errorf("block at %d: the offline look: %+v", off, in)
			}
			p := openPool(t, cfg)
			list := p.Damage()
			settled := lazy && off > int64(g.metaSize)
			switch {
			case settled && len(list) == 0: // the read of the headers does not come there
			case len(list) != 1 || list[0].Fatal != newest || !list[0].IDKnown ||
				list[0].ID != idA || !errors.Is(list[0].Err, disk.ErrIO):
				t.Errorf("lazy %v, block at %d, newest %v: %+v", lazy, off, newest, list)
			}
			if !newest {
				expect(t, get(t, p, idA), 0, 1, 2)
			}
			expect(t, get(t, p, idB), 0, 11, 12)
			closePool(t, p)
		}
	}
}

// A process without descriptors is told so at the read too.
func TestMetadataThatNoFileCanBeOpenedForIsNoDamage(t *testing.T) {
	sim := ruined(t, func(*disk.Sim, *Pool, *Chunk, *Chunk) {})
	sim.FailReads(func(string, int64) error { return disk.ErrFileLimit })
	defer sim.FailReads(nil)
	if _, err := Open(testConfig(sim)); !errors.Is(err, disk.ErrFileLimit) ||
		!strings.Contains(err.Error(), "open file") {
		t.Fatal(err)
	}
}

func TestDraftsAreRemovedAndOtherFilesStay(t *testing.T) {
	sim := ruined(t, func(s *disk.Sim, _ *Pool, _, _ *Chunk) {
		for _, name := range []string{"new-0000000002", "notes.txt", "slot-2", "slot-9999999999"} {
			if err := s.WriteFile("chunks/"+name, []byte("x")); err != nil {
				t.Fatal(err)
			}
		}
	})
	p := reopen(t, sim)
	names, err := sim.List("chunks")
	want := "[notes.txt slot-0000000000 slot-0000000001 slot-2 slot-9999999999]"
	if err != nil || fmt.Sprint(names) != want || len(p.Damage()) != 0 {
		t.Fatal(names, err, p.Damage())
	}
}

// A slot that is free since it was made, and one that a chunk has left.
func TestRotInAFreeSlotCostsNothing(t *testing.T) {
	g := newGeometry(testChunk)
	for where, at := range map[string]int64{"header": 200, "body": headerPage + 5} {
		sim := ruined(t, func(*disk.Sim, *Pool, *Chunk, *Chunk) {})
		p := reopen(t, sim)
		never := create(t, p, ID{Group: 70}) // it has no checkpoint, so its slot stays free
		if err := p.Delete(idA); err != nil {
			t.Fatal(err)
		}
		freed := []*slot{p.slots[0], never.slot}
		tops := []int64{g.halfOffset(freed[0].top.half), g.halfOffset(freed[1].top.half)}
		closePool(t, p)
		for i, s := range freed {
			sim.Corrupt(s.name, tops[i]+at, []byte{0x55})
			if in := inspect(t, sim, s.number); in.Err == nil || in.Used || !in.Free {
				t.Fatalf("%s: the offline look at slot %d: %+v", where, s.number, in)
			}
		}
		p = reopen(t, sim)
		if list := p.Damage(); len(list) != 2 || len(fatal(p)) != 0 || p.Stats().Free != 2 ||
			!errors.Is(list[0].Err, ErrCorrupt) {
			t.Fatalf("%s: %+v, %+v", where, list, p.Stats())
		}
		for i := range uint64(2) {
			c := create(t, p, ID{Group: 71, Index: i})
			expect(t, c, 0, 0, 0)
			write(t, c, 0, 5+i)
			checkpoint(t, c, 1)
		}
		again := reopen(t, sim.Crash(disk.CrashPlan{Keep: disk.KeepNothing}))
		if s := again.Stats(); len(again.Damage()) != 0 || s.Slots != 3 || s.Used != 3 {
			t.Fatalf("%s: after the slots were used: %+v, %+v", where, again.Damage(), s)
		}
		expect(t, get(t, again, ID{Group: 71, Index: 1}), 0, 6, 0)
	}
}

func inspect(t *testing.T, d disk.Disk, slot uint64) *SlotInfo {
	t.Helper()
	in, err := NewInspector(testConfig(d))
	if err != nil {
		t.Fatal(err)
	}
	return in.Slot(slot)
}

// withoutA is a device whose first slot is free again, and the pool that was closed.
func withoutA(t *testing.T) (*disk.Sim, *Pool) {
	t.Helper()
	sim := ruined(t, func(*disk.Sim, *Pool, *Chunk, *Chunk) {})
	p := reopen(t, sim)
	if err := p.Delete(idA); err != nil {
		t.Fatal(err)
	}
	closePool(t, p)
	return sim, p
}

// What says that the slot is free must be whole itself.
func TestASlotIsNotFreeByARottenSeal(t *testing.T) {
	g := newGeometry(testChunk)
	sim, p := withoutA(t)
	for half := range uint8(2) {
		sim.Corrupt(p.slots[0].name, g.halfOffset(half)+200, []byte{0x55})
	}
	if in := inspect(t, sim, 0); in.Err == nil || in.Free {
		t.Fatalf("%+v", in)
	}
	if list := fatal(reopen(t, sim)); len(list) != 1 || list[0].IDKnown {
		t.Fatalf("%+v", list)
	}
}

// A device that cannot write the metadata of a free slot costs the slot.
func TestAFreeSlotThatCannotBeMadeAnewIsNotUsed(t *testing.T) {
	g := newGeometry(testChunk)
	sim, p := withoutA(t)
	sim.Corrupt(p.slots[0].name, g.halfOffset(p.slots[0].top.half)+200, []byte{0x55})
	sim.FailWrites(func(string, int64) error { return errors.New("worn out") })
	p = reopen(t, sim)
	sim.FailWrites(nil)
	if list := p.Damage(); len(list) != 1 || list[0].Fatal || p.Stats().Damaged != 1 {
		t.Fatalf("%+v, %+v", list, p.Stats())
	}
	if c := create(t, p, idA); c.Slot() == 0 {
		t.Fatal("a slot without metadata is used")
	}
	if err := p.Discard(0); err != nil || len(p.Damage()) != 0 {
		t.Fatal(err, p.Damage())
	}
}

func TestATableIsReadTwiceBeforeItIsUnreadable(t *testing.T) {
	for failures, class := range []error{nil, nil, ErrTable} {
		sim := ruined(t, func(*disk.Sim, *Pool, *Chunk, *Chunk) {})
		cfg := testConfig(sim)
		cfg.CacheChunks = 1 // the two are opened by their headers
		p := openPool(t, cfg)
		var reads atomic.Int64
		sim.FailReads(func(string, int64) error {
			if reads.Add(1) <= int64(failures) {
				return errors.New("a sector that is hard to read")
			}
			return nil
		})
		_, _, err := get(t, p, idA).BlockState(0)
		if !errors.Is(err, class) || errors.Is(err, disk.ErrIO) != (class != nil) ||
			errors.Is(err, ErrCorrupt) {
			t.Errorf("%d failures: %v", failures, err)
		}
		closePool(t, p)
	}
}
