package transport

import (
	"os"
	"sync"
	"time"

	"github.com/ashlar-storage/ashlar/rpc/socket"
)

// zcClient is the zero-copy half of a client connection. Whoever holds the connection's sendMu
// launches, and waits for the landing before anything else is sent.
type zcClient struct {
	ring  *zcRing
	conn  *clientConn
	land  chan zcLanding // of the one send that has not completed
	timer *time.Timer

	mu     sync.Mutex
	steps  zcSteps
	left   int64 // bytes of the batch when the send began
	closed bool
	done   chan struct{} // closed when the ring has been left
	gone   bool
	linger zcLingerer
}

// zcShared is the ring of all connections that this process made; it lasts as long as they do.
var zcShared struct {
	mu    sync.Mutex
	ring  *zcRing
	users int
}

// newZCClient gives nil where zero-copy sends are off or not to be had.
func newZCClient(c *clientConn, cfg ZeroCopy) *zcClient {
	if cfg.Threshold <= 0 || c.raw == nil || c.name != NameTCP {
		return nil
	}
	s := &zcShared
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.users == 0 {
		ring, err := newZCRing()
		if err != nil {
			return nil
		}
		s.ring = ring
	}
	s.users++
	z := &zcClient{ring: s.ring, conn: c, land: make(chan zcLanding, 1),
		done: make(chan struct{}), timer: time.NewTimer(0)}
	z.steps.cfg = cfg
	return z
}

// takes reports whether a batch goes by zero-copy sends.
func (z *zcClient) takes(q *outQueue) bool {
	if z == nil {
		return false
	}
	z.mu.Lock()
	defer z.mu.Unlock()
	return z.steps.takes(q.largest, q.loose)
}

// launch sends what is left; false leaves it to plain writes, which also tell that the connection
// is closed.
func (z *zcClient) launch() bool {
	c := z.conn
	z.mu.Lock()
	if z.closed {
		z.mu.Unlock()
		return false
	}
	z.steps.began()
	z.left = lengthOf(c.left)
	z.mu.Unlock()
	c.out.lend()
	c.meter.ZeroCopy.Add(1) // before the peer can know of it
	var err error
	closed := c.raw.Control(func(fd uintptr) { err = z.ring.send(z, int(fd), c.out, c.left) })
	if err == nil && closed == nil {
		return true
	}
	c.meter.ZeroCopy.Add(-1)
	c.out.holders.Add(-1)
	z.mu.Lock()
	z.steps.refused()
	z.leaveLocked()
	z.mu.Unlock()
	return false
}

// onSent implements zcOwner.
func (z *zcClient) onSent(q *outQueue, res int32, more bool) {
	if !more {
		q.drop() // before Close may return
	}
	z.mu.Lock()
	took, next := z.steps.sent(res, more, z.left)
	z.leaveLocked()
	z.mu.Unlock()
	z.land <- zcLanding{is: true, next: next, took: took}
}

// onNotified implements zcOwner.
func (z *zcClient) onNotified(q *outQueue, copied bool) {
	if copied {
		z.conn.meter.KernelCopied.Add(1)
	}
	q.drop() // before Close may return
	z.mu.Lock()
	z.steps.notified(copied)
	z.leaveLocked()
	z.mu.Unlock()
}

// close comes before the socket is closed.
func (z *zcClient) close() {
	if z == nil {
		return
	}
	z.mu.Lock()
	defer z.mu.Unlock()
	if z.closed {
		return
	}
	z.closed = true
	if z.steps.held > 0 {
		_ = z.conn.raw.Control(func(fd uintptr) { z.linger.start(int(fd)) })
	}
	z.leaveLocked()
}

// wait returns when the kernel holds no memory of a closed connection, zcPatience later at most.
func (z *zcClient) wait() {
	if z == nil {
		return
	}
	patience := time.NewTimer(zcPatience)
	defer patience.Stop()
	select {
	case <-z.done:
	case <-patience.C:
	}
}

// leaveLocked leaves the ring when the connection is closed and the kernel holds nothing of it.
func (z *zcClient) leaveLocked() {
	if !z.closed || z.gone || z.steps.held > 0 {
		return
	}
	z.gone = true
	close(z.done)
	z.timer.Stop()
	z.linger.finish(false)
	s := &zcShared
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.users--; s.users == 0 {
		ring := s.ring
		s.ring = nil
		go func() { _ = ring.end() }() // it waits for the goroutine that may have come here
	}
}

// fly sends left by zero-copy sends, as far as they go, each within the write deadline. Without
// wait it leaves the first in flight.
func (c *clientConn) fly(wait bool) error {
	for c.zero && len(c.left) > 0 {
		if !c.flying {
			c.flying = c.zc.launch()
			c.zero = c.flying
			continue
		}
		if !wait {
			return nil
		}
		c.zc.timer.Reset(time.Until(c.deadline))
		select {
		case l := <-c.zc.land:
			c.left = socket.Advance(c.left, l.took)
			c.gone.Add(int64(l.took))
			c.flying, c.zero = false, l.next == zcRest
			if err := c.extendDeadline(); err != nil {
				return err
			}
		case <-c.zc.timer.C:
			return os.ErrDeadlineExceeded
		}
	}
	return nil
}
