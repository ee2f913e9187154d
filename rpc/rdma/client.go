package rdma

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"sync"
	"time"

	"crypto/rand"

	"github.com/ashlar-storage/ashlar/io/buf"
	"github.com/ashlar-storage/ashlar/rpc/rdma/verbs"
	"github.com/ashlar-storage/ashlar/rpc/transport"
	"github.com/ashlar-storage/ashlar/rpc/wire"
)

// Dial connects to addr ("ip:port") through the card and exchanges greetings. It is a
// transport.Dialer. A refused greeting gives the error class of its status; verbs.ErrRefused says
// that nobody listens there, ErrKey that the pre-shared keys differ.
func (d *Device) Dial(ctx context.Context, addr string, cfg transport.Config) (transport.Conn,
	error) {
	if cfg.Pool != d.cfg.Pool {
		return nil, fmt.Errorf("%w: Config.Pool is not the device's: use that", transport.ErrConfig)
	}
	to, err := netip.ParseAddrPort(addr)
	if err != nil {
		return nil, fmt.Errorf("%w: address %q: want ip:port: %w", transport.ErrConfig, addr, err)
	}
	cfg.DialTimeout = cmp.Or(cfg.DialTimeout, transport.DefaultDialTimeout)
	cfg.WriteTimeout = cmp.Or(cfg.WriteTimeout, transport.DefaultWriteTimeout)
	ctx, cancel := context.WithTimeout(ctx, cfg.DialTimeout)
	defer cancel()
	end, err := d.dialling(cancel)
	if err != nil {
		return nil, fmt.Errorf("rdma: dial %s: %w", addr, err)
	}
	defer end()
	c, err := d.dial(ctx, to, cfg)
	if err != nil {
		if ctx.Err() != nil && !errors.Is(err, ErrKey) {
			err = fmt.Errorf("%w: %w", transport.ErrTimeout, ctx.Err())
		}
		return nil, fmt.Errorf("rdma: dial %s: %w", addr, err)
	}
	return c, nil
}

// dialling makes Close of the device end a dial, and wait for it.
func (d *Device) dialling(cancel func()) (end func(), err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return nil, transport.ErrClosed
	}
	d.dials.Add(1)
	over := make(chan struct{})
	go func() {
		select {
		case <-d.stopped:
			cancel()
		case <-over:
		}
		d.dials.Done()
	}()
	return func() { close(over) }, nil
}

// clientConn is a Conn.
type clientConn struct {
	*conn
	addr    string
	own     wire.Hello
	timeout time.Duration
	greets  chan error // what became of the greeting

	sendMu sync.Mutex
	stages []staged

	inMu   sync.Mutex
	inWait sync.Cond
	in     fifo[*inFrame]
	inErr  error    // after in
	held   *inFrame // what the caller of Recv is looking at
	closed bool
}

func (d *Device) dial(ctx context.Context, to netip.AddrPort, cfg transport.Config) (*clientConn,
	error) {
	c, err := d.newConn()
	if err != nil {
		return nil, err
	}
	cc := &clientConn{conn: c, addr: to.String(), own: cfg.Hello, timeout: cfg.WriteTimeout,
		greets: make(chan error, 1)}
	cc.inWait.L = &cc.inMu
	c.side, c.remote = cc, cc.addr
	c.helloDue, c.frameDue = cfg.DialTimeout, transport.DefaultFrameTimeout
	c.patience = min(c.helloDue, c.frameDue)
	c.meter = cfg.Meter.Of(Name)
	c.keyed = d.cfg.Key != nil
	c.begin(MaxCredits)
	mine := intro{credits: uint16(d.cfg.Credits), slotSize: SlotSize}
	_, _ = rand.Read(mine.nonce[:])
	if d.cfg.Key != nil {
		mine.flags = introKey
	}
	theirs, err := cc.connect(ctx, to, &mine)
	if err != nil {
		return nil, err
	}
	if err := cc.greet(ctx, &mine, &theirs); err != nil {
		cc.fail(err)
		<-c.dead
		return nil, err
	}
	return cc, nil
}

// connect makes the queue pair. On an error everything is released.
func (c *clientConn) connect(ctx context.Context, to netip.AddrPort, mine *intro) (intro, error) {
	d := c.dev
	var err error
	if c.recvMem, err = d.cfg.Pool.Get(d.cfg.Credits * SlotSize); err != nil {
		c.free()
		return intro{}, fmt.Errorf("rdma: memory for a connection: %w", err)
	}
	cfg := c.qpConfig()
	cfg.Ready = c.ready
	_, private, err := d.ctx.Dial(ctx, to, cfg, mine.appendTo(nil))
	if err != nil {
		err = refusal(err, private)
		if !c.voided() { // the peer said something that ended it while it was being made
			<-c.dead
			err = fmt.Errorf("%w: %w", c.why(), err)
		}
		return intro{}, err
	}
	d.mu.Lock()
	d.clients[c.id] = c.conn
	c.meter.Open.Add(1)
	c.meter.Made.Add(1)
	d.mu.Unlock()
	c.watch()
	theirs, err := parseIntro(private)
	if err == nil && theirs.flags != mine.flags {
		err = fmt.Errorf("%w: one side has one and the other not: give both the same file", ErrKey)
	}
	if err != nil {
		c.fail(err)
		<-c.dead
		return intro{}, err
	}
	c.mu.Lock()
	c.m.credits, c.m.cfg.peer = int(theirs.credits), int(theirs.credits)
	c.mu.Unlock()
	return theirs, nil
}

// ready posts the receives before the peer can send anything.
func (c *clientConn) ready(qp verbs.QP) error {
	c.attach(qp)
	for i := range c.dev.cfg.Credits {
		c.recvs = append(c.recvs, c.recv(uint64(i)))
	}
	return qp.PostRecv(c.recvs)
}

// refusal makes the error of a refused connection say why.
func refusal(err error, private []byte) error {
	i, bad := parseIntro(private)
	if !errors.Is(err, verbs.ErrRefused) || len(private) == 0 || bad != nil {
		return err
	}
	switch i.reason {
	case reasonKey:
		return fmt.Errorf("%w: the peer has one and this side not, or the reverse: give both the "+
			"same file", ErrKey)
	case reasonVersion:
		return fmt.Errorf("%w: the peer does not speak rdma version %d", wire.ErrVersion,
			FormatVersion)
	case reasonFull:
		return fmt.Errorf("%w: the peer takes no more connections: %w", wire.ErrOverloaded, err)
	}
	return err
}

func (c *clientConn) greet(ctx context.Context, mine, theirs *intro) error {
	if key := c.dev.cfg.Key; key != nil {
		c.mu.Lock()
		c.expect = proof(key, false, mine.nonce, theirs.nonce)
		c.mu.Unlock()
		c.sendProof(proof(key, true, mine.nonce, theirs.nonce))
	}
	c.own.Version = wire.ProtocolVersion
	hello := transport.Message{Header: wire.Header{Op: wire.OpHello}, Meta: c.own.AppendTo(nil)}
	if err := c.Send([]transport.Message{hello}); err != nil {
		return err
	}
	select {
	case err := <-c.greets:
		return err
	case <-c.dead:
		return c.why()
	case <-ctx.Done():
		return ctx.Err()
	}
}

// hello takes the answer to the greeting.
func (c *clientConn) hello(f *inFrame) error {
	peer, err := transport.TakeHello(&c.own, f.h, f.meta)
	if err == nil {
		c.trust(peer)
	}
	return err
}

// frame implements side.
func (c *clientConn) frame(f *inFrame) (keep bool, err error) {
	if !c.greeted.Load() {
		err := c.hello(f)
		c.greets <- err
		return false, err
	}
	if f.noBuffer {
		c.dev.count.overloaded.Add(1)
		f.h.Status, f.h.MetaLen, f.h.PayloadLen, f.meta = wire.StatusOverloaded, 0, 0, nil
	}
	// The memory of the receive goes when the connection ends, perhaps while Recv's caller looks.
	f.scratch = append(f.scratch[:0], f.meta...)
	f.meta = f.scratch
	c.inMu.Lock()
	room := c.in.len() < MaxUnread
	c.inMu.Unlock()
	if room {
		c.mu.Lock()
		c.m.giveBackOf(f)
		c.mu.Unlock()
	}
	c.inMu.Lock()
	defer c.inMu.Unlock()
	c.in.push(f)
	c.inWait.Signal()
	return true, nil
}

func (c *clientConn) batchEnd() {}

// over implements side.
func (c *clientConn) over(err error) {
	c.dev.mu.Lock()
	if c.dev.clients[c.id] != nil {
		c.meter.Open.Add(-1)
	}
	delete(c.dev.clients, c.id)
	c.dev.mu.Unlock()
	c.inMu.Lock()
	defer c.inMu.Unlock()
	c.inErr = err
	if c.closed {
		c.dropLocked()
	}
	c.inWait.Broadcast()
}

// dropLocked lets go what nobody will ask for.
func (c *clientConn) dropLocked() {
	for c.in.len() > 0 {
		c.in.pop().drop()
	}
}

func (c *clientConn) Peer() wire.Hello {
	if p := c.peer.Load(); p != nil {
		return *p
	}
	return wire.Hello{}
}

func (c *clientConn) RemoteAddr() string { return c.addr }

// Transport is the name of this one.
func (c *clientConn) Transport() string { return Name }

// Close unblocks Send and Recv, which then give transport.ErrClosed. What was sent before is still
// sent.
func (c *clientConn) Close() error {
	c.inMu.Lock()
	c.closed = true
	c.dropLocked()
	c.inWait.Broadcast()
	c.inMu.Unlock()
	c.close(transport.ErrClosed)
	return nil
}

// Recv implements transport.Conn.
func (c *clientConn) Recv() (transport.Message, error) {
	c.inMu.Lock()
	held := c.held
	c.held = nil
	c.inMu.Unlock()
	if held != nil {
		c.mu.Lock()
		c.m.consumed(held)
		c.pushLocked()
		c.unlock()
	}
	c.inMu.Lock()
	defer c.inMu.Unlock()
	for c.in.len() == 0 && c.inErr == nil && !c.closed {
		c.inWait.Wait()
	}
	switch {
	case c.closed:
		return transport.Message{}, c.wrap("receive from", transport.ErrClosed)
	case c.in.len() > 0:
		c.held = c.in.pop()
		return c.held.message(), nil
	case c.inErr == io.EOF:
		return transport.Message{}, io.EOF
	}
	return transport.Message{}, c.wrap("receive from", c.inErr)
}

func (c *clientConn) wrap(what string, err error) error {
	return fmt.Errorf("rdma: %s %s: %w", what, c.addr, err)
}

// Send implements transport.Conn: it returns when the card has all messages. Release may run later,
// when the peer has read the payload; the bytes of a Body without Release are free at once.
func (c *clientConn) Send(msgs []transport.Message) error {
	c.sendMu.Lock()
	defer c.sendMu.Unlock()
	if err := c.gather(msgs, true); err != nil {
		return err
	}
	return c.finishSend()
}

// TrySend implements transport.Conn.
func (c *clientConn) TrySend(msgs []transport.Message) (transport.Sent, error) {
	if !c.sendMu.TryLock() {
		return transport.Busy, nil
	}
	err := c.gather(msgs, false)
	if errors.Is(err, buf.ErrExhausted) {
		c.sendMu.Unlock()
		return transport.Busy, nil // nothing was taken; Send waits for memory
	}
	if err == nil {
		c.mu.Lock()
		partial := c.m.queue.len() > 0 && c.stage == stands
		c.mu.Unlock()
		if partial {
			return transport.Partial, nil // sendMu stays locked: Finish unlocks it
		}
	}
	c.sendMu.Unlock()
	return transport.Complete, err
}

// Finish implements transport.Conn.
func (c *clientConn) Finish() error {
	defer c.sendMu.Unlock()
	return c.finishSend()
}

// gather takes messages over and gives the card what may go. With wait it waits for memory to copy
// into; without, the pool's error says that nothing was taken.
func (c *clientConn) gather(msgs []transport.Message, wait bool) error {
	for i := range msgs {
		if _, err := sizeOf(&msgs[i]); err != nil {
			transport.Drop(msgs)
			return err
		}
	}
	until := time.Now().Add(c.timeout)
	for len(msgs) > 0 {
		n, err := c.stageSome(msgs)
		exhausted := errors.Is(err, buf.ErrExhausted)
		if exhausted && !wait {
			c.dropStages()
			return err
		}
		if err != nil && n == 0 {
			if exhausted && time.Now().Before(until) && c.alive() {
				time.Sleep(copyWait)
				continue
			}
			transport.Drop(msgs)
			return c.noMemory(err)
		}
		if err := c.add(msgs[:n]); err != nil {
			transport.Drop(msgs)
			return err
		}
		msgs = msgs[n:]
	}
	return nil
}

// stageSome takes the memory that messages need, for as many as there is.
func (c *clientConn) stageSome(msgs []transport.Message) (n int, err error) {
	c.stages = c.stages[:0]
	for i := range msgs {
		m := &msgs[i]
		s, err := c.dev.stage(m, m.Release == nil)
		if err != nil {
			return i, err
		}
		if m.Room > 0 && !m.Header.Op.OneWay() {
			s.room, _ = c.dev.cfg.Pool.Get(m.Room) // without, the answer's payload is read
		}
		c.stages = append(c.stages, s)
	}
	return len(msgs), nil
}

func (c *clientConn) dropStages() {
	for i := range c.stages {
		c.stages[i].drop()
	}
}

// noMemory ends a connection whose Send has found no memory for too long, or never will.
func (c *clientConn) noMemory(err error) error {
	c.mu.Lock()
	dead := c.stage != stands
	if dead {
		err = c.sendErrLocked()
	}
	c.mu.Unlock()
	if !dead {
		err = c.wrap("send", fmt.Errorf("%w: no memory to copy a payload to: %w",
			transport.ErrTimeout, err))
		c.fail(err)
	}
	return err
}

// add queues messages that are staged. After an error they are the caller's.
func (c *clientConn) add(msgs []transport.Message) error {
	c.mu.Lock()
	if c.stage != stands {
		err := c.sendErrLocked()
		c.mu.Unlock()
		c.dropStages()
		return err
	}
	for i := range msgs {
		c.addLocked(&msgs[i], &c.stages[i])
	}
	c.pushLocked()
	c.unlock()
	clear(c.stages)
	return nil
}

func (c *clientConn) sendErrLocked() error {
	err := c.err
	if err == nil || err == io.EOF {
		err = ErrBroken
	}
	return c.wrap("send", err)
}

// why is what ended the connection.
func (c *clientConn) why() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

func (c *clientConn) alive() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.stage == stands
}

// finishSend waits until the card has everything.
func (c *clientConn) finishSend() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.m.queue.len() == 0 && c.stage == stands {
		return nil
	}
	until := time.Now().Add(c.timeout)
	t := time.AfterFunc(c.timeout, c.wake)
	defer t.Stop()
	for c.m.queue.len() > 0 && c.stage == stands {
		if !time.Now().Before(until) {
			c.failLocked(fmt.Errorf("%w: the peer took nothing for %v", transport.ErrTimeout,
				c.timeout))
			c.loop.call(c.conn)
			break
		}
		c.wait.Wait()
	}
	if c.m.queue.len() == 0 && c.stage == stands {
		return nil
	}
	return c.sendErrLocked()
}
