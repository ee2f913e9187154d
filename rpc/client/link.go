package client

import (
	"errors"
	"fmt"
	"sync"

	"github.com/ashlar-storage/ashlar/rpc/transport"
	"github.com/ashlar-storage/ashlar/rpc/wire"
)

var errSilentPeer = errors.New("peer does not answer pings")
var errStuck = errors.New("peer takes no bytes")
var errMoved = errors.New("control plane has another address of the node")

// link is one life of a connection to a node: the requests in flight on it and the batch that
// gathers while an earlier one is being written (outgoing.go).
type link struct {
	c    *Client
	peer *peer
	conn transport.Conn
	addr string // at which the connection was made

	mu      sync.Mutex
	quiet   sync.Cond // signalled when sending ends
	slots   slots
	fill    *batch // gathers
	spare   *batch
	filling uint64 // number of the batch that gathers
	sent    uint64 // number of the last batch that is written
	sending bool   // somebody writes, or was asked to
	// handed is what became of spare where its writer would have had to block. It belongs to who
	// has the right to write, as spare does.
	handed   transport.Sent
	dead     error
	received uint64
	pinged   uint64 // pings sent
	ponged   uint64 // and answered; one is under way at most
	pingIn   uint64 // number of the batch of the last
	silence  silence
	request  wire.IORequest // scratch for encoding

	wake chan struct{} // to the sender goroutine: it has the right to write
	resp wire.IOResponse
}

func newLink(p *peer, conn transport.Conn, addr string) *link {
	l := &link{
		c: p.c, peer: p, conn: conn, addr: addr, fill: &batch{}, spare: &batch{}, filling: 1,
		wake: make(chan struct{}, 1),
	}
	l.quiet.L = &l.mu
	l.silence.since = p.c.now()
	return l
}

// receive completes requests until the connection ends; it returns why.
func (l *link) receive() error {
	for {
		m, err := l.conn.Recv()
		if err != nil {
			return err
		}
		err = l.answer(&m)
		if m.Payload != nil {
			m.Payload.Release()
		}
		if err != nil {
			return err
		}
	}
}

func (l *link) answer(m *transport.Message) error {
	if !m.Header.Response() {
		return fmt.Errorf("client: node sent a request (%v)", m.Header.Op)
	}
	l.mu.Lock()
	l.received++
	if m.Header.ID == pingID {
		l.ponged = min(l.ponged+1, l.pinged)
	}
	x := l.slots.take(m.Header.ID)
	l.mu.Unlock()
	if x == nil {
		return nil // the answer to a ping, or to a request that was given up
	}
	err := l.resp.Decode(m.Meta)
	if err == nil && m.Header.Op != x.kind {
		err = fmt.Errorf("client: answer to %v for a request of %v", m.Header.Op, x.kind)
	}
	if err != nil {
		l.c.drive(x, event{kind: evLost, now: l.c.coarse.Load(), text: err.Error()}, false)
		return err
	}
	l.c.answered(x, m, &l.resp)
	return nil
}

// kill ends the link's life: later sends are refused, and receive returns.
func (l *link) kill(err error) {
	l.mu.Lock()
	l.killLocked(err)
	l.mu.Unlock()
}

func (l *link) killLocked(err error) {
	if l.dead == nil {
		l.dead = err
		_ = l.conn.Close()
	}
}

// bury waits until nobody writes any more and returns the requests that were in flight. Only now
// is their data free of references.
func (l *link) bury() []*piece {
	l.mu.Lock()
	for l.sending {
		l.quiet.Wait()
	}
	var left []*piece
	for i := range l.slots.all {
		if l.slots.all[i].x != nil {
			left = append(left, l.slots.takeAt(i))
		}
	}
	transport.Drop(l.fill.msgs)
	l.fill.reset()
	l.mu.Unlock()
	close(l.wake)
	return left
}

// tick takes out what is overdue, and pings or kills a silent peer. stalled says that this process
// did not run for a while, which is not the peer's silence.
func (l *link) tick(now int64, stalled bool) pieceList {
	l.mu.Lock()
	if l.dead != nil {
		l.mu.Unlock()
		return pieceList{}
	}
	overdue, ask, stuck := l.overdue(now)
	if stalled {
		l.silence.reset(now)
	}
	switch l.silence.look(now, l.received, l.slots.n > 0, l.line) {
	case deaf:
		l.killLocked(errSilentPeer)
	case wantPing:
		ask = true
	}
	if stuck {
		l.killLocked(errStuck)
	}
	if ask && l.dead == nil && l.pinged == l.ponged {
		l.ping() // gives mu up
		return overdue
	}
	l.mu.Unlock()
	return overdue
}

// ping asks for a sign of life. It is called with mu held and returns with it released.
func (l *link) ping() {
	l.pinged++
	l.pingIn = l.filling
	l.fill.msgs = append(l.fill.msgs, transport.Message{
		Header: wire.Header{Op: wire.OpPing, ID: pingID},
	})
	l.flush(false)
}

// line tells how far bytes have come; over a card, where frames alone tell, nothing moves.
func (l *link) line() line {
	at := line{pinged: l.sent >= l.pingIn}
	if m, ok := l.conn.(transport.Mover); ok {
		at.Moved = m.Moved()
	}
	return at
}

// overdue takes out the requests whose time is up; ask says that others want a ping. One whose
// bytes are still being written cannot be taken, its data is referenced; when that lasts for
// stuckAfter past its deadline, or past an attempt's time if its volume failed, the link is stuck.
func (l *link) overdue(now int64) (out pieceList, ask, stuck bool) {
	for i := range l.slots.all {
		x := l.slots.all[i].x
		if x == nil {
			continue
		}
		end, failed := x.m.deadline, x.vol.failed() != nil
		if x.batch > l.sent {
			if failed {
				end = min(end, x.attempt.since+int64(attemptTimeout))
			}
			stuck = stuck || now >= end+int64(stuckAfter)
			continue
		}
		outlook := spent
		if now < end && !failed {
			outlook = x.attempt.look(now, l.pinged, l.ponged)
		}
		switch outlook {
		case spent:
			out.push(l.slots.takeAt(i))
		case asks:
			ask = true
		}
	}
	return out, ask, stuck
}
