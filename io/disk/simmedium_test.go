package disk

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"testing"
)

func TestABadSectorFailsReadsUntilItIsWritten(t *testing.T) {
	e, s := newSimEnv(t, SimConfig{Inline: true})
	f, p := e.create("a", 4*BlockSize), e.block(4)
	e.no(f.WriteVec([][]byte{e.pattern(4, 1)}, 0, true))
	s.BadSectors("a", BlockSize+SectorSize, SectorSize)
	_, err := f.ReadAt(p, 0)
	e.is(err, ErrIO)
	if !bytes.Contains([]byte(err.Error()), []byte("4608")) {
		t.Errorf("the error does not say where: %v", err)
	}
	op := &Op{Kind: Read, Vec: [][]byte{p[:BlockSize]}, Off: BlockSize}
	e.run(f, op)
	e.is(op.Err, ErrIO)
	_, err = s.ReadFile("a")
	e.is(err, ErrIO)
	for _, off := range []int64{0, 2 * BlockSize, 3 * BlockSize} {
		_, err = f.ReadAt(p[:BlockSize], off)
		e.no(err)
	}
	e.no(f.WriteVec([][]byte{e.fill('n')}, BlockSize, true))
	_, err = f.ReadAt(p, 0)
	e.no(err)
	if p[BlockSize] != 'n' || p[2*BlockSize-1] != 'n' {
		t.Error("the block does not have what was written over the bad sector")
	}
}

func TestABadSectorStaysBadWhenThePowerCutLosesItsWrite(t *testing.T) {
	e, s := newSimEnv(t, SimConfig{})
	f, p := e.create("a", 2*BlockSize), e.block(1)
	s.BadSectors("a", SectorSize, 2*SectorSize)
	e.no(f.WriteVec([][]byte{e.fill('n')}, 0, false))
	_, err := f.ReadAt(p, 0)
	e.no(err) // from the cache
	for _, c := range []struct {
		kept map[int]bool
		bad  bool
	}{
		{nil, true}, {map[int]bool{1: true}, true}, {map[int]bool{1: true, 2: true}, false},
	} {
		after := s.Crash(CrashPlan{Keep: func(i int, _ Sector) bool { return c.kept[i] }})
		if _, err := after.ReadFile("a"); errors.Is(err, ErrIO) != c.bad {
			t.Errorf("sectors %v kept: %v", c.kept, err)
		}
	}
	e.no(f.Sync())
	if _, err := s.Crash(CrashPlan{Keep: KeepNothing}).ReadFile("a"); err != nil {
		t.Errorf("after a sync: %v", err)
	}
}

func TestAFlippedBitIsReadBack(t *testing.T) {
	e, s := newSimEnv(t, SimConfig{})
	f := e.create("a", 2*BlockSize)
	e.no(f.WriteVec([][]byte{e.fill('x')}, BlockSize, true))
	s.FlipBit("a", 8*(BlockSize+7)+1)
	got := content(t, s, "a")
	if got[BlockSize+7] != 'x'^2 || got[BlockSize+6] != 'x' || got[7] != 0 {
		t.Errorf("bytes %q", got[BlockSize+6:BlockSize+9])
	}
}

func TestAForgottenWriteIsServedForAWhileAndThenTheOldVersion(t *testing.T) {
	e, s := newSimEnv(t, SimConfig{Inline: true})
	f, p := e.create("a", 2*BlockSize), e.block(1)
	e.no(f.WriteVec([][]byte{e.fill('o')}, 0, true))
	s.StaleWrites(func(_ string, off int64) (int, bool) { return 2, off == 0 })
	e.no(f.WriteVec([][]byte{e.fill('n')}, 0, true))
	e.no(f.WriteVec([][]byte{e.fill('k')}, BlockSize, true)) // not forgotten
	if got := content(t, s.Crash(CrashPlan{Keep: KeepAll}), "a"); got[0] != 'o' ||
		got[BlockSize] != 'k' {
		t.Errorf("after a power cut %q %q", got[0], got[BlockSize])
	}
	for i, want := range "nnoo" {
		op := &Op{Kind: Read, Vec: [][]byte{p}}
		e.run(f, op)
		e.no(op.Err)
		if rune(p[0]) != want {
			t.Errorf("read %d is %q, want %q", i, p[0], want)
		}
	}
	s.StaleWrites(nil)
	e.no(f.WriteVec([][]byte{e.fill('l')}, 0, true))
	for range 5 {
		if got := content(t, s, "a"); got[0] != 'l' {
			t.Fatalf("a later write reads as %q", got[0])
		}
	}
}

func TestAWriteOverAForgottenOneIsKept(t *testing.T) {
	e, s := newSimEnv(t, SimConfig{})
	f := e.create("a", BlockSize)
	s.StaleWrites(func(string, int64) (int, bool) { return 0, true })
	e.no(f.WriteVec([][]byte{e.fill('f')}, 0, true))
	s.StaleWrites(nil)
	e.no(f.WriteVec([][]byte{e.fill('k')}, 0, true))
	for _, d := range []*Sim{s, s.Crash(CrashPlan{})} {
		if got := content(t, d, "a"); got[0] != 'k' {
			t.Errorf("content %q", got[0])
		}
	}
}

func TestEqualContentHasEqualFingerprints(t *testing.T) {
	e, s := newSimEnv(t, SimConfig{})
	f := e.create("a", 4*BlockSize)
	e.no(f.WriteVec([][]byte{e.fill('x')}, 0, true))
	was := s.Fingerprint()
	e.no(f.WriteVec([][]byte{e.fill('y')}, BlockSize, false))
	if s.Fingerprint() != was {
		t.Error("unsynced content counts")
	}
	kept := s.Crash(CrashPlan{Keep: KeepAll})
	if kept.Fingerprint() == was || s.Crash(CrashPlan{Keep: KeepNothing}).Fingerprint() != was {
		t.Error("fingerprints do not follow the content")
	}
	e.no(f.WriteVec([][]byte{e.fill(0)}, 2*BlockSize, true)) // as it was
	if s.Fingerprint() != was {
		t.Error("a block of zeroes is not the block never written")
	}
	e.no(s.Rename("a", "b"))
	if s.Fingerprint() == was {
		t.Error("names do not count")
	}
}

// Whoever tries subsets of the unsynced sectors may leave those out that are Same.
func TestSectorsThatAreTheSameMakeNoDifference(t *testing.T) {
	e, s := newSimEnv(t, SimConfig{Seed: 1})
	f := e.create("a", 4*BlockSize)
	rng := rand.New(rand.NewPCG(1, 2))
	same, other := 0, 0
	for range 300 {
		p := e.fill(byte(rng.IntN(3)))
		clear(p[rng.IntN(8)*SectorSize:][:SectorSize])
		e.no(f.WriteVec([][]byte{p}, int64(rng.IntN(4))*BlockSize, rng.IntN(3) == 0))
		if rng.IntN(4) == 0 {
			e.no(f.Sync())
		}
		list := s.Unsynced()
		pick := rng.Uint64()
		seen := map[bool]uint64{}
		for _, with := range []bool{false, true} {
			seen[with] = s.Crash(CrashPlan{Keep: func(i int, _ Sector) bool {
				if list[i].Same {
					return with
				}
				return pick>>(i%64)&1 == 1
			}}).Fingerprint()
		}
		if seen[false] != seen[true] {
			t.Fatal("a sector that is the same makes a difference")
		}
		for _, sec := range list {
			if sec.Same {
				same++
			} else {
				other++
			}
		}
	}
	if same < 100 || other < 100 {
		t.Errorf("%d sectors are the same, %d are not: the test does not reach both", same, other)
	}
}
