package chunkfile

import (
	"fmt"
	"testing"

	"github.com/ashlar-storage/ashlar/io/buf"
	"github.com/ashlar-storage/ashlar/io/disk"
)

// benchDisk is the real disk with a registered arena, and a chunk of 16 MiB that is written.
func benchDisk(b *testing.B) (disk.Disk, *buf.Pool, *Chunk) {
	b.Helper()
	pool, err := buf.NewPool(buf.Config{Bytes: 8 << 20})
	if err != nil {
		b.Fatal(err)
	}
	d, err := disk.OpenDir(b.TempDir(), disk.Config{Arena: pool.Arena(), Logger: quiet()})
	if err != nil {
		b.Fatal(err)
	}
	p := openPool(b, Config{Disk: d, Dir: "chunks", StoreID: testStore, Reserve: -1,
		Logger: quiet()})
	c := create(b, p, idA)
	const step = 256
	for at := 0; at < c.Blocks(); at += step {
		data := make([]uint64, step)
		for i := range data {
			data[i] = uint64(at + i + 1)
		}
		write(b, c, at, data...)
	}
	checkpoint(b, c, 1)
	b.Cleanup(func() {
		closePool(b, p)
		if err := d.Close(); err != nil {
			b.Error(err)
		}
		if err := pool.Close(); err != nil {
			b.Error(err)
		}
	})
	return d, pool, c
}

// BenchmarkChunk4K compares one 4 KiB transfer at a time through the chunk with the same on
// its file.
func BenchmarkChunk4K(b *testing.B) {
	d, pool, c := benchDisk(b)
	mem, err := pool.Get(BlockSize)
	if err != nil {
		b.Fatal(err)
	}
	defer mem.Release()
	fill(mem.Bytes(), 9)
	vec := [][]byte{mem.Bytes()}
	crcs := []uint32{crcOf(mem.Bytes())}
	done := make(chan struct{}, 1)
	next := func(i int) int { return i * 911 % c.Blocks() }
	for _, write := range []bool{false, true} {
		kind, name := disk.Read, "read"
		if write {
			kind, name = disk.Write, "write"
		}
		b.Run(name+"/file", func(b *testing.B) {
			op := &disk.Op{Kind: kind, Vec: vec}
			op.Done = func(*disk.Op) { done <- struct{}{} }
			b.SetBytes(BlockSize)
			b.ReportAllocs()
			for i := range b.N {
				op.Off = c.pool.geometry.dataOffset(next(i))
				c.slot.file.Submit(op)
				d.Flush()
				<-done
				if op.Err != nil {
					b.Fatal(op.Err)
				}
			}
		})
		if write { // blocks written past the table: make them fit it again
			for i := range c.Blocks() {
				x := &IO{Block: i, Count: 1, Vec: vec, CRCs: crcs}
				if err := perform(c, x, true); err != nil {
					b.Fatal(err)
				}
			}
		}
		b.Run(name+"/chunk", func(b *testing.B) {
			x := &IO{Count: 1, Vec: vec, CRCs: crcs, Done: func(*IO) { done <- struct{}{} }}
			b.SetBytes(BlockSize)
			b.ReportAllocs()
			for i := range b.N {
				x.Block = next(i)
				if write {
					c.Write(x)
				} else {
					c.Read(x)
				}
				d.Flush()
				<-done
				if x.Err != nil {
					b.Fatal(x.Err)
				}
			}
		})
	}
}

// BenchmarkChunkLayer is the layer's own cost: the disk is memory, its cost is shown beside.
func BenchmarkChunkLayer(b *testing.B) {
	for _, blocks := range []int{1, 64} {
		sim := disk.NewSim(disk.SimConfig{Inline: true})
		cfg := testConfig(sim)
		cfg.ChunkSize = DefaultChunkSize
		p := openPool(b, cfg)
		c := create(b, p, idA)
		write(b, c, 0, make([]uint64, 64)...)
		x := readIO(0, blocks)
		x.Done = func(*IO) {}
		b.Run(fmt.Sprintf("read%dK", blocks*4), func(b *testing.B) {
			b.ReportAllocs()
			for range b.N {
				c.Read(x)
				sim.Flush()
			}
		})
		op := &disk.Op{Kind: disk.Read, Vec: x.Vec, Off: p.geometry.dataOffset(0)}
		op.Done = func(*disk.Op) {}
		b.Run(fmt.Sprintf("raw%dK", blocks*4), func(b *testing.B) {
			b.ReportAllocs()
			for range b.N {
				c.slot.file.Submit(op)
				sim.Flush()
			}
		})
		closePool(b, p)
	}
}

func BenchmarkCheckpoint(b *testing.B) {
	_, _, c := benchDisk(b)
	b.ReportAllocs()
	b.ResetTimer()
	for i := range b.N {
		c.Zero(i%c.Blocks(), 1)
		checkpoint(b, c, uint64(i+2))
	}
}

// BenchmarkOpen is the scan of 1000 chunks whose metadata is in memory.
func BenchmarkOpen(b *testing.B) {
	const chunks = 1000
	sim := disk.NewSim(disk.SimConfig{})
	cfg := testConfig(sim)
	cfg.ChunkSize = DefaultChunkSize
	p := openPool(b, cfg)
	for i := range uint64(chunks) {
		c := create(b, p, ID{Index: i})
		c.Zero(0, 1)
		checkpoint(b, c, 1)
	}
	closePool(b, p)
	for b.Loop() {
		closePool(b, openPool(b, cfg))
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/chunks, "ns/chunk")
}
