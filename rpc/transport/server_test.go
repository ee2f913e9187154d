package transport

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/ashlar-storage/ashlar/io/buf"
	"github.com/ashlar-storage/ashlar/rpc/wire"
)

func TestEchoOverTCPAndUnix(t *testing.T) {
	for name, addr := range map[string]string{"tcp": "127.0.0.1:0", "unix": unixAddr(t)} {
		t.Run(name, func(t *testing.T) {
			pool := newPool(t, 32<<20)
			own := wire.Hello{ClusterID: "c", NodeID: 7, Role: "node"}
			s := startServer(t, addr, &testHandler{onMessage: echo},
				ServerConfig{Pool: pool, Hello: own})
			c := dial(t, s.Addr(), pool)
			if p := c.Peer(); p.NodeID != 7 || p.Role != "node" || p.ClusterID != "c" {
				t.Errorf("peer is %+v", p)
			}
			for i, n := range []int{0, 1, 4096, 4097, 70000, 300000, wire.MaxPayload} {
				call(t, c, uint64(i), samplePayload(i*20, 1), samplePayload(n, byte(i)))
			}
			call(t, c, 99, samplePayload(wire.MaxMeta, 3), samplePayload(10, 3))
			_ = c.Close()
		})
	}
}

func TestPayloadLandsInABlockAlignedBuffer(t *testing.T) {
	pool := newPool(t, 8<<20)
	got := make(chan int, 1)
	h := &testHandler{onMessage: func(c ServerConn, m *Message) {
		got <- len(m.Payload.Bytes())
		echo(c, m)
	}}
	s := startServer(t, "127.0.0.1:0", h, ServerConfig{Pool: pool})
	c := dial(t, s.Addr(), pool)
	call(t, c, 1, nil, samplePayload(5000, 1))
	if n := <-got; n != 5000 {
		t.Errorf("a buffer of %d bytes", n)
	}
}

func TestSixtyFourConnectionsEachGetTheirOwnAnswersInOrder(t *testing.T) {
	pool := newPool(t, 64<<20)
	work := make(chan func(), 1024)
	var workers sync.WaitGroup
	for range 4 {
		workers.Go(func() {
			for f := range work {
				f()
			}
		})
	}
	h := &testHandler{onMessage: func(c ServerConn, m *Message) {
		if m.Header.ID%2 == 0 {
			echo(c, m)
			return
		}
		answer := Message{Header: response(m.Header), Meta: bytes.Clone(m.Meta), Payload: m.Payload}
		work <- func() { c.Reply([]Message{answer}) }
	}}
	s := startServer(t, "127.0.0.1:0", h, ServerConfig{Pool: pool, Loops: 3})
	var clients sync.WaitGroup
	for i := range 64 {
		c := dial(t, s.Addr(), pool)
		clients.Go(func() { pipelined(t, c, byte(i)) })
	}
	clients.Wait()
	if err := s.Close(); err != nil { // nobody adds to the work any more
		t.Error(err)
	}
	close(work)
	workers.Wait()
}

// pipelined sends 40 requests and matches the answers by id.
func pipelined(t *testing.T, c Conn, seed byte) {
	const n = 40
	for id := range uint64(n) {
		m := Message{Header: wire.Header{Op: wire.OpWrite, ID: id}, Meta: []byte{seed, byte(id)},
			Body: [][]byte{samplePayload(1000+int(id)*50, seed)}}
		if err := c.Send([]Message{m}); err != nil {
			t.Error(err)
			return
		}
	}
	seen := map[uint64]bool{}
	for range n {
		m, err := c.Recv()
		if err != nil {
			t.Error(err)
			return
		}
		id := m.Header.ID
		want := samplePayload(1000+int(id)*50, seed)
		if seen[id] || !bytes.Equal(m.Meta, []byte{seed, byte(id)}) ||
			!bytes.Equal(m.Payload.Bytes(), want) {
			t.Errorf("connection %d: wrong answer %d", seed, id)
		}
		seen[id] = true
		m.Payload.Release()
	}
	_ = c.Close()
}

func TestGarbageClosesOnlyItsConnection(t *testing.T) {
	pool := newPool(t, 16<<20)
	h := &testHandler{onMessage: echo}
	s := startServer(t, "127.0.0.1:0", h, ServerConfig{Pool: pool, Loops: 1})
	good := dial(t, s.Addr(), pool)
	frame := func(spoil func(b []byte)) []byte {
		b := plain{h: wire.Header{Op: wire.OpWrite}, meta: make([]byte, 8),
			payload: make([]byte, 64)}.encode(nil)
		spoil(b)
		return b
	}
	for name, tc := range map[string]struct {
		bytes []byte
		class error
	}{
		"http":            {[]byte("GET / HTTP/1.1\r\nHost: a.example.org\r\n\r\n"), wire.ErrMagic},
		"meta too long":   {frame(func(b []byte) { b[18] = 2 }), wire.ErrHeader},
		"payload too big": {frame(func(b []byte) { b[23] = 0xff }), wire.ErrHeader},
		"flipped meta":    {frame(func(b []byte) { b[33] ^= 1 }), wire.ErrChecksum},
		"second hello": {plain{h: wire.Header{Op: wire.OpHello},
			meta: (&wire.Hello{Version: 1}).AppendTo(nil)}.encode(nil), ErrHello},
	} {
		call(t, good, 1, nil, []byte("before"))
		nc := rawDial(t, s.Addr())
		greetRaw(t, nc)
		writeRaw(t, nc, tc.bytes)
		waitEOF(t, nc)
		h.mu.Lock()
		id := uint64(len(h.opened))
		h.mu.Unlock()
		if err := h.whyClosed(t, id); !errors.Is(err, tc.class) {
			t.Errorf("%s: closed with %v, want class %v", name, err, tc.class)
		}
		call(t, good, 2, nil, []byte("after"))
	}
	if n := s.Stats().Bad; n != 5 {
		t.Errorf("%d connections counted as bad", n)
	}
}

func TestGreetingDecidesWhoMayTalk(t *testing.T) {
	pool := newPool(t, 8<<20)
	h := &testHandler{onMessage: echo}
	s := startServer(t, "127.0.0.1:0", h,
		ServerConfig{Pool: pool, Hello: wire.Hello{ClusterID: "east"}})
	_, err := Dial(context.Background(), s.Addr(),
		Config{Pool: pool, Hello: wire.Hello{ClusterID: "west"}})
	if !errors.Is(err, wire.ErrWrongCluster) || !strings.Contains(err.Error(), "east") {
		t.Errorf("another cluster: %v", err)
	}
	nc := rawDial(t, s.Addr())
	newer := wire.Hello{Version: 9}
	writeRaw(t, nc, plain{h: wire.Header{Op: wire.OpHello}, meta: newer.AppendTo(nil)}.encode(nil))
	c := newClientConn(nc, "raw", Config{Pool: pool})
	m, err := c.Recv()
	var r wire.IOResponse
	if err != nil || m.Header.Status != wire.StatusVersion || r.Decode(m.Meta) != nil ||
		!strings.Contains(r.Message, "version 9") {
		t.Errorf("newer version: %+v %q %v", m.Header, r.Message, err)
	}
	waitEOF(t, nc)
	nc = rawDial(t, s.Addr())
	writeRaw(t, nc, plain{h: wire.Header{Op: wire.OpPing}}.encode(nil))
	waitEOF(t, nc)
	if len(h.opened) != 0 {
		t.Errorf("the handler saw %d of them", len(h.opened))
	}
}

func TestSilentAndStallingPeersAreClosed(t *testing.T) {
	pool := newPool(t, 8<<20)
	s := startServer(t, "127.0.0.1:0", &testHandler{onMessage: echo}, ServerConfig{Pool: pool,
		HelloTimeout: 3 * time.Second, FrameTimeout: 3 * time.Second})
	idle := dial(t, s.Addr(), pool)
	silent, stalling := rawDial(t, s.Addr()), rawDial(t, s.Addr())
	greetRaw(t, stalling)
	b := plain{h: wire.Header{Op: wire.OpWrite}, payload: make([]byte, 100000)}.encode(nil)
	writeRaw(t, stalling, b[:50000])
	used := func(n int64) func() bool {
		return func() bool { return pool.Stats().InUseBufs == n }
	}
	eventually(t, "the payload's buffer is taken", used(1))
	waitEOF(t, silent)
	waitEOF(t, stalling)
	eventually(t, "the buffer is back", used(0))
	call(t, idle, 1, nil, []byte("an idle connection with no begun frame stays"))
}

func TestRequestWithoutABufferIsAnsweredOverloaded(t *testing.T) {
	pool, own := newPool(t, 2<<20), newPool(t, 8<<20)
	s := startServer(t, "127.0.0.1:0", &testHandler{onMessage: echo}, ServerConfig{Pool: pool})
	c := dial(t, s.Addr(), own)
	var held []*buf.Buf
	for {
		b, err := pool.Get(1 << 20)
		if err != nil {
			break
		}
		held = append(held, b)
	}
	payload := samplePayload(100000, 1)
	send := func(op wire.Op, id uint64) {
		m := Message{Header: wire.Header{Op: op, ID: id}, Body: [][]byte{payload}}
		if err := c.Send([]Message{m}); err != nil {
			t.Fatal(err)
		}
	}
	send(wire.OpRaft, 1)
	send(wire.OpWrite, 2)
	m, err := c.Recv()
	var r wire.IOResponse
	if err != nil || m.Header.ID != 2 || m.Header.Status != wire.StatusOverloaded ||
		r.Decode(m.Meta) != nil || r.RetryAfterMS != OverloadedRetryMS {
		t.Errorf("%+v %+v %v", m.Header, r, err)
	}
	if st := s.Stats(); st.Overloaded != 1 || st.Lost != 1 {
		t.Errorf("%+v", st)
	}
	for _, b := range held {
		b.Release()
	}
	call(t, c, 3, nil, payload)
}

func TestSlowReaderIsBoundedAndClosed(t *testing.T) {
	pool := newPool(t, 8<<20)
	const limit = 4 << 20
	var released, sent atomic.Int64
	open := make(chan ServerConn, 1)
	h := &testHandler{onOpen: func(c ServerConn) { open <- c }}
	s := startServer(t, "127.0.0.1:0", h, ServerConfig{Pool: pool, MaxOutbound: limit})
	nc := rawDial(t, s.Addr())
	greetRaw(t, nc)
	c := <-open
	body := [][]byte{make([]byte, 128<<10)}
	reply := func() {
		sent.Add(1)
		c.Reply([]Message{{Header: wire.Header{Op: wire.OpRead, Flags: wire.FlagResponse},
			Body: body, Release: func() { released.Add(1) }}})
	}
	eventually(t, "the socket is full", func() bool {
		reply()
		time.Sleep(time.Millisecond)
		return c.Pending() > 4*128<<10
	})
	for range 10000 {
		reply()
		if p := c.Pending(); p > limit+1<<20 {
			t.Fatalf("%d bytes pending, limit %d", p, limit)
		}
	}
	if err := h.whyClosed(t, 1); !errors.Is(err, ErrSlowReader) {
		t.Errorf("closed with %v", err)
	}
	eventually(t, "every release", func() bool { return released.Load() == sent.Load() })
}

func TestSlowReaderThatCatchesUpLosesNothing(t *testing.T) {
	pool := newPool(t, 64<<20)
	open := make(chan ServerConn, 1)
	var released atomic.Int64
	s := startServer(t, "127.0.0.1:0", &testHandler{onOpen: func(c ServerConn) { open <- c }},
		ServerConfig{Pool: pool})
	c := dial(t, s.Addr(), pool)
	sc := <-open
	const n = 300
	for id := range uint64(n) {
		m := Message{Header: wire.Header{Op: wire.OpRead, Flags: wire.FlagResponse, ID: id},
			Meta: []byte{byte(id)}, Body: [][]byte{samplePayload(60000, byte(id))},
			Release: func() { released.Add(1) }}
		sc.Reply([]Message{m})
	}
	eventually(t, "bytes wait for the reader", func() bool { return sc.Pending() > 1<<20 })
	for id := range uint64(n) {
		expect(t, c, id, []byte{byte(id)}, samplePayload(60000, byte(id)))
	}
	eventually(t, "nothing is pending", func() bool { return sc.Pending() == 0 })
	// Back to writing from the caller's goroutine.
	sc.Reply([]Message{{Header: wire.Header{Op: wire.OpRead, Flags: wire.FlagResponse, ID: n}}})
	expect(t, c, n, nil, nil)
	if forced.Threshold == 0 && released.Load() != n {
		t.Errorf("%d releases", released.Load())
	}
	eventually(t, "all is released", func() bool { return released.Load() == n })
}

// idleNow reports whether nothing of a connection's is queued and nobody writes.
func idleNow(sc ServerConn) bool {
	c := sc.(*serverConn)
	c.mu.Lock()
	defer c.mu.Unlock()
	return !c.active && !c.inBatch && c.queue.empty()
}

func TestRepliesShareWrites(t *testing.T) {
	pool := newPool(t, 16<<20)
	open := make(chan ServerConn, 1)
	h := &testHandler{onMessage: echo, onOpen: func(c ServerConn) { open <- c }}
	s := startServer(t, "127.0.0.1:0", h, ServerConfig{Pool: pool})
	c := dial(t, s.Addr(), pool)
	sc := <-open
	writes := func(f func()) int64 {
		before := s.Stats().Writes
		f()
		return s.Stats().Writes - before
	}
	answer := []Message{{Header: wire.Header{Op: wire.OpPing, Flags: wire.FlagResponse}}}
	eventually(t, "the loop is done with the greeting", func() bool { return idleNow(sc) })
	if n := writes(func() {
		for range 100 {
			sc.Queue(answer)
		}
		sc.Flush()
		for range 100 {
			expect(t, c, 0, nil, nil)
		}
	}); n != 1 {
		t.Errorf("100 queued answers took %d writes", n)
	}
	msgs := make([]Message, 32)
	for i := range msgs {
		msgs[i] = Message{Header: wire.Header{Op: wire.OpWrite}, Body: [][]byte{make([]byte, 512)}}
	}
	var reads int64
	if n := writes(func() {
		reads = s.Stats().Reads
		if err := c.Send(msgs); err != nil {
			t.Fatal(err)
		}
		for range msgs {
			expect(t, c, 0, nil, make([]byte, 512))
		}
		reads = s.Stats().Reads - reads
	}); n > reads {
		t.Errorf("32 answers in %d readable events took %d writes", reads, n)
	}
}

func TestReplyAfterCloseReleases(t *testing.T) {
	pool := newPool(t, 8<<20)
	open := make(chan ServerConn, 1)
	h := &testHandler{onOpen: func(c ServerConn) { open <- c }}
	s := startServer(t, "127.0.0.1:0", h, ServerConfig{Pool: pool})
	c := dial(t, s.Addr(), pool)
	sc := <-open
	_ = c.Close()
	_ = h.whyClosed(t, sc.ID())
	b, err := pool.Get(4096)
	if err != nil {
		t.Fatal(err)
	}
	released := 0
	sc.Reply([]Message{{Header: wire.Header{Op: wire.OpRead, Flags: wire.FlagResponse}, Payload: b,
		Release: func() { released++ }}})
	sc.Queue([]Message{{Release: func() { released++ }}})
	sc.Flush()
	sc.Close(nil)
	if st := pool.Stats(); st.InUseBufs != 0 || released != 2 || sc.Pending() != 0 {
		t.Errorf("%d buffers in use, %d releases, %d pending", st.InUseBufs, released, sc.Pending())
	}
}

// Replies from many goroutines race with connections that close from either
// end and with the server's end; every release must happen exactly once.
func TestReleaseHappensOnceWhateverRacesWithClose(t *testing.T) {
	pool := newPool(t, 64<<20)
	var sent, released atomic.Int64
	var repliers sync.WaitGroup
	h := &testHandler{}
	h.onOpen = func(c ServerConn) {
		for g := range 3 {
			repliers.Go(func() { replyUntilClosed(c, pool, g, &sent, &released) })
		}
	}
	s, err := Listen("127.0.0.1:0", h, ServerConfig{Pool: pool, Loops: 2,
		Logger: quiet(), ZeroCopy: forced})
	if err != nil {
		t.Fatal(err)
	}
	own := newPool(t, 64<<20)
	var clients sync.WaitGroup
	for i := range 24 {
		clients.Go(func() {
			c := dial(t, s.Addr(), own)
			for range i * 30 {
				m, err := c.Recv()
				if err != nil {
					break
				}
				m.done()
			}
			if i%4 == 0 {
				h.mu.Lock()
				for _, sc := range h.opened {
					sc.Close(errors.New("server side"))
					break
				}
				h.mu.Unlock()
			}
			if i%3 != 0 {
				_ = c.Close()
			}
		})
	}
	clients.Wait()
	_ = s.Close()
	repliers.Wait()
	if sent.Load() != released.Load() || pool.Stats().InUseBufs != 0 {
		t.Errorf("%d sent, %d released, %d buffers in use", sent.Load(), released.Load(),
			pool.Stats().InUseBufs)
	}
	if h.twice || len(h.closed) != len(h.opened) {
		t.Errorf("%d opened, %d closed, twice: %v", len(h.opened), len(h.closed), h.twice)
	}
}

func replyUntilClosed(c ServerConn, pool *buf.Pool, g int, sent, released *atomic.Int64) {
	sizes := []int{100, 4096, 100, 30000, 100 << 10}
	for i := 0; ; i++ {
		b, err := pool.Get(sizes[(i+g)%len(sizes)])
		if err != nil || c.Pending() > 1<<20 {
			time.Sleep(100 * time.Microsecond)
		}
		if err == nil {
			sent.Add(1)
			var once atomic.Bool
			c.Reply([]Message{{Header: wire.Header{Op: wire.OpRead, Flags: wire.FlagResponse},
				Payload: b, Release: func() {
					if !once.Swap(true) {
						released.Add(1)
					} else {
						released.Add(1 << 32)
					}
				}}})
		}
		if c.(*serverConn).closing.Load() {
			return
		}
	}
}

func TestConnectionsPastTheLimitAreRefused(t *testing.T) {
	pool := newPool(t, 8<<20)
	s := startServer(t, "127.0.0.1:0", &testHandler{onMessage: echo},
		ServerConfig{Pool: pool, MaxConns: 2})
	a, b := dial(t, s.Addr(), pool), dial(t, s.Addr(), pool)
	waitEOF(t, rawDial(t, s.Addr()))
	if st := s.Stats(); st.Refused != 1 || st.Open != 2 {
		t.Errorf("%+v", st)
	}
	_ = a.Close()
	eventually(t, "a place is free", func() bool { return s.Stats().Open == 1 })
	call(t, dial(t, s.Addr(), pool), 1, nil, []byte("x"))
	call(t, b, 1, nil, []byte("x"))
}

// starved fails its first accepts as a process without descriptors does.
type starved struct {
	net.Listener
	left atomic.Int64
}

func (l *starved) Accept() (net.Conn, error) {
	if l.left.Add(-1) >= 0 {
		return nil, fmt.Errorf("accept: %w", syscall.EMFILE)
	}
	return l.Listener.Accept()
}

func TestShortageOfDescriptorsOnlyPausesAccepting(t *testing.T) {
	pool := newPool(t, 8<<20)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	cfg := ServerConfig{Pool: pool, Logger: quiet()}
	if err := cfg.Complete(); err != nil {
		t.Fatal(err)
	}
	l := &starved{Listener: ln}
	l.left.Store(3)
	s, err := serve(l, ln.Addr().String(), &testHandler{onMessage: echo}, cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	c := dial(t, s.Addr(), pool)
	call(t, c, 1, nil, []byte("x"))
	_ = c.Close()
}

func TestCloseOfTheServerEndsEveryConnection(t *testing.T) {
	pool := newPool(t, 8<<20)
	h := &testHandler{onMessage: echo}
	s := startServer(t, unixAddr(t), h, ServerConfig{Pool: pool})
	c := dial(t, s.Addr(), pool)
	call(t, c, 1, nil, []byte("x"))
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Recv(); err == nil {
		t.Error("received from a closed server")
	}
	if err := h.whyClosed(t, 1); !errors.Is(err, ErrClosed) {
		t.Errorf("closed with %v", err)
	}
	if _, err := Dial(context.Background(), s.Addr(), Config{Pool: pool}); err == nil {
		t.Error("dialled a closed server")
	}
}

func TestUnixPathIsTakenOverOnlyFromADeadServer(t *testing.T) {
	pool := newPool(t, 8<<20)
	path := filepath.Join(t.TempDir(), "sock")
	ln, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	ln.SetUnlinkOnClose(false)
	cfg := ServerConfig{Pool: pool, Logger: quiet()}
	if _, err := Listen("unix:"+path, &testHandler{}, cfg); !errors.Is(err, syscall.EADDRINUSE) {
		t.Errorf("a live socket: %v", err)
	}
	_ = ln.Close()
	startServer(t, "unix:"+path, &testHandler{}, cfg)
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, []byte("kept"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Listen("unix:"+file, &testHandler{}, cfg); err == nil ||
		!strings.Contains(err.Error(), "not a socket") {
		t.Errorf("a file: %v", err)
	}
	if b, _ := os.ReadFile(file); string(b) != "kept" {
		t.Error("the file is gone")
	}
}

func TestBadConfigurationIsRefusedByField(t *testing.T) {
	pool := newPool(t, 2<<20)
	for name, f := range map[string]func() error{
		"Pool": func() error {
			_, err := Listen("127.0.0.1:0", &testHandler{}, ServerConfig{})
			return err
		},
		"Config.Pool": func() error {
			_, err := Dial(context.Background(), "127.0.0.1:1", Config{})
			return err
		},
		"negative": func() error {
			_, err := Listen("127.0.0.1:0", &testHandler{}, ServerConfig{Pool: pool, Loops: -1})
			return err
		},
		"host:port": func() error {
			_, err := Listen("nonsense", &testHandler{}, ServerConfig{Pool: pool})
			return err
		},
		"unix:/path": func() error {
			_, err := Dial(context.Background(), "unix:", Config{Pool: pool})
			return err
		},
	} {
		if err := f(); !errors.Is(err, ErrConfig) || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestClosingIsLoggedOnceWithItsReason(t *testing.T) {
	pool := newPool(t, 8<<20)
	var out bytes.Buffer
	h := &testHandler{onMessage: echo}
	s := startServer(t, "127.0.0.1:0", h, ServerConfig{Pool: pool,
		Logger: slog.New(slog.NewTextHandler(&out, nil))})
	normal := dial(t, s.Addr(), pool)
	_ = normal.Close()
	_ = h.whyClosed(t, 1)
	nc := rawDial(t, s.Addr())
	greetRaw(t, nc)
	writeRaw(t, nc, bytes.Repeat([]byte("garbage "), 10))
	waitEOF(t, nc)
	_ = h.whyClosed(t, 2)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(out.String(), "\n"); n != 1 ||
		!strings.Contains(out.String(), "not an ashlar frame") {
		t.Errorf("%d lines:\n%s", n, out.String())
	}
}

func TestMessagesOfManyPiecesArriveWhole(t *testing.T) {
	pool := newPool(t, 16<<20)
	h := &testHandler{onMessage: func(c ServerConn, m *Message) {
		p := m.Payload
		var body [][]byte
		for i := range p.Bytes() {
			body = append(body, p.Bytes()[i:i+1], nil)
		}
		c.Reply([]Message{{Header: response(m.Header), Body: body, Release: p.Release}})
	}}
	s := startServer(t, "127.0.0.1:0", h, ServerConfig{Pool: pool})
	c := dial(t, s.Addr(), pool)
	want := samplePayload(5*maxIov/2, 1)
	var body [][]byte
	for i := range want {
		body = append(body, want[i:i+1])
	}
	m := Message{Header: wire.Header{Op: wire.OpWrite, ID: 1}, Body: body}
	if err := c.Send([]Message{m}); err != nil {
		t.Fatal(err)
	}
	expect(t, c, 1, nil, want)
}

// A goroutine is nearly always in the middle of a write when the peer goes
// away: the loop must not close the descriptor, nor release the batch, under it.
func TestCloseWaitsForAWriteUnderWay(t *testing.T) {
	pool := newPool(t, 8<<20)
	var repliers sync.WaitGroup
	var sent, released atomic.Int64
	h := &testHandler{}
	h.onOpen = func(c ServerConn) {
		msg := []Message{{Header: wire.Header{Op: wire.OpPing, Flags: wire.FlagResponse},
			Release: func() { released.Add(1) }}}
		repliers.Go(func() {
			for !c.(*serverConn).closing.Load() {
				sent.Add(1)
				c.Reply(msg)
			}
		})
	}
	s := startServer(t, "127.0.0.1:0", h, ServerConfig{Pool: pool, Loops: 1})
	for range 100 {
		nc := rawDial(t, s.Addr())
		greetRaw(t, nc)
		if _, err := io.CopyN(io.Discard, nc, 20000); err != nil {
			t.Fatal(err)
		}
		_ = nc.Close()
	}
	_ = s.Close()
	repliers.Wait()
	if sent.Load() != released.Load() {
		t.Errorf("%d sent, %d released", sent.Load(), released.Load())
	}
}
