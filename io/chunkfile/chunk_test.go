package chunkfile

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/ashlar-storage/ashlar/io/disk"
)

var idA, idB = ID{Group: 1, Volume: 2, Index: 3}, ID{Group: 1, Volume: 2, Index: 4}

func newChunk(t testing.TB, change func(*Config)) (*disk.Sim, *Pool, *Chunk) {
	t.Helper()
	sim := disk.NewSim(disk.SimConfig{Seed: 1})
	cfg := testConfig(sim)
	if change != nil {
		change(&cfg)
	}
	p := openPool(t, cfg)
	t.Cleanup(func() {
		if err := p.Close(); err != nil && !errors.Is(err, ErrClosed) {
			t.Error(err)
		}
	})
	return sim, p, create(t, p, idA)
}

func TestBlocksNeverWrittenAreZeroesWithoutAskingTheDevice(t *testing.T) {
	_, p, c := newChunk(t, nil)
	x := readIO(0, testBlocks)
	inline := false
	x.Done = func(*IO) { inline = true }
	c.Read(x)
	if !inline || x.Err != nil {
		t.Fatalf("done within the call: %v, error %v", inline, x.Err)
	}
	for i, v := range values(t, x) {
		if v != 0 || x.CRCs[i] != zeroBlockCRC {
			t.Fatalf("block %d: value %x, crc %08x", i, v, x.CRCs[i])
		}
	}
	if s := p.Stats(); s.DeviceReads != 0 {
		t.Fatalf("%d device reads", s.DeviceReads)
	}
}

func TestReadAsksTheDeviceForWrittenRunsOnly(t *testing.T) {
	sim, p, c := newChunk(t, nil)
	write(t, c, 1, 11, 12)
	write(t, c, 5, 15)
	write(t, c, 6, 16)
	before := sim.Stats()
	expect(t, c, 0, 0, 11, 12, 0, 0, 15, 16, 0)
	after := sim.Stats()
	if n, bytes := after.Reads-before.Reads, after.ReadBytes-before.ReadBytes; n != 2 ||
		bytes != 4*BlockSize {
		t.Fatalf("%d reads of %d bytes, want 2 of %d", n, bytes, 4*BlockSize)
	}
	if s := p.Stats(); s.DeviceReads != 2 || s.ReadBlocks != 8 || s.WriteBlocks != 4 {
		t.Fatalf("stats %+v", s)
	}
	if c.WrittenBlocks() != 4 {
		t.Fatalf("%d written blocks", c.WrittenBlocks())
	}
}

func TestAnySplitOfTheVectorGivesTheSameBytes(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	_, _, c := newChunk(t, nil)
	model := make([]uint64, testBlocks)
	x := &IO{} // used again and again
	for step := range 2000 {
		block := rng.IntN(testBlocks)
		count := 1 + rng.IntN(testBlocks-block)
		switch rng.IntN(3) {
		case 0:
			c.Zero(block, count)
			clear(model[block : block+count])
			continue
		case 1:
			w := writeIO(block, make([]uint64, count)...)
			w.CRCs = w.CRCs[:0]
			for i := range count {
				model[block+i] = uint64(step*100 + i + 1)
				b := w.Vec[0][i*BlockSize:][:BlockSize]
				fill(b, model[block+i])
				w.CRCs = append(w.CRCs, crcOf(b))
			}
			x.Block, x.Count, x.Vec, x.CRCs = block, count, split(rng, w.Vec[0]), w.CRCs
			if err := perform(c, x, true); err != nil {
				t.Fatal(err)
			}
			continue
		}
		x.Block, x.Count = block, count
		x.Vec = split(rng, readIO(block, count).Vec[0])
		if err := perform(c, x, false); err != nil {
			t.Fatal(err)
		}
		if got := values(t, x); fmt.Sprint(got) != fmt.Sprint(model[block:block+count]) {
			t.Fatalf("step %d: got %v, want %v", step, got, model[block:block+count])
		}
	}
}

// split cuts memory at multiples of 4 KiB.
func split(rng *rand.Rand, b []byte) [][]byte {
	var vec [][]byte
	for len(b) > 0 {
		n := BlockSize * (1 + rng.IntN(len(b)/BlockSize))
		vec = append(vec, b[:n:n])
		b = b[n:]
	}
	return vec
}

func TestMoreVectorsThanOneOperationTakesAreCut(t *testing.T) {
	const blocks = 4 * disk.MaxVec
	_, _, c := newChunk(t, func(cfg *Config) { cfg.ChunkSize = blocks * BlockSize })
	data := make([]uint64, blocks)
	for i := range data {
		data[i] = uint64(i + 1)
	}
	x := writeIO(0, data...)
	single := func(b []byte) (vec [][]byte) {
		for ; len(b) > 0; b = b[BlockSize:] {
			vec = append(vec, b[:BlockSize:BlockSize])
		}
		return vec
	}
	x.Vec = single(x.Vec[0])
	if err := perform(c, x, true); err != nil {
		t.Fatal(err)
	}
	c.Zero(7, 1)
	data[7] = 0
	r := readIO(0, blocks)
	r.Vec = single(r.Vec[0])
	if err := perform(c, r, false); err != nil {
		t.Fatal(err)
	}
	for i, v := range values(t, r) {
		if v != data[i] {
			t.Fatalf("block %d: %d, want %d", i, v, data[i])
		}
	}
}

func TestRequestsThatDoNotFitAreRefusedWithTheField(t *testing.T) {
	_, _, c := newChunk(t, nil)
	block := alignedBytes(BlockSize)
	for _, tc := range []struct {
		name  string
		x     *IO
		write bool
		want  string
	}{
		{"no blocks", &IO{Count: 0}, false, "blocks 0+0"},
		{"negative", &IO{Block: -1, Count: 1, Vec: [][]byte{block}}, false, "blocks -1+1"},
		{"beyond", &IO{Block: testBlocks, Count: 1, Vec: [][]byte{block}}, false, "of a chunk"},
		{"overflow", &IO{Block: 1, Count: int(^uint(0) >> 1)}, false, "of a chunk"},
		{"short", &IO{Count: 2, Vec: [][]byte{block}}, false, "want 8192"},
		{"ragged", &IO{Count: 1, Vec: [][]byte{block[:100], block[100:]}}, false, "Vec[0]"},
		{"empty part", &IO{Count: 1, Vec: [][]byte{block, nil}}, false, "Vec[1]"},
		{"no crcs", &IO{Count: 1, Vec: [][]byte{block}}, true, "0 CRCs for 1"},
	} {
		err := perform(c, tc.x, tc.write)
		if !errors.Is(err, ErrInvalid) || !strings.Contains(fmt.Sprint(err), tc.want) {
			t.Errorf("%s: %v, want ErrInvalid with %q", tc.name, err, tc.want)
		}
	}
}

func TestBitflipIsReportedWithItsPlaceAndTheRestIsGood(t *testing.T) {
	sim, p, c := newChunk(t, nil)
	write(t, c, 0, 1, 2, 3, 4)
	checkpoint(t, c, 9)
	off := p.geometry.dataOffset(2)
	block := alignedBytes(BlockSize)
	fill(block, 3)
	want := crcOf(block)
	block[77] ^= 4
	sim.Corrupt(c.slot.name, off, block)
	x := readIO(0, 5)
	err := perform(c, x, false)
	var corrupt *CorruptError
	if !errors.Is(err, ErrCorrupt) || !errors.As(err, &corrupt) {
		t.Fatalf("error %v", err)
	}
	if corrupt.Disk != "nvme7" || corrupt.File != "chunks/slot-0000000000" ||
		corrupt.Offset != off || corrupt.Want != want || corrupt.Got != crcOf(block) {
		t.Fatalf("%+v", corrupt)
	}
	for _, part := range []string{"nvme7", "slot-0000000000", fmt.Sprint(off),
		fmt.Sprintf("%08x", want), fmt.Sprintf("%08x", crcOf(block))} {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("error %q does not name %s", err, part)
		}
	}
	if fmt.Sprint(x.Bad) != "[2]" || x.CRCs[2] != want {
		t.Fatalf("bad %v, crc %08x", x.Bad, x.CRCs[2])
	}
	good := &IO{Vec: [][]byte{x.Vec[0][:2*BlockSize], x.Vec[0][3*BlockSize:]}}
	if got := fmt.Sprint(values(t, good)); got != "[1 2 4 0]" {
		t.Fatalf("the other blocks: %s", got)
	}
	if p.Stats().CorruptBlocks != 1 {
		t.Fatalf("%d corrupt blocks counted", p.Stats().CorruptBlocks)
	}
	write(t, c, 2, 3) // repair
	expect(t, c, 0, 1, 2, 3, 4)
}

func TestFailedDeviceReadListsItsBlocks(t *testing.T) {
	sim, p, c := newChunk(t, nil)
	write(t, c, 0, 1)
	write(t, c, 4, 5, 6)
	sim.FailReads(func(_ string, off int64) error {
		if off == p.geometry.dataOffset(4) {
			return errors.New("latent sector error")
		}
		return nil
	})
	x := readIO(0, 8)
	if err := perform(c, x, false); !errors.Is(err, disk.ErrIO) || fmt.Sprint(x.Bad) != "[4 5]" {
		t.Fatalf("error %v, bad %v", err, x.Bad)
	}
	sim.FailReads(nil)
	expect(t, c, 0, 1, 0, 0, 0, 5, 6)
}

func TestFailedDeviceWriteLeavesTheTableAsItWas(t *testing.T) {
	sim, _, c := newChunk(t, nil)
	write(t, c, 0, 1)
	sim.FailWrites(func(string, int64) error { return errors.New("gone") })
	if err := perform(c, writeIO(0, 2, 3), true); !errors.Is(err, disk.ErrIO) {
		t.Fatal(err)
	}
	sim.FailWrites(nil)
	expect(t, c, 0, 1, 0)
}

func TestAWrongCrcFromTheCallerShowsAtTheRead(t *testing.T) {
	if invariants {
		t.Skip("checked at the write with -tags invariants")
	}
	_, _, c := newChunk(t, nil)
	x := writeIO(0, 1)
	x.CRCs[0]++
	if err := perform(c, x, true); err != nil {
		t.Fatal(err)
	}
	if err := perform(c, readIO(0, 1), false); !errors.Is(err, ErrCorrupt) {
		t.Fatal(err)
	}
}

func TestBlockStateTellsWrittenFromNot(t *testing.T) {
	_, _, c := newChunk(t, nil)
	write(t, c, 3, 33)
	if ok, crc, err := c.BlockState(3); !ok || err != nil || crc != writeIO(0, 33).CRCs[0] {
		t.Fatal(ok, crc, err)
	}
	if ok, crc, err := c.BlockState(4); ok || err != nil || crc != zeroBlockCRC {
		t.Fatal(ok, crc, err)
	}
	if _, _, err := c.BlockState(testBlocks); !errors.Is(err, ErrInvalid) {
		t.Fatal(err)
	}
}

func TestZeroOutsideTheChunkIsAnInvariantBreak(t *testing.T) {
	_, _, c := newChunk(t, nil)
	defer func() {
		if r := recover(); !strings.HasPrefix(fmt.Sprint(r), "chunkfile:") {
			t.Fatalf("recovered %v", r)
		}
	}()
	c.Zero(testBlocks-1, 2)
}

func TestReusedIOAllocatesNothing(t *testing.T) {
	sim := disk.NewSim(disk.SimConfig{Seed: 1, Inline: true})
	p := openPool(t, testConfig(sim))
	defer closePool(t, p)
	c := create(t, p, idA)
	w := writeIO(0, 1, 2)
	w.Done = func(*IO) {}
	r := readIO(0, 8)
	r.Done = func(*IO) {}
	write(t, c, 4, 5)
	turn := func() {
		c.Write(w)
		sim.Flush()
		c.Read(r)
		sim.Flush()
	}
	turn()
	// What the simulated disk itself allocates for the same operations.
	file := c.slot.file
	ops := []*disk.Op{
		{Kind: disk.Write, Vec: [][]byte{w.Vec[0]}, Off: p.geometry.dataOffset(0)},
		{Kind: disk.Read, Vec: [][]byte{r.Vec[0][:2*BlockSize]}, Off: p.geometry.dataOffset(0)},
		{Kind: disk.Read, Vec: [][]byte{r.Vec[0][:BlockSize]}, Off: p.geometry.dataOffset(4)},
	}
	raw := testing.AllocsPerRun(200, func() {
		for i, op := range ops {
			op.Done = func(*disk.Op) {}
			file.Submit(op)
			if i != 1 {
				sim.Flush()
			}
		}
	})
	if got := testing.AllocsPerRun(200, turn); got > raw {
		t.Fatalf("%v allocations for a write and a read of two runs, the disk alone %v", got, raw)
	}
}
