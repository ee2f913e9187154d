package rdma

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ashlar-storage/ashlar/io/buf"
	"github.com/ashlar-storage/ashlar/rpc/transport"
	"github.com/ashlar-storage/ashlar/rpc/wire"
)

// What follows is what rpc/transport's tests demand of its own connections, where it is of meaning
// over cards.

func TestEchoOfEverySize(t *testing.T) {
	own := wire.Hello{ClusterID: "c", NodeID: 7, Role: "node"}
	p := newPair(t, &testHandler{onMessage: echo}, transport.ServerConfig{Hello: own})
	c := p.dial(t)
	if peer := c.Peer(); peer.NodeID != 7 || peer.Role != "node" || peer.ClusterID != "c" {
		t.Errorf("peer is %+v", peer)
	}
	for i, n := range []int{0, 1, 4096, 4097, 70000, 300000, wire.MaxPayload} {
		call(t, c, uint64(i), sample(i*20, 1), sample(n, byte(i)))
	}
	call(t, c, 99, sample(wire.MaxMeta, 3), sample(10, 3))
}

func TestManyConnectionsEachGetTheirOwnAnswers(t *testing.T) {
	work := make(chan func(), 1024)
	var workers, clients sync.WaitGroup
	for range 4 {
		workers.Go(func() {
			for f := range work {
				f()
			}
		})
	}
	h := &testHandler{onMessage: func(c transport.ServerConn, m *transport.Message) {
		if m.Header.ID%2 == 0 {
			echo(c, m)
			return
		}
		answer := transport.Message{Header: response(m.Header), Meta: bytes.Clone(m.Meta),
			Payload: m.Payload}
		work <- func() { c.Reply([]transport.Message{answer}) }
	}}
	p := newPair(t, h, transport.ServerConfig{})
	for i := range 32 {
		c := p.dial(t)
		clients.Go(func() { pipelined(t, c, byte(i)) })
	}
	clients.Wait()
	close(work)
	workers.Wait()
}

// pipelined sends 40 requests and matches the answers by id.
func pipelined(t *testing.T, c transport.Conn, seed byte) {
	const n = 40
	for id := range uint64(n) {
		m := transport.Message{Header: wire.Header{Op: wire.OpWrite, ID: id},
			Room: 4096 * int(id%2),
			Meta: []byte{seed, byte(id)}, Body: [][]byte{sample(1000+int(id)*50, seed)}}
		if err := c.Send([]transport.Message{m}); err != nil {
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
		want := sample(1000+int(id)*50, seed)
		if seen[id] || !bytes.Equal(m.Meta, []byte{seed, byte(id)}) ||
			!bytes.Equal(m.Payload.Bytes(), want) {
			t.Errorf("connection %d: wrong answer %d", seed, id)
		}
		seen[id] = true
		m.Payload.Release()
	}
}

func TestGreetingDecidesWhoMayTalk(t *testing.T) {
	h := &testHandler{onMessage: echo}
	p := newPair(t, h, transport.ServerConfig{Hello: wire.Hello{ClusterID: "east"}})
	_, err := p.client.dev.Dial(context.Background(), p.srv.Addr(),
		transport.Config{Pool: p.client.pool, Hello: wire.Hello{ClusterID: "west"}})
	if !errors.Is(err, wire.ErrWrongCluster) || !strings.Contains(err.Error(), "east") {
		t.Errorf("another cluster: %v", err)
	}
	if len(h.opened) != 0 {
		t.Errorf("the handler saw %d of them", len(h.opened))
	}
}

func TestRequestWithoutABufferIsAnsweredOverloaded(t *testing.T) {
	p := newPair(t, &testHandler{onMessage: echo}, transport.ServerConfig{})
	c := p.dial(t)
	held := p.server.exhaust()
	payload := sample(100000, 1)
	var released atomic.Int64
	send := func(op wire.Op, id uint64) {
		m := transport.Message{Header: wire.Header{Op: op, ID: id}, Body: [][]byte{payload},
			Release: func() { released.Add(1) }}
		if err := c.Send([]transport.Message{m}); err != nil {
			t.Fatal(err)
		}
	}
	send(wire.OpRaft, 1)
	send(wire.OpWrite, 2)
	m, err := c.Recv()
	var r wire.IOResponse
	if err != nil || m.Header.ID != 2 || m.Header.Status != wire.StatusOverloaded ||
		r.Decode(m.Meta) != nil || r.RetryAfterMS != transport.OverloadedRetryMS {
		t.Errorf("%+v %+v %v", m.Header, r, err)
	}
	if st := p.srv.Stats(); st.Overloaded != 1 || st.Lost != 1 {
		t.Errorf("%+v", st)
	}
	eventually(t, "both are released", func() bool { return released.Load() == 2 })
	for _, b := range held {
		b.Release()
	}
	call(t, c, 3, nil, payload)
}

// exhaust takes all memory of a pool but a little.
func (e *end) exhaust() (held []*buf.Buf) {
	for size := buf.MaxSize; size >= 64<<10; size /= 2 {
		for {
			b, err := e.pool.Get(size)
			if err != nil {
				break
			}
			held = append(held, b)
		}
	}
	return held
}

func TestAnswerWithoutABufferReadsAsOverloaded(t *testing.T) {
	var p *pair
	h := &testHandler{onMessage: func(c transport.ServerConn, m *transport.Message) {
		out := transport.Message{Header: response(m.Header), Meta: []byte("meta"),
			Body: [][]byte{sample(300000, 1)}}
		next := transport.Message{Header: wire.Header{Op: wire.OpPing, Flags: wire.FlagResponse,
			ID: 6}, Meta: []byte("next")}
		c.Reply([]transport.Message{out, next})
	}}
	p = newPair(t, h, transport.ServerConfig{})
	c := p.dial(t)
	held := p.client.exhaust()
	req := transport.Message{Header: wire.Header{Op: wire.OpRead, ID: 5}, Room: 300000}
	if err := c.Send([]transport.Message{req}); err != nil {
		t.Fatal(err)
	}
	m, err := c.Recv()
	if err != nil || m.Header.ID != 5 || m.Header.Status != wire.StatusOverloaded ||
		m.Payload != nil || len(m.Meta) != 0 {
		t.Errorf("%+v %v", m, err)
	}
	expect(t, c, 6, []byte("next"), nil)
	for _, b := range held {
		b.Release()
	}
}

func TestSlowReaderIsBoundedAndClosed(t *testing.T) {
	const limit = 4 << 20
	var released, sent atomic.Int64
	open := make(chan transport.ServerConn, 1)
	h := &testHandler{onOpen: func(c transport.ServerConn) { open <- c }}
	p := newPair(t, h, transport.ServerConfig{MaxOutbound: limit})
	p.dial(t) // and never receives
	c := <-open
	b := p.server.get(t, 128<<10, 1)
	for range 10000 {
		sent.Add(1)
		c.Reply([]transport.Message{{Header: wire.Header{Op: wire.OpRead, Flags: wire.FlagResponse},
			Payload: b.Retain(), Release: func() { released.Add(1) }}})
		if n := c.Pending(); n > limit+1<<20 {
			t.Fatalf("%d bytes pending, limit %d", n, limit)
		}
	}
	b.Release()
	if err := h.whyClosed(t, 1); !errors.Is(err, transport.ErrSlowReader) {
		t.Errorf("closed with %v", err)
	}
	eventually(t, "every release", func() bool { return released.Load() == sent.Load() })
}

func TestSlowReaderThatCatchesUpLosesNothing(t *testing.T) {
	open := make(chan transport.ServerConn, 1)
	var released atomic.Int64
	h := &testHandler{onOpen: func(c transport.ServerConn) { open <- c }}
	p := newPair(t, h, transport.ServerConfig{})
	c := p.dial(t)
	sc := <-open
	const n = MaxUnread + 100
	for id := range uint64(n) {
		sc.Reply([]transport.Message{{
			Header: wire.Header{Op: wire.OpRead, Flags: wire.FlagResponse, ID: id},
			Meta:   []byte{byte(id)}, Body: [][]byte{sample(30000, byte(id))},
			Release: func() { released.Add(1) }}})
	}
	eventually(t, "bytes wait for the reader", func() bool { return sc.Pending() > 1<<20 })
	for id := range uint64(n) {
		expect(t, c, id, []byte{byte(id)}, sample(30000, byte(id)))
	}
	eventually(t, "nothing is pending", func() bool { return sc.Pending() == 0 })
	if released.Load() != n {
		t.Errorf("%d releases", released.Load())
	}
}

func TestQueuedAnswersGoToTheCardTogether(t *testing.T) {
	open := make(chan transport.ServerConn, 1)
	h := &testHandler{onOpen: func(c transport.ServerConn) { open <- c }}
	p := newPair(t, h, transport.ServerConfig{})
	c := p.dial(t)
	sc := <-open
	eventually(t, "the greeting is over", func() bool { return sc.Pending() == 0 })
	before := p.srv.Stats().Writes
	for range 10 {
		sc.Queue([]transport.Message{{Header: wire.Header{Op: wire.OpPing,
			Flags: wire.FlagResponse}}})
	}
	sc.Flush()
	if n := p.srv.Stats().Writes - before; n != 1 {
		t.Errorf("10 queued answers took %d posts", n)
	}
	for range 10 {
		expect(t, c, 0, nil, nil)
	}
}

func TestReplyAfterCloseReleases(t *testing.T) {
	open := make(chan transport.ServerConn, 1)
	h := &testHandler{onOpen: func(c transport.ServerConn) { open <- c }}
	p := newPair(t, h, transport.ServerConfig{})
	c := p.dial(t)
	sc := <-open
	_ = c.Close()
	_ = h.whyClosed(t, 1)
	b := p.server.get(t, 4096, 1)
	inUse := p.server.pool.Stats().InUseBufs
	released := 0
	sc.Reply([]transport.Message{{Header: wire.Header{Op: wire.OpRead, Flags: wire.FlagResponse},
		Payload: b, Release: func() { released++ }}})
	sc.Queue([]transport.Message{{Release: func() { released++ }}})
	sc.Flush()
	sc.Close(nil)
	now := p.server.pool.Stats().InUseBufs
	if now != inUse-1 || released != 2 || sc.Pending() != 0 {
		t.Errorf("%d buffers in use of %d, %d releases, %d pending", now, inUse, released,
			sc.Pending())
	}
}

func TestConnectionsPastTheLimitAreRefused(t *testing.T) {
	p := newPair(t, &testHandler{onMessage: echo}, transport.ServerConfig{MaxConns: 2})
	a, b := p.dial(t), p.dial(t)
	_, err := p.client.dev.Dial(context.Background(), p.srv.Addr(),
		transport.Config{Pool: p.client.pool})
	if !errors.Is(err, wire.ErrOverloaded) {
		t.Errorf("the third: %v", err)
	}
	if st := p.srv.Stats(); st.Refused != 1 || st.Open != 2 {
		t.Errorf("%+v", st)
	}
	_ = a.Close()
	eventually(t, "a place is free", func() bool { return p.srv.Stats().Open == 1 })
	call(t, p.dial(t), 1, nil, []byte("x"))
	call(t, b, 1, nil, []byte("x"))
}

func TestReceivesBoundConnections(t *testing.T) {
	n := newNet(t, 1)
	server := newEnd(t, n, addrA, 32<<20, func(c *Config) { c.Credits, c.Receives = 8, 17 })
	client := newEnd(t, n, addrB, 32<<20, nil)
	p := &pair{net: n, server: server, client: client}
	p.srv = server.listen(t, &testHandler{onMessage: echo}, transport.ServerConfig{})
	a, b := p.dial(t), p.dial(t)
	if _, err := client.dev.Dial(context.Background(), p.srv.Addr(),
		transport.Config{Pool: client.pool}); !errors.Is(err, wire.ErrOverloaded) {
		t.Errorf("the third: %v", err)
	}
	call(t, a, 1, nil, []byte("x"))
	call(t, b, 1, nil, sample(300000, 1))
}

func TestCloseOfTheServerEndsEveryConnection(t *testing.T) {
	h := &testHandler{onMessage: echo}
	p := newPair(t, h, transport.ServerConfig{})
	c := p.dial(t)
	call(t, c, 1, nil, []byte("x"))
	if err := p.srv.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Recv(); err == nil {
		t.Error("received from a closed server")
	}
	if err := h.whyClosed(t, 1); !errors.Is(err, transport.ErrClosed) {
		t.Errorf("closed with %v", err)
	}
	if _, err := p.client.dev.Dial(context.Background(), p.srv.Addr(),
		transport.Config{Pool: p.client.pool}); err == nil {
		t.Error("dialled a closed server")
	}
}

func TestBadConfigurationIsRefusedByField(t *testing.T) {
	n := newNet(t, 1)
	e := newEnd(t, n, addrA, 8<<20, nil)
	for name, f := range map[string]func() error{
		"Config.Provider": func() error { _, err := Open(Config{}); return err },
		"Config.Key": func() error {
			_, err := Open(Config{Provider: e.host, Pool: e.pool, Key: []byte("short")})
			return err
		},
		"Config.Credits": func() error {
			_, err := Open(Config{Provider: e.host, Pool: e.pool, Credits: 2})
			return err
		},
		"Config.Windows": func() error {
			_, err := Open(Config{Provider: e.host, Pool: e.pool, Windows: 2})
			return err
		},
		"ServerConfig.Pool": func() error {
			_, err := e.dev.Listen("10.9.0.1:0", &testHandler{}, transport.ServerConfig{})
			return err
		},
		"ip:port": func() error {
			_, err := e.dev.Dial(context.Background(), "nonsense", transport.Config{Pool: e.pool})
			return err
		},
	} {
		err := f()
		if !errors.Is(err, transport.ErrConfig) || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestClosingIsLoggedOnceWithItsReason(t *testing.T) {
	var out syncBuffer
	h := &testHandler{onMessage: echo}
	p := newPair(t, h, transport.ServerConfig{Logger: slog.New(slog.NewTextHandler(&out, nil))})
	_ = p.dial(t).Close()
	_ = h.whyClosed(t, 1)
	p.dial(t)
	p.client.dev.breakAll()
	_ = h.whyClosed(t, 2)
	if n := strings.Count(out.String(), "\n"); n != 1 ||
		!strings.Contains(out.String(), "connection broken") {
		t.Errorf("%d lines:\n%s", n, out.String())
	}
}

// breakAll breaks the queue pairs of connections that were dialled.
func (d *Device) breakAll() {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, c := range d.clients {
		c.qp.Disconnect()
	}
}

type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

func TestIdleDeviceSleeps(t *testing.T) {
	p := newPair(t, &testHandler{onMessage: echo}, transport.ServerConfig{})
	c := p.dial(t)
	call(t, c, 1, nil, []byte("x"))
	time.Sleep(20 * time.Millisecond)
	before := p.server.dev.Stats().Sleeps
	time.Sleep(300 * time.Millisecond)
	if n := p.server.dev.Stats().Sleeps - before; n > 20 {
		t.Errorf("woke %d times in 300 ms without work", n)
	}
}
