package rdma

import (
	"crypto/hmac"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ashlar-storage/ashlar/io/buf"
	"github.com/ashlar-storage/ashlar/rpc/rdma/verbs"
	"github.com/ashlar-storage/ashlar/rpc/transport"
	"github.com/ashlar-storage/ashlar/rpc/wire"
)

// ErrBroken: the queue pair ended by an error, or the peer went without a word.
var ErrBroken = errors.New("rdma: connection broken")

// stage is how far the life of a connection is.
type stage uint8

const (
	stands   stage = iota
	closing        // what was taken is sent, then the bye
	draining       // the queue pair is broken: the card's last words are waited for
	reaped         // the queue pair is being closed
	ended          // everything is released
)

// side is the end of a connection that is not the card's: a client's or a server's. Its methods are
// called on the loop, one after another.
type side interface {
	// frame takes a frame; keep says that it is given back with release.
	frame(f *inFrame) (keep bool, err error)
	batchEnd()
	// over is called once when nothing of the connection is left.
	over(err error)
}

// conn is a connection, dialled or accepted. It is the shell of a machine.
type conn struct {
	dev      *Device
	loop     *loop
	side     side
	id       uint64
	remote   string
	meter    *transport.Counts
	opened   time.Time
	patience time.Duration // the shortest of its time-outs
	helloDue time.Duration
	frameDue time.Duration
	shared   *sharedReceives // of accepted ones
	sendMem  *buf.Buf
	recvMem  *buf.Buf // of dialled ones
	dead     chan struct{}

	touched bool   // the loop's
	called  bool   // guarded by the loop's lock
	keyed   bool   // the peer must prove that it has the key
	expect  []byte // its proof; guarded by mu, nil until both nonces are known
	prove   []byte // sent when the peer has proved itself
	proven  bool   // the loop's
	greeted atomic.Bool
	peer    atomic.Pointer[wire.Hello]
	moves   atomic.Uint64 // frames and payloads so far
	seen    struct {
		moves           uint64
		unsent          int64
		ended           uint64 // requests
		reading, unread time.Time
		working         time.Time
	}
	unsent atomic.Int64 // bytes of frames taken and not done with

	mu       sync.Mutex
	wait     sync.Cond // signalled when frames were sent or the connection ends
	qp       verbs.QP
	m        *machine
	stage    stage
	err      error // why it ends
	deaf     bool  // nothing more is taken from the peer
	inside   bool  // the loop is in the handler and sends at the end of the batch
	gone     bool
	bye      bool // the peer said so
	saidBye  bool
	marked   bool
	deadline time.Time
	spent    []spent
	recvs    []verbs.Recv // of dialled ones, by their id
	again    []verbs.Recv
}

// spent is memory to be let go without the lock.
type spent struct {
	bufs    [3]*buf.Buf
	release func()
}

func (s *spent) run() {
	for _, b := range s.bufs {
		if b != nil {
			b.Release()
		}
	}
	if s.release != nil {
		s.release()
	}
}

// unlock gives up the lock and lets go what was done with.
func (c *conn) unlock() {
	c.collectLocked()
	var few [8]spent
	s := few[:]
	if len(c.spent) <= len(few) {
		s = s[:copy(s, c.spent)]
		clear(c.spent)
		c.spent = c.spent[:0]
	} else {
		s, c.spent = c.spent, nil
	}
	c.mu.Unlock()
	for i := range s {
		s[i].run()
	}
}

func (c *conn) collectLocked() {
	for i, f := range c.m.freed {
		c.m.freed[i] = nil
		c.unsent.Add(-f.bytes)
		x := spent{bufs: [3]*buf.Buf{f.payload, f.copied, f.room}, release: f.release}
		if x.bufs != [3]*buf.Buf{} || x.release != nil {
			c.spent = append(c.spent, x)
		}
		c.m.recycle(f)
	}
	c.m.freed = c.m.freed[:0]
	for i, b := range c.m.unused {
		c.m.unused[i] = nil
		c.spent = append(c.spent, spent{bufs: [3]*buf.Buf{b}})
	}
	c.m.unused = c.m.unused[:0]
}

// begin gives the connection its machine, once both sides' credits are known.
func (c *conn) begin(peerCredits int) {
	d := c.dev
	c.m = newMachine(machineConfig{own: d.cfg.Credits, peer: peerCredits, slots: c.sendMem.Bytes(),
		key: d.region.Key(), windows: d.cfg.Windows, sges: c.sges(), get: d.cfg.Pool.Get,
		newWindow: func() (verbs.Window, error) { return c.qp.NewWindow() }, count: &d.count})
}

func (c *conn) sges() int { return min(maxSGEs, c.dev.caps.SGEs) }

func (c *conn) qpConfig() verbs.QPConfig {
	d := c.dev
	cfg := verbs.QPConfig{CQ: c.loop.cq, Sends: sendDepth, SGEs: c.sges(),
		Reads: min(maxReads, d.caps.Reads), RetryTimeout: d.cfg.RetryTimeout}
	if c.shared != nil {
		cfg.SRQ = c.shared.srq
	} else {
		cfg.Recvs = d.cfg.Credits
	}
	return cfg
}

// attach makes completions of the queue pair come here.
func (c *conn) attach(qp verbs.QP) {
	c.mu.Lock()
	c.qp = qp
	c.mu.Unlock()
	c.loop.add(qp.Num(), c)
}

// voided ends a connection that did not come about: its queue pair is closed. False: it has failed
// before, and ends by itself.
func (c *conn) voided() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.stage >= draining:
		return false
	case c.m.cfg.trusted:
		// The peer has greeted and gone before the card said that the connection stands: the side
		// knows of it and is told of its end.
		c.breakLocked(fmt.Errorf("%w: the peer is gone", ErrBroken))
		return false
	}
	c.stage = ended
	if c.qp != nil {
		c.loop.remove(c.qp.Num(), c)
	}
	c.m.abandon()
	c.repostLocked()
	c.free()
	close(c.dead)
	return true
}

// watch tells the loop when the queue pair is gone.
func (c *conn) watch() {
	c.dev.reapers.Go(func() {
		<-c.qp.Gone()
		c.mu.Lock()
		c.gone = true
		c.mu.Unlock()
		c.loop.call(c)
	})
}

// pushLocked gives the card what may go.
func (c *conn) pushLocked() {
	if c.stage > closing || c.inside {
		return
	}
	c.repostLocked()
	c.postLocked(c.m.pump())
	if c.m.err != nil {
		c.failLocked(c.m.err)
	}
	if c.stage == closing {
		c.partLocked()
	}
	if c.m.queue.len() == 0 {
		c.wait.Broadcast()
	}
}

func (c *conn) postLocked(posts []verbs.Send) {
	if len(posts) == 0 {
		return
	}
	c.dev.count.posts.Add(1)
	c.dev.count.requests.Add(int64(len(posts)))
	if err := c.qp.Post(posts); err != nil && c.stage <= closing {
		c.breakLocked(fmt.Errorf("%w: post: %w", ErrBroken, err))
	}
}

// repostLocked posts receives again. Credits for them are told only after that.
func (c *conn) repostLocked() {
	ids := c.m.repost
	if len(ids) == 0 {
		return
	}
	c.m.repost = ids[:0]
	var err error
	switch {
	case c.shared != nil:
		err = c.shared.again(ids)
	case c.stage > closing:
	default:
		c.again = c.again[:0]
		for _, id := range ids {
			c.again = append(c.again, c.recvs[id])
		}
		err = c.qp.PostRecv(c.again)
	}
	if err != nil && c.stage <= closing {
		c.breakLocked(fmt.Errorf("%w: post receives: %w", ErrBroken, err))
	}
}

func (c *conn) recv(i uint64) verbs.Recv {
	return verbs.Recv{ID: i | recvBit, Pieces: []verbs.Piece{{Mem: c.recvBytes(i),
		Key: c.dev.region.Key()}}}
}

func (c *conn) recvBytes(i uint64) []byte {
	if c.shared != nil {
		return c.shared.mem(i)
	}
	return c.recvMem.Bytes()[i*SlotSize : (i+1)*SlotSize]
}

// handle takes a completion.
func (c *conn) handle(x *verbs.Completion) {
	c.mu.Lock()
	if x.ID&recvBit != 0 {
		c.receivedLocked(x)
	} else {
		c.finishedLocked(x)
	}
	early := len(c.m.ready) > 0 && !c.greeted.Load()
	c.unlock()
	if early {
		c.deliver() // the greeting decides what may come next
	}
}

func (c *conn) receivedLocked(x *verbs.Completion) {
	id := x.ID &^ (recvBit | sharedBit)
	if x.Status != verbs.OK {
		c.m.repost = append(c.m.repost, id)
		if x.Status != verbs.Flushed {
			c.brokenLocked(x)
		}
		return
	}
	if c.deaf || c.stage >= reaped {
		c.m.repost = append(c.m.repost, id)
		return
	}
	c.moves.Add(1)
	mem := c.recvBytes(id)
	err := c.m.arrived(id, mem[:min(x.Bytes, len(mem))], x.Invalidated)
	if err == nil {
		err = c.m.err
	}
	if err != nil {
		c.failLocked(err)
	}
}

func (c *conn) finishedLocked(x *verbs.Completion) {
	failed := x.Status != verbs.OK
	c.moves.Add(1)
	said := c.m.completed(x.ID, failed || c.deaf)
	switch {
	case failed && x.Status != verbs.Flushed:
		c.brokenLocked(x)
	case said:
		c.drainLocked()
	}
	if c.m.err != nil {
		c.failLocked(c.m.err)
	}
}

// turn is what the loop does for the connection after a batch of completions.
func (c *conn) turn() {
	c.deliver()
	c.mu.Lock()
	if c.gone && c.stage < draining {
		if c.bye || c.saidBye {
			c.drainLocked()
		} else {
			c.breakLocked(fmt.Errorf("%w: the peer is gone", ErrBroken))
		}
	}
	if c.stage < draining {
		c.pushLocked()
	} else {
		c.repostLocked()
		c.markLocked()
	}
	reap := c.stage == draining && c.marked && c.m.idle() && len(c.m.ready) == 0
	if reap {
		c.stage = reaped
	}
	over := c.stage == ended
	c.unlock()
	switch {
	case reap:
		c.reap()
	case over:
		c.finish()
	}
}

// deliver hands the frames on that are in order.
func (c *conn) deliver() {
	c.mu.Lock()
	ready := c.m.ready
	if len(ready) == 0 {
		c.mu.Unlock()
		return
	}
	c.m.ready = nil
	c.inside = c.shared != nil
	c.mu.Unlock()
	for i, f := range ready {
		keep, err := c.take(f)
		c.mu.Lock()
		if !keep {
			c.m.consumed(f)
		}
		if err != nil {
			c.failLocked(err)
		}
		c.mu.Unlock()
		ready[i] = nil
	}
	if c.greeted.Load() {
		c.side.batchEnd()
	}
	c.mu.Lock()
	c.inside = false
	if len(c.m.ready) == 0 {
		c.m.ready = ready[:0]
	}
	c.pushLocked()
	c.unlock()
}

// take deals with one frame.
func (c *conn) take(f *inFrame) (keep bool, err error) {
	c.mu.Lock()
	drop := c.deaf || c.stage == closing
	c.mu.Unlock()
	switch {
	case f.kind == kindBye:
		c.byeReceived()
		return false, nil
	case drop:
		f.drop()
		return false, nil
	case f.kind == kindProof:
		return false, c.proofReceived(f)
	case c.keyed && !c.proven:
		f.drop()
		return false, fmt.Errorf("%w: the peer greets without proving that it has it", ErrKey)
	}
	c.dev.count.frames.Add(1)
	if f.payload != nil {
		c.meter.Received.Add(transport.Flow{Payloads: 1, Bytes: int64(f.h.PayloadLen)})
	}
	return c.side.frame(f)
}

func (c *conn) byeReceived() {
	c.mu.Lock()
	c.bye = true
	if c.err == nil || errors.Is(c.err, ErrBroken) {
		c.err = io.EOF
		if c.keyed && !c.proven {
			c.err = fmt.Errorf("%w: the peer closed instead of proving that it has it: "+
				"give both sides the same file", ErrKey)
		}
	}
	c.drainLocked()
	c.unlock()
}

// proofReceived compares the peer's proof; an accepted connection then gives its own.
func (c *conn) proofReceived(f *inFrame) error {
	if !c.keyed || c.proven {
		return fmt.Errorf("%w: a proof that nobody asked for", ErrFormat)
	}
	c.mu.Lock()
	expect := c.expect
	c.mu.Unlock()
	if !hmac.Equal(f.meta, expect) {
		err := fmt.Errorf("%w: the peer has another one: give both sides the same file", ErrKey)
		c.close(err) // with a bye, so that the peer learns why
		return nil
	}
	c.proven = true
	if c.prove != nil {
		c.sendProof(c.prove)
	}
	return nil
}

func (c *conn) sendProof(p []byte) {
	c.mu.Lock()
	if c.stage == stands && c.m.special(kindProof, p) {
		c.postLocked(c.m.posts)
	}
	c.unlock()
}

// trust lets memory be opened to the peer and the peer's be read.
func (c *conn) trust(peer *wire.Hello) {
	c.mu.Lock()
	c.m.cfg.trusted = true
	c.mu.Unlock()
	c.peer.Store(peer)
	c.greeted.Store(true)
}
