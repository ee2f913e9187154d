package transport

import (
	"golang.org/x/sys/unix"

	"github.com/ashlar-storage/ashlar/rpc/socket"
)

// The zero-copy half of a server connection's writer.
//
// While a send has not completed the connection is flying: nobody is the writer, later batches
// queue behind it, and onSent, on the ring's goroutine, makes the next one. What the kernel has
// taken counts as sent, as with a plain write, though its memory is released later.

// zcLanding is a completed send that the next writer has not looked at.
type zcLanding struct {
	is   bool
	next zcNext
	took int
}

// launchLocked sends what is left of the current batch. It gives mu up while it submits.
func (c *serverConn) launchLocked() {
	c.flying = true
	c.steps.began()
	c.cur.lend()
	q, vec := c.cur, c.vec
	c.mu.Unlock()
	c.server.counts.writes.Add(1)
	c.server.meter.ZeroCopy.Add(1) // before the peer can know of it
	err := c.server.zc.send(c, c.fd, q, vec)
	c.mu.Lock()
	if err != nil {
		c.server.counts.writes.Add(-1)
		c.server.meter.ZeroCopy.Add(-1)
		c.flying, c.zero = false, false
		c.steps.refused()
		q.holders.Add(-1)
	}
}

// onSent implements zcOwner. The bytes that the kernel did not take stay in vec for whoever writes
// next, often this goroutine.
func (c *serverConn) onSent(q *outQueue, res int32, more bool) {
	c.mu.Lock()
	took, next := c.steps.sent(res, more, lengthOf(c.vec))
	c.flying = false
	if !c.dead {
		c.unsent.Add(-int64(took))
		c.landed = zcLanding{is: true, next: next, took: took}
		c.drainLocked(false)
	}
	c.lingerLocked()
	c.mu.Unlock()
	if !more {
		q.drop()
	}
}

func lengthOf(vec [][]byte) (n int64) {
	for _, b := range vec {
		n += int64(len(b))
	}
	return n
}

// landLocked is the writer's look at the send that completed last.
func (c *serverConn) landLocked() {
	if !c.landed.is {
		return
	}
	c.vec = socket.Advance(c.vec, c.landed.took)
	c.zero = c.landed.next == zcRest
	c.landed = zcLanding{}
	if len(c.vec) == 0 {
		c.mu.Unlock()
		c.finishCur()
		c.mu.Lock()
	}
}

// onNotified implements zcOwner.
func (c *serverConn) onNotified(q *outQueue, copied bool) {
	if copied {
		c.server.meter.KernelCopied.Add(1)
	}
	c.mu.Lock()
	c.steps.notified(copied)
	c.lingerLocked()
	c.mu.Unlock()
	q.drop()
}

// lingerLocked ends the lingering of a closed connection of which the kernel holds nothing more.
func (c *serverConn) lingerLocked() {
	if c.dead && c.steps.held == 0 {
		c.linger.finish(false)
	}
}

// closeDueLocked reports whether a closing connection has sent what the kernel takes: a send that
// has not completed waits for its completion, or for a socket that is full.
func (c *serverConn) closeDueLocked() bool {
	if !c.flying {
		return true
	}
	at := []unix.PollFd{{Fd: int32(c.fd), Events: unix.POLLOUT}}
	n, _ := unix.Poll(at, 0)
	return n == 0 || at[0].Revents&(unix.POLLERR|unix.POLLHUP) != 0
}
