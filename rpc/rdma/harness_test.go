package rdma

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/ashlar-storage/ashlar/io/buf"
	"github.com/ashlar-storage/ashlar/rpc/rdma/fake"
	"github.com/ashlar-storage/ashlar/rpc/rdma/verbs"
	"github.com/ashlar-storage/ashlar/rpc/transport"
	"github.com/ashlar-storage/ashlar/rpc/wire"
)

// gnet, which comes with rpc/transport, keeps goroutines of its own from its package's start on.
func TestMain(m *testing.M) { goleak.VerifyTestMain(m, goleak.IgnoreCurrent()) }

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

func eventually(t testing.TB, what string, f func() bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); !f(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("never: %s", what)
		}
	}
}

// end is one machine: a host of the network with its pool and device.
type end struct {
	host *fake.Host
	pool *buf.Pool
	dev  *Device
}

var (
	addrA = netip.MustParseAddr("10.9.0.1")
	addrB = netip.MustParseAddr("10.9.0.2")
)

// realCard takes the place of the cards in this process where a machine has one (card_test.go);
// what needs their faults is not run there.
var (
	realCard verbs.Provider
	realAddr netip.Addr
)

// newNet makes a network that is checked for leaks when the test ends.
func newNet(t testing.TB, seed uint64) *fake.Network {
	t.Helper()
	n := fake.New(seed)
	t.Cleanup(func() {
		if c := n.Counts(); c != (fake.Counts{}) {
			t.Errorf("left on the cards: %+v", c)
		}
		n.Close()
	})
	return n
}

// newEnd opens a card. When the test ends everything must have come back.
func newEnd(t testing.TB, n *fake.Network, addr netip.Addr, bytes int64, tune func(*Config)) *end {
	t.Helper()
	pool, err := buf.NewPool(buf.Config{Bytes: bytes})
	if err != nil {
		t.Fatal(err)
	}
	e := &end{host: n.Host(fake.Card{Name: "fake0", Addr: addr}), pool: pool}
	cfg := Config{Provider: e.host, Pool: pool, Loops: 2, Logger: quiet(),
		RetryTimeout: 200 * time.Millisecond}
	if realCard != nil {
		cfg.Provider, cfg.RetryTimeout = realCard, 0
		t.Cleanup(func() { cardCounters(t) })
	}
	if tune != nil {
		tune(&cfg)
	}
	if e.dev, err = Open(cfg); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := e.dev.Close(); err != nil && !errors.Is(err, transport.ErrClosed) {
			t.Error(err)
		}
		if st := e.dev.Stats(); st.Open != 0 || st.WindowsBound != 0 {
			t.Errorf("left on the device: %+v", st)
		}
		if err := pool.Close(); err != nil {
			t.Error(err)
		}
	})
	return e
}

// pair is a server and a client on two machines.
type pair struct {
	net    *fake.Network
	server *end
	client *end
	srv    *Server
	h      *testHandler
}

func newPair(t testing.TB, h *testHandler, cfg transport.ServerConfig) *pair {
	t.Helper()
	p := &pair{net: newNet(t, 1), h: h}
	p.server = newEnd(t, p.net, addrA, 64<<20, nil)
	p.client = newEnd(t, p.net, addrB, 64<<20, nil)
	p.srv = p.server.listen(t, h, cfg)
	return p
}

func (e *end) listen(t testing.TB, h *testHandler, cfg transport.ServerConfig) *Server {
	t.Helper()
	cfg.Pool = e.pool
	if cfg.Logger == nil {
		cfg.Logger = quiet()
	}
	at := netip.AddrPortFrom(e.dev.Info().Ports[0].GIDs[0].Addr, 0)
	if realCard != nil {
		at = netip.AddrPortFrom(realAddr, 0)
	}
	s, err := e.dev.Listen(at.String(), h, cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		h.mu.Lock()
		defer h.mu.Unlock()
		if h.twice || len(h.closed) != len(h.opened) {
			t.Errorf("%d opened, %d closed, twice: %v", len(h.opened), len(h.closed), h.twice)
		}
		if st := s.Stats(); st.Open != 0 {
			t.Errorf("%d connections left", st.Open)
		}
	})
	return s
}

func (p *pair) dial(t testing.TB) transport.Conn {
	t.Helper()
	c, err := p.client.dev.Dial(context.Background(), p.srv.Addr(),
		transport.Config{Pool: p.client.pool, Hello: wire.Hello{Name: "test"}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// testHandler counts what happens and answers through onMessage.
type testHandler struct {
	onMessage func(c transport.ServerConn, m *transport.Message)
	onOpen    func(c transport.ServerConn)
	onBatch   func(c transport.ServerConn)

	mu     sync.Mutex
	opened map[uint64]transport.ServerConn
	closed map[uint64]error
	twice  bool
}

func (h *testHandler) OnOpen(c transport.ServerConn) {
	h.mu.Lock()
	if h.opened == nil {
		h.opened, h.closed = map[uint64]transport.ServerConn{}, map[uint64]error{}
	}
	h.opened[c.ID()] = c
	h.mu.Unlock()
	if h.onOpen != nil {
		h.onOpen(c)
	}
}

func (h *testHandler) OnMessage(c transport.ServerConn, m *transport.Message) {
	if h.onMessage != nil {
		h.onMessage(c, m)
	} else if m.Payload != nil {
		m.Payload.Release()
	}
}

func (h *testHandler) OnBatchEnd(c transport.ServerConn) {
	if h.onBatch != nil {
		h.onBatch(c)
	}
}

func (h *testHandler) OnClose(c transport.ServerConn, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	_, again := h.closed[c.ID()]
	h.twice = h.twice || again || h.opened[c.ID()] == nil
	h.closed[c.ID()] = err
}

// whyClosed waits until as many connections have closed and returns why the last opened did.
func (h *testHandler) whyClosed(t testing.TB, n int) (err error) {
	t.Helper()
	eventually(t, "connection closes", func() bool {
		h.mu.Lock()
		defer h.mu.Unlock()
		var last uint64
		for id := range h.closed {
			last = max(last, id)
		}
		err = h.closed[last]
		return len(h.closed) >= n
	})
	return err
}

func response(h wire.Header) wire.Header {
	return wire.Header{Op: h.Op, Flags: wire.FlagResponse, ID: h.ID}
}

// echo answers with what came, from the loop.
func echo(c transport.ServerConn, m *transport.Message) {
	c.Reply([]transport.Message{{Header: response(m.Header), Meta: m.Meta, Payload: m.Payload}})
}

func sample(n int, seed byte) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i*7>>3) ^ byte(i) ^ seed
	}
	return b
}

// call sends one message and expects its echo.
func call(t testing.TB, c transport.Conn, id uint64, meta, payload []byte) {
	t.Helper()
	m := transport.Message{Header: wire.Header{Op: wire.OpWrite, ID: id}, Meta: meta,
		Body: [][]byte{payload}}
	if err := c.Send([]transport.Message{m}); err != nil {
		t.Fatal(err)
	}
	expect(t, c, id, meta, payload)
}

func expect(t testing.TB, c transport.Conn, id uint64, meta, payload []byte) {
	t.Helper()
	m, err := c.Recv()
	if err != nil {
		t.Fatal(err)
	}
	var got []byte
	if m.Payload != nil {
		got = m.Payload.Bytes()
		defer m.Payload.Release()
	}
	if m.Header.ID != id || !bytes.Equal(m.Meta, meta) || !bytes.Equal(got, payload) {
		t.Fatalf("echo %+v of %d+%d bytes, want id %d and %d+%d", m.Header, len(m.Meta), len(got),
			id, len(meta), len(payload))
	}
}

func testPool(t testing.TB, bytes int64) *buf.Pool {
	t.Helper()
	p, err := buf.NewPool(buf.Config{Bytes: bytes})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	})
	return p
}

// cardCounters tells what the kernel has counted for its cards.
func cardCounters(t testing.TB) {
	if !t.Failed() {
		return
	}
	files, _ := filepath.Glob("/sys/class/infiniband/*/ports/*/hw_counters/*")
	for _, f := range files {
		text, _ := os.ReadFile(f)
		if n := string(bytes.TrimSpace(text)); n != "0" {
			t.Logf("%s %s", filepath.Base(f), n)
		}
	}
}
