package transport

import (
	"bytes"
	"io"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ashlar-storage/ashlar/rpc/wire"
)

// socketConn is a client connection over a real socket whose peer is the test.
func socketConn(t *testing.T) (*clientConn, net.Conn) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	a, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	b, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	c := newClientConn(a, "socket", Config{Pool: newPool(t, 8<<20), ZeroCopy: forced})
	t.Cleanup(func() { _, _ = c.Close(), b.Close() })
	return c, b
}

// A peer that reads nothing makes TrySend stop in the middle without blocking; what it left is
// sent by Finish, nothing is lost or doubled, and each message is released once, when it has left.
func TestTrySendNeverBlocksAndFinishSendsTheRest(t *testing.T) {
	c, peer := socketConn(t)
	payload := bytes.Repeat([]byte("0123456789abcdef"), 64<<10/16)
	var released atomic.Int64
	sent := 0
	var want []byte
	outcome := Complete
	for outcome == Complete {
		m := Message{Header: wire.Header{Op: wire.OpWrite, ID: uint64(sent)}, Meta: []byte("meta"),
			Body: [][]byte{payload[:1000], payload[1000:]}, Release: func() { released.Add(1) }}
		var err error
		begin := time.Now()
		if outcome, err = c.TrySend([]Message{m, m}); err != nil {
			t.Fatal(err)
		}
		if d := time.Since(begin); d > time.Second {
			t.Fatalf("TrySend took %v", d)
		}
		for range 2 {
			want = plain{h: m.Header, meta: m.Meta, payload: payload}.encode(want)
		}
		sent += 2
	}
	if n := released.Load(); outcome != Partial || n != int64(sent-2) {
		t.Fatalf("outcome %d, %d of %d released", outcome, n, sent)
	}
	if again, err := c.TrySend([]Message{{Header: wire.Header{Op: wire.OpPing}}}); again != Busy ||
		err != nil {
		t.Fatalf("a second TrySend: %d %v", again, err)
	}
	got := make(chan []byte, 1)
	go func() {
		b := make([]byte, len(want))
		_, _ = io.ReadFull(peer, b)
		got <- b
	}()
	if err := c.Finish(); err != nil {
		t.Fatal(err)
	}
	if n := released.Load(); n != int64(sent) && forced.Threshold == 0 {
		t.Errorf("%d of %d released", n, sent)
	}
	if !bytes.Equal(<-got, want) {
		t.Error("the peer got other bytes than were sent")
	}
	eventually(t, "all is released once", func() bool { return released.Load() == int64(sent) })
}

func TestTrySendToAClosedPeerEndsTheConnection(t *testing.T) {
	c, peer := socketConn(t)
	if err := peer.Close(); err != nil {
		t.Fatal(err)
	}
	released := 0
	for end := time.Now().Add(5 * time.Second); ; {
		m := Message{Header: wire.Header{Op: wire.OpPing}, Release: func() { released++ }}
		before := released
		_, err := c.TrySend([]Message{m})
		if released != before+1 {
			t.Fatal("not released")
		}
		if err != nil {
			return
		}
		if time.Now().After(end) {
			t.Fatal("no error from a closed peer")
		}
	}
}
