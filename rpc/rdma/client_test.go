package rdma

import (
	"bytes"
	"context"
	"errors"
	"io"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ashlar-storage/ashlar/rpc/rdma/verbs"
	"github.com/ashlar-storage/ashlar/rpc/transport"
	"github.com/ashlar-storage/ashlar/rpc/wire"
)

// stuck makes a pair whose server is in its handler until let go.
func stuck(t *testing.T) (p *pair, letGo func()) {
	gate := make(chan struct{})
	h := &testHandler{onMessage: func(c transport.ServerConn, m *transport.Message) {
		<-gate
		if m.Payload != nil {
			m.Payload.Release()
		}
	}}
	p = &pair{net: newNet(t, 1), h: h}
	p.server = newEnd(t, p.net, addrA, 64<<20, nil)
	p.client = newEnd(t, p.net, addrB, 64<<20, nil)
	p.srv = p.server.listen(t, h, transport.ServerConfig{})
	var once sync.Once
	letGo = func() { once.Do(func() { close(gate) }) }
	t.Cleanup(letGo)
	return p, letGo
}

func TestSendToAPeerThatTakesNothingTimesOut(t *testing.T) {
	p, _ := stuck(t)
	c, err := p.client.dev.Dial(context.Background(), p.srv.Addr(), transport.Config{
		Pool: p.client.pool, WriteTimeout: 300 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	var sent, released atomic.Int64
	send := func() error {
		sent.Add(1)
		return c.Send([]transport.Message{{Header: wire.Header{Op: wire.OpRaft},
			Release: func() { released.Add(1) }}})
	}
	for err = nil; err == nil && sent.Load() < 1000; {
		err = send()
	}
	if !errors.Is(err, transport.ErrTimeout) {
		t.Errorf("got %v", err)
	}
	if err := send(); !errors.Is(err, transport.ErrTimeout) {
		t.Errorf("a dead connection gives %v", err)
	}
	eventually(t, "every release", func() bool { return released.Load() == sent.Load() })
}

func TestCloseUnblocksSendAndRecv(t *testing.T) {
	p, _ := stuck(t)
	c := p.dial(t)
	var wg sync.WaitGroup
	wg.Go(func() {
		if _, err := c.Recv(); !errors.Is(err, transport.ErrClosed) {
			t.Errorf("recv: %v", err)
		}
	})
	wg.Go(func() {
		var err error
		for err == nil {
			err = c.Send([]transport.Message{{Header: wire.Header{Op: wire.OpPing}}})
		}
		if !errors.Is(err, transport.ErrClosed) {
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

func TestWhatWasSentBeforeCloseArrives(t *testing.T) {
	var arrived atomic.Int64
	h := &testHandler{onMessage: func(_ transport.ServerConn, m *transport.Message) {
		if bytes.Equal(m.Payload.Bytes(), sample(30000, 1)) {
			arrived.Add(1)
		}
		m.Payload.Release()
	}}
	p := newPair(t, h, transport.ServerConfig{})
	c := p.dial(t)
	for range 100 {
		if err := c.Send([]transport.Message{{Header: wire.Header{Op: wire.OpRaft},
			Body: [][]byte{sample(30000, 1)}}}); err != nil {
			t.Fatal(err)
		}
	}
	_ = c.Close()
	if err := h.whyClosed(t, 1); err != io.EOF {
		t.Errorf("closed with %v", err)
	}
	if arrived.Load() != 100 {
		t.Errorf("%d arrived", arrived.Load())
	}
}

func TestMessagePastTheLimitsIsRefusedAndTheConnectionLives(t *testing.T) {
	p := newPair(t, &testHandler{onMessage: echo}, transport.ServerConfig{})
	c := p.dial(t)
	released := 0
	for _, m := range []transport.Message{
		{Header: wire.Header{Op: wire.OpWrite}, Meta: make([]byte, wire.MaxMeta+1)},
		{Header: wire.Header{Op: wire.OpWrite}, Body: [][]byte{make([]byte, wire.MaxPayload), {1}}},
		{Header: wire.Header{Op: wire.OpRead}, Room: wire.MaxPayload + 1},
	} {
		m.Release = func() { released++ }
		if err := c.Send([]transport.Message{m}); !errors.Is(err, transport.ErrTooBig) {
			t.Errorf("got %v", err)
		}
	}
	if released != 3 {
		t.Errorf("%d releases", released)
	}
	call(t, c, 1, nil, []byte("x"))
}

func TestServersMessagePastTheLimitsBecomesAnInternalError(t *testing.T) {
	var released atomic.Int64
	h := &testHandler{onMessage: func(c transport.ServerConn, m *transport.Message) {
		out := transport.Message{Header: response(m.Header), Release: func() { released.Add(1) }}
		if m.Header.ID == 4 {
			out.Meta = make([]byte, wire.MaxMeta+1)
		} else {
			out.Body = [][]byte{make([]byte, 8192)}
		}
		c.Reply([]transport.Message{out})
	}}
	p := newPair(t, h, transport.ServerConfig{})
	c := p.dial(t)
	for i, room := range []int{0, 4096} { // too much metadata; more payload than there is room for
		id := uint64(4 + i)
		if err := c.Send([]transport.Message{{Header: wire.Header{Op: wire.OpRead, ID: id},
			Room: room}}); err != nil {
			t.Fatal(err)
		}
		m, err := c.Recv()
		if err != nil || m.Header.ID != id || m.Header.Status != wire.StatusInternal ||
			m.Payload != nil || released.Load() != int64(i+1) {
			t.Errorf("%+v %v, %d releases", m.Header, err, released.Load())
		}
	}
}

func TestConcurrentSendersDoNotMixFrames(t *testing.T) {
	p := newPair(t, &testHandler{onMessage: echo}, transport.ServerConfig{})
	c := p.dial(t)
	const senders, each = 8, 50
	var wg sync.WaitGroup
	for g := range senders {
		wg.Go(func() {
			for i := range each {
				b := sample(300*i+1, byte(g))
				err := c.Send([]transport.Message{{Header: wire.Header{Op: wire.OpWrite,
					ID: uint64(g)}, Meta: []byte{byte(i)}, Body: [][]byte{b[:i], b[i:]}}})
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
		if m.Meta[0] != byte(i) || !bytes.Equal(m.Payload.Bytes(), sample(300*i+1, byte(g))) {
			t.Fatalf("sender %d: frame %d is out of order or mixed", g, i)
		}
		m.Payload.Release()
	}
	wg.Wait()
}

// A peer that takes nothing makes TrySend stop without blocking; what it left is sent by Finish,
// and nothing is lost or doubled.
func TestTrySendNeverBlocksAndFinishSendsTheRest(t *testing.T) {
	p, letGo := stuck(t)
	c := p.dial(t)
	var released, sent atomic.Int64
	outcome := transport.Complete
	for outcome == transport.Complete {
		m := transport.Message{Header: wire.Header{Op: wire.OpRaft},
			Body:    [][]byte{sample(9000, 1)},
			Release: func() { released.Add(1) }}
		var err error
		begin := time.Now()
		if outcome, err = c.TrySend([]transport.Message{m, m}); err != nil {
			t.Fatal(err)
		}
		if d := time.Since(begin); d > time.Second {
			t.Fatalf("TrySend took %v", d)
		}
		sent.Add(2)
	}
	if outcome != transport.Partial {
		t.Fatalf("outcome %d", outcome)
	}
	if again, err := c.TrySend([]transport.Message{{}}); again != transport.Busy || err != nil {
		t.Fatalf("a second TrySend: %d %v", again, err)
	}
	letGo()
	if err := c.Finish(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "every release", func() bool { return released.Load() == sent.Load() })
}

func TestManyRequestsMayBeSentBeforeAnAnswerIsLookedAt(t *testing.T) {
	p := newPair(t, &testHandler{onMessage: echo}, transport.ServerConfig{})
	c := p.dial(t)
	for id := range uint64(MaxUnread) {
		if err := c.Send([]transport.Message{{Header: wire.Header{Op: wire.OpWrite, ID: id},
			Body: [][]byte{sample(1000, byte(id))}}}); err != nil {
			t.Fatal(err)
		}
	}
	for id := range uint64(MaxUnread) {
		expect(t, c, id, nil, sample(1000, byte(id)))
	}
}

func TestBytesLentForTheCallAreFreeWhenSendReturns(t *testing.T) {
	p := newPair(t, &testHandler{onMessage: echo}, transport.ServerConfig{})
	c := p.dial(t)
	b := p.client.get(t, 50000, 1)
	defer b.Release()
	for i := range 50 {
		want := sample(50000, byte(i))
		copy(b.Bytes(), want)
		if err := c.Send([]transport.Message{{Header: wire.Header{Op: wire.OpWrite, ID: 1},
			Body: [][]byte{b.Bytes()}}}); err != nil {
			t.Fatal(err)
		}
		clear(b.Bytes())
		expect(t, c, 1, nil, want)
	}
	if st := p.client.dev.Stats(); st.Copies != 50 || st.CopiedBytes != 50*50000 {
		t.Errorf("%d copies of %d bytes", st.Copies, st.CopiedBytes)
	}
}

func TestNobodyListensIsRefused(t *testing.T) {
	e := newEnd(t, newNet(t, 1), addrA, 8<<20, nil)
	_, err := e.dev.Dial(context.Background(), "10.9.0.1:7", transport.Config{Pool: e.pool})
	if !errors.Is(err, verbs.ErrRefused) {
		t.Errorf("got %v", err)
	}
}

func TestDialHonoursItsContextWhileGreeting(t *testing.T) {
	p := newPair(t, &testHandler{}, transport.ServerConfig{})
	p.server.host.Silence()
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	_, err := p.client.dev.Dial(ctx, p.srv.Addr(), transport.Config{Pool: p.client.pool})
	if !errors.Is(err, transport.ErrTimeout) || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
}

func TestCloseOfTheDeviceEndsDials(t *testing.T) {
	p := newPair(t, &testHandler{}, transport.ServerConfig{})
	p.server.host.Silence()
	ended := make(chan error, 1)
	go func() {
		_, err := p.client.dev.Dial(context.Background(), p.srv.Addr(),
			transport.Config{Pool: p.client.pool, DialTimeout: time.Minute})
		ended <- err
	}()
	time.Sleep(10 * time.Millisecond)
	begin := time.Now()
	if err := p.client.dev.Close(); err != nil {
		t.Error(err)
	}
	if err := <-ended; err == nil || time.Since(begin) > 10*time.Second {
		t.Errorf("ended after %v with %v", time.Since(begin), err)
	}
	if _, err := p.client.dev.Dial(context.Background(), p.srv.Addr(),
		transport.Config{Pool: p.client.pool}); !errors.Is(err, transport.ErrClosed) {
		t.Errorf("a closed device: %v", err)
	}
}

func TestAsManyCreditsAsThereMayBe(t *testing.T) {
	n := newNet(t, 1)
	many := func(c *Config) { c.Credits = MaxCredits }
	p := &pair{net: n, server: newEnd(t, n, addrA, 32<<20, many),
		client: newEnd(t, n, addrB, 32<<20, many)}
	p.srv = p.server.listen(t, &testHandler{onMessage: echo}, transport.ServerConfig{})
	c := p.dial(t)
	for round := range uint64(20) {
		for id := range uint64(200) {
			if err := c.Send([]transport.Message{{Header: wire.Header{Op: wire.OpWrite,
				ID: round<<8 | id}, Meta: []byte{byte(id)}}}); err != nil {
				t.Fatal(err)
			}
		}
		for id := range uint64(200) {
			expect(t, c, round<<8|id, []byte{byte(id)}, nil)
		}
	}
}

// Each message is copied, because it is not in the pool, which does not hold them all.
func TestSendOfMoreThanThePoolHoldsGoesOn(t *testing.T) {
	var arrived atomic.Int64
	h := &testHandler{onMessage: func(_ transport.ServerConn, m *transport.Message) {
		if bytes.Equal(m.Payload.Bytes(), sample(500000, 1)) {
			arrived.Add(1)
		}
		m.Payload.Release()
	}}
	n := newNet(t, 1)
	p := &pair{net: n, server: newEnd(t, n, addrA, 64<<20, nil),
		client: newEnd(t, n, addrB, 6<<20, nil)}
	p.srv = p.server.listen(t, h, transport.ServerConfig{})
	c := p.dial(t)
	var msgs []transport.Message
	for range 40 {
		msgs = append(msgs, transport.Message{Header: wire.Header{Op: wire.OpRaft},
			Body: [][]byte{sample(500000, 1)}})
	}
	if outcome, err := c.TrySend(msgs); outcome != transport.Busy || err != nil {
		t.Errorf("a send that must not block: %v %v", outcome, err)
	}
	if err := c.Send(msgs); err != nil {
		t.Fatal(err)
	}
	eventually(t, "all arrive", func() bool { return arrived.Load() == 40 })
}

func TestSendThatFindsNoMemoryTimesOut(t *testing.T) {
	n := newNet(t, 1)
	p := &pair{net: n, server: newEnd(t, n, addrA, 32<<20, nil),
		client: newEnd(t, n, addrB, 8<<20, nil)}
	p.srv = p.server.listen(t, &testHandler{onMessage: echo}, transport.ServerConfig{})
	c, err := p.client.dev.Dial(context.Background(), p.srv.Addr(), transport.Config{
		Pool: p.client.pool, WriteTimeout: 100 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	held := p.client.exhaust()
	released := 0
	err = c.Send([]transport.Message{{Header: wire.Header{Op: wire.OpWrite},
		Body: [][]byte{make([]byte, 200000)}, Release: func() { released++ }}})
	if !errors.Is(err, transport.ErrTimeout) || released != 1 {
		t.Errorf("%v, %d releases", err, released)
	}
	for _, b := range held {
		b.Release()
	}
}

// A node may take requests that it cannot answer for long. They hold windows and memory, and must
// not keep back what comes after them.
func TestRequestsThatNobodyAnswersHoldNothingBack(t *testing.T) {
	h := &testHandler{onMessage: func(c transport.ServerConn, m *transport.Message) {
		if m.Header.Op == wire.OpPing {
			echo(c, m)
		} else if m.Payload != nil {
			m.Payload.Release()
		}
	}}
	p := newPair(t, h, transport.ServerConfig{})
	c := p.dial(t)
	b := p.client.get(t, 32*64, 1)
	defer b.Release()
	for id := range uint64(3 * DefaultWindows) {
		m := transport.Message{Header: wire.Header{Op: wire.OpRead, ID: id}, Room: 4096}
		if id%2 == 0 { // as many pieces as there may be
			m = transport.Message{Header: wire.Header{Op: wire.OpWrite, ID: id}, Release: func() {}}
			for i := MaxPieces - 1; i >= 0; i-- {
				m.Body = append(m.Body, b.Bytes()[i*64:i*64+32])
			}
		}
		if err := c.Send([]transport.Message{m}); err != nil {
			t.Fatal(err)
		}
		if id%50 == 0 {
			pingOnce(t, c, id)
		}
	}
	pingOnce(t, c, 1<<40)
	_ = c.Close()
	eventually(t, "the connection is gone", func() bool { return p.srv.Stats().Open == 0 })
}

func pingOnce(t *testing.T, c transport.Conn, id uint64) {
	t.Helper()
	ping := transport.Message{Header: wire.Header{Op: wire.OpPing, ID: id}}
	if err := c.Send([]transport.Message{ping}); err != nil {
		t.Fatal(err)
	}
	expect(t, c, id, nil, nil)
}
