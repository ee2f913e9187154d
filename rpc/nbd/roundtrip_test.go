package nbd

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// variants are the ways to talk to the same export; all must give the same bytes.
func variants(t *testing.T, f func(t *testing.T, e *MemoryExport, c *Client)) {
	for _, async := range []bool{false, true} {
		for _, d := range []Dialer{{}, {SimpleReplies: true}, {ExportName: true}, {Extents: true}} {
			name := fmt.Sprintf("async=%v simple=%v exportname=%v", async, d.SimpleReplies,
				d.ExportName)
			t.Run(name, func(t *testing.T) {
				m := newMemoryBackend(fullInfo("vol", 48<<20))
				m.exports[0].async = async
				_, addr := startServer(t, m, nil)
				f(t, m.exports[0], dial(t, &d, addr, "vol"))
			})
		}
	}
}

func randomBytes(seed uint64, n int) []byte {
	p := make([]byte, n)
	var s [32]byte
	s[0], s[1] = byte(seed), byte(seed>>8)
	_, _ = rand.NewChaCha8(s).Read(p)
	return p
}

func TestEveryAlignmentAndSizeReadsBackWhatWasWritten(t *testing.T) {
	variants(t, func(t *testing.T, e *MemoryExport, c *Client) {
		model := make([]byte, e.info.Size)
		r := rand.New(rand.NewPCG(1, 2))
		sizes := []int{1, 511, 4096, 5000, 1 << 20, 1<<20 + 1, 3<<20 - 7}
		for i := range 40 {
			n := sizes[i%len(sizes)]
			off := r.Int64N(e.info.Size - int64(n) + 1)
			p := randomBytes(uint64(i), n)
			if _, err := c.WriteAt(p, off); err != nil {
				t.Fatal(err)
			}
			copy(model[off:], p)
			if i%5 == 4 {
				z := r.Int64N(100_000)
				if err := c.Zero(off, min(z, e.info.Size-off), 0); err != nil {
					t.Fatal(err)
				}
				clear(model[off:min(off+z, e.info.Size)])
			}
		}
		if err := c.Flush(); err != nil {
			t.Fatal(err)
		}
		got := make([]byte, len(model))
		for _, step := range []int{MaxPayload, 700_001} {
			for off := 0; off < len(got); off += step {
				if _, err := c.ReadAt(got[off:min(off+step, len(got))], int64(off)); err != nil {
					t.Fatal(err)
				}
			}
			if !bytes.Equal(got, model) {
				t.Fatalf("read back in steps of %d: bytes differ", step)
			}
			clear(got)
		}
	})
}

func TestExportSeesAlignedPiecesOfBoundedSize(t *testing.T) {
	m := newMemoryBackend(fullInfo("vol", 64<<20))
	var mu sync.Mutex
	seen := map[Cmd]int64{}
	m.exports[0].hook = func(r *Request) error {
		mu.Lock()
		defer mu.Unlock()
		limit := int64(MaxRequest)
		if r.Cmd == CmdTrim || r.Cmd == CmdWriteZeroes {
			limit = MaxZeroRequest
		}
		if r.Len > limit || r.Len > 0 && r.Off/limit != (r.Off+r.Len-1)/limit {
			t.Errorf("%v of %d at %d crosses a multiple of %d", r.Cmd, r.Len, r.Off, limit)
		}
		if r.Flags != FlagFUA {
			t.Errorf("%v: flags %#x, want FUA", r.Cmd, r.Flags)
		}
		seen[r.Cmd] += r.Len
		return nil
	}
	_, addr := startServer(t, m, nil)
	c := dial(t, &Dialer{}, addr, "vol")
	p := randomBytes(1, MaxPayload)
	for _, cmd := range []Cmd{CmdWrite, CmdRead, CmdTrim, CmdWriteZeroes} {
		var data []byte
		if cmd == CmdRead || cmd == CmdWrite {
			data = p
		}
		if err := c.Do(cmd, FlagFUA, 513, MaxPayload, data); err != nil {
			t.Fatalf("%v: %v", cmd, err)
		}
		mu.Lock()
		if seen[cmd] != MaxPayload {
			t.Errorf("%v: export saw %d bytes, want %d", cmd, seen[cmd], MaxPayload)
		}
		mu.Unlock()
	}
}

func TestManyRequestsInFlightEndOnceEach(t *testing.T) {
	variants(t, func(t *testing.T, e *MemoryExport, c *Client) {
		const workers, rounds = 8, 60
		var wg sync.WaitGroup
		for w := range workers {
			wg.Add(1)
			go func() {
				defer wg.Done()
				r := rand.New(rand.NewPCG(uint64(w), 1))
				base := int64(w) * (4 << 20)
				for i := range rounds {
					n := 1 + r.IntN(40_000)
					off := base + r.Int64N(4<<20-int64(n))
					p, q := randomBytes(uint64(w*1000+i), n), make([]byte, n)
					if _, err := c.WriteAt(p, off); err != nil {
						t.Error(err)
						return
					}
					if _, err := c.ReadAt(q, off); err != nil || !bytes.Equal(p, q) {
						t.Errorf("worker %d: read back differs or failed: %v", w, err)
						return
					}
				}
			}()
		}
		wg.Wait()
	})
}

func TestBatchesOfSubmittedRequestsAllEnd(t *testing.T) {
	m := newMemoryBackend(fullInfo("vol", 8<<20))
	m.exports[0].async = true
	s, addr := startServer(t, m, nil)
	c := dial(t, &Dialer{MaxInFlight: 16}, addr, "vol")
	var wg sync.WaitGroup
	reqs := make([]*Request, 200)
	for i := range reqs {
		reqs[i] = &Request{
			Cmd: CmdWrite, Off: int64(i) * 4096, Len: 4096,
			Data: randomBytes(uint64(i), 4096),
			Done: func(r *Request) {
				if r.Err != nil {
					t.Error(r.Err)
				}
				wg.Done()
			},
		}
	}
	wg.Add(len(reqs))
	c.SubmitBatch(reqs)
	wg.Wait()
	stored := m.exports[0].content()
	for i := range reqs {
		if !bytes.Equal(stored[i*4096:(i+1)*4096], reqs[i].Data) {
			t.Fatalf("block %d was not stored", i)
		}
	}
	if st := s.Stats(); st.Requests != 200 || st.Writes > st.Replies {
		t.Errorf("stats: %+v", st)
	}
}

func TestListenOnUnixSocketAndReplaceAStaleOne(t *testing.T) {
	m := newMemoryBackend(fullInfo("vol", 1<<20))
	path := filepath.Join(t.TempDir(), "nbd.sock")
	s, _ := startServer(t, m, nil)
	if _, err := s.Listen("unix:" + path); err != nil {
		t.Fatal(err)
	}
	c := dial(t, &Dialer{}, URI("unix:"+path, "vol"), "")
	if _, err := c.WriteAt([]byte("hello"), 3); err != nil {
		t.Fatal(err)
	}
	if c.Info().Size != 1<<20 || c.Info().Description != "memory of vol" {
		t.Errorf("info: %+v", c.Info())
	}
	if _, err := s.Listen("unix:" + path); !errors.Is(err, ErrBusy) {
		t.Errorf("second server on the path: %v, want ErrBusy", err)
	}
}

func TestListAndInfoTellOfSeveralExports(t *testing.T) {
	m := newMemoryBackend(fullInfo("a", 1<<20), fullInfo("b", 2<<20))
	_, addr := startServer(t, m, func(c *Config) { c.DefaultExport = "b" })
	exports, err := List(t.Context(), addr)
	if err != nil || len(exports) != 2 || exports[0].Name != "a" || exports[1].Name != "b" {
		t.Fatalf("list: %+v, %v", exports, err)
	}
	if c := dial(t, &Dialer{}, "nbd://"+addr, ""); c.Info().Name != "b" {
		t.Errorf("default export is %q, want b", c.Info().Name)
	}
	_, err = Dial(t.Context(), addr, "c")
	if !errors.Is(err, ErrUnknownExport) {
		t.Errorf("unknown export: %v", err)
	}
	_, err = (&Dialer{ExportName: true}).Dial(t.Context(), addr, "c")
	if !errors.Is(err, ErrUnknownExport) {
		t.Errorf("unknown export by EXPORT_NAME: %v", err)
	}
}

func TestExtentsTellHolesFromData(t *testing.T) {
	m := newMemoryBackend(fullInfo("vol", 1<<20))
	_, addr := startServer(t, m, nil)
	c := dial(t, &Dialer{Extents: true}, addr, "vol")
	if _, err := c.WriteAt(make([]byte, 8192), 4096); err != nil {
		t.Fatal(err)
	}
	got, err := c.Extents(nil, 0, 1<<20, 100)
	if err != nil {
		t.Fatal(err)
	}
	hole := StateHole | StateZero
	want := []Extent{{4096, hole}, {8192, 0}, {1<<20 - 12288, hole}}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("extents %v, want %v", got, want)
	}
	if got, err = c.Extents(nil, 100, 1000, 1); err != nil || len(got) != 1 || got[0].Len != 1000 {
		t.Errorf("one extent: %v, %v", got, err)
	}
	if err := c.Do(CmdBlockStatus, 0, 0, 0, nil); !errors.Is(err, EINVAL) {
		t.Errorf("block status of nothing: %v", err)
	}
}

func TestErrorsOfTheExportReachTheClient(t *testing.T) {
	variants(t, func(t *testing.T, e *MemoryExport, c *Client) {
		failWith := func(err error) {
			e.setHook(func(r *Request) error {
				if r.Off <= 1<<20 && r.Off+r.Len > 1<<20 {
					return err
				}
				return nil
			})
		}
		failWith(fmt.Errorf("disk three: %w", ENOSPC))
		p := make([]byte, 3<<20)
		for _, cmd := range []Cmd{CmdRead, CmdWrite} {
			if err := c.Do(cmd, 0, 0, int64(len(p)), p); !errors.Is(err, ENOSPC) {
				t.Errorf("%v: %v, want ENOSPC", cmd, err)
			}
		}
		if err := c.Zero(0, 2<<20, 0); !errors.Is(err, ENOSPC) {
			t.Errorf("zero: %v, want ENOSPC", err)
		}
		failWith(errors.New("something else"))
		if err := c.Do(CmdWrite, 0, 1<<20, 10, p[:10]); !errors.Is(err, EIO) {
			t.Errorf("unknown error: %v, want EIO", err)
		}
		if _, err := c.ReadAt(p[:100], 8<<20); err != nil {
			t.Errorf("read after errors: %v", err)
		}
	})
}

func TestErrorInTheMiddleOfAStreamedReadClosesTheConnection(t *testing.T) {
	m := newMemoryBackend(fullInfo("vol", 32<<20))
	e := m.exports[0]
	e.hook = func(r *Request) error {
		if r.Off == 20<<20 {
			return EIO
		}
		return nil
	}
	s, addr := startServer(t, m, nil)
	c := dial(t, &Dialer{SimpleReplies: true}, addr, "vol")
	p := make([]byte, 32<<20)
	if _, err := c.ReadAt(p, 0); err == nil {
		t.Fatal("read succeeded, want a broken connection")
	}
	eventually(t, "the connection ends", func() bool { return s.Stats().Conns == 0 })
	e.setHook(func(*Request) error { return EIO })
	c = dial(t, &Dialer{SimpleReplies: true}, addr, "vol")
	if _, err := c.ReadAt(p, 0); !errors.Is(err, EIO) {
		t.Fatalf("error before the first byte: %v, want EIO", err)
	}
	if err := c.Flush(); !errors.Is(err, EIO) {
		t.Fatalf("the connection must go on: %v", err)
	}
	if got := s.mem.sem.TryAcquire(s.mem.total); !got {
		t.Error("payload memory was not given back")
	}
	s.mem.sem.Release(s.mem.total)
}

func TestDontFragmentGivesOneChunk(t *testing.T) {
	m := newMemoryBackend(fullInfo("vol", 32<<20))
	m.exports[0].async = true
	_, addr := startServer(t, m, nil)
	c := dial(t, &Dialer{}, addr, "vol")
	want := randomBytes(3, 3<<20)
	if _, err := c.WriteAt(want, 1<<20-5); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, len(want))
	if err := c.Do(CmdRead, FlagDF, 1<<20-5, int64(len(got)), got); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Error("bytes differ")
	}
	big := make([]byte, dontFragmentMax+1)
	if err := c.Do(CmdRead, FlagDF, 0, int64(len(big)), big); !errors.Is(err, EOVERFLOW) {
		t.Errorf("too long for DF: %v, want EOVERFLOW", err)
	}
}

func TestShutdownAnswersWhatWasTakenIn(t *testing.T) {
	m := newMemoryBackend(fullInfo("vol", 1<<20))
	e := m.exports[0]
	gate := make(chan struct{})
	e.async = true
	e.hook = func(*Request) error { <-gate; return nil }
	s, addr := startServer(t, m, nil)
	c := dial(t, &Dialer{}, addr, "vol")
	done := make(chan error, 1)
	go func() { done <- c.Do(CmdWrite, 0, 0, 5, []byte("hello")) }()
	eventually(t, "the write arrives", func() bool { return s.Stats().Requests == 1 })
	stopped := make(chan error, 1)
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		stopped <- s.Shutdown(ctx)
	}()
	eventually(t, "the server stops", s.stopping)
	close(gate)
	if err := <-done; err != nil {
		t.Errorf("the write in flight: %v", err)
	}
	if err := <-stopped; err != nil {
		t.Errorf("shutdown: %v", err)
	}
	if err := c.Flush(); err == nil {
		t.Error("flush after the shutdown succeeded")
	}
}

func TestShutdownBreaksOffWhenItsTimeIsOver(t *testing.T) {
	m := newMemoryBackend(fullInfo("vol", 1<<20))
	e := m.exports[0]
	gate := make(chan struct{})
	e.async = true
	e.hook = func(*Request) error { <-gate; return nil }
	s, addr := startServer(t, m, nil)
	c := dial(t, &Dialer{}, addr, "vol")
	done := make(chan error, 1)
	go func() { done <- c.Flush() }()
	eventually(t, "the flush arrives", func() bool { return s.Stats().Requests == 1 })
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Millisecond)
	defer cancel()
	go func() {
		if err := <-done; err == nil {
			t.Error("flush succeeded on a broken connection")
		}
		close(gate) // the export must still be left in order
	}()
	if err := s.Shutdown(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("shutdown: %v", err)
	}
}
