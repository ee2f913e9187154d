package uring

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
)

func newRing(t testing.TB, cfg Config) *Ring {
	t.Helper()
	r, err := Setup(cfg)
	if errors.Is(err, ErrUnsupported) {
		t.Skipf("no io_uring here: %v", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	})
	return r
}

func newArena(t testing.TB, n int) []byte {
	t.Helper()
	p, err := unix.Mmap(-1, 0, n, unix.PROT_READ|unix.PROT_WRITE,
		unix.MAP_PRIVATE|unix.MAP_ANON)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Munmap(p) })
	return p
}

func newFile(t testing.TB, size int64) int {
	t.Helper()
	f, err := os.Create(filepath.Join(t.TempDir(), "file"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	if err := f.Truncate(size); err != nil {
		t.Fatal(err)
	}
	return int(f.Fd())
}

// finish submits what is queued and returns the results by user data.
func finish(t testing.TB, r *Ring) map[uint64]int32 {
	t.Helper()
	want, results := r.Queued(), map[uint64]int32{}
	if n, err := r.Submit(); n != want || err != nil {
		t.Fatalf("Submit took %d of %d: %v", n, want, err)
	}
	var cqes [4]CQE
	for len(results) < want {
		n := r.Reap(cqes[:])
		for _, c := range cqes[:n] {
			results[c.UserData] = c.Res
		}
		if n == 0 {
			if err := r.Wait(); err != nil {
				t.Fatal(err)
			}
		}
	}
	return results
}

func next(t testing.TB, r *Ring, user uint64) *SQE {
	t.Helper()
	e := r.Next()
	if e == nil {
		t.Fatal("the queue is full")
		return nil
	}
	e.UserData = user
	return e
}

func TestEveryWriteOperationIsReadBackByEveryReadOperation(t *testing.T) {
	r := newRing(t, Config{Entries: 8})
	arena := newArena(t, 1<<20)
	if err := r.RegisterArena(arena); err != nil {
		t.Fatal(err)
	}
	fd := newFile(t, 1<<20)
	iov := func(at int) []unix.Iovec {
		return []unix.Iovec{Vec(arena[at : at+100]), Vec(arena[at+200 : at+300])}
	}
	one := func(at int) unix.Iovec { return Vec(arena[at : at+300]) }
	writes := map[string]func(e *SQE){
		"write":  func(e *SQE) { e.Write(fd, one(0), 4096, 0) },
		"fixed":  func(e *SQE) { e.WriteFixed(fd, one(0), 4096, unix.RWF_DSYNC, 0) },
		"vector": func(e *SQE) { e.Writev(fd, iov(0), 4096, unix.RWF_DSYNC) },
	}
	reads := map[string]func(e *SQE){
		"read":   func(e *SQE) { e.Read(fd, one(8192), 4096) },
		"fixed":  func(e *SQE) { e.ReadFixed(fd, one(8192), 4096, 0) },
		"vector": func(e *SQE) { e.Readv(fd, iov(8192), 4096) },
	}
	if r.Supports(OpReadvFixed) && r.Supports(OpWritevFixed) {
		writes["fixed vector"] = func(e *SQE) { e.WritevFixed(fd, iov(0), 4096, 0, 0) }
		reads["fixed vector"] = func(e *SQE) { e.ReadvFixed(fd, iov(8192), 4096, 0) }
	}
	for wname, write := range writes {
		for rname, read := range reads {
			for i := range 300 {
				arena[i] = byte(i) + wname[0] + rname[0]
			}
			clear(arena[8192:9000])
			write(next(t, r, 1))
			n := finish(t, r)[1]
			next(t, r, 2).Datasync(fd)
			if res := finish(t, r)[2]; res != 0 {
				t.Fatalf("sync: %d", res)
			}
			read(next(t, r, 3))
			m := finish(t, r)[3]
			got := bytes.Clone(arena[8192:8292])
			if n < 200 || m < 200 || !bytes.Equal(got, arena[:100]) {
				t.Errorf("%s, %s: wrote %d, read %d, other bytes", wname, rname, n, m)
			}
		}
	}
}

func TestQueueIsBoundedAndReusable(t *testing.T) {
	r := newRing(t, Config{Entries: 4})
	for round := range 100 {
		for i := range 4 {
			next(t, r, uint64(i)).Nop()
		}
		if r.Next() != nil {
			t.Fatal("a fifth entry in a queue of four")
		}
		if got := finish(t, r); len(got) != 4 {
			t.Fatalf("round %d: %d completions", round, len(got))
		}
	}
	if r.CQ() != 8 {
		t.Errorf("room for %d completions, want twice the entries", r.CQ())
	}
}

func TestDiscardTakesBackWhatWasNotSent(t *testing.T) {
	r := newRing(t, Config{Entries: 4})
	next(t, r, 1).Nop()
	r.Discard()
	if r.Queued() != 0 {
		t.Errorf("%d entries queued after Discard", r.Queued())
	}
	next(t, r, 2).Nop()
	if got := finish(t, r); len(got) != 1 || got[2] != 0 {
		t.Errorf("completions %v, want that of entry 2", got)
	}
}

func TestFailedOperationsReportTheErrno(t *testing.T) {
	r := newRing(t, Config{Entries: 4})
	p := newArena(t, 4096)
	next(t, r, 1).Read(-1, Vec(p), 0)
	next(t, r, 2).Nop()
	next(t, r, 3).ReadFixed(newFile(t, 4096), Vec(p), 0, 9) // no such buffer
	got := finish(t, r)
	if got[1] != -int32(unix.EBADF) || got[2] != 0 || got[3] != -int32(unix.EFAULT) {
		t.Errorf("results %v", got)
	}
}

func TestFixedFindsTheRegisteredBuffer(t *testing.T) {
	r := &Ring{arena: 1 << 40, size: 3 * maxBuffer / 2}
	for _, c := range []struct {
		off, n uintptr
		index  uint16
		ok     bool
	}{
		{0, 4096, 0, true},
		{maxBuffer - 4096, 4096, 0, true},
		{maxBuffer - 4096, 8192, 0, false}, // in two buffers
		{maxBuffer, 4096, 1, true},
		{r.size - 4096, 4096, 1, true},
		{r.size - 4096, 4097, 0, false},
		{r.size, 1, 0, false},
		{^uintptr(0), 1, 0, false}, // the byte before the arena
	} {
		index, ok := r.fixedAt(r.arena+c.off, c.n)
		if index != c.index || ok != c.ok {
			t.Errorf("%d bytes at %d: buffer %d, %v", c.n, c.off, index, ok)
		}
	}
	if _, ok := r.Fixed([]unix.Iovec{Vec(make([]byte, 10))}); ok {
		t.Error("memory outside the arena is taken for registered")
	}
	if _, ok := r.Fixed(nil); ok {
		t.Error("no memory is taken for registered")
	}
}

func TestWaitingDoesNotBlockSubmitters(t *testing.T) {
	for _, coop := range []bool{false, true} {
		r := newRing(t, Config{Entries: 8, Coop: coop})
		const each, submitters = 500, 4
		var mu sync.Mutex
		var wg sync.WaitGroup
		room := make(chan struct{}, r.CQ())
		for range submitters {
			wg.Go(func() {
				for range each {
					room <- struct{}{}
					mu.Lock()
					r.Next().Nop()
					_, err := r.Submit()
					mu.Unlock()
					if err != nil {
						t.Error(err)
						return
					}
				}
			})
		}
		var cqes [8]CQE
		for got := 0; got < each*submitters; {
			n := r.Reap(cqes[:])
			for range n {
				<-room
			}
			if got += n; n == 0 {
				if err := r.Wait(); err != nil {
					t.Fatal(err)
				}
			}
		}
		wg.Wait()
	}
}

func TestRefusalSaysWhy(t *testing.T) {
	_, err := Setup(Config{Entries: 0})
	if !errors.Is(err, ErrUnsupported) || !errors.Is(err, unix.EINVAL) {
		t.Errorf("a ring of no entries: %v", err)
	}
	for errno, want := range map[unix.Errno]string{
		unix.EPERM: "io_uring_disabled", unix.ENOSYS: "without io_uring", unix.ENOMEM: "memlock",
	} {
		if got := refusal(errno); !strings.Contains(got, want) {
			t.Errorf("%v: %q does not mention %q", errno, got, want)
		}
	}
	if err := Probe(); err != nil && !errors.Is(err, ErrUnsupported) {
		t.Errorf("Probe: %v", err)
	}
	r := newRing(t, Config{Entries: 4})
	if err := r.RegisterArena(nil); err == nil {
		t.Error("an empty arena was registered")
	}
}
