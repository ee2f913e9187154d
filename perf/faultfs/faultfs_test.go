package faultfs

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ashlar-storage/ashlar/io/buf"
	"github.com/ashlar-storage/ashlar/io/disk"
)

// mounted mounts a new file system for the test. Where that cannot be done the test is skipped,
// unless FUSE=required says that it can.
func mounted(t *testing.T, cfg Config) *FS {
	t.Helper()
	if _, err := os.Stat("/dev/fuse"); os.Getenv("FUSE") != "required" &&
		(err != nil || os.Geteuid() != 0) {
		t.Skip("needs root and /dev/fuse; FUSE=required makes this a failure")
	}
	dir := t.TempDir()
	cfg.Dir, cfg.At = filepath.Join(dir, "back"), filepath.Join(dir, "mnt")
	f, err := Mount(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = syscall.Unmount(cfg.At, syscall.MNT_DETACH) })
	return f
}

// cycle cuts the power and gives it back.
func cycle(t *testing.T, f *FS, seed uint64) (*FS, Losses) {
	t.Helper()
	f.Cut()
	f.Release()
	again, lost, err := f.Resume(seed)
	if err != nil {
		t.Fatal(err)
	}
	return again, lost
}

func pattern(n int, version byte) []byte { return bytes.Repeat([]byte{version}, n) }

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func makeFile(t *testing.T, name string, size int) {
	t.Helper()
	f, err := os.Create(name)
	must(t, err)
	_, err = f.Write(pattern(size, 1))
	must(t, err)
	must(t, f.Sync())
	must(t, f.Close())
	syncDir(t, filepath.Dir(name))
}

func syncDir(t *testing.T, name string) {
	t.Helper()
	d, err := os.Open(name)
	must(t, err)
	must(t, d.Sync())
	must(t, d.Close())
}

func TestEachWayOfSyncingSurvivesEveryCut(t *testing.T) {
	f := mounted(t, Config{})
	at := f.cfg.At
	const size = 64 << 10
	version := byte(1)
	ways := []string{"fsync", "fdatasync", "RWF_DSYNC", "O_DSYNC", "O_SYNC", "O_DIRECT RWF_DSYNC"}
	for _, way := range ways {
		makeFile(t, filepath.Join(at, way), size)
	}
	for seed := range uint64(20) {
		version++
		for _, way := range ways {
			writeDurably(t, filepath.Join(at, way), way, pattern(size, version))
		}
		f, _ = cycle(t, f, seed)
		for _, way := range ways {
			got, err := os.ReadFile(filepath.Join(at, way))
			must(t, err)
			if !bytes.Equal(got, pattern(size, version)) {
				t.Fatalf("seed %d: %s: lost what was synced", seed, way)
			}
		}
	}
	must(t, f.Close())
}

func writeDurably(t *testing.T, name, way string, data []byte) {
	t.Helper()
	flags, rwf := os.O_RDWR, 0
	switch way {
	case "O_DSYNC":
		flags |= syscall.O_DSYNC
	case "O_SYNC":
		flags |= syscall.O_SYNC
	case "RWF_DSYNC":
		rwf = unix.RWF_DSYNC
	case "O_DIRECT RWF_DSYNC":
		flags, rwf = flags|syscall.O_DIRECT, unix.RWF_DSYNC
		pool, err := unix.Mmap(-1, 0, len(data), unix.PROT_READ|unix.PROT_WRITE,
			unix.MAP_PRIVATE|unix.MAP_ANON)
		must(t, err)
		defer unix.Munmap(pool)
		copy(pool, data)
		data = pool
	}
	file, err := os.OpenFile(name, flags, 0)
	must(t, err)
	n, err := unix.Pwritev2(int(file.Fd()), [][]byte{data}, 0, rwf)
	if err != nil || n != len(data) {
		t.Fatalf("%s: %d bytes, %v", way, n, err)
	}
	switch way {
	case "fsync":
		must(t, unix.Fsync(int(file.Fd())))
	case "fdatasync":
		must(t, unix.Fdatasync(int(file.Fd())))
	}
	must(t, file.Close())
}

func TestUnsyncedSectorsAreLostKeptAndTornAndSyncedOnesStay(t *testing.T) {
	f := mounted(t, Config{})
	name := filepath.Join(f.cfg.At, "f")
	const size = 256 << 10
	makeFile(t, name, size)
	version, outcomes := byte(1), map[string]int{}
	for seed := range uint64(40) {
		before := must1(os.ReadFile(name))
		version++
		file := must1(os.OpenFile(name, os.O_RDWR, 0))
		must1(file.WriteAt(pattern(size, version), 0))
		// 4 KiB in the middle are made durable, and nothing beside them.
		_, err := unix.Pwritev2(int(file.Fd()), [][]byte{pattern(4096, version)}, 128<<10,
			unix.RWF_DSYNC)
		must(t, err)
		must(t, file.Close())
		if got := must1(os.ReadFile(name)); !bytes.Equal(got, pattern(size, version)) {
			t.Fatal("a read before the cut does not see the write")
		}
		var lost Losses
		f, lost = cycle(t, f, seed)
		if lost.Kept+lost.Dropped != (size-4096)/sectorBytes {
			t.Errorf("seed %d: %+v of %d unsynced sectors", seed, lost, (size-4096)/sectorBytes)
		}
		outcomes[judge(t, must1(os.ReadFile(name)), before, version)]++
	}
	for _, want := range []string{"lost", "kept", "torn"} {
		if outcomes[want] == 0 {
			t.Errorf("no cut left the write %s: %v", want, outcomes)
		}
	}
	must(t, f.Close())
}

// judge says what became of an unsynced write over all of a file: each sector is of the old or of
// the new version.
func judge(t *testing.T, got, before []byte, version byte) string {
	t.Helper()
	if !bytes.Equal(got[128<<10:132<<10], pattern(4096, version)) {
		t.Error("the durable write is lost")
	}
	var old, fresh int
	for at := 0; at < len(got); at += sectorBytes {
		switch sector := got[at : at+sectorBytes]; {
		case bytes.Equal(sector, pattern(sectorBytes, version)):
			fresh++
		case bytes.Equal(sector, before[at:at+sectorBytes]):
			old++
		default:
			t.Fatalf("the sector at %d is neither old nor new", at)
		}
	}
	switch {
	case old == 0:
		return "kept"
	case fresh == 4096/sectorBytes:
		return "lost"
	}
	return "torn"
}

func must1[T any](v T, err error) T {
	if err != nil {
		panic("faultfs: " + err.Error())
	}
	return v
}

func TestNamesAreLostFromTheEndUntilADirectoryIsSynced(t *testing.T) {
	f := mounted(t, Config{})
	at := f.cfg.At
	all, none := 0, 0
	for seed := range uint64(30) {
		must(t, os.RemoveAll(filepath.Join(at, "d")))
		must(t, os.Mkdir(filepath.Join(at, "d"), 0o755))
		makeFile(t, filepath.Join(at, "d", "old"), 100)
		makeFile(t, filepath.Join(at, "d", "other"), 200)
		for i := range 8 {
			must(t, os.WriteFile(filepath.Join(at, "d", fmt.Sprint(i)), nil, 0o644))
		}
		must(t, os.Rename(filepath.Join(at, "d", "other"), filepath.Join(at, "d", "old")))
		must(t, os.Remove(filepath.Join(at, "d", "0")))
		f, _ = cycle(t, f, seed)
		there := 0
		for i := range 8 {
			if _, err := os.Stat(filepath.Join(at, "d", fmt.Sprint(i))); err != nil {
				continue
			}
			if there++; i > 0 && there < i {
				t.Errorf("seed %d: %d is there and something made before it is not", seed, i)
			}
		}
		old := must1(os.Stat(filepath.Join(at, "d", "old"))).Size()
		_, err := os.Stat(filepath.Join(at, "d", "other"))
		if moved := err != nil; moved != (old == 200) || moved && there < 7 {
			t.Errorf("seed %d: other is moved: %v, old has %d bytes, %d files made", seed, moved,
				old, there)
		}
		if there == 0 {
			none++
		}
		if there >= 7 && old == 200 {
			all++
		}
	}
	if none == 0 || all == 0 {
		t.Errorf("nothing was lost %d times, everything %d times", all, none)
	}
	must(t, f.Close())
}

func TestTheCacheIsBoundedAndReadsSeeThroughIt(t *testing.T) {
	f := mounted(t, Config{CacheBytes: 1 << 20})
	file := must1(os.Create(filepath.Join(f.cfg.At, "f")))
	image, rng := make([]byte, 8<<20), rand.New(rand.NewPCG(1, 1))
	for range 500 {
		off := rng.IntN(len(image) - 70_000)
		part := image[off : off+1+rng.IntN(70_000)]
		for i := range part {
			part[i] = byte(rng.Uint32())
		}
		must1(file.WriteAt(part, int64(off)))
		if held, _ := f.Unsynced(); held > 1<<20+2*writeMax {
			t.Fatalf("%d bytes are in a cache of 1 MiB", held)
		}
	}
	must1(file.WriteAt([]byte{7}, int64(len(image)-1)))
	image[len(image)-1] = 7
	back := make([]byte, len(image))
	must1(file.ReadAt(back, 0))
	if !bytes.Equal(back, image) {
		t.Error("read something else than was written")
	}
	must(t, file.Truncate(5000))
	must(t, file.Truncate(9000))
	must1(file.ReadAt(back[:9000], 0))
	if !bytes.Equal(back[:9000], append(image[:5000:5000], make([]byte, 4000)...)) {
		t.Error("what was cut off came back")
	}
	must(t, file.Close())
	must(t, f.Close())
}

func TestFaultsHitWhatTheyNameAndEnd(t *testing.T) {
	f := mounted(t, Config{})
	name := filepath.Join(f.cfg.At, "f")
	makeFile(t, name, 1<<20)
	file := must1(os.OpenFile(name, os.O_RDWR, 0))
	defer file.Close()
	block := make([]byte, 4096)

	bad := must1(f.BadSector("f", 8192+512))
	must1(file.ReadAt(block, 0))
	if _, err := file.ReadAt(block, 8192); !errors.Is(err, syscall.EIO) || bad.Hits() != 1 {
		t.Errorf("read of a bad sector: %v, %d hits", err, bad.Hits())
	}
	must1(file.WriteAt(block, 8192))
	must1(file.ReadAt(block, 8192))

	must(t, f.Fail(&Rule{Pattern: "f", Kinds: Sync, Errno: syscall.EIO}))
	must1(file.WriteAt(block, 0))
	if err := file.Sync(); !errors.Is(err, syscall.EIO) {
		t.Errorf("sync: %v", err)
	}
	_, err := unix.Pwritev2(int(file.Fd()), [][]byte{block}, 0, unix.RWF_DSYNC)
	if !errors.Is(err, syscall.EIO) {
		t.Errorf("durable write: %v", err)
	}
	f.Clear()
	must(t, file.Sync())

	f.Full(100_000)
	var st syscall.Statfs_t
	must(t, syscall.Statfs(f.cfg.At, &st))
	if free := int64(st.Bavail) * st.Bsize; free > 100_000 {
		t.Errorf("%d bytes free on a disk with 100000", free)
	}
	must1(file.WriteAt(block, 0))
	if _, err := file.WriteAt(pattern(200_000, 1), 1<<20); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("write past the space: %v", err)
	}
	if err := unix.Fallocate(int(file.Fd()), 0, 0, 2<<20); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("fallocate past the space: %v", err)
	}
	f.Clear()
	must(t, unix.Fallocate(int(file.Fd()), 0, 0, 2<<20))

	must1(f.Stall("f", 300*time.Millisecond))
	began := time.Now()
	must1(file.ReadAt(block, 0))
	if took := time.Since(began); took < 250*time.Millisecond || took > 5*time.Second {
		t.Errorf("a stall of 300 ms took %v", took)
	}
	for _, r := range []*Rule{{Pattern: "[", Kinds: All}, {Pattern: "f"}} {
		if err := f.Fail(r); !errors.Is(err, ErrInvalid) {
			t.Errorf("rule %+v: %v", r, err)
		}
	}
}

// The store's own disk runs on it with direct I/O and io_uring, and keeps its promises.
func TestTheStoresDiskKeepsItsPromisesAcrossCuts(t *testing.T) {
	f := mounted(t, Config{})
	pool := must1(buf.NewPool(buf.Config{Bytes: 8 << 20}))
	defer pool.Close()
	var said bytes.Buffer
	log := slog.New(slog.NewTextHandler(&said, nil))
	const blocks = 256
	var sure [blocks]byte
	for seed := range uint64(10) {
		d := must1(disk.OpenDir(f.cfg.At, disk.Config{Arena: pool.Arena(), Logger: log}))
		if seed == 0 {
			must1(d.Create("log", blocks*disk.BlockSize))
			must(t, d.WriteFile("name", []byte("x")))
		}
		file := must1(d.Open("log"))
		p := pool.Arena()[:disk.BlockSize]
		for n := range blocks {
			must1(file.ReadAt(p, int64(n)*disk.BlockSize))
			if p[0] != sure[n] || !bytes.Equal(p, pattern(len(p), p[0])) {
				t.Fatalf("seed %d: block %d has % x, want %x", seed, n, p[:4], sure[n])
			}
		}
		writeBlocks(t, d, file, pool.Arena(), &sure, seed)
		f.Cut()
		f.Release()
		_ = d.Close()
		var err error
		f, _, err = f.Resume(seed)
		must(t, err)
	}
	if !bytes.Contains(said.Bytes(), []byte("engine=io_uring direct=true")) {
		t.Logf("the disk ran otherwise here:\n%s", said.Bytes())
	}
	must(t, f.Close())
}

// writeBlocks writes random blocks durably, by turns with plain calls, through the ring, and
// through the ring with a sync after it.
func writeBlocks(t *testing.T, d disk.Disk, file disk.File, arena []byte, sure *[256]byte,
	seed uint64,
) {
	t.Helper()
	rng := rand.New(rand.NewPCG(seed, 7))
	p := arena[:disk.BlockSize]
	for i := range 62 { // no sync follows the last two
		n, version := rng.IntN(len(sure)), byte(rng.IntN(255)+1)
		copy(p, pattern(len(p), version))
		off := int64(n) * disk.BlockSize
		switch i % 3 {
		case 0:
			must(t, file.WriteVec([][]byte{p}, off, true))
		default:
			done := make(chan struct{})
			op := &disk.Op{Kind: disk.Write, Vec: [][]byte{p}, Off: off, Durable: i%3 == 1,
				Done: func(*disk.Op) { close(done) }}
			file.Submit(op)
			d.Flush()
			<-done
			must(t, op.Err)
			if i%3 == 2 {
				must(t, file.Sync())
			}
		}
		sure[n] = version
	}
}

// TestAStoresDiskDoesNotWaitForAHungDeviceToBegin: whoever flushes is an event loop.
func TestAStoresDiskDoesNotWaitForAHungDeviceToBegin(t *testing.T) {
	f := mounted(t, Config{})
	pool := must1(buf.NewPool(buf.Config{Bytes: 8 << 20}))
	defer pool.Close()
	d := must1(disk.OpenDir(f.cfg.At, disk.Config{Arena: pool.Arena(),
		Logger: slog.New(slog.DiscardHandler)}))
	file := must1(d.Create("f", 1<<20))
	ops := []disk.Op{{Kind: disk.Read}, {Kind: disk.Write}, {Kind: disk.Write, Durable: true},
		{Kind: disk.Sync}}
	for _, flush := range []func(){d.Flush, d.FlushHere} {
		must1(f.Stall("f", time.Hour))
		done := make(chan error, len(ops))
		for i := range ops {
			op := ops[i]
			if op.Kind != disk.Sync {
				op.Vec = [][]byte{pool.Arena()[i*disk.BlockSize:][:disk.BlockSize]}
			}
			op.Done = func(op *disk.Op) { done <- op.Err }
			file.Submit(&op)
			flushed := make(chan struct{})
			go func() { flush(); close(flushed) }()
			select {
			case <-flushed:
			case <-time.After(10 * time.Second):
				t.Errorf("to begin a %v waits for the device", op.Kind)
				f.Clear() // an end with the device hung would leave this process hung
				<-flushed
			}
		}
		if n := len(done); n > 0 {
			t.Errorf("%d operations are done on a device that hangs", n)
		}
		f.Clear()
		for range ops {
			must(t, <-done)
		}
	}
	must(t, d.Close())
	must(t, f.Close())
}

func TestADiskThatLiesLosesWhatItCalledDurable(t *testing.T) {
	f := mounted(t, Config{})
	name := filepath.Join(f.cfg.At, "f")
	for seed := range uint64(20) {
		f.Lie()
		makeFile(t, name, 64<<10)
		f, _ = cycle(t, f, seed)
		got, err := os.ReadFile(name)
		if err != nil || !bytes.Equal(got, pattern(64<<10, 1)) {
			return
		}
		must(t, os.Remove(name))
	}
	t.Error("20 cuts of a disk that ignores syncs lost nothing")
}
