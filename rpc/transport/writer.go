package transport

import (
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/ashlar-storage/ashlar/rpc/wire"
)

// The writing half of a server connection.
//
//	Queue ----> queue --(swap)--> cur, vec --writev--> socket
//	                                 |  would block
//	                                 +--> gnet's buffer (copied, bounded)
//
// One goroutine at a time is the writer: it swaps the queue for an empty one,
// writes it with one call without holding the lock, and looks again. Whoever
// queues meanwhile leaves sending to it, so that replies gather by themselves
// while a write is under way and there is never one call per message. A reply
// to an idle connection is written by its caller: handing it to the event loop
// would cost an eventfd write and a thread's wake-up. The loop takes over when
// the batch is large, the socket is full, or the caller has gone round a few
// times.

// Reply queues and sends.
func (c *serverConn) Reply(msgs []Message) {
	c.mu.Lock()
	late := c.queueLocked(msgs)
	c.drainLocked(false)
	c.mu.Unlock()
	releaseAll(late)
}

// Queue only queues.
func (c *serverConn) Queue(msgs []Message) {
	c.mu.Lock()
	late := c.queueLocked(msgs)
	c.mu.Unlock()
	releaseAll(late)
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
	before := c.queue.bytes
	c.queue.add(&Message{Header: h}, 0)
	c.unsent.Add(c.queue.bytes - before)
}

// drainLocked makes the caller the writer unless there is one, or the loop is
// going to be. It is called with mu held, gives it up while writing, and
// returns with it held.
func (c *serverConn) drainLocked(onLoop bool) {
	if c.active || c.dead || c.gc == nil || (c.inBatch && !onLoop) {
		return
	}
	c.active = true
	for round := 0; !c.dead; round++ {
		if len(c.vec) == 0 && !c.takeLocked() {
			break
		}
		if !onLoop && (c.slow || round >= directRounds || c.cur.bytes > directLimit) {
			c.wakeLocked()
			break
		}
		c.mu.Unlock()
		err := c.writeCur(onLoop)
		c.mu.Lock()
		if err != nil {
			c.failLocked(err)
			break
		}
	}
	c.active = false
	if onLoop {
		c.noteBuffered()
	}
	if c.dead {
		c.dropLocked()
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
	if c.base = c.vec; cap(c.base) > 4*maxIov {
		c.base = nil
	}
	return true
}

// dropLocked releases the batch of a writer that found the connection dead.
func (c *serverConn) dropLocked() {
	cur := c.cur
	c.cur, c.vec = new(outQueue), nil
	c.mu.Unlock()
	cur.release()
	c.mu.Lock()
}

// writeCur writes the current batch as far as the socket takes it. What it
// does not take goes to gnet's buffer on the loop, or stays in vec for the
// loop.
func (c *serverConn) writeCur(onLoop bool) error {
	if onLoop && c.slow {
		c.noteBuffered()
	}
	for len(c.vec) > 0 && !c.slow {
		n, err := c.writev()
		if err == unix.EINTR {
			continue
		}
		if err == unix.EAGAIN {
			c.slow = true
			break
		}
		if err != nil {
			return fmt.Errorf("transport: write to %s: %w", c.remote, err)
		}
		c.vec = advance(c.vec, n)
	}
	if len(c.vec) > 0 {
		if !onLoop {
			return nil
		}
		if err := c.buffer(); err != nil {
			return err
		}
	}
	c.vec = nil
	clear(c.base)
	c.unsent.Add(-c.cur.bytes)
	c.cur.release()
	return nil
}

// buffer hands the rest of the batch to gnet, which copies what the socket
// does not take and sends it when the socket becomes writable.
func (c *serverConn) buffer() error {
	var rest int64
	for _, b := range c.vec {
		rest += int64(len(b))
	}
	limit := c.server.cfg.MaxOutbound
	if held := int64(c.gc.OutboundBuffered()); held+rest > limit {
		return fmt.Errorf("%w: %d bytes unread, limit %d", ErrSlowReader, held+rest, limit)
	}
	c.inLoopWrite = true
	defer func() { c.inLoopWrite = false }()
	for len(c.vec) > 0 {
		n := min(len(c.vec), maxIov)
		if _, err := c.gc.Writev(c.vec[:n]); err != nil {
			return fmt.Errorf("transport: write to %s: %w", c.remote, err)
		}
		c.vec = c.vec[n:]
	}
	return nil
}

// noteBuffered looks at gnet's buffer; only on the loop.
func (c *serverConn) noteBuffered() {
	n := int64(c.gc.OutboundBuffered())
	c.buffered.Store(n)
	c.slow = n > 0
}

func (c *serverConn) writev() (int, error) {
	iov := c.iov[:0]
	for _, b := range c.vec[:min(len(c.vec), maxIov)] {
		v := unix.Iovec{Base: unsafe.SliceData(b)}
		v.SetLen(len(b))
		iov = append(iov, v)
	}
	c.iov = iov
	n, _, errno := unix.Syscall(unix.SYS_WRITEV, uintptr(c.fd),
		uintptr(unsafe.Pointer(unsafe.SliceData(iov))), uintptr(len(iov)))
	clear(iov)
	c.server.counts.writes.Add(1)
	if errno != 0 {
		return 0, errno
	}
	return int(n), nil
}

// advance drops the first n bytes of vec.
func advance(vec [][]byte, n int) [][]byte {
	for len(vec) > 0 && n >= len(vec[0]) {
		n -= len(vec[0])
		vec = vec[1:]
	}
	if n > 0 {
		vec[0] = vec[0][n:]
	}
	return vec
}
