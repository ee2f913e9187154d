package transport

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"io"
	"log/slog"
	"net"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/ashlar-storage/ashlar/io/buf"
	"github.com/ashlar-storage/ashlar/rpc/wire"
)

func TestMain(m *testing.M) {
	flag.Parse()
	// gnet keeps a worker pool of its own from its package's start on.
	goleak.VerifyTestMain(both{m}, goleak.IgnoreCurrent())
}

// forced is the switch of servers and connections whose test does not set it. Every test runs
// with plain writes, and again with all payloads leaving by zero-copy sends where they may.
var forced ZeroCopy

var onlyZeroCopy = flag.Bool("only-zerocopy", false, "leave the run with plain writes out")

type both struct{ m *testing.M }

func (b both) Run() int {
	if f := flag.Lookup("test.bench"); f != nil && f.Value.String() != "" {
		return b.m.Run()
	}
	if !*onlyZeroCopy {
		if code := b.m.Run(); code != 0 {
			return code
		}
	}
	forced = ZeroCopy{Threshold: 1, Keep: true}
	return b.m.Run()
}

// testHandler counts what happens and answers through onMessage.
type testHandler struct {
	onMessage func(c ServerConn, m *Message)
	onOpen    func(c ServerConn)
	onBatch   func(c ServerConn)

	mu     sync.Mutex
	opened map[uint64]ServerConn
	closed map[uint64]error
	twice  bool
}

func (h *testHandler) OnOpen(c ServerConn) {
	h.mu.Lock()
	if h.opened == nil {
		h.opened, h.closed = map[uint64]ServerConn{}, map[uint64]error{}
	}
	h.opened[c.ID()] = c
	h.mu.Unlock()
	if h.onOpen != nil {
		h.onOpen(c)
	}
}

func (h *testHandler) OnMessage(c ServerConn, m *Message) {
	if h.onMessage != nil {
		h.onMessage(c, m)
	} else {
		m.done()
	}
}

func (h *testHandler) OnBatchEnd(c ServerConn) {
	if h.onBatch != nil {
		h.onBatch(c)
	}
}

func (h *testHandler) OnClose(c ServerConn, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	_, again := h.closed[c.ID()]
	h.twice = h.twice || again || h.opened[c.ID()] == nil
	h.closed[c.ID()] = err
}

// whyClosed waits for the n-th connection (from 1) to close.
func (h *testHandler) whyClosed(t testing.TB, id uint64) error {
	t.Helper()
	var err error
	eventually(t, "connection closes", func() bool {
		h.mu.Lock()
		defer h.mu.Unlock()
		e, ok := h.closed[id]
		err = e
		return ok
	})
	return err
}

func eventually(t testing.TB, what string, f func() bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); !f(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("never: %s", what)
		}
	}
}

func response(h wire.Header) wire.Header {
	return wire.Header{Op: h.Op, Flags: wire.FlagResponse, ID: h.ID}
}

// echo answers with what came, from the event loop.
func echo(c ServerConn, m *Message) {
	c.Reply([]Message{{Header: response(m.Header), Meta: m.Meta, Payload: m.Payload}})
}

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

func startServer(t testing.TB, addr string, h *testHandler, cfg ServerConfig) *Server {
	t.Helper()
	if cfg.Logger == nil {
		cfg.Logger = quiet()
	}
	if cfg.ZeroCopy == (ZeroCopy{}) {
		cfg.ZeroCopy = forced
	}
	s, err := Listen(addr, h, cfg)
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

func dial(t testing.TB, addr string, pool *buf.Pool) Conn {
	t.Helper()
	c, err := Dial(context.Background(), addr, Config{Pool: pool, ZeroCopy: forced,
		Hello: wire.Hello{Name: "test"}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func unixAddr(t testing.TB) string { return "unix:" + filepath.Join(t.TempDir(), "sock") }

// rawDial connects without a greeting.
func rawDial(t testing.TB, addr string) net.Conn {
	t.Helper()
	network, address, err := splitAddr(addr)
	if err != nil {
		t.Fatal(err)
	}
	nc, err := net.Dial(network, address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = nc.Close() })
	return nc
}

// greetRaw says hello on a raw connection and swallows the answer.
func greetRaw(t testing.TB, nc net.Conn) {
	t.Helper()
	hello := wire.Hello{Version: wire.ProtocolVersion, Name: "raw"}
	writeRaw(t, nc, plain{h: wire.Header{Op: wire.OpHello}, meta: hello.AppendTo(nil)}.encode(nil))
	var head [wire.HeaderSize]byte
	if _, err := io.ReadFull(nc, head[:]); err != nil {
		t.Fatal(err)
	}
	h, err := wire.ParseHeader(head[:])
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.CopyN(io.Discard, nc, int64(h.MetaLen)); err != nil {
		t.Fatal(err)
	}
}

func writeRaw(t testing.TB, nc net.Conn, p []byte) {
	t.Helper()
	if _, err := nc.Write(p); err != nil {
		t.Fatal(err)
	}
}

// waitEOF fails unless the peer closes.
func waitEOF(t testing.TB, nc net.Conn) {
	t.Helper()
	_ = nc.SetReadDeadline(time.Now().Add(10 * time.Second))
	var ne net.Error
	if _, err := io.Copy(io.Discard, nc); errors.As(err, &ne) && ne.Timeout() {
		t.Fatal("the server kept the connection")
	}
}

// call sends one message and expects its echo.
func call(t testing.TB, c Conn, id uint64, meta, payload []byte) {
	t.Helper()
	m := Message{Header: wire.Header{Op: wire.OpWrite, ID: id}, Meta: meta, Body: [][]byte{payload}}
	if err := c.Send([]Message{m}); err != nil {
		t.Fatal(err)
	}
	expect(t, c, id, meta, payload)
}

func expect(t testing.TB, c Conn, id uint64, meta, payload []byte) {
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
