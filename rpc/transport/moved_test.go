package transport

import (
	"errors"
	"io"
	"net"
	"testing"
	"time"

	"github.com/ashlar-storage/ashlar/rpc/wire"
)

// narrowConn is a client connection that waits for 500 ms at most, and whose sockets hold little.
func narrowConn(t *testing.T) (*clientConn, net.Conn) {
	t.Helper()
	c, peer := socketConn(t)
	c.writeTimeout = 500 * time.Millisecond
	if err := errors.Join(c.nc.(*net.TCPConn).SetWriteBuffer(64<<10),
		peer.(*net.TCPConn).SetReadBuffer(64<<10)); err != nil {
		t.Fatal(err)
	}
	return c, peer
}

const slowBytes = 4 << 20

func slowMessages() []Message {
	body := make([]byte, 1<<20)
	var msgs []Message
	for range slowBytes / len(body) {
		msgs = append(msgs, Message{Header: wire.Header{Op: wire.OpWrite}, Body: [][]byte{body}})
	}
	return msgs
}

// A line that needs longer for a batch than the write time-out is slow, not dead.
func TestSendLastsAsLongAsThePeerTakesBytes(t *testing.T) {
	c, peer := narrowConn(t)
	go func() {
		b := make([]byte, 64<<10)
		for {
			if _, err := io.ReadFull(peer, b[:1]); err != nil {
				return
			}
			if _, err := io.ReadAtLeast(peer, b, 32<<10); err != nil {
				return
			}
			time.Sleep(20 * time.Millisecond)
		}
	}()
	begun := time.Now()
	if err := c.Send(slowMessages()); err != nil {
		t.Fatalf("after %v: %v", time.Since(begun), err)
	}
	if d := time.Since(begun); d < 2*c.writeTimeout {
		t.Errorf("it took only %v: the test shows nothing", d)
	}
}

func TestSendGivesUpWhenThePeerTakesNothing(t *testing.T) {
	c, peer := narrowConn(t)
	go func() { _, _ = io.ReadFull(peer, make([]byte, 1<<20)) }() // and no more
	begun := time.Now()
	err := c.Send(slowMessages())
	if !errors.Is(err, ErrTimeout) {
		t.Fatalf("got %v", err)
	}
	if d := time.Since(begun); d > 10*c.writeTimeout {
		t.Errorf("it took %v", d)
	}
}

func TestMovedTellsWhatCameAndWhatThePeerTook(t *testing.T) {
	c, peer := narrowConn(t)
	sent := make(chan error, 1)
	go func() { sent <- c.Send(slowMessages()) }()
	eventually(t, "the sockets are full", func() bool {
		m := c.Moved()
		time.Sleep(20 * time.Millisecond)
		return m.Out > 0 && c.Moved() == m
	})
	full := c.Moved()
	if full.In != 0 || full.Out >= slowBytes || full.Taken <= 0 || full.Taken >= full.Out {
		t.Errorf("with full sockets: %+v", full)
	}
	go func() { _, _ = io.Copy(io.Discard, peer) }()
	if err := <-sent; err != nil {
		t.Fatal(err)
	}
	eventually(t, "all is taken", func() bool { return c.Moved().Taken == c.Moved().Out })
	if m := c.Moved(); m.Out <= slowBytes {
		t.Errorf("at the end: %+v", m)
	}
	const half = wire.HeaderSize / 2 // of a head, for which nothing shows but bytes
	ended := make(chan error, 1)
	go func() {
		_, err := c.Recv()
		ended <- err
	}()
	if _, err := peer.Write(make([]byte, half)); err != nil {
		t.Fatal(err)
	}
	eventually(t, "half a head came", func() bool { return c.Moved().In == half })
	_ = c.Close()
	if err := <-ended; !errors.Is(err, ErrClosed) {
		t.Errorf("got %v", err)
	}
}
