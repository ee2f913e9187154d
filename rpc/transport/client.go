package transport

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ashlar-storage/ashlar/io/buf"
	"github.com/ashlar-storage/ashlar/rpc/socket"
	"github.com/ashlar-storage/ashlar/rpc/wire"
)

// Dial connects to addr ("host:port" or "unix:/path") and exchanges greetings.
// A refused greeting gives the error class of its status (wire.ErrWrongCluster,
// wire.ErrVersion).
func Dial(ctx context.Context, addr string, cfg Config) (Conn, error) {
	if cfg.Pool == nil {
		return nil, fmt.Errorf("%w: Config.Pool is nil: set it", ErrConfig)
	}
	network, address, err := splitAddr(addr)
	if err != nil {
		return nil, err
	}
	if cfg.DialTimeout == 0 {
		cfg.DialTimeout = DefaultDialTimeout
	}
	ctx, cancel := context.WithTimeout(ctx, cfg.DialTimeout)
	defer cancel()
	var d net.Dialer
	d.SetMultipathTCP(false)
	nc, err := d.DialContext(ctx, network, address)
	if err != nil {
		if ended := ctx.Err(); ended != nil {
			err = fmt.Errorf("%w: %w: %w", ErrTimeout, ended, err)
		}
		return nil, fmt.Errorf("transport: dial %s: %w", addr, err)
	}
	c := newClientConn(nc, addr, cfg)
	stop := context.AfterFunc(ctx, func() { _ = nc.Close() })
	err = c.greet(cfg.Hello)
	if !stop() && err == nil {
		err = ctx.Err()
	}
	if err != nil {
		_ = c.Close()
		if ctx.Err() != nil {
			err = fmt.Errorf("%w: %w", ErrTimeout, ctx.Err())
		}
		return nil, fmt.Errorf("transport: greet %s: %w", addr, err)
	}
	return c, nil
}

// clientConn is a Conn over a stream socket.
type clientConn struct {
	nc           net.Conn
	in           counted // reads nc
	addr         string
	name         string // of the transport
	meter        *Counts
	pool         *buf.Pool
	peer         wire.Hello
	writeTimeout time.Duration
	closed       atomic.Bool

	sendMu   sync.Mutex
	failed   error // set by the first failed Send
	out      *outQueue
	vec      [][]byte
	left     net.Buffers  // the unsent rest of vec
	gone     atomic.Int64 // bytes that the kernel took
	deadline time.Time
	raw      syscall.RawConn // nil: no TrySend
	tryWrite func(fd uintptr) bool
	wait     bool // tryWrite waits until the socket has taken all
	tryErr   error
	vector   socket.Vector
	zc       *zcClient // nil: no zero-copy sends
	zero     bool      // left goes by them
	flying   bool      // one has not completed

	// recv[r:w] is read and not yet consumed; owned by Recv.
	recv  []byte
	r, w  int
	large bool // the payload before was
}

func newClientConn(nc net.Conn, addr string, cfg Config) *clientConn {
	c := &clientConn{
		nc: nc, in: counted{r: socket.Reader(nc)}, addr: addr, pool: cfg.Pool,
		writeTimeout: cfg.WriteTimeout, recv: make([]byte, recvBuffer),
		name: nc.RemoteAddr().Network(), out: new(outQueue),
	}
	c.meter = cfg.Meter.Of(c.name)
	c.meter.Open.Add(1)
	c.meter.Made.Add(1)
	if c.writeTimeout == 0 {
		c.writeTimeout = DefaultWriteTimeout
	}
	if sc, ok := nc.(syscall.Conn); ok {
		c.raw, _ = sc.SyscallConn()
		c.tryWrite = c.tryOnce
	}
	c.zc = newZCClient(c, cfg.ZeroCopy)
	return c
}

func (c *clientConn) greet(own wire.Hello) error {
	own.Version = wire.ProtocolVersion
	hello := Message{Header: wire.Header{Op: wire.OpHello}, Meta: own.AppendTo(nil)}
	if err := c.Send([]Message{hello}); err != nil {
		return err
	}
	m, err := c.Recv()
	if err != nil {
		return err
	}
	if m.Payload != nil {
		m.Payload.Release()
	}
	peer, err := TakeHello(&own, m.Header, m.Meta)
	if err == nil {
		c.peer = *peer
	}
	return err
}

func (c *clientConn) Peer() wire.Hello   { return c.peer }
func (c *clientConn) RemoteAddr() string { return c.addr }
func (c *clientConn) Transport() string  { return c.name }

// Close unblocks Send and Recv, which then give ErrClosed. It returns when the kernel holds no
// memory of what was sent, for which it may have to reset the connection after zcLinger.
func (c *clientConn) Close() error {
	if c.closed.Swap(true) {
		return nil
	}
	c.meter.Open.Add(-1)
	c.zc.close()
	err := c.nc.Close()
	c.zc.wait()
	return err
}

func (c *clientConn) Send(msgs []Message) error {
	c.sendMu.Lock()
	defer c.sendMu.Unlock()
	if err := c.gather(msgs); err != nil {
		return err
	}
	return c.finish()
}

// gather takes messages into out and vec.
func (c *clientConn) gather(msgs []Message) error {
	if c.failed != nil {
		Drop(msgs)
		return c.failed
	}
	for i := range msgs {
		if _, err := outSize(&msgs[i]); err != nil {
			Drop(msgs)
			return err
		}
	}
	for i := range msgs {
		n, _ := outSize(&msgs[i])
		c.out.add(&msgs[i], n)
	}
	c.vec = c.out.vector(c.vec[:0])
	c.left = c.vec
	c.zero = c.zc.takes(c.out)
	return nil
}

// finish writes what is left, blocking, and lets the messages go.
func (c *clientConn) finish() error {
	err := c.extendDeadline()
	if err == nil && c.zero {
		err = c.fly(true)
	}
	switch {
	case err != nil || len(c.left) == 0:
	case c.raw == nil:
		var n int64
		n, err = c.left.WriteTo(c.nc)
		c.gone.Add(n)
	default:
		err = c.write(true)
	}
	return c.settle(err)
}

// write writes what is left; without wait, what the socket takes at once.
func (c *clientConn) write(wait bool) error {
	c.wait, c.tryErr = wait, nil
	if err := c.raw.Write(c.tryWrite); err != nil {
		return err
	}
	return c.tryErr
}

// settle ends a send: the messages are released, an error ends the connection.
func (c *clientConn) settle(err error) error {
	clear(c.vec)
	c.left = nil
	if cap(c.vec) > 4*maxIov {
		c.vec = nil
	}
	if err == nil {
		c.meter.Sent.Add(c.out.flow)
	}
	c.out = c.out.leave()
	if err != nil {
		c.failed = c.wrap("send", err)
		c.zc.close()
		_ = c.nc.Close()
	}
	return c.failed
}

func (c *clientConn) TrySend(msgs []Message) (Sent, error) {
	if c.raw == nil || !c.sendMu.TryLock() {
		return Busy, nil
	}
	if err := c.gather(msgs); err != nil {
		c.sendMu.Unlock()
		return Complete, err
	}
	err := c.extendDeadline()
	if err == nil && c.zero {
		err = c.fly(false)
	}
	if err == nil && !c.flying {
		err = c.write(false)
	}
	if err == nil && len(c.left) > 0 {
		return Partial, nil // sendMu stays locked: Finish unlocks it
	}
	err = c.settle(err)
	c.sendMu.Unlock()
	return Complete, err
}

func (c *clientConn) Finish() error {
	defer c.sendMu.Unlock()
	return c.finish()
}

// tryOnce writes as much of left as the socket takes and consumes that. It is called by the
// runtime, again when the socket takes more as long as it returns false.
func (c *clientConn) tryOnce(fd uintptr) bool {
	for moved := false; len(c.left) > 0; {
		n, errno := c.vector.Write(fd, c.left)
		switch {
		case errno == unix.EINTR:
		case errno == unix.EAGAIN && c.wait:
			if moved {
				c.tryErr = c.extendDeadline()
			}
			return c.tryErr != nil
		case errno == unix.EAGAIN:
			return true
		case errno != 0:
			c.tryErr = os.NewSyscallError("writev", errno)
			return true
		default:
			c.left, moved = socket.Advance(c.left, n), true
			c.gone.Add(int64(n))
		}
	}
	return true
}

// extendDeadline arms the write deadline. Moving a runtime timer for every
// send would cost more than the checksum of the frame, so it is moved only
// when a quarter of the time-out has gone: a peer has between 3/4 of the
// time-out and the whole to take something.
func (c *clientConn) extendDeadline() error {
	now := time.Now()
	if c.deadline.Sub(now) >= c.writeTimeout*3/4 {
		return nil
	}
	c.deadline = now.Add(c.writeTimeout)
	return c.nc.SetWriteDeadline(c.deadline)
}

func (c *clientConn) wrap(what string, err error) error {
	switch {
	case c.closed.Load() || errors.Is(err, net.ErrClosed):
		return fmt.Errorf("transport: %s %s: %w", what, c.addr, ErrClosed)
	case errors.Is(err, os.ErrDeadlineExceeded):
		return fmt.Errorf("transport: %s %s: %w: %w", what, c.addr, ErrTimeout, err)
	}
	return fmt.Errorf("transport: %s %s: %w", what, c.addr, err)
}

func (c *clientConn) Recv() (Message, error) {
	m, err := c.receive()
	if err == io.EOF && !c.closed.Load() {
		return Message{}, io.EOF
	}
	if err != nil {
		return Message{}, c.wrap("receive from", err)
	}
	return m, nil
}

func (c *clientConn) receive() (Message, error) {
	if err := c.fill(wire.HeaderSize); err != nil {
		return Message{}, err
	}
	h, err := wire.ParseHeader(c.recv[c.r:])
	if err != nil {
		return Message{}, err
	}
	size := wire.HeaderSize + int(h.MetaLen)
	if err := c.fill(size); err != nil {
		return Message{}, err
	}
	head := c.recv[c.r : c.r+size : c.r+size]
	if err := wire.VerifyMeta(head, head[wire.HeaderSize:]); err != nil {
		return Message{}, err
	}
	c.r += size
	m := Message{Header: h, Meta: head[wire.HeaderSize:]}
	if h.PayloadLen == 0 {
		return m, nil
	}
	if m.Payload, err = c.pool.Get(int(h.PayloadLen)); err != nil {
		h.Status, h.MetaLen, h.PayloadLen = wire.StatusOverloaded, 0, 0
		return Message{Header: h}, c.discard(int(m.Header.PayloadLen))
	}
	if err := c.readPayload(m.Payload.Bytes()); err != nil {
		m.Payload.Release()
		return Message{}, err
	}
	return m, nil
}

// fill makes recv[r:w] hold at least n bytes, n <= len(recv). A stream that
// ends with nothing buffered gives io.EOF, one that ends inside a frame
// io.ErrUnexpectedEOF.
func (c *clientConn) fill(n int) error {
	if c.r == c.w {
		c.r, c.w = 0, 0
	}
	if c.r+n > len(c.recv) {
		c.w = copy(c.recv, c.recv[c.r:c.w])
		c.r = 0
	}
	for c.w-c.r < n {
		k, err := c.in.Read(c.roomForHead(n))
		c.w += k
		if err != nil && c.w-c.r < n {
			if err == io.EOF && c.w > c.r {
				return io.ErrUnexpectedEOF
			}
			return err
		}
	}
	return nil
}

// roomForHead is where in recv bytes are read that begin with the rest of a head of n bytes. All
// that fits is one read for many small frames; of a large payload it would be copied once more.
func (c *clientConn) roomForHead(n int) []byte {
	if !c.large {
		return c.recv[c.w:]
	}
	return c.recv[c.w:min(len(c.recv), max(c.r+n, c.w+headRead))]
}

// readPayload fills p: first from what is buffered, the rest straight from the
// socket. The metadata in recv stays as it is.
func (c *clientConn) readPayload(p []byte) error {
	n := copy(p, c.recv[c.r:c.w])
	c.r += n
	c.large = len(p) >= largePayload
	c.meter.Received.Add(Flow{Payloads: 1, Bytes: int64(len(p)), Copied: int64(n)})
	if n == len(p) {
		return nil
	}
	_, err := io.ReadFull(&c.in, p[n:])
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}

func (c *clientConn) discard(n int) error {
	for n > 0 {
		if c.r == c.w {
			if err := c.fill(1); err != nil {
				if err == io.EOF {
					return io.ErrUnexpectedEOF
				}
				return err
			}
		}
		k := min(n, c.w-c.r)
		c.r += k
		n -= k
	}
	return nil
}
