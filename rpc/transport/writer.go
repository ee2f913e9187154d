package transport

import (
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/ashlar-storage/ashlar/rpc/socket"
	"github.com/ashlar-storage/ashlar/rpc/wire"
)

// The writing half of a server connection.
//
//	Queue ----> queue --(swap)--> cur, vec --writev--> socket
//	                                ^          | full
//	                                +--event---+ the rest stays, by reference
//
// One goroutine at a time is the writer: it swaps the queue for an empty one,
// writes it with one call without holding the lock, and looks again. Whoever
// queues meanwhile leaves sending to it, so that replies gather by themselves
// while a write is under way.
//
// Who writes: a handler's own replies, the loop at the end of the batch. From
// other goroutines, Flush and the reply to a connection's last open request are
// written by their caller, because handing them to the event loop would cost an
// eventfd write and the wake-up of a thread, a quarter of a round trip. A reply
// with other requests still open goes to the loop, where those that follow it
// gather; so do large batches, and what a caller has not finished after a few
// rounds.

// Reply queues and sends.
func (c *serverConn) Reply(msgs []Message) {
	c.mu.Lock()
	late := c.queueLocked(msgs)
	if c.open > 0 && !c.inBatch && !c.active && !c.queue.empty() {
		c.wakeLocked()
	} else {
		c.drainLocked(false)
	}
	c.mu.Unlock()
	Drop(late)
}

// Queue only queues.
func (c *serverConn) Queue(msgs []Message) {
	c.mu.Lock()
	late := c.queueLocked(msgs)
	c.mu.Unlock()
	Drop(late)
}

// Flush sends what is queued.
func (c *serverConn) Flush() {
	c.mu.Lock()
	c.drainLocked(false)
	c.mu.Unlock()
}

// queueLocked takes msgs over and returns those it did not take: the caller
// releases them without the lock.
func (c *serverConn) queueLocked(msgs []Message) (late []Message) {
	for i := range msgs {
		if c.closing.Load() {
			return msgs[i:]
		}
		m := &msgs[i]
		n, err := outSize(m)
		if err != nil {
			c.refuseLocked(m, err)
			late = append(late, *m)
			continue
		}
		if m.Header.Response() {
			c.open--
		}
		before := c.queue.bytes
		c.queue.add(m, n)
		size := c.queue.bytes - before
		if unsent := c.unsent.Add(size); unsent > c.server.cfg.MaxOutbound {
			c.failLocked(fmt.Errorf("%w: %d bytes unsent, limit %d",
				ErrSlowReader, unsent, c.server.cfg.MaxOutbound))
		}
	}
	return late
}

// refuseLocked answers in place of a message that passes the protocol's
// limits, so that the peer does not wait for ever for its answer.
func (c *serverConn) refuseLocked(m *Message, err error) {
	c.server.log.Error("transport: message cannot be sent", "remote", c.remote, "err", err)
	if !m.Header.Response() {
		return
	}
	h := m.Header
	h.Status = wire.StatusInternal
	c.open--
	before := c.queue.bytes
	c.queue.add(&Message{Header: h}, 0)
	c.unsent.Add(c.queue.bytes - before)
}

// drainLocked makes the caller the writer unless there is one, or the loop is
// going to be. It is called with mu held, gives it up while writing, and
// returns with it held.
func (c *serverConn) drainLocked(onLoop bool) {
	if c.active || c.dead || c.gc == nil || c.full || c.flying || (c.inBatch && !onLoop) {
		return
	}
	c.active = true
	for round := 0; !c.dead && !c.full && !c.flying; round++ {
		c.landLocked()
		if len(c.vec) == 0 && !c.takeLocked() {
			break
		}
		if c.zero {
			c.launchLocked()
			continue
		}
		if !onLoop && (round >= directRounds || c.cur.bytes > directLimit) {
			c.wakeLocked()
			break
		}
		c.mu.Unlock()
		full, err := c.writeCur()
		c.mu.Lock()
		c.full = full && !c.early
		c.early = false
		if err != nil {
			c.failLocked(err)
			break
		}
	}
	c.active = false
	if c.dead {
		c.idle.Broadcast()
	} else if c.closing.Load() && !onLoop {
		c.wakeLocked()
	}
}

// takeLocked makes the queue the current batch; false when it is empty.
func (c *serverConn) takeLocked() bool {
	if c.queue.empty() {
		return false
	}
	c.queue, c.cur = c.cur, c.queue
	c.vec = c.cur.vector(c.base[:0])
	c.zero = c.steps.takes(c.cur.largest, c.cur.loose)
	if c.base = c.vec; cap(c.base) > 4*maxIov {
		c.base = nil
	}
	return true
}

// writeCur writes the current batch. When the socket is full it leaves the rest
// in vec and asks for the event that calls onWritable.
func (c *serverConn) writeCur() (full bool, err error) {
	for len(c.vec) > 0 {
		n, err := c.writev()
		switch err {
		case nil:
			c.vec = socket.Advance(c.vec, n)
			c.unsent.Add(-int64(n))
		case unix.EINTR:
		case unix.EAGAIN:
			err := c.server.writable.arm(c.fd, c.id, c.armed)
			c.armed = true
			return true, err
		default:
			return false, fmt.Errorf("transport: write to %s: %w", c.remote, err)
		}
	}
	c.finishCur()
	return false, nil
}

// finishCur ends a batch that the kernel has as a whole.
func (c *serverConn) finishCur() {
	c.vec = nil
	clear(c.base)
	c.server.meter.Sent.Add(c.cur.flow)
	c.cur = c.cur.leave()
}

// onWritable is the event that a full socket takes bytes again. It may come
// before the writer that asked for it has said so.
func (c *serverConn) onWritable() {
	c.mu.Lock()
	c.early = c.active
	c.full = false
	c.wakeLocked()
	c.mu.Unlock()
}

func (c *serverConn) writev() (int, error) {
	c.server.counts.writes.Add(1)
	n, errno := c.vector.Write(uintptr(c.fd), c.vec)
	if errno != 0 {
		return 0, errno
	}
	return n, nil
}
