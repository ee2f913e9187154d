package disk

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"path"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/ashlar-storage/ashlar/io/buf"
	"github.com/ashlar-storage/ashlar/io/uring"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// kinds are the disks that must behave alike.
var kinds = []struct {
	name string
	open func(t testing.TB, arena []byte) Disk
}{
	{"uring", func(t testing.TB, arena []byte) Disk {
		return openReal(t, t.TempDir(), arena, false)
	}},
	{"workers", func(t testing.TB, arena []byte) Disk {
		return openReal(t, t.TempDir(), arena, true)
	}},
	{"device", func(t testing.TB, arena []byte) Disk {
		return openDev(t, newDevice(t, 64<<20), arena, false)
	}},
	{"device-workers", func(t testing.TB, arena []byte) Disk {
		return openDev(t, newDevice(t, 64<<20), arena, true)
	}},
	{"sim", func(testing.TB, []byte) Disk { return NewSim(SimConfig{Reorder: true}) }},
	{"watched", func(testing.TB, []byte) Disk {
		return Watch(NewSim(SimConfig{Reorder: true}))
	}},
	{"sim-inline", func(testing.TB, []byte) Disk { return NewSim(SimConfig{Inline: true}) }},
}

var quiet = slog.New(slog.DiscardHandler)

func openReal(t testing.TB, dir string, arena []byte, noURing bool) Disk {
	t.Helper()
	if err := uring.Probe(); err != nil && !noURing {
		t.Skipf("no io_uring here: %v", err)
	}
	d, err := OpenDir(dir, Config{Arena: arena, Logger: quiet, NoURing: noURing})
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// newDevice formats a file in place of a device.
func newDevice(t testing.TB, size int64) string {
	t.Helper()
	name := path.Join(t.TempDir(), "device")
	if err := errors.Join(os.WriteFile(name, nil, 0o600), os.Truncate(name, size)); err != nil {
		t.Fatal(err)
	}
	if _, _, err := FormatDevice(name, false); err != nil {
		t.Fatal(err)
	}
	return name
}

func openDev(t testing.TB, name string, arena []byte, noURing bool) Disk {
	t.Helper()
	if err := uring.Probe(); err != nil && !noURing {
		t.Skipf("no io_uring here: %v", err)
	}
	d, err := OpenDevice(name, Config{Arena: arena, Logger: quiet, NoURing: noURing})
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// env is one disk under test with a pool of aligned memory.
type env struct {
	Disk
	t    testing.TB
	pool *buf.Pool
}

func (e *env) block(n int) []byte {
	e.t.Helper()
	b, err := e.pool.Get(n * BlockSize)
	if err != nil {
		e.t.Fatal(err)
	}
	e.t.Cleanup(b.Release)
	return b.Bytes()
}

func (e *env) pattern(n int, seed byte) []byte {
	p := e.block(n)
	for i := range p {
		p[i] = seed + byte(i/512) + byte(i)
	}
	return p
}

func (e *env) create(name string, size int64) File {
	e.t.Helper()
	f, err := e.Create(name, size)
	if err != nil {
		e.t.Fatal(err)
	}
	return f
}

func (e *env) no(err error) {
	e.t.Helper()
	if err != nil {
		e.t.Fatal(err)
	}
}

func (e *env) is(err, class error) {
	e.t.Helper()
	if !errors.Is(err, class) {
		e.t.Errorf("error %v, want class %v", err, class)
	}
}

// run submits the operations, flushes, and waits for all of them.
func (e *env) run(f File, ops ...*Op) {
	var wg sync.WaitGroup
	wg.Add(len(ops))
	for _, op := range ops {
		op.Done = func(*Op) { wg.Done() }
		f.Submit(op)
	}
	e.Flush()
	wg.Wait()
}

func newEnv(t testing.TB, open func(testing.TB, []byte) Disk) *env {
	pool, err := buf.NewPool(buf.Config{Bytes: 32 << 20})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := pool.Close(); err != nil {
			t.Error(err)
		}
	})
	e := &env{Disk: open(t, pool.Arena()), t: t, pool: pool}
	t.Cleanup(func() {
		if err := e.Close(); err != nil && !errors.Is(err, ErrClosed) {
			t.Error(err)
		}
	})
	return e
}

// everywhere runs a test on every kind of disk.
func everywhere(t *testing.T, test func(*testing.T, *env)) {
	for _, k := range kinds {
		t.Run(k.name, func(t *testing.T) { test(t, newEnv(t, k.open)) })
	}
}

func TestCreatedFileReadsAsZeroes(t *testing.T) {
	everywhere(t, func(t *testing.T, e *env) {
		const size = 2<<20 + BlockSize
		f := e.create("a", size)
		if f.Name() != "a" || f.Size() != size {
			t.Errorf("name %q, size %d", f.Name(), f.Size())
		}
		p := e.pattern(1, 1)
		for _, off := range []int64{0, 1 << 20, size - BlockSize} {
			n, err := f.ReadAt(p, off)
			e.no(err)
			if n != BlockSize || !bytes.Equal(p, make([]byte, BlockSize)) {
				t.Errorf("block at %d is not zero", off)
			}
		}
	})
}

func TestWrittenBlocksReadBack(t *testing.T) {
	everywhere(t, func(t *testing.T, e *env) {
		f := e.create("a", 1<<20)
		whole := e.pattern(8, 3)
		far := e.pattern(2, 99)
		// Adjoining slices, then one from elsewhere.
		vec := [][]byte{whole[:BlockSize], whole[BlockSize:], far}
		for i, durable := range []bool{false, true} {
			off := int64(i * 64 * BlockSize)
			e.no(f.WriteVec(vec, off, durable))
			got := e.block(10)
			_, err := f.ReadAt(got, off)
			e.no(err)
			if !bytes.Equal(got[:len(whole)], whole) || !bytes.Equal(got[len(whole):], far) {
				t.Errorf("durable=%v: other bytes came back", durable)
			}
		}
		e.no(f.Sync())
		e.no(f.Close())
		again, err := e.Open("a")
		e.no(err)
		got := e.block(8)
		_, err = again.ReadAt(got, 0)
		e.no(err)
		if !bytes.Equal(got, whole) {
			t.Error("other bytes after opening again")
		}
	})
}

func TestNamesAreTakenFreedAndListed(t *testing.T) {
	everywhere(t, func(t *testing.T, e *env) {
		e.no(e.MkdirAll("x/y"))
		e.no(e.MkdirAll("x/y"))
		for _, name := range []string{"x/b", "x/a", "c"} {
			e.no(e.create(name, BlockSize).Close())
		}
		_, err := e.Create("c", BlockSize)
		e.is(err, ErrExists)
		_, err = e.Create("missing/c", BlockSize)
		e.is(err, ErrNotExist)
		_, err = e.Open("missing")
		e.is(err, ErrNotExist)
		e.is(e.Remove("missing"), ErrNotExist)
		e.is(e.Rename("missing", "d"), ErrNotExist)
		e.is(e.MkdirAll("c/d"), ErrExists)
		_, err = e.List("missing")
		e.is(err, ErrNotExist)
		e.list("x", "a", "b", "y")
		e.no(e.Rename("x/a", "x/y/a"))
		e.no(e.Remove("x/b"))
		e.list("x", "y")
		e.list("x/y", "a")
		e.list("", "c", "x")
		e.list(".", "c", "x")
	})
}

func (e *env) list(dir string, want ...string) {
	e.t.Helper()
	got, err := e.List(dir)
	e.no(err)
	if !slices.Equal(got, want) {
		e.t.Errorf("List(%q) = %q, want %q", dir, got, want)
	}
}

func TestRenameReplacesTheTarget(t *testing.T) {
	everywhere(t, func(t *testing.T, e *env) {
		a, b := e.create("a", BlockSize), e.create("b", 2*BlockSize)
		e.no(a.WriteVec([][]byte{e.pattern(1, 7)}, 0, true))
		e.no(e.Rename("a", "b"))
		e.list("", "b")
		f, err := e.Open("b")
		e.no(err)
		got := e.block(1)
		_, err = f.ReadAt(got, 0)
		e.no(err)
		if f.Size() != BlockSize || !bytes.Equal(got, e.pattern(1, 7)) {
			t.Error("the target is not the renamed file")
		}
		_, err = b.ReadAt(got, BlockSize)
		e.no(err) // an open handle outlives its name
	})
}

func TestSmallFilesAreReplacedWhole(t *testing.T) {
	everywhere(t, func(t *testing.T, e *env) {
		_, err := e.ReadFile("meta")
		e.is(err, ErrNotExist)
		for _, data := range []string{"first", "", string(make([]byte, 10000)) + "x", "last"} {
			e.no(e.WriteFile("meta", []byte(data)))
			got, err := e.ReadFile("meta")
			e.no(err)
			if string(got) != data {
				t.Errorf("%d bytes came back of %d", len(got), len(data))
			}
		}
		e.list("", "meta")
		e.is(e.WriteFile("missing/meta", nil), ErrNotExist)
	})
}

func TestBadNamesAreRejected(t *testing.T) {
	everywhere(t, func(t *testing.T, e *env) {
		long := string(bytes.Repeat([]byte("n"), MaxName+1))
		for _, name := range []string{
			"", "/", "/a", "..", "../a", "a/../b", "a//b", "a/", "./a", ".hidden", "a/.b",
			"LOCK", "a\x00b", long,
		} {
			_, err := e.Create(name, BlockSize)
			e.is(err, ErrInvalid)
			_, err = e.Open(name)
			e.is(err, ErrInvalid)
			_, err = e.ReadFile(name)
			e.is(err, ErrInvalid)
			e.is(e.WriteFile(name, nil), ErrInvalid)
			e.is(e.Remove(name), ErrInvalid)
			e.is(e.Rename(name, "ok"), ErrInvalid)
			e.is(e.Rename("ok", name), ErrInvalid)
		}
		for _, size := range []int64{-BlockSize, 0, 1, BlockSize + 512} {
			_, err := e.Create("a", size)
			e.is(err, ErrInvalid)
		}
		e.is(e.MkdirAll("../up"), ErrInvalid)
		_, err := e.List("/")
		e.is(err, ErrInvalid)
		e.list("")
	})
}

func TestMisalignedOrOutsideIOIsRejected(t *testing.T) {
	everywhere(t, func(t *testing.T, e *env) {
		f := e.create("a", 8*BlockSize)
		p := e.block(4)
		many := make([][]byte, MaxVec+1)
		for i := range many {
			many[i] = p[:BlockSize]
		}
		for _, c := range []struct {
			why string
			vec [][]byte
			off int64
		}{
			{"no slices", nil, 0},
			{"empty slice", [][]byte{p[:0]}, 0},
			{"part of a block", [][]byte{p[:BlockSize-1]}, 0},
			{"address", [][]byte{p[512 : 512+BlockSize]}, 0},
			{"offset", [][]byte{p}, 512},
			{"negative offset", [][]byte{p}, -BlockSize},
			{"past the end", [][]byte{p}, 6 * BlockSize},
			{"too many slices", many, 0},
		} {
			e.is(f.WriteVec(c.vec, c.off, false), ErrInvalid)
			write := &Op{Kind: Write, Vec: c.vec, Off: c.off}
			read := &Op{Kind: Read, Vec: c.vec, Off: c.off}
			e.run(f, write, read, &Op{Kind: Sync})
			if !errors.Is(write.Err, ErrInvalid) || !errors.Is(read.Err, ErrInvalid) {
				t.Errorf("%s: write %v, read %v", c.why, write.Err, read.Err)
			}
		}
		_, err := f.ReadAt(p, 6*BlockSize)
		e.is(err, io.ErrUnexpectedEOF)
		odd := &Op{Kind: 77}
		e.run(f, odd)
		e.is(odd.Err, ErrInvalid)
	})
}

func TestSubmittedOperationsRunAtFlush(t *testing.T) {
	everywhere(t, func(t *testing.T, e *env) {
		f := e.create("a", 1<<20)
		var done atomic.Int32
		w := &Op{
			Kind: Write, Vec: [][]byte{e.pattern(2, 5), e.pattern(1, 6)}, Off: 8192, Durable: true,
			Tag: 42, Done: func(*Op) { done.Add(1) },
		}
		f.Submit(w)
		runtime.Gosched()
		if done.Load() != 0 {
			t.Fatal("Done before Flush")
		}
		e.run(f, &Op{Kind: Sync})
		for done.Load() == 0 {
			runtime.Gosched()
		}
		if w.N != 3*BlockSize || w.Err != nil || w.File != f || w.Tag != 42 {
			t.Errorf("write ended with %d bytes, %v", w.N, w.Err)
		}
		r := &Op{Kind: Read, Vec: [][]byte{e.block(1), e.block(2)}, Off: 8192}
		e.run(f, r)
		if r.N != 3*BlockSize || r.Err != nil {
			t.Errorf("read ended with %d bytes, %v", r.N, r.Err)
		}
		got := append(bytes.Clone(r.Vec[0]), r.Vec[1]...)
		want := append(bytes.Clone(w.Vec[0]), w.Vec[1]...)
		if !bytes.Equal(got, want) {
			t.Error("other bytes came back")
		}
	})
}

func TestMoreOperationsThanTheQueuesHoldAllComplete(t *testing.T) {
	everywhere(t, func(t *testing.T, e *env) {
		const blocks, count = 64, maxInflight*2 + 77
		f := e.create("a", blocks*BlockSize)
		src := e.pattern(blocks, 0)
		e.no(f.WriteVec([][]byte{src}, 0, false))
		dst := e.block(blocks)
		ops := make([]*Op, count)
		calls := make([]atomic.Int32, count)
		var wg sync.WaitGroup
		wg.Add(count)
		for i := range ops {
			at := i % blocks * BlockSize
			ops[i] = &Op{
				Kind: Read, Vec: [][]byte{dst[at : at+BlockSize]}, Off: int64(at), Tag: uint64(i),
				Done: func(op *Op) { calls[op.Tag].Add(1); wg.Done() },
			}
			f.Submit(ops[i])
		}
		e.Flush()
		wg.Wait()
		for i, op := range ops {
			if op.Err != nil || op.N != BlockSize || calls[i].Load() != 1 {
				t.Fatalf("read %d: %d bytes, %v, Done %d times", i, op.N, op.Err, calls[i].Load())
			}
		}
		if !bytes.Equal(dst, src) {
			t.Error("other bytes came back")
		}
	})
}

func TestDoneMaySubmitAndFlush(t *testing.T) {
	everywhere(t, func(t *testing.T, e *env) {
		f := e.create("a", 64*BlockSize)
		finished := make(chan struct{})
		op := &Op{Kind: Write, Vec: [][]byte{e.pattern(1, 1)}}
		left := 200
		op.Done = func(op *Op) {
			if left--; left == 0 || op.Err != nil {
				close(finished)
				return
			}
			op.Off = int64(left%64) * BlockSize
			f.Submit(op)
			e.Flush()
		}
		f.Submit(op)
		e.Flush()
		<-finished
		e.no(op.Err)
		if left != 0 {
			t.Errorf("%d operations left", left)
		}
	})
}

func TestConcurrentSubmittersGetTheirOwnBytes(t *testing.T) {
	everywhere(t, func(t *testing.T, e *env) {
		const each, rounds = 16, 60
		var wg sync.WaitGroup
		f := e.create("a", 8*each*BlockSize)
		for g := range 8 {
			mem, err := e.pool.Get(2 * BlockSize)
			e.no(err)
			wg.Go(func() {
				defer mem.Release()
				e.submitter(f, g, each, rounds, mem.Bytes())
			})
		}
		wg.Wait()
	})
}

// submitter overwrites and reads back blocks that only it uses.
func (e *env) submitter(f File, g, each, rounds int, mem []byte) {
	rng := rand.New(rand.NewPCG(9, uint64(g)))
	done := make(chan struct{}, 1)
	w, r := mem[:BlockSize], mem[BlockSize:]
	op := &Op{Done: func(*Op) { done <- struct{}{} }}
	for i := range rounds {
		off := int64(g*each+rng.IntN(each)) * BlockSize
		copy(w, fmt.Sprintf("%d/%d", g, i))
		op.Kind, op.Vec, op.Off = Write, [][]byte{w}, off
		op.Durable = rng.IntN(8) == 0
		for _, kind := range []Kind{Write, Read} {
			if op.Kind = kind; kind == Read {
				op.Vec = [][]byte{r}
			}
			f.Submit(op)
			e.Flush()
			<-done
			if op.Err != nil {
				e.t.Error(op.Err)
				return
			}
		}
		if !bytes.Equal(w, r) {
			e.t.Errorf("submitter %d read what another wrote", g)
			return
		}
	}
}

func TestCloseWaitsForWhatWasSubmitted(t *testing.T) {
	everywhere(t, func(t *testing.T, e *env) {
		for _, closer := range []string{"file", "disk"} {
			f := e.create(closer, 64*BlockSize)
			p := e.pattern(1, 1)
			var done atomic.Int32
			for i := range 64 {
				f.Submit(&Op{
					Kind: Write, Vec: [][]byte{p}, Off: int64(i) * BlockSize,
					Done: func(op *Op) {
						if op.Err == nil {
							done.Add(1)
						}
					},
				})
			}
			if closer == "file" {
				e.no(f.Close())
			} else {
				e.no(e.Close())
			}
			if done.Load() != 64 {
				t.Errorf("%s closed with %d of 64 operations done", closer, done.Load())
			}
		}
	})
}

func TestClosedFileAndDiskRefuse(t *testing.T) {
	everywhere(t, func(t *testing.T, e *env) {
		f, p := e.create("a", BlockSize), e.block(1)
		g := e.create("b", BlockSize)
		refused := func(f File) {
			t.Helper()
			_, err := f.ReadAt(p, 0)
			e.is(err, ErrClosed)
			e.is(f.WriteVec([][]byte{p}, 0, true), ErrClosed)
			e.is(f.Sync(), ErrClosed)
			op := &Op{Kind: Read, Vec: [][]byte{p}}
			e.run(f, op)
			e.is(op.Err, ErrClosed)
		}
		e.no(f.Close())
		e.is(f.Close(), ErrClosed)
		refused(f)
		e.no(e.Close())
		refused(g)
		e.is(e.Close(), ErrClosed)
		_, err := e.Open("a")
		e.is(err, ErrClosed)
		_, err = e.Create("c", BlockSize)
		e.is(err, ErrClosed)
		_, err = e.List("")
		e.is(err, ErrClosed)
		e.is(e.Remove("a"), ErrClosed)
		e.is(e.Rename("a", "b"), ErrClosed)
		e.is(e.WriteFile("a", nil), ErrClosed)
		e.is(e.MkdirAll("a"), ErrClosed)
	})
}

func TestStatsCountDeviceOperations(t *testing.T) {
	everywhere(t, func(t *testing.T, e *env) {
		f, p := e.create("a", 4*BlockSize), e.block(2)
		before := e.Stats()
		e.no(f.WriteVec([][]byte{p}, 0, false))
		e.no(f.WriteVec([][]byte{p}, 0, true))
		_, err := f.ReadAt(p, 0)
		e.no(err)
		e.no(f.Sync())
		e.run(f, &Op{Kind: Read, Vec: [][]byte{p}}, &Op{Kind: Sync})
		s := e.Stats()
		got := Stats{
			Reads: s.Reads - before.Reads, Writes: s.Writes - before.Writes,
			DurableWrites: s.DurableWrites - before.DurableWrites, Syncs: s.Syncs - before.Syncs,
			ReadBytes:  s.ReadBytes - before.ReadBytes,
			WriteBytes: s.WriteBytes - before.WriteBytes,
			Submits:    s.Submits - before.Submits, Submitted: s.Submitted - before.Submitted,
			Errors: s.Errors - before.Errors,
		}
		want := Stats{
			Reads: 2, Writes: 1, DurableWrites: 1, Syncs: 2, ReadBytes: 4 * BlockSize,
			WriteBytes: 4 * BlockSize, Submits: 1, Submitted: 2,
		}
		if got != want {
			t.Errorf("counted %+v, want %+v", got, want)
		}
	})
}

func TestSpaceIsReported(t *testing.T) {
	everywhere(t, func(t *testing.T, e *env) {
		total, free, err := e.Space()
		e.no(err)
		if free <= 0 || total < free {
			t.Errorf("%d of %d bytes free", free, total)
		}
	})
}

func TestMemoryOutsideTheArenaWorks(t *testing.T) {
	everywhere(t, func(t *testing.T, e *env) {
		other, err := buf.NewPool(buf.Config{Bytes: 1})
		e.no(err)
		b, err := other.Get(4 * BlockSize)
		e.no(err)
		f, p := e.create("a", 16*BlockSize), b.Bytes()
		copy(p, "outside")
		w := &Op{Kind: Write, Vec: [][]byte{p}}
		mixed := &Op{
			Kind: Write, Vec: [][]byte{e.pattern(1, 1), p[:BlockSize]}, Off: 4 * BlockSize,
		}
		e.run(f, w, mixed)
		e.no(w.Err)
		e.no(mixed.Err)
		clear(p)
		r := &Op{Kind: Read, Vec: [][]byte{p[BlockSize:], p[:BlockSize]}, Off: 2 * BlockSize}
		e.run(f, r)
		e.no(r.Err)
		one := &Op{Kind: Read, Vec: [][]byte{p[:BlockSize]}, Off: 5 * BlockSize}
		e.run(f, one)
		if !bytes.HasPrefix(p, []byte("outside")) {
			t.Error("other bytes came back")
		}
		b.Release()
		e.no(other.Close())
	})
}

func TestSteadySubmitsAllocateNothing(t *testing.T) {
	for _, k := range kinds[:4] {
		t.Run(k.name, func(t *testing.T) {
			e := newEnv(t, k.open)
			f := e.create("a", 64*BlockSize)
			done := make(chan struct{}, 2)
			vec := [][]byte{e.block(1), e.block(1)}
			ops := []*Op{{Kind: Write, Durable: true}, {Kind: Read, Off: 8 * BlockSize}}
			for _, op := range ops {
				op.Vec = vec
				op.Done = func(*Op) { done <- struct{}{} }
			}
			cycle := func() {
				for _, op := range ops {
					f.Submit(op)
				}
				e.Flush()
				<-done
				<-done
				e.no(f.WriteVec(vec, 0, false))
				_, err := f.ReadAt(vec[0], 0)
				e.no(err)
			}
			for range 50 {
				cycle()
			}
			if n := testing.AllocsPerRun(200, cycle); n != 0 && !raceEnabled {
				t.Errorf("%v allocations per cycle, want none", n)
			}
		})
	}
}

func scratch(t testing.TB, names ...string) string {
	dir := t.TempDir()
	for _, name := range names {
		p := path.Join(dir, name)
		if err := os.MkdirAll(path.Dir(p), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p, []byte("left over"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}
