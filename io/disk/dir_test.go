package disk

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/ashlar-storage/ashlar/io/uring"
	"golang.org/x/sys/unix"
)

func TestSecondOwnerOfADirectoryIsRefused(t *testing.T) {
	dir := t.TempDir()
	d := openReal(t, dir, nil, true)
	_, err := OpenDir(dir, Config{Logger: quiet})
	if !errors.Is(err, ErrLocked) ||
		!strings.Contains(err.Error(), fmt.Sprintf("process %d", os.Getpid())) {
		t.Errorf("second OpenDir: %v, want ErrLocked naming the process", err)
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	if err := openReal(t, dir, nil, true).Close(); err != nil {
		t.Fatal(err)
	}
}

func TestOpenDirNeedsADirectory(t *testing.T) {
	dir := scratch(t, "file")
	if _, err := OpenDir(filepath.Join(dir, "file"), Config{}); !errors.Is(err, ErrInvalid) {
		t.Errorf("a file: %v", err)
	}
	if _, err := OpenDir(filepath.Join(dir, "none"), Config{}); !errors.Is(err, ErrNotExist) {
		t.Errorf("a missing directory: %v", err)
	}
}

func TestHalfMadeFilesAreRemovedAndNeverListed(t *testing.T) {
	dir := scratch(t, ".tmp-a", "x/.tmp7-b", "x/.tmp-c", "x/kept")
	d := openReal(t, dir, nil, true)
	defer d.Close()
	for _, name := range []string{".tmp-a", "x/.tmp7-b", "x/.tmp-c", ".tmpdirect"} {
		if _, err := os.Lstat(filepath.Join(dir, name)); !os.IsNotExist(err) {
			t.Errorf("%s is still there (%v)", name, err)
		}
	}
	scratchInto(t, dir, ".tmp-d")
	e := &env{Disk: d, t: t}
	e.list("", "x")
	e.list("x", "kept")
}

func scratchInto(t *testing.T, dir, name string) {
	if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestContentSurvivesReopening(t *testing.T) {
	for _, second := range []bool{false, true} {
		dir := t.TempDir()
		e := newEnv(t, func(t testing.TB, arena []byte) Disk {
			return openReal(t, dir, arena, !second)
		})
		f := e.create("a", 4*BlockSize)
		p := e.pattern(4, 9)
		e.no(f.WriteVec([][]byte{p}, 0, true))
		e.no(e.Close())
		e.Disk = openReal(t, dir, nil, second)
		g, err := e.Open("a")
		e.no(err)
		got := e.block(4)
		op := &Op{Kind: Read, Vec: [][]byte{got}}
		e.run(g, op)
		e.no(op.Err)
		if !bytes.Equal(got, p) {
			t.Error("other bytes after reopening")
		}
	}
}

func TestFullDeviceLeavesNoPartOfAFile(t *testing.T) {
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=2m"); err != nil {
		t.Skipf("needs to mount a small file system: %v", err)
	}
	defer unix.Unmount(dir, unix.MNT_DETACH)
	for _, noURing := range []bool{false, true} {
		d := openReal(t, dir, nil, noURing)
		e := &env{Disk: d, t: t}
		_, err := d.Create("big", 8<<20)
		e.is(err, ErrNoSpace)
		e.is(d.WriteFile("big", make([]byte, 8<<20)), ErrNoSpace)
		e.list("")
		f, err := d.Create("small", 1<<20)
		e.no(err)
		e.no(f.Close())
		e.no(d.Remove("small"))
		left, err := os.ReadDir(dir)
		e.no(err)
		if len(left) != 1 || left[0].Name() != lockName {
			t.Errorf("left behind: %v", left)
		}
		e.no(d.Close())
	}
}

func TestReasonForWorkersIsLoggedOnce(t *testing.T) {
	if err := uring.Probe(); err != nil {
		t.Skipf("no io_uring here: %v", err)
	}
	for _, c := range []struct {
		cfg  Config
		want string
	}{
		{Config{NoURing: true}, "io_uring not used: the configuration says so"},
		{Config{refuse: errors.New("policy forbids")}, "policy forbids"},
	} {
		var log bytes.Buffer
		c.cfg.Logger = slog.New(slog.NewTextHandler(&log, nil))
		d, err := OpenDir(t.TempDir(), c.cfg)
		if err != nil {
			t.Fatal(err)
		}
		if n := strings.Count(log.String(), c.want); n != 1 {
			t.Errorf("%q is logged %d times in:\n%s", c.want, n, log.String())
		}
		if _, ok := d.(*dirDisk).engine.(*workers); !ok {
			t.Error("the engine is not the workers")
		}
		if err := d.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestDirectoryThatCannotBeWrittenIsNamed(t *testing.T) {
	const dir = "/proc/self/fd"
	_, err := OpenDir(dir, Config{Logger: quiet})
	if err == nil || !strings.Contains(err.Error(), dir) {
		t.Errorf("OpenDir: %v", err)
	}
}

func TestOnlyOneOfConcurrentCreatesSucceeds(t *testing.T) {
	e := newEnv(t, kinds[0].open)
	var made atomic.Int32
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			_, err := e.Create("a", 1<<20)
			switch {
			case err == nil:
				made.Add(1)
			case !errors.Is(err, ErrExists):
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if made.Load() != 1 {
		t.Errorf("%d creations succeeded", made.Load())
	}
}

// tiny opens a disk whose ring has room for very little.
func tiny(t *testing.T, waiting int) (*env, *ringEngine) {
	if err := uring.Probe(); err != nil {
		t.Skipf("no io_uring here: %v", err)
	}
	e := newEnv(t, func(t testing.TB, arena []byte) Disk {
		d, err := OpenDir(t.TempDir(), Config{
			Arena: arena, Logger: quiet, limits: ringLimits{entries: 8, waiting: waiting},
		})
		if err != nil {
			t.Fatal(err)
		}
		return d
	})
	return e, e.Disk.(*dirDisk).engine.(*ringEngine)
}

func TestTinyRingServesManySubmitters(t *testing.T) {
	e, _ := tiny(t, maxWaiting)
	const each = 8
	var wg sync.WaitGroup
	f := e.create("a", 32*each*BlockSize)
	for g := range 32 {
		mem, err := e.pool.Get(2 * BlockSize)
		e.no(err)
		wg.Go(func() {
			defer mem.Release()
			e.submitter(f, g, each, 40, mem.Bytes())
		})
	}
	wg.Wait()
}

func TestSubmitBeyondTheWaitingListIsOverloaded(t *testing.T) {
	e, engine := tiny(t, 4)
	f := e.create("a", BlockSize)
	p := e.block(1)
	entered, release := make(chan bool), make(chan bool)
	var wg sync.WaitGroup
	first := &Op{Kind: Read, Vec: [][]byte{p}, Done: func(*Op) { entered <- true; <-release }}
	f.Submit(first)
	e.Flush()
	<-entered // the harvester is held up, so nothing frees a slot
	ops := make([]*Op, len(engine.slots)+4+3)
	wg.Add(len(ops))
	for i := range ops {
		ops[i] = &Op{Kind: Read, Vec: [][]byte{p}, Done: func(*Op) { wg.Done() }}
		f.Submit(ops[i])
	}
	e.Flush()
	close(release)
	wg.Wait()
	for i, op := range ops {
		if overloaded := i >= len(engine.slots)+4; overloaded != (op.Err != nil) {
			t.Errorf("operation %d of %d ended with %v", i, len(ops), op.Err)
		} else if overloaded {
			e.is(op.Err, ErrOverloaded)
		}
	}
}

func TestOperationsSurviveARingThatRefusesThem(t *testing.T) {
	for _, c := range []struct {
		name  string
		err   error
		times int
	}{
		{"short of memory for a while", unix.EAGAIN, 7},
		{"short of memory for long", unix.EAGAIN, 10 * sendRetries},
		{"broken", unix.EBADR, 1 << 30},
	} {
		t.Run(c.name, func(t *testing.T) {
			e, engine := tiny(t, maxWaiting)
			f := e.create("a", 64*BlockSize)
			submit := engine.enter
			left := c.times
			engine.mu.Lock()
			engine.enter = func() (int, error) {
				if left--; left >= 0 {
					return 0, c.err
				}
				return submit()
			}
			engine.mu.Unlock()
			src, dst := e.pattern(64, 4), e.block(64)
			for _, kind := range []Kind{Write, Sync, Read} {
				var ops []*Op
				for i := range 64 {
					op := &Op{Kind: kind, Off: int64(i) * BlockSize, Durable: i%8 == 0}
					op.Vec = [][]byte{src[op.Off : op.Off+BlockSize]}
					if kind == Read {
						op.Vec = [][]byte{dst[op.Off : op.Off+BlockSize]}
					}
					ops = append(ops, op)
				}
				e.run(f, ops...)
				for _, op := range ops {
					e.no(op.Err)
				}
			}
			if !bytes.Equal(src, dst) {
				t.Error("other bytes came back")
			}
		})
	}
}

func TestDeviceErrorNamesFileAndOffset(t *testing.T) {
	for _, noURing := range []bool{false, true} {
		dir := t.TempDir()
		d := openReal(t, dir, nil, noURing)
		e := newEnv(t, func(testing.TB, []byte) Disk { return d })
		f := e.create("victim", 4*BlockSize)
		// Behind the disk's back the file shrinks: reads come up short.
		e.no(os.Truncate(filepath.Join(dir, "victim"), 2*BlockSize))
		p := e.block(2)
		n, err := f.ReadAt(p, BlockSize)
		e.is(err, ErrIO)
		if n != BlockSize || !strings.Contains(err.Error(), "victim at offset 4096") {
			t.Errorf("short read of %d bytes: %v", n, err)
		}
		op := &Op{Kind: Read, Vec: [][]byte{p}, Off: BlockSize}
		e.run(f, op)
		e.is(op.Err, ErrIO)
		if op.N != BlockSize {
			t.Errorf("short read of %d bytes", op.N)
		}
		// A descriptor that cannot be written gives the kernel's error.
		ro, err := unix.Open(filepath.Join(dir, "victim"), unix.O_RDONLY, 0)
		e.no(err)
		g := d.(*dirDisk).newFile(ro, "victim", fileIdentity{size: 2 * BlockSize})
		op = &Op{Kind: Write, Vec: [][]byte{p}}
		e.run(g, op)
		e.is(op.Err, unix.EBADF)
		e.is(g.WriteVec(op.Vec, 0, true), unix.EBADF)
		if got := e.Stats().Errors; got != 4 {
			t.Errorf("%d errors counted, want 4", got)
		}
	}
}

// A name that is only in the kernel's cache is lost with the power, and what it names with it.
func TestEveryChangeOfADirectoryIsSynced(t *testing.T) {
	d, err := OpenDir(t.TempDir(), Config{NoURing: true})
	if err != nil {
		t.Fatal(err)
	}
	e := &env{Disk: d, t: t}
	defer func() { e.no(d.Close()) }()
	e.no(e.MkdirAll("x"))
	for _, c := range []struct {
		what   string
		change func()
		syncs  uint64
	}{
		{"create: the file and its directory", func() { e.create("a", BlockSize) }, 2},
		{"rename within a directory", func() { e.no(e.Rename("a", "b")) }, 1},
		{"rename into another directory: both", func() { e.no(e.Rename("b", "x/b")) }, 2},
		{"remove", func() { e.no(e.Remove("x/b")) }, 1},
	} {
		before := e.Stats().Syncs
		c.change()
		if got := uint64(e.Stats().Syncs - before); got != c.syncs {
			t.Errorf("%s: %d syncs, want %d", c.what, got, c.syncs)
		}
	}
}
