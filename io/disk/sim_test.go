package disk

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"testing"
)

func newSimEnv(t *testing.T, cfg SimConfig) (*env, *Sim) {
	s := NewSim(cfg)
	return newEnv(t, func(testing.TB, []byte) Disk { return s }), s
}

func (e *env) fill(b byte) []byte {
	p := e.block(1)
	copy(p, bytes.Repeat([]byte{b}, BlockSize))
	return p
}

// content reads a whole file of a simulated disk.
func content(t *testing.T, s *Sim, name string) []byte {
	t.Helper()
	data, err := s.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func TestPowerCutLosesOnlyWhatIsUnsynced(t *testing.T) {
	e, s := newSimEnv(t, SimConfig{})
	f := e.create("a", 4*BlockSize)
	e.no(f.WriteVec([][]byte{e.fill('d')}, 0, true))
	e.no(f.WriteVec([][]byte{e.fill('s')}, BlockSize, false))
	e.no(f.Sync())
	e.no(f.WriteVec([][]byte{e.fill('u')}, 2*BlockSize, false))
	e.no(f.WriteVec([][]byte{e.fill('d')}, 3*BlockSize, true)) // makes only itself durable
	for _, c := range []struct {
		keep func(int, Sector) bool
		want string
	}{{KeepNothing, "ds\x00d"}, {KeepAll, "dsud"}} {
		got := content(t, s.Crash(CrashPlan{Keep: c.keep}), "a")
		for i := range c.want {
			block := got[i*BlockSize:][:BlockSize]
			if !bytes.Equal(block, bytes.Repeat([]byte(c.want[i:i+1]), BlockSize)) {
				t.Errorf("block %d starts with %q, want %q", i, block[0], c.want[i])
			}
		}
	}
	if n := len(s.Unsynced()); n != 8 {
		t.Errorf("%d unsynced sectors, want the 8 of one block", n)
	}
}

func TestPowerCutTearsAtSectors(t *testing.T) {
	e, s := newSimEnv(t, SimConfig{})
	f := e.create("a", BlockSize)
	e.no(f.WriteVec([][]byte{e.fill('1')}, 0, true))
	e.no(f.WriteVec([][]byte{e.fill('2')}, 0, false))
	e.no(f.WriteVec([][]byte{e.fill('3')}, 0, false))
	// Sectors 0-7 are the first write's, 8-15 the second's.
	kept := map[int]bool{0: true, 1: true, 9: true, 15: true}
	c := s.Crash(CrashPlan{Keep: func(i int, _ Sector) bool { return kept[i] }})
	got := content(t, c, "a")
	for i, want := range "23111113" {
		if sector := got[i*SectorSize:][:SectorSize]; !bytes.Equal(sector,
			bytes.Repeat([]byte(string(want)), SectorSize)) {
			t.Errorf("sector %d is %q, want %q", i, sector[0], want)
		}
	}
	if n := len(c.Unsynced()); n != 0 {
		t.Errorf("%d sectors unsynced after the cut", n)
	}
	if got := content(t, s, "a"); got[0] != '3' {
		t.Error("the cut changed the disk it was taken from")
	}
}

func TestDurableWriteCannotBeUndoneByAnOlderOne(t *testing.T) {
	e, s := newSimEnv(t, SimConfig{})
	f := e.create("a", BlockSize)
	e.no(f.WriteVec([][]byte{e.fill('o')}, 0, false))
	e.no(f.WriteVec([][]byte{e.fill('n')}, 0, true))
	if got := content(t, s.Crash(CrashPlan{Keep: KeepAll}), "a"); got[0] != 'n' {
		t.Errorf("content %q", got[0])
	}
}

func TestSyncCoversOnlyWhatWasCompleteBefore(t *testing.T) {
	e, s := newSimEnv(t, SimConfig{Inline: true})
	f := e.create("a", 2*BlockSize)
	e.run(f, &Op{Kind: Write, Vec: [][]byte{e.fill('1')}})
	e.run(f,
		&Op{Kind: Write, Vec: [][]byte{e.fill('2')}, Off: BlockSize},
		&Op{Kind: Sync})
	got := content(t, s.Crash(CrashPlan{Keep: KeepNothing}), "a")
	if got[0] != '1' || got[BlockSize] != 0 {
		t.Errorf("blocks %q %q after the cut", got[0], got[BlockSize])
	}
}

func TestDirectoryChangesSurviveAPowerCut(t *testing.T) {
	e, s := newSimEnv(t, SimConfig{})
	e.no(e.MkdirAll("x/y"))
	for _, name := range []string{"a", "b", "c"} {
		e.create(name, BlockSize)
	}
	e.no(e.Rename("a", "x/y/a"))
	e.no(e.Remove("b"))
	e.no(e.WriteFile("meta", []byte("m")))
	after := &env{Disk: s.Crash(CrashPlan{Keep: KeepNothing}), t: t}
	after.list("", "c", "meta", "x")
	after.list("x/y", "a")
	if got := content(t, after.Disk.(*Sim), "meta"); string(got) != "m" {
		t.Errorf("meta is %q", got)
	}
	_, was, _ := s.Space()
	if _, free, _ := after.Space(); free != was {
		t.Errorf("%d bytes free after the cut, %d before", free, was)
	}
}

func TestEveryBoundaryOfAWorkloadIsShown(t *testing.T) {
	e, s := newSimEnv(t, SimConfig{Inline: true})
	var steps []string
	s.OnStep(func(st Step) {
		after := s.Crash(CrashPlan{Keep: KeepNothing})
		names, _ := after.List("")
		steps = append(steps, fmt.Sprintf("%d %s%s %d+%d: %d unsynced, files %v",
			st.Kind, st.Name, st.To, st.Off, st.Len, len(s.Unsynced()), names))
	})
	f := e.create("a", 2*BlockSize)
	w := func(off int64, durable bool) *Op {
		return &Op{Kind: Write, Vec: [][]byte{e.block(1)}, Off: off, Durable: durable}
	}
	e.run(f, w(0, true), w(BlockSize, false))
	e.no(f.Sync())
	e.no(e.Rename("a", "b"))
	want := []string{
		"3 a 0+8192: 0 unsynced, files []",
		"1 a 0+4096: 8 unsynced, files [a]",
		"1 a 4096+4096: 16 unsynced, files [a]", // both in flight at once
		"2 a 0+0: 8 unsynced, files [a]",
		"4 ab 0+0: 0 unsynced, files [a]",
	}
	if fmt.Sprint(steps) != fmt.Sprint(want) {
		t.Errorf("steps:\n%q\nwant:\n%q", steps, want)
	}
}

func TestSameSeedGivesTheSamePowerCut(t *testing.T) {
	e, s := newSimEnv(t, SimConfig{})
	f := e.create("a", 64*BlockSize)
	e.no(f.WriteVec([][]byte{e.pattern(64, 1)}, 0, false))
	seen := map[string]bool{}
	for seed := range uint64(40) {
		a := content(t, s.Crash(CrashPlan{Seed: seed}), "a")
		b := content(t, s.Crash(CrashPlan{Seed: seed}), "a")
		if !bytes.Equal(a, b) {
			t.Fatalf("seed %d gave two different disks", seed)
		}
		seen[string(a)] = true
	}
	if len(seen) < 15 {
		t.Errorf("only %d different disks of 40 seeds", len(seen))
	}
}

// TestCrashedContentIsOldOrNewPerSector runs random writes against a model that knows every
// content a sector may have.
func TestCrashedContentIsOldOrNewPerSector(t *testing.T) {
	e, s := newSimEnv(t, SimConfig{Inline: true})
	const blocks = 8
	f := e.create("a", blocks*BlockSize)
	may := make([][]byte, blocks) // contents a block's sectors may have
	for i := range may {
		may[i] = []byte{0}
	}
	rng := rand.New(rand.NewPCG(3, 4))
	for round := range 400 {
		b, v := rng.IntN(blocks), byte(round)
		switch rng.IntN(5) {
		case 0:
			e.no(f.Sync())
			for i := range may {
				may[i] = may[i][len(may[i])-1:]
			}
		case 1:
			e.no(f.WriteVec([][]byte{e.fill(v)}, int64(b)*BlockSize, true))
			may[b] = []byte{v}
		default:
			e.no(f.WriteVec([][]byte{e.fill(v)}, int64(b)*BlockSize, false))
			may[b] = append(may[b], v)
		}
		got := content(t, s.Crash(CrashPlan{Seed: uint64(round)}), "a")
		for off := 0; off < len(got); off += SectorSize {
			if !bytes.Contains(may[off/BlockSize], got[off:off+1]) {
				t.Fatalf("round %d: sector at %d is %d, not of %v", round, off, got[off],
					may[off/BlockSize])
			}
		}
	}
}

func TestUnsyncedBlocksAreBounded(t *testing.T) {
	e, s := newSimEnv(t, SimConfig{})
	f := e.create("a", 256*BlockSize)
	p := e.pattern(256, 1)
	for range 2 * maxUnsynced / 256 {
		e.no(f.WriteVec([][]byte{p}, 0, false))
	}
	if n := len(s.files["a"].unsynced); n > maxUnsynced {
		t.Errorf("%d blocks unsynced", n)
	}
}

func TestInjectedFaultsAreReported(t *testing.T) {
	e, s := newSimEnv(t, SimConfig{})
	f, p := e.create("a", 4*BlockSize), e.fill('x')
	cause := errors.New("medium error")
	at := func(name string, off int64) error {
		if name == "a" && off == BlockSize {
			return cause
		}
		return nil
	}
	s.FailWrites(at)
	e.no(f.WriteVec([][]byte{p}, 0, true))
	err := f.WriteVec([][]byte{p}, BlockSize, true)
	e.is(err, ErrIO)
	e.is(err, cause)
	op := &Op{Kind: Write, Vec: [][]byte{p}, Off: BlockSize}
	e.run(f, op)
	e.is(op.Err, cause)
	s.FailWrites(func(string, int64) error { return ErrNoSpace })
	e.is(e.WriteFile("m", nil), ErrNoSpace)
	_, err = e.Create("c", BlockSize)
	e.is(err, ErrNoSpace)
	s.FailWrites(nil)
	e.no(e.WriteFile("m", nil))

	s.FailReads(at)
	_, err = f.ReadAt(p, BlockSize)
	e.is(err, cause)
	_, err = f.ReadAt(p, 0)
	e.no(err)
	s.FailReads(nil)
	s.ShortReads(func(_ string, _ int64, n int) int { return n - SectorSize })
	n, err := f.ReadAt(p, 0)
	e.is(err, io.ErrUnexpectedEOF)
	if n != BlockSize-SectorSize {
		t.Errorf("%d bytes of a short read", n)
	}
	s.FailSyncs(func(string) error { return cause })
	e.no(f.WriteVec([][]byte{p}, 0, false))
	e.is(f.Sync(), cause)
	if len(s.Unsynced()) == 0 {
		t.Error("a failed Sync made blocks durable")
	}
}

func TestDeviceThatLiesLosesOrMisdirectsWrites(t *testing.T) {
	e, s := newSimEnv(t, SimConfig{})
	f := e.create("a", 4*BlockSize)
	s.RedirectWrites(func(_ string, off int64) (int64, bool) {
		return off + BlockSize, off != 2*BlockSize
	})
	e.no(f.WriteVec([][]byte{e.fill('m')}, 0, true))
	e.no(f.WriteVec([][]byte{e.fill('l')}, 2*BlockSize, true))
	got := content(t, s.Crash(CrashPlan{}), "a")
	if got[0] != 0 || got[BlockSize] != 'm' || got[2*BlockSize] != 0 || got[3*BlockSize] != 0 {
		t.Error("the writes are not where the hook sent them")
	}
}

func TestCorruptBytesAreReadBack(t *testing.T) {
	e, s := newSimEnv(t, SimConfig{})
	f := e.create("a", 4*BlockSize)
	e.no(f.WriteVec([][]byte{e.fill('x'), e.fill('y')}, 0, false))
	s.Corrupt("a", BlockSize-2, []byte("BAD!"))
	for _, d := range []*Sim{s, s.Crash(CrashPlan{Keep: KeepNothing})} {
		got := content(t, d, "a")
		if string(got[BlockSize-3:BlockSize+3]) != "xBAD!y" {
			t.Errorf("content %q", got[BlockSize-3:BlockSize+3])
		}
	}
}

func TestByteBudgetRunsOutAndComesBack(t *testing.T) {
	e, s := newSimEnv(t, SimConfig{Bytes: 10 * BlockSize})
	e.create("a", 6*BlockSize)
	_, err := e.Create("b", 6*BlockSize)
	e.is(err, ErrNoSpace)
	e.list("", "a")
	e.no(e.WriteFile("m", make([]byte, 4*BlockSize)))
	e.is(e.WriteFile("n", []byte{1}), ErrNoSpace)
	e.no(e.Remove("a"))
	e.create("b", 6*BlockSize)
	s.SetBytes(12 * BlockSize)
	if total, free, _ := e.Space(); total != 12*BlockSize || free != 2*BlockSize {
		t.Errorf("%d of %d bytes free", free, total)
	}
}

func TestInlineDiskCallsDoneWithinFlushInOrder(t *testing.T) {
	e, _ := newSimEnv(t, SimConfig{Inline: true})
	f := e.create("a", BlockSize)
	var order []uint64
	for i := range uint64(5) {
		f.Submit(&Op{Kind: Sync, Tag: i, Done: func(op *Op) { order = append(order, op.Tag) }})
	}
	e.Flush()
	if fmt.Sprint(order) != "[0 1 2 3 4]" {
		t.Errorf("Done in the order %v", order)
	}
}
