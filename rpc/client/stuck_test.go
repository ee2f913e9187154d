package client

import (
	"errors"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/ashlar-storage/ashlar/rpc/wire"
)

// fences are the requests for the copysets of the volume when it is opened.
const fences = 2

// stuckNode greets and then reads nothing until it is let go; then it reads everything and counts
// the writes that do not match their checksums.
type stuckNode struct {
	ln      net.Listener
	letGo   chan struct{}
	wg      sync.WaitGroup
	mu      sync.Mutex
	frames  int
	damaged int
}

func startStuckNode(t *testing.T) *stuckNode {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	n := &stuckNode{ln: ln, letGo: make(chan struct{})}
	n.wg.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			n.wg.Go(func() { n.serve(c) })
		}
	})
	t.Cleanup(func() {
		_ = ln.Close()
		n.wg.Wait()
	})
	return n
}

// open gives a volume of which the node has everything.
func (n *stuckNode) open(t *testing.T) *Volume {
	f := newFake(t, 0)
	f.chunkBytes, f.segBytes, f.size = 16<<20, 1<<30, 1<<30
	f.nodes = []*fakeNode{newFakeNode(f, 0, n.ln.Addr().String())}
	f.setLeader(0)
	return f.open(nil)
}

// end waits until everything was read, once the client is closed.
func (n *stuckNode) end(t *testing.T) {
	t.Helper()
	_ = n.ln.Close()
	n.wg.Wait()
	if n.damaged > 0 {
		t.Errorf("%d of %d frames carry other bytes than were submitted", n.damaged, n.frames)
	}
}

func (n *stuckNode) serve(c net.Conn) {
	defer func() { _ = c.Close() }()
	if _, _, _, err := readFrame(c); err != nil {
		return
	}
	hello := (&wire.Hello{Version: wire.ProtocolVersion, NodeID: 1, Role: "node"}).AppendTo(nil)
	head := make([]byte, wire.HeaderSize)
	wire.PutHeader(head, wire.Header{Op: wire.OpHello, Flags: wire.FlagResponse}, hello)
	if _, err := c.Write(append(head, hello...)); err != nil {
		return
	}
	for range fences {
		h, _, _, err := readFrame(c)
		if err != nil {
			return
		}
		wire.PutHeader(head, wire.Header{Op: h.Op, Flags: wire.FlagResponse, ID: h.ID}, nil)
		if _, err := c.Write(head[:wire.HeaderSize]); err != nil {
			return
		}
	}
	<-n.letGo
	for {
		_, r, data, err := readFrame(c)
		if err != nil {
			return
		}
		n.mu.Lock()
		n.frames++
		if len(data) > 0 && wire.VerifyPieces(r.CRCs, r.Offset, data) != nil {
			n.damaged++
		}
		n.mu.Unlock()
	}
}

func readFrame(c net.Conn) (h wire.Header, r wire.IORequest, data []byte, err error) {
	head := make([]byte, wire.HeaderSize)
	if _, err := io.ReadFull(c, head); err != nil {
		return h, r, nil, err
	}
	if h, err = wire.ParseHeader(head); err != nil {
		return h, r, nil, err
	}
	body := make([]byte, h.MetaLen+h.PayloadLen)
	if _, err := io.ReadFull(c, body); err != nil {
		return h, r, nil, err
	}
	if h.Op == wire.OpWrite {
		err = r.Decode(body[:h.MetaLen])
	}
	return h, r, body[h.MetaLen:], err
}

// A deadline that passes while the kernel still takes the data must not give the caller's memory
// back before the connection is gone: what arrives later would be other bytes.
func TestDataOfAStuckSendStaysUntouchedUntilDone(t *testing.T) {
	n := startStuckNode(t)
	v := n.open(t)
	hasten(v, 150*time.Millisecond)
	p := fill(1, 30<<20)
	time.AfterFunc(350*time.Millisecond, func() { close(n.letGo) })
	if err := submitWait(v, &Op{Kind: OpWrite, Data: p}); !errors.Is(err, ErrTimeout) {
		t.Errorf("got %v", err)
	}
	for i := range p {
		p[i] ^= 0xff
	}
	<-n.letGo
	time.Sleep(300 * time.Millisecond)
	if err := v.c.Close(); err != nil {
		t.Error(err)
	}
	n.end(t)
	if n.frames == 0 {
		t.Error("nothing arrived: the test shows nothing")
	}
}

// What a node's kernel takes, before its socket is full, is no sign of life for long.
func TestNodeThatReadsNothingIsLeftWithinASecondWithMuchToSend(t *testing.T) {
	fastest := time.Hour
	for range 2 {
		n := startStuckNode(t)
		v := n.open(t)
		l := v.c.allPeers()[0].link.Load()
		done := make(chan error, 1)
		v.Submit(&Op{Kind: OpWrite, Data: fill(1, 16<<20), Done: func(op *Op) { done <- op.Err }})
		begun := time.Now()
		eventually(t, "the connection is given up", func() bool {
			l.mu.Lock()
			defer l.mu.Unlock()
			return l.dead != nil
		})
		fastest = min(fastest, time.Since(begun))
		if !errors.Is(l.dead, errSilentPeer) {
			t.Errorf("given up because %v", l.dead)
		}
		close(n.letGo)
		if err := v.c.Close(); err != nil {
			t.Error(err)
		}
		if err := <-done; !errors.Is(err, ErrClosed) {
			t.Errorf("got %v", err)
		}
		n.end(t)
	}
	if t.Logf("left after %v", fastest); fastest > 1500*time.Millisecond {
		t.Errorf("took %v", fastest)
	}
}

// Large requests are written by who submits them, but what the socket does not take is left to the
// link's own goroutine: an answer's Done that submits the next one holds up a whole node's answers.
func TestSubmitDoesNotWaitForANodeThatReadsNothing(t *testing.T) {
	n := startStuckNode(t)
	v := n.open(t)
	const ops = 8 // MiB, more than the sockets' buffers hold
	p := fill(1, 1<<20)
	done, l := make(chan error, ops), v.c.allPeers()[0].link.Load()
	for i := range int64(ops) {
		v.Submit(&Op{Kind: OpWrite, Data: p, Off: i << 20, Done: func(op *Op) { done <- op.Err }})
	}
	l.mu.Lock()
	if l.dead != nil {
		t.Errorf("Submit came back when the connection had been given up: %v", l.dead)
	}
	l.mu.Unlock()
	close(n.letGo)
	eventually(t, "all requests arrive", func() bool {
		n.mu.Lock()
		defer n.mu.Unlock()
		return n.frames >= ops
	})
	if err := v.c.Close(); err != nil {
		t.Error(err)
	}
	for range ops {
		if err := <-done; err != nil && !errors.Is(err, ErrClosed) {
			t.Error(err)
		}
	}
	n.end(t)
}
