package rdma

import (
	"fmt"
	"time"

	"github.com/ashlar-storage/ashlar/rpc/rdma/verbs"
	"github.com/ashlar-storage/ashlar/rpc/transport"
)

// How a connection ends.
//
//	stands --close--> closing --all sent, bye--+
//	   |                                       v
//	   +-----error, peer gone------------> draining --marker back--> reaped --closed--> ended
//
// While it drains the queue pair is broken and the card says its last words: what arrived before is
// still taken. Only when the queue pair is closed does the card use no memory of it, and only then
// is anything released that it may have named.

// brokenLocked notes an error of the card.
func (c *conn) brokenLocked(x *verbs.Completion) {
	c.breakLocked(fmt.Errorf("%w: %v (card's code %d)", ErrBroken, x.Status, x.Vendor))
}

// breakLocked ends the connection for a reason of the card's; what arrived before is still taken.
func (c *conn) breakLocked(err error) {
	if c.stage >= draining {
		return
	}
	if c.err == nil {
		c.err = err
		c.dev.count.broken.Add(1)
	}
	c.drainLocked()
}

// failLocked ends the connection at once and takes nothing more from the peer.
func (c *conn) failLocked(err error) {
	c.deaf = true
	if c.err == nil {
		c.err = err
	}
	c.drainLocked()
}

func (c *conn) fail(err error) {
	c.mu.Lock()
	c.failLocked(err)
	c.unlock()
}

// drainLocked breaks the queue pair. Its memory stays until the card is done with it.
func (c *conn) drainLocked() {
	if c.stage >= draining {
		return
	}
	c.stage = draining
	c.deadline = time.Now().Add(drainTime)
	c.wait.Broadcast()
	c.qp.Disconnect()
	c.markLocked()
	c.loop.call(c)
}

// markLocked posts the marker whose end tells that nothing is under way any more.
func (c *conn) markLocked() {
	if !c.marked && c.m.tail-c.m.head < uint64(len(c.m.ring)) {
		c.marked = true
		_ = c.qp.Post(c.m.marker())
	}
}

// close sends what was taken and the bye, and then ends the connection.
func (c *conn) close(err error) {
	c.mu.Lock()
	c.closeLocked(err)
	c.unlock()
}

func (c *conn) closeLocked(err error) {
	if c.stage >= closing {
		return
	}
	c.stage = closing
	if c.err == nil {
		c.err = err
	}
	c.deadline = time.Now().Add(linger)
	c.wait.Broadcast()
	c.loop.call(c)
}

// partLocked says bye once everything has left.
func (c *conn) partLocked() {
	if c.saidBye || c.m.queue.len() > 0 || c.m.unacked.len() > 0 {
		return
	}
	if c.m.special(kindBye, nil) {
		c.saidBye = true
		c.postLocked(c.m.posts)
	}
}

// reap closes the queue pair where it may take its time. From then on the card uses no memory of
// the connection, and no window is open.
func (c *conn) reap() {
	c.dev.reapers.Go(func() {
		_ = c.qp.Close()
		c.mu.Lock()
		c.stage = ended
		c.mu.Unlock()
		c.loop.call(c)
	})
}

// finish releases everything and tells the side.
func (c *conn) finish() {
	select {
	case <-c.dead:
		return
	default:
	}
	c.loop.remove(c.qp.Num(), c)
	c.mu.Lock()
	ready := c.m.ready
	c.m.ready = nil
	for _, f := range ready {
		f.drop()
		c.m.consumed(f)
	}
	c.m.abandon()
	c.repostLocked()
	err := c.err
	if err == nil {
		err = ErrBroken
	}
	c.unlock()
	c.free()
	c.wake()
	c.side.over(err)
	close(c.dead)
}

// free gives back what the connection was made with. No queue pair is left.
func (c *conn) free() {
	c.loop.load.Add(-1)
	c.sendMem.Release()
	if c.recvMem != nil {
		c.recvMem.Release()
	}
	if c.shared != nil {
		c.shared.shrink()
	}
}

func (c *conn) wake() {
	c.mu.Lock()
	c.wait.Broadcast()
	c.mu.Unlock()
}

// check is the sweep's look at the connection.
func (c *conn) check(now time.Time) {
	c.mu.Lock()
	stage, deadline := c.stage, c.deadline
	reading := c.m.in.len() > 0 || c.m.partial != nil
	c.mu.Unlock()
	switch {
	case stage == closing && now.After(deadline):
		c.mu.Lock()
		c.drainLocked()
		c.unlock()
		return
	case stage == draining && now.After(deadline):
		c.mu.Lock()
		late := c.stage == draining
		c.stage = reaped
		c.unlock()
		if late {
			c.reap()
		}
		return
	case stage != stands:
		return
	case !c.greeted.Load():
		if now.Sub(c.opened) > c.helloDue {
			c.fail(fmt.Errorf("%w: no greeting within %v", transport.ErrTimeout, c.helloDue))
		}
		return
	}
	c.checkProgress(now, reading)
	c.checkCard(now)
}

// checkCard breaks a connection whose card has gone without a word: it owes a completion for longer
// than it may try.
func (c *conn) checkCard(now time.Time) {
	c.mu.Lock()
	defer c.unlock()
	s := &c.seen
	if c.stage != stands {
		return
	}
	if ended := c.m.head; !c.m.owedByCard() || ended != s.ended || s.working.IsZero() {
		s.ended, s.working = ended, now
		c.repostLocked() // before credits are told
		c.postLocked(c.m.ask())
		return
	}
	limit := c.dev.cfg.RetryTimeout
	if limit == 0 {
		limit = verbs.DefaultRetryTimeout
	}
	if limit *= stuckShare; now.Sub(s.working) > limit {
		c.breakLocked(fmt.Errorf("%w: the card has not ended a request for %v", ErrBroken, limit))
	}
}

func (c *conn) checkProgress(now time.Time, reading bool) {
	moves, unsent := c.moves.Load(), c.unsent.Load()
	s := &c.seen
	if !reading || moves != s.moves || s.reading.IsZero() {
		s.reading = now
	} else if now.Sub(s.reading) > c.frameDue {
		c.fail(fmt.Errorf("%w: a frame made no progress for %v", transport.ErrTimeout, c.frameDue))
	}
	if unsent == 0 || unsent != s.unsent || s.unread.IsZero() {
		s.unread = now
	} else if now.Sub(s.unread) > c.frameDue && c.shared != nil {
		c.fail(fmt.Errorf("%w: %d bytes not taken for %v", transport.ErrTimeout, unsent,
			c.frameDue))
	}
	s.moves, s.unsent = moves, unsent
}
