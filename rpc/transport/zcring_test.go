package transport

import (
	"bytes"
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ashlar-storage/ashlar/io/uring"
	"github.com/ashlar-storage/ashlar/rpc/wire"
)

// needZeroCopy skips where the kernel has no zero-copy sends.
func needZeroCopy(t *testing.T) {
	t.Helper()
	r, err := newZCRing()
	if errors.Is(err, uring.ErrUnsupported) {
		t.Skipf("no zero-copy sends here: %v", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	if err := r.end(); err != nil {
		t.Fatal(err)
	}
}

// loan is messages whose memory is overwritten as soon as it is released: who reads it later
// sees other bytes.
type loan struct {
	mu       sync.Mutex
	released map[uint64]int
	total    atomic.Int64
}

func (l *loan) message(h wire.Header, size int) Message {
	p := loanBytes(h.ID, size)
	return Message{Header: h, Body: [][]byte{p[:size/3], p[size/3:]}, Release: func() {
		for i := range p {
			p[i] = 0xee
		}
		l.mu.Lock()
		defer l.mu.Unlock()
		if l.released == nil {
			l.released = map[uint64]int{}
		}
		l.released[h.ID]++
		l.total.Add(1)
	}}
}

func loanBytes(id uint64, size int) []byte {
	return bytes.Repeat([]byte{byte(id), byte(id >> 8), byte(id % 191)}, size/3+1)[:size]
}

// settled waits until messages 0 to n-1 are released, each once.
func (l *loan) settled(t *testing.T, n int) {
	t.Helper()
	eventually(t, "everything is released", func() bool { return l.total.Load() >= int64(n) })
	l.mu.Lock()
	defer l.mu.Unlock()
	for id := range uint64(n) {
		if l.released[id] != 1 {
			t.Fatalf("message %d was released %d times", id, l.released[id])
		}
	}
}

// sizeOf mixes small and large payloads.
func sizeOf(id uint64) int {
	return []int{0, 100, 128 << 10, 4096, 70 << 10, 1, 300 << 10}[id%7]
}

// The receiver starts late, so that the kernel holds the pages of what does not fit its buffers,
// and compares all bytes: memory that was released too early has others by then.
func TestClientsBatchesArriveInOrderAndAreReleasedOnceTheKernelHasLetGo(t *testing.T) {
	needZeroCopy(t)
	const n = 350
	start, got := make(chan struct{}), atomic.Uint64{}
	h := &testHandler{onMessage: func(_ ServerConn, m *Message) {
		<-start
		var p []byte
		if m.Payload != nil {
			p = m.Payload.Bytes()
		}
		if id := got.Add(1) - 1; m.Header.ID != id || !bytes.Equal(p, loanBytes(id, sizeOf(id))) {
			t.Errorf("message %d, when %d was due, has other bytes", m.Header.ID, id)
		}
		m.done()
	}}
	pool := newPool(t, 16<<20)
	s := startServer(t, "127.0.0.1:0", h, ServerConfig{Pool: pool})
	var meter Meter
	c, err := Dial(t.Context(), s.Addr(), Config{Pool: pool, Meter: &meter,
		ZeroCopy: ZeroCopy{Threshold: 64 << 10, Keep: true}})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	var l loan
	time.AfterFunc(100*time.Millisecond, func() {
		if l.total.Load() == n {
			t.Error("all is released although nobody read")
		}
		close(start)
	})
	for id := uint64(0); id < n; id += 5 {
		var batch []Message
		for k := range uint64(5) {
			batch = append(batch, l.message(wire.Header{Op: wire.OpPing, ID: id + k}, sizeOf(id+k)))
		}
		if err := c.Send(batch); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "all arrives", func() bool { return got.Load() == n })
	l.settled(t, n)
	if tr := meter.Read()[0]; tr.ZeroCopy < 10 || tr.KernelCopied == 0 || tr.Sent.Copied != 0 {
		t.Errorf("counted %+v", tr)
	}
}

// answers makes a server's handler answer each request with several frames of loan l.
func answers(l *loan, each int) *testHandler {
	var id uint64
	return &testHandler{onMessage: func(c ServerConn, m *Message) {
		m.done()
		for range each {
			c.Queue([]Message{l.message(wire.Header{Op: wire.OpRead, Flags: wire.FlagResponse,
				ID: id}, sizeOf(id))})
			id++
		}
		c.Flush()
	}}
}

func ask(t *testing.T, c Conn, n int) {
	t.Helper()
	for range n {
		if err := c.Send([]Message{{Header: wire.Header{Op: wire.OpRead}}}); err != nil {
			t.Fatal(err)
		}
	}
}

func TestServersAnswersArriveInOrderAndAreReleasedOnceTheKernelHasLetGo(t *testing.T) {
	needZeroCopy(t)
	const requests, each = 100, 4
	var l loan
	var meter Meter
	pool := newPool(t, 16<<20)
	s := startServer(t, "127.0.0.1:0", answers(&l, each), ServerConfig{Pool: pool, Meter: &meter,
		ZeroCopy: ZeroCopy{Threshold: 64 << 10, Keep: true}})
	c := dial(t, s.Addr(), pool)
	ask(t, c, requests)
	time.Sleep(50 * time.Millisecond) // the sockets are full
	if l.total.Load() == requests*each {
		t.Error("all is released although nobody read")
	}
	for id := range uint64(requests * each) {
		expect(t, c, id, nil, loanBytes(id, sizeOf(id))[:sizeOf(id):sizeOf(id)])
	}
	// What is queued while the first flies leaves in few writes; these leave in one each, at least.
	for i := range uint64(10) {
		ask(t, c, 1)
		for id := each * (requests + i); id < each*(requests+i+1); id++ {
			expect(t, c, id, nil, loanBytes(id, sizeOf(id))[:sizeOf(id):sizeOf(id)])
		}
	}
	l.settled(t, (requests+10)*each)
	if tr := meter.Read()[0]; tr.ZeroCopy < 10 || tr.KernelCopied == 0 {
		t.Errorf("counted %+v", tr)
	}
}

func TestCloseWithSendsUnderWayReleasesEverythingOnce(t *testing.T) {
	needZeroCopy(t)
	for _, server := range []bool{true, false} {
		var l loan
		pool := newPool(t, 16<<20)
		s := startServer(t, "127.0.0.1:0", answers(&l, 4), ServerConfig{Pool: pool,
			ZeroCopy: ZeroCopy{Threshold: 1, Keep: true}})
		c := dial(t, s.Addr(), pool)
		ask(t, c, 50)
		eventually(t, "the server answers", func() bool { return s.Stats().Writes > 1 })
		time.Sleep(20 * time.Millisecond)
		if l.total.Load() == 200 {
			t.Fatal("all is released although nobody read")
		}
		begin := time.Now()
		if server {
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			if l.mu.Lock(); len(l.released) == 0 {
				t.Error("nothing is released when Close returns")
			}
			l.mu.Unlock()
		} else if err := c.Close(); err != nil {
			t.Fatal(err)
		}
		eventually(t, "each answer is released", func() bool {
			l.mu.Lock()
			defer l.mu.Unlock()
			return len(l.released) > 0 && len(l.released) == int(l.total.Load()) &&
				s.Stats().Open == 0
		})
		if d := time.Since(begin); d > zcLinger+2*time.Second {
			t.Errorf("closing took %v", d)
		}
	}
}

// A send that the ring has, but the kernel has not begun, may find the socket empty when the
// connection is to be closed and full when it goes on.
func TestCloseDoesNotWaitForASendThatFilledTheSocketSince(t *testing.T) {
	open := make(chan ServerConn, 1)
	h := &testHandler{onOpen: func(c ServerConn) { open <- c }}
	s := startServer(t, "127.0.0.1:0", h, ServerConfig{Pool: newPool(t, 8<<20),
		FrameTimeout: 100 * time.Millisecond})
	greetRaw(t, rawDial(t, s.Addr()))
	c := (<-open).(*serverConn)
	c.mu.Lock()
	c.flying = true
	c.mu.Unlock()
	c.Close(ErrSlowReader)
	eventually(t, "the loop looks at it", func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.dead {
			t.Fatal("closed though the send may go on")
		}
		return !c.woken
	})
	p := make([]byte, 64<<10)
	eventually(t, "the full socket is closed", func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		for err := error(nil); err == nil && !c.dead; { // again: the peer's kernel may take more
			_, err = unix.Write(c.fd, p)
		}
		return c.dead
	})
	if err := h.whyClosed(t, c.id); !errors.Is(err, ErrSlowReader) {
		t.Errorf("closed with %v", err)
	}
}

func TestClientsCloseAndTimeoutEndASendThatWaits(t *testing.T) {
	needZeroCopy(t)
	for _, closes := range []bool{true, false} {
		want, n, patience := error(ErrTimeout), 0, 200*time.Millisecond
		if closes {
			want, patience = ErrClosed, 10*time.Second
		}
		c, _ := zeroCopySocketFor(t, NameTCP, patience)
		var l loan
		if closes {
			time.AfterFunc(50*time.Millisecond, func() { _ = c.Close() })
		}
		for err := error(nil); !errors.Is(err, want); n++ {
			err = c.Send([]Message{l.message(wire.Header{Op: wire.OpPing, ID: uint64(n)}, 1<<20)})
			if (err != nil && !errors.Is(err, want)) || n > 500 {
				t.Fatalf("send %d: %v, want %v", n, err, want)
			}
		}
		l.settled(t, n)
	}
}

// zeroCopySocket is a client connection whose peer is the test, over TCP or a unix socket.
func zeroCopySocket(t *testing.T, network string) (*clientConn, net.Conn) {
	t.Helper()
	return zeroCopySocketFor(t, network, 10*time.Second)
}

// zeroCopySocketFor is one whose peer has so long to take what is sent.
func zeroCopySocketFor(t *testing.T, network string, write time.Duration) (*clientConn, net.Conn) {
	t.Helper()
	address := map[string]string{NameTCP: "127.0.0.1:0", NameUnix: t.TempDir() + "/s"}[network]
	ln, err := net.Listen(network, address)
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	a, err := net.Dial(network, ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	b, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	c := newClientConn(a, "socket", Config{Pool: newPool(t, 8<<20), Meter: new(Meter),
		WriteTimeout: write})
	c.name = NameTCP
	c.zc = newZCClient(c, ZeroCopy{Threshold: 1, Keep: true})
	t.Cleanup(func() { _, _ = c.Close(), b.Close() })
	return c, b
}

func TestAutoEndsWhereTheKernelCopiesAndANumberOfBytesGoesOn(t *testing.T) {
	needZeroCopy(t)
	const n = 40
	for _, text := range []string{"auto", "65536"} {
		zero, err := ParseZeroCopy(text)
		if err != nil {
			t.Fatal(err)
		}
		var near, far Meter
		pool := newPool(t, 16<<20)
		s := startServer(t, "127.0.0.1:0", &testHandler{onMessage: echo},
			ServerConfig{Pool: pool, Meter: &far, ZeroCopy: zero})
		c, err := Dial(t.Context(), s.Addr(), Config{Pool: pool, Meter: &near, ZeroCopy: zero})
		if err != nil {
			t.Fatal(err)
		}
		for id := range uint64(n) {
			var l loan
			m := l.message(wire.Header{Op: wire.OpWrite, ID: id}, 128<<10)
			if err := c.Send([]Message{m}); err != nil {
				t.Fatal(err)
			}
			expect(t, c, id, nil, loanBytes(id, 128<<10))
			eventually(t, "the message is released", func() bool { return l.total.Load() == 1 })
		}
		for who, m := range map[string]*Meter{"client": &near, "server": &far} {
			tr := m.Read()[0]
			if (tr.ZeroCopy >= n) == (text == "auto") || tr.ZeroCopy == 0 || tr.KernelCopied == 0 {
				t.Errorf("%s, the %s: %+v", text, who, tr)
			}
		}
		_ = c.Close()
	}
}

// A unix socket has no zero-copy sends: the kernel refuses as an old one does.
func TestBatchThatTheKernelOrTheRingRefusesLeavesByPlainWrites(t *testing.T) {
	needZeroCopy(t)
	for _, full := range []bool{false, true} {
		c, peer := zeroCopySocket(t, map[bool]string{false: NameUnix, true: NameTCP}[full])
		if full {
			c.zc.ring.mu.Lock()
			free := c.zc.ring.free
			c.zc.ring.free = nil
			c.zc.ring.mu.Unlock()
			t.Cleanup(func() {
				c.zc.ring.mu.Lock()
				c.zc.ring.free = free
				c.zc.ring.mu.Unlock()
			})
		}
		other := newClientConn(peer, "peer", Config{Pool: newPool(t, 8<<20)})
		var l loan
		for id := range uint64(3) {
			m := l.message(wire.Header{Op: wire.OpWrite, ID: id}, 5000)
			if err := c.Send([]Message{m}); err != nil {
				t.Fatal(err)
			}
			expect(t, other, id, nil, loanBytes(id, 5000))
		}
		l.settled(t, 3)
		if n := c.meter.ZeroCopy.Load(); n > 1 {
			t.Errorf("full %v: %d zero-copy sends after a refusal", full, n)
		}
	}
}
