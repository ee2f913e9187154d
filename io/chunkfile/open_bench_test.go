package chunkfile

import (
	"flag"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ashlar-storage/ashlar/io/disk"
)

// manyChunks is the store whose start-up the project promises within five seconds: 1.6 TB of
// chunks of 16 MiB.
const manyChunks = 100_000

var manySlots = flag.Int("many-slots", manyChunks, "slots of BenchmarkOpenManyChunks")

// sparseSlots makes slot files that take 48 KiB each: their metadata, which lies in one piece on
// the device as that of a real slot, and a hole where the data would be. Every slot is a chunk
// with no block written, at its second version.
func sparseSlots(b *testing.B, dir string, slots int) {
	b.Helper()
	g := newGeometry(DefaultChunkSize)
	if err := os.Mkdir(filepath.Join(dir, "chunks"), 0o700); err != nil {
		b.Fatal(err)
	}
	image := alignedBytes(2 * g.metaSize)
	for i := range slots {
		old := header{half: 0, state: stateUsed, store: testStore, slot: uint64(i), version: 2,
			chunkSize: g.chunkSize, id: ID{Group: uint64(i % 100), Volume: 1, Index: uint64(i)}}
		top := old
		top.half, top.version, top.applied = 1, 3, 7
		old.next = top.follower()
		encodeHalf(image[:g.metaSize], g, &old, nil)
		encodeHalf(image[g.metaSize:], g, &top, nil)
		f, err := os.Create(filepath.Join(dir, "chunks", slotName(uint64(i))))
		if err != nil {
			b.Fatal(err)
		}
		if _, err := f.WriteAt(image, 0); err != nil {
			b.Fatal(err)
		}
		if err := f.Truncate(g.slotBytes()); err != nil {
			b.Fatal(err)
		}
		if err := f.Close(); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkOpenManyChunks is the start-up of a pool of 100,000 chunks in a real directory, on
// the file system of ASHLAR_BENCH_DIR or of the system's temporary directory: after a restart of
// the process (warm), and after one of the machine (cold), when the kernel knows no file yet.
func BenchmarkOpenManyChunks(b *testing.B) {
	dir, err := os.MkdirTemp(os.Getenv("ASHLAR_BENCH_DIR"), "chunks-bench-*")
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = os.RemoveAll(dir) })
	sparseSlots(b, dir, *manySlots)
	settle(b, dir)
	b.Run("warm", func(b *testing.B) { benchOpen(b, dir, func() {}) })
	b.Run("cold", func(b *testing.B) { benchOpen(b, dir, func() { forget(b) }) })
}

// settle writes what the kernel holds back of a file system: a slot is never read from the device
// while its first write is on the way there.
func settle(b *testing.B, dir string) {
	b.Helper()
	f, err := os.Open(dir)
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	if err := unix.Syncfs(int(f.Fd())); err != nil {
		b.Fatal(err)
	}
}

// forget makes the kernel drop the names, inodes and pages that it need not keep.
func forget(b *testing.B) {
	b.Helper()
	if err := os.WriteFile("/proc/sys/vm/drop_caches", []byte("3"), 0); err != nil {
		b.Skip("cannot drop the kernel's caches: ", err)
	}
}

// benchOpen opens and closes the pool of a directory; before each time it makes the kernel ready.
func benchOpen(b *testing.B, dir string, ready func()) {
	d, err := disk.OpenDir(dir, disk.Config{Logger: quiet()})
	if err != nil {
		b.Fatal(err)
	}
	defer d.Close()
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	was, cpu := d.Stats(), time.Duration(0)
	opens := 0
	for b.Loop() {
		b.StopTimer()
		ready()
		b.StartTimer()
		began := processorTime(b)
		p := openPool(b, Config{Disk: d, Dir: "chunks", StoreID: testStore, Reserve: -1,
			Logger: quiet()})
		b.StopTimer()
		cpu += processorTime(b) - began
		opens++
		if n := p.Stats(); n.Used != *manySlots || len(p.Damage()) != 0 {
			b.Fatalf("%+v, %v", n, p.Damage())
		}
		runtime.GC()
		runtime.ReadMemStats(&after)
		resident := float64(p.Stats().TableBytes)
		b.ReportMetric((float64(after.HeapAlloc-before.HeapAlloc)-resident)/float64(*manySlots),
			"heap-B/chunk")
		closePool(b, p)
		b.StartTimer()
	}
	now := d.Stats()
	b.ReportMetric(b.Elapsed().Seconds()/float64(opens), "s/open")
	b.ReportMetric(cpu.Seconds()/float64(opens), "cpu-s/open")
	b.ReportMetric(float64(now.ReadBytes-was.ReadBytes)/float64(opens)/float64(*manySlots),
		"read-B/chunk")
}

// processorTime is what the process has used of the processors, which others on the machine
// disturb less than they disturb the clock.
func processorTime(b *testing.B) time.Duration {
	b.Helper()
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
