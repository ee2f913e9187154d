package transport

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"github.com/panjf2000/gnet/v2"
	"golang.org/x/sys/unix"

	"github.com/ashlar-storage/ashlar/rpc/socket"
	"github.com/ashlar-storage/ashlar/rpc/wire"
)

// serverConn is the server's end of a connection. Its reading half belongs to
// the event loop, its writing half is in writer.go.
type serverConn struct {
	Attachment
	server *Server
	id     uint64
	remote string
	opened time.Time

	// Owned by the event loop.
	dec      decoder
	frame    frame // what the handler is looking at
	requests int   // in this readable event
	greeted  bool
	scratch  []byte

	// Published by the event loop for check and Peer.
	peer   atomic.Pointer[wire.Hello]
	reads  atomic.Uint64 // readable events so far
	inside atomic.Bool   // a frame has begun and not ended

	// Owned by the sweep.
	seen struct {
		reads           uint64
		pending         int64
		reading, unsent time.Time // since when nothing moved; zero: not waiting
	}

	closing atomic.Bool // set under mu: nothing more is queued

	mu    sync.Mutex
	gc    gnet.Conn // nil until the loop has it
	fd    int
	loop  gnet.EventLoop
	queue *outQueue // what waits
	// active: a goroutine is the writer and owns cur, vec, base, vector, armed and zero.
	active bool
	idle   sync.Cond // signalled when a writer leaves a dead connection
	// inBatch: the loop is in the handler and will send at the end.
	inBatch bool
	// full: the socket took no more; onWritable ends it. early: onWritable
	// came while the writer was still at it.
	full, early bool
	open        int   // requests received and not yet answered
	woken       bool  // a task for the loop is on its way
	dead        bool  // the loop has let go of the socket
	err         error // why it closed

	cur    *outQueue
	vec    [][]byte // unsent rest of cur
	base   [][]byte // vec's memory
	vector socket.Vector
	armed  bool // the socket is known to writable

	// Guarded by mu: see zcwriter.go.
	steps  zcSteps
	zero   bool // cur goes by zero-copy sends; the writer's
	flying bool // a zero-copy send of cur has not completed: only onSent moves cur on
	landed zcLanding
	linger zcLingerer

	unsent atomic.Int64 // bytes in queue and vec
}

func (c *serverConn) ID() uint64     { return c.id }
func (c *serverConn) Remote() string { return c.remote }
func (c *serverConn) Pending() int64 { return c.unsent.Load() }

func (c *serverConn) Peer() wire.Hello {
	if p := c.peer.Load(); p != nil {
		return *p
	}
	return wire.Hello{}
}

// onTraffic takes one readable event's bytes.
func (c *serverConn) onTraffic(p []byte) {
	c.mu.Lock()
	c.inBatch = true
	c.mu.Unlock()
	err := c.consume(p)
	if c.greeted {
		c.server.handler.OnBatchEnd(c)
	}
	c.reads.Add(1)
	c.server.counts.reads.Add(1)
	c.inside.Store(err == nil && c.dec.midFrame())
	c.server.meter.Received.Add(c.dec.flow)
	c.dec.flow = Flow{}

	c.mu.Lock()
	c.inBatch = false
	c.open += c.requests
	c.requests = 0
	c.drainLocked(true)
	c.mu.Unlock()
	if err != nil {
		c.fail(err)
	}
}

func (c *serverConn) consume(p []byte) error {
	for len(p) > 0 && !c.closing.Load() {
		var ok bool
		var err error
		if c.frame, p, ok, err = c.dec.next(p); err != nil || !ok {
			return err
		}
		f := &c.frame
		if h := f.Header; !h.Response() && !h.Op.OneWay() {
			c.requests++
		}
		switch {
		case !c.greeted:
			err = c.greet(f)
		case f.noBuffer:
			c.refuse(f.Header)
		case f.Header.Op == wire.OpHello:
			f.Message.done()
			err = fmt.Errorf("%w: a second one", ErrHello)
		default:
			c.server.handler.OnMessage(c, &f.Message)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// greet answers the first frame.
func (c *serverConn) greet(f *frame) error {
	h := f.Header
	if f.Payload != nil || f.noBuffer || h.Op != wire.OpHello || h.Response() {
		f.Message.done()
		return fmt.Errorf("%w: first frame is %v with %d bytes of payload",
			ErrHello, h.Op, h.PayloadLen)
	}
	answer, peer, err := AnswerHello(&c.server.cfg.Hello, h, f.Meta)
	c.Queue([]Message{answer})
	if err != nil {
		return err
	}
	c.peer.Store(peer)
	c.greeted = true
	c.server.handler.OnOpen(c)
	return nil
}

// refuse answers a request whose payload found no buffer.
func (c *serverConn) refuse(h wire.Header) {
	if h.Response() || h.Op.OneWay() {
		c.server.counts.lost.Add(1)
		return
	}
	c.server.counts.overloaded.Add(1)
	r := wire.IOResponse{RetryAfterMS: OverloadedRetryMS}
	c.scratch = r.AppendTo(c.scratch[:0])
	answer := wire.Header{
		Op: h.Op, Flags: wire.FlagResponse, ID: h.ID, Status: wire.StatusOverloaded,
	}
	c.Queue([]Message{{Header: answer, Meta: c.scratch}})
}

// Close lets the loop send what is queued and close.
func (c *serverConn) Close(err error) {
	if err == nil {
		err = ErrClosed
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.failLocked(err)
}

func (c *serverConn) fail(err error) { c.Close(err) }

func (c *serverConn) failLocked(err error) {
	if c.closing.Load() {
		return
	}
	c.closing.Store(true)
	c.err = err
	c.wakeLocked()
}

// closeAgain has the loop look once more whether a closing connection may go: the zero-copy send
// for which it waits may have filled the socket since, and then does not complete.
func (c *serverConn) closeAgain() {
	c.mu.Lock()
	c.wakeLocked()
	c.mu.Unlock()
}

// wakeLocked gives the loop a task for this connection. Holding mu and knowing
// that onClose has not passed is what makes touching the loop safe: once the
// loop has ended, waking it would write to a descriptor that may belong to
// somebody else by then.
func (c *serverConn) wakeLocked() {
	if c.woken || c.dead || c.loop == nil {
		return
	}
	c.woken = c.loop.Execute(context.Background(), c) == nil
}

// Run is the loop's task: send what is queued, and close if that is due.
func (c *serverConn) Run(context.Context) error {
	c.mu.Lock()
	c.woken = false
	c.drainLocked(true)
	closeNow := c.closing.Load() && !c.dead && !c.active && c.closeDueLocked()
	c.mu.Unlock()
	if closeNow {
		_ = c.loop.Close(c.gc)
	}
	return nil
}

// onClose runs on the loop when the socket is about to be closed, exactly
// once. After it nothing touches the descriptor or the loop.
func (c *serverConn) onClose(err error) {
	c.mu.Lock()
	c.dead = true
	c.closing.Store(true)
	if c.err == nil {
		if c.err = err; err == nil {
			c.err = ErrClosed
		}
	}
	for c.active {
		c.idle.Wait()
	}
	err = c.err
	// Nobody writes or queues any more, but a late Reply still looks at the queue.
	c.cur = c.cur.leave()
	c.queue.release()
	c.unsent.Store(0)
	if c.steps.held > 0 {
		c.linger.start(c.fd)
	}
	c.mu.Unlock()
	c.dec.reset()
	c.server.forget(c)
	c.logClose(err)
	if c.greeted {
		c.server.handler.OnClose(c, err)
	}
}

func (c *serverConn) logClose(err error) {
	if errors.Is(err, ErrClosed) || errors.Is(err, io.EOF) || errors.Is(err, unix.ECONNRESET) ||
		errors.Is(err, unix.EPIPE) {
		return
	}
	c.server.counts.bad.Add(1)
	c.server.log.Warn("transport: closed a connection", "addr", c.server.addr,
		"remote", c.remote, "peer", c.Peer().Name, "err", err)
}

// check is the sweep's look at the connection.
func (c *serverConn) check(now time.Time) {
	cfg := &c.server.cfg
	if c.closing.Load() {
		c.closeAgain()
		return
	}
	if c.peer.Load() == nil {
		if now.Sub(c.opened) > cfg.HelloTimeout {
			c.fail(fmt.Errorf("%w: no greeting within %v", ErrTimeout, cfg.HelloTimeout))
		}
		return
	}
	reads := c.reads.Load()
	if since := &c.seen.reading; !c.inside.Load() || reads != c.seen.reads || since.IsZero() {
		*since = now
	} else if now.Sub(*since) > cfg.FrameTimeout {
		c.fail(fmt.Errorf("%w: a frame made no progress for %v", ErrTimeout, cfg.FrameTimeout))
	}
	c.seen.reads = reads

	pending := c.Pending()
	if since := &c.seen.unsent; pending == 0 || pending != c.seen.pending || since.IsZero() {
		*since = now
	} else if now.Sub(*since) > cfg.FrameTimeout {
		c.fail(fmt.Errorf("%w: %d bytes unread for %v", ErrTimeout, pending, cfg.FrameTimeout))
	}
	c.seen.pending = pending
}
