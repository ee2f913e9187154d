package transport

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ashlar-storage/ashlar/io/buf"
	"github.com/ashlar-storage/ashlar/rpc/wire"
)

// pipeConn is a client connection whose peer is the test.
func pipeConn(t *testing.T, pool *buf.Pool) (*clientConn, net.Conn) {
	t.Helper()
	return pipeConnFor(t, pool, 10*time.Second)
}

// pipeConnFor is one whose peer has so long to take what is sent.
func pipeConnFor(t *testing.T, pool *buf.Pool, write time.Duration) (*clientConn, net.Conn) {
	t.Helper()
	a, b := net.Pipe()
	t.Cleanup(func() { _, _ = a.Close(), b.Close() })
	return newClientConn(a, "pipe", Config{Pool: pool, WriteTimeout: write}), b
}

func TestReceivedStreamMayBeCutAnywhere(t *testing.T) {
	pool := newPool(t, 8<<20)
	want, stream := sampleStream()
	for _, size := range []int{1, 7, 31, 1000, len(stream)} {
		c, far := pipeConn(t, pool)
		go func() {
			for p := range slices.Chunk(stream, size) {
				_, _ = far.Write(p)
			}
			_ = far.Close()
		}()
		for _, w := range want {
			m, err := c.Recv()
			if err != nil {
				t.Fatal(err)
			}
			var payload []byte
			if m.Payload != nil {
				payload = m.Payload.Bytes()
			}
			if m.Header.ID != w.h.ID || !bytes.Equal(m.Meta, w.meta) ||
				!bytes.Equal(payload, w.payload) {
				t.Errorf("pieces of %d: frame %d differs", size, w.h.ID)
			}
			m.done()
		}
		if _, err := c.Recv(); err != io.EOF {
			t.Errorf("pieces of %d: end gives %v", size, err)
		}
	}
}

func TestStreamThatEndsInsideAFrameIsAnError(t *testing.T) {
	pool := newPool(t, 8<<20)
	want, stream := sampleStream()
	var ends []int
	n := 0
	for _, w := range want {
		ends = append(ends, n)
		n += len(w.encode(nil))
	}
	for cut := range len(stream) {
		if cut > 200 && cut%97 != 0 || slices.Contains(ends, cut) {
			continue
		}
		c, far := pipeConn(t, pool)
		go func() {
			_, _ = far.Write(stream[:cut])
			_ = far.Close()
		}()
		for {
			m, err := c.Recv()
			if err == nil {
				m.done()
				continue
			}
			if !errors.Is(err, io.ErrUnexpectedEOF) {
				t.Errorf("cut at %d gives %v", cut, err)
			}
			break
		}
	}
}

func TestReceivedGarbageIsRefusedWithoutABuffer(t *testing.T) {
	pool := newPool(t, 2<<20)
	good := plain{h: wire.Header{Op: wire.OpRead, Flags: wire.FlagResponse}, meta: []byte("meta"),
		payload: make([]byte, 9000)}.encode(nil)
	for i := range wire.HeaderSize + 4 {
		c, far := pipeConn(t, pool)
		bad := bytes.Clone(good)
		bad[i] ^= 0x80
		go func() {
			_, _ = far.Write(bad)
			_ = far.Close()
		}()
		if _, err := c.Recv(); err == nil {
			t.Errorf("byte %d spoilt and accepted", i)
		}
		if pool.Stats().InUseBufs != 0 {
			t.Errorf("byte %d spoilt: a buffer was taken", i)
		}
	}
}

func TestAnswerWithoutABufferReadsAsOverloaded(t *testing.T) {
	pool := newPool(t, 2<<20)
	held, err := pool.Get(2 << 20)
	if err != nil {
		t.Fatal(err)
	}
	c, far := pipeConn(t, pool)
	h := wire.Header{Op: wire.OpRead, Flags: wire.FlagResponse, ID: 5}
	stream := plain{h: h, meta: []byte("meta"), payload: make([]byte, 300000)}.encode(nil)
	stream = plain{h: wire.Header{Op: wire.OpPing, ID: 6}, meta: []byte("next")}.encode(stream)
	go func() { _, _ = far.Write(stream) }()
	m, err := c.Recv()
	if err != nil || m.Header.ID != 5 || m.Header.Status != wire.StatusOverloaded ||
		m.Payload != nil || len(m.Meta) != 0 {
		t.Errorf("%+v %v", m, err)
	}
	if m, err = c.Recv(); err != nil || m.Header.ID != 6 || string(m.Meta) != "next" {
		t.Errorf("%+v %v", m, err)
	}
	held.Release()
}

func TestSendToAPeerThatDoesNotReadTimesOut(t *testing.T) {
	pool := newPool(t, 8<<20)
	c, _ := pipeConnFor(t, pool, 200*time.Millisecond)
	released := 0
	msg := func() []Message {
		return []Message{{Header: wire.Header{Op: wire.OpPing}, Release: func() { released++ }}}
	}
	if err := c.Send(msg()); !errors.Is(err, ErrTimeout) {
		t.Errorf("got %v", err)
	}
	if err := c.Send(msg()); !errors.Is(err, ErrTimeout) {
		t.Errorf("a dead connection gives %v", err)
	}
	if released != 2 {
		t.Errorf("%d releases", released)
	}
}

func TestCloseUnblocksSendAndRecv(t *testing.T) {
	pool := newPool(t, 8<<20)
	c, _ := pipeConn(t, pool)
	var wg sync.WaitGroup
	wg.Go(func() {
		if _, err := c.Recv(); !errors.Is(err, ErrClosed) {
			t.Errorf("recv: %v", err)
		}
	})
	wg.Go(func() {
		err := c.Send([]Message{{Header: wire.Header{Op: wire.OpPing}}})
		if !errors.Is(err, ErrClosed) {
			t.Errorf("send: %v", err)
		}
	})
	time.Sleep(20 * time.Millisecond)
	if err := c.Close(); err != nil {
		t.Error(err)
	}
	if err := c.Close(); err != nil {
		t.Error(err)
	}
	wg.Wait()
}

func TestMessagePastTheLimitsIsRefusedAndTheConnectionLives(t *testing.T) {
	pool := newPool(t, 16<<20)
	s := startServer(t, "127.0.0.1:0", &testHandler{onMessage: echo}, ServerConfig{Pool: pool})
	c := dial(t, s.Addr(), pool)
	released := 0
	for _, m := range []Message{
		{Header: wire.Header{Op: wire.OpWrite}, Meta: make([]byte, wire.MaxMeta+1)},
		{Header: wire.Header{Op: wire.OpWrite}, Body: [][]byte{make([]byte, wire.MaxPayload), {1}}},
	} {
		m.Release = func() { released++ }
		if err := c.Send([]Message{m}); !errors.Is(err, ErrTooBig) {
			t.Errorf("got %v", err)
		}
	}
	if released != 2 {
		t.Errorf("%d releases", released)
	}
	call(t, c, 1, nil, []byte("x"))
}

func TestServersMessagePastTheLimitsBecomesAnInternalError(t *testing.T) {
	pool := newPool(t, 16<<20)
	var released atomic.Int64
	h := &testHandler{onMessage: func(c ServerConn, m *Message) {
		c.Reply([]Message{{Header: response(m.Header), Meta: make([]byte, wire.MaxMeta+1),
			Release: func() { released.Add(1) }}})
	}}
	s := startServer(t, "127.0.0.1:0", h, ServerConfig{Pool: pool})
	c := dial(t, s.Addr(), pool)
	if err := c.Send([]Message{{Header: wire.Header{Op: wire.OpPing, ID: 4}}}); err != nil {
		t.Fatal(err)
	}
	m, err := c.Recv()
	if err != nil || m.Header.ID != 4 || m.Header.Status != wire.StatusInternal ||
		released.Load() != 1 {
		t.Errorf("%+v %v, %d releases", m.Header, err, released.Load())
	}
}

func TestConcurrentSendersDoNotMixFrames(t *testing.T) {
	pool := newPool(t, 32<<20)
	s := startServer(t, "127.0.0.1:0", &testHandler{onMessage: echo}, ServerConfig{Pool: pool})
	c := dial(t, s.Addr(), pool)
	const senders, each = 8, 50
	var wg sync.WaitGroup
	for g := range senders {
		wg.Go(func() {
			for i := range each {
				p := samplePayload(300*i+1, byte(g))
				err := c.Send([]Message{{Header: wire.Header{Op: wire.OpWrite, ID: uint64(g)},
					Meta: []byte{byte(i)}, Body: [][]byte{p[:i], p[i:]}}})
				if err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	var next [senders]int
	for range senders * each {
		m, err := c.Recv()
		if err != nil {
			t.Fatal(err)
		}
		g := m.Header.ID
		i := next[g]
		next[g]++
		if m.Meta[0] != byte(i) ||
			!bytes.Equal(m.Payload.Bytes(), samplePayload(300*i+1, byte(g))) {
			t.Fatalf("sender %d: frame %d is out of order or mixed", g, i)
		}
		m.Payload.Release()
	}
	wg.Wait()
}

func TestDialHonoursItsContextWhileGreeting(t *testing.T) {
	pool := newPool(t, 2<<20)
	ln, err := net.Listen("tcp", "127.0.0.1:0") // accepts and never greets
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	_, err = Dial(ctx, ln.Addr().String(), Config{Pool: pool})
	if !errors.Is(err, ErrTimeout) || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
}
