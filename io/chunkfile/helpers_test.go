package chunkfile

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"
	"log/slog"
	"testing"

	"go.uber.org/goleak"

	"github.com/ashlar-storage/ashlar/io/disk"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	testBlocks = 16
	testChunk  = testBlocks * BlockSize
)

var testStore = [16]byte{0: 0xa5, 7: 1, 15: 0x5a}

func quiet() *slog.Logger { return slog.New(slog.NewTextHandler(io.Discard, nil)) }

// testConfig is a pool of small chunks with no goroutine of its own.
func testConfig(d disk.Disk) Config {
	return Config{Disk: d, Dir: "chunks", Name: "nvme7", StoreID: testStore,
		ChunkSize: testChunk, Reserve: -1, Logger: quiet()}
}

func openPool(t testing.TB, cfg Config) *Pool {
	t.Helper()
	p, err := Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func closePool(t testing.TB, p *Pool) {
	t.Helper()
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}
}

func create(t testing.TB, p *Pool, id ID) *Chunk {
	t.Helper()
	c, err := p.Create(id)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func get(t testing.TB, p *Pool, id ID) *Chunk {
	t.Helper()
	c, ok := p.Get(id)
	if !ok {
		t.Fatalf("chunk %v is not in the pool", id)
	}
	return c
}

// fill makes a block whose every 8 bytes hold a value; value 0 is the block never written.
func fill(b []byte, value uint64) {
	for i := 0; i < len(b); i += 8 {
		binary.LittleEndian.PutUint64(b[i:], value)
	}
}

func crcOf(b []byte) uint32 { return crc32.Checksum(b, castagnoli) }

// perform runs an IO to its end.
func perform(c *Chunk, x *IO, write bool) error {
	<-begin(c, x, write)
	return x.Err
}

// begin gives an IO to the disk; the channel is closed at its end.
func begin(c *Chunk, x *IO, write bool) <-chan struct{} {
	done := make(chan struct{})
	x.Done = func(*IO) { close(done) }
	if write {
		c.Write(x)
	} else {
		c.Read(x)
	}
	c.pool.disk.Flush()
	return done
}

// writeIO is a write of one value per block.
func writeIO(block int, values ...uint64) *IO {
	x := &IO{Block: block, Count: len(values)}
	data := alignedBytes(len(values) * BlockSize)
	for i, v := range values {
		b := data[i*BlockSize:][:BlockSize]
		fill(b, v)
		x.CRCs = append(x.CRCs, crcOf(b))
	}
	x.Vec = [][]byte{data}
	return x
}

func write(t testing.TB, c *Chunk, block int, values ...uint64) {
	t.Helper()
	if err := perform(c, writeIO(block, values...), true); err != nil {
		t.Fatal(err)
	}
}

// readIO reads into one vector of garbage.
func readIO(block, count int) *IO {
	data := alignedBytes(count * BlockSize)
	fill(data, 0xdeadbeefdeadbeef)
	return &IO{Block: block, Count: count, Vec: [][]byte{data}}
}

// values returns what a read brought, and fails the test on a block that is not uniform.
func values(t testing.TB, x *IO) []uint64 {
	t.Helper()
	var list []uint64
	for _, part := range x.Vec {
		for ; len(part) > 0; part = part[BlockSize:] {
			v := binary.LittleEndian.Uint64(part)
			for i := 0; i < BlockSize; i += 8 {
				if got := binary.LittleEndian.Uint64(part[i:]); got != v {
					t.Fatalf("a block mixes %x and %x", v, got)
				}
			}
			list = append(list, v)
		}
	}
	return list
}

func expect(t testing.TB, c *Chunk, block int, want ...uint64) {
	t.Helper()
	x := readIO(block, len(want))
	if err := perform(c, x, false); err != nil {
		t.Fatal(err)
	}
	got := values(t, x)
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Fatalf("blocks %d..: got %v, want %v", block, got, want)
	}
	b := alignedBytes(BlockSize)
	for i, v := range want {
		fill(b, v)
		if x.CRCs[i] != crcOf(b) {
			t.Fatalf("block %d: CRCs has %08x, want %08x", block+i, x.CRCs[i], crcOf(b))
		}
	}
}

func checkpointErr(c *Chunk, applied uint64) error {
	done := make(chan error, 1)
	c.Checkpoint(applied, func(err error) { done <- err })
	return <-done
}

func checkpoint(t testing.TB, c *Chunk, applied uint64) {
	t.Helper()
	if err := checkpointErr(c, applied); err != nil {
		t.Fatal(err)
	}
}
