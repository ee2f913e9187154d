package rdma

import (
	"errors"
	"fmt"
	"io"

	"github.com/ashlar-storage/ashlar/rpc/transport"
	"github.com/ashlar-storage/ashlar/rpc/wire"
)

// serverConn is a transport.ServerConn.
type serverConn struct {
	*conn
	transport.Attachment
	server  *Server
	message transport.Message
	opened  bool // OnOpen was called
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

// frame implements side.
func (c *serverConn) frame(f *inFrame) (keep bool, err error) {
	switch {
	case !c.greeted.Load():
		return false, c.greet(f)
	case f.noBuffer:
		c.refuse(f.h)
	case f.h.Op == wire.OpHello:
		f.drop()
		return false, fmt.Errorf("%w: a second one", transport.ErrHello)
	default:
		c.message = f.message()
		c.server.handler.OnMessage(c, &c.message)
		c.message = transport.Message{}
	}
	return false, nil
}

func (c *serverConn) batchEnd() { c.server.handler.OnBatchEnd(c) }

// greet answers the first frame.
func (c *serverConn) greet(f *inFrame) error {
	if f.h.Op != wire.OpHello || f.h.Response() {
		f.drop()
		return fmt.Errorf("%w: first frame is %v", transport.ErrHello, f.h.Op)
	}
	answer, peer, err := transport.AnswerHello(&c.server.cfg.Hello, f.h, f.meta)
	c.Queue([]transport.Message{answer})
	if err != nil {
		c.close(err)
		return nil
	}
	c.trust(peer)
	c.opened = true
	c.server.handler.OnOpen(c)
	return nil
}

// refuse answers a request whose payload found no buffer.
func (c *serverConn) refuse(h wire.Header) {
	if h.Response() || h.Op.OneWay() {
		c.dev.count.lost.Add(1)
		return
	}
	c.dev.count.overloaded.Add(1)
	c.Queue([]transport.Message{c.overloaded(h)})
}

func (c *serverConn) overloaded(h wire.Header) transport.Message {
	r := wire.IOResponse{RetryAfterMS: transport.OverloadedRetryMS}
	return transport.Message{Header: wire.Header{Op: h.Op, Flags: wire.FlagResponse, ID: h.ID,
		Status: wire.StatusOverloaded}, Meta: r.AppendTo(nil)}
}

// Reply implements transport.ServerConn.
func (c *serverConn) Reply(msgs []transport.Message) { c.queue(msgs, true) }

// Queue implements transport.ServerConn.
func (c *serverConn) Queue(msgs []transport.Message) { c.queue(msgs, false) }

// Flush implements transport.ServerConn.
func (c *serverConn) Flush() {
	c.mu.Lock()
	c.pushLocked()
	c.unlock()
}

func (c *serverConn) queue(msgs []transport.Message, push bool) {
	c.mu.Lock()
	for i := range msgs {
		if c.stage != stands {
			for _, m := range msgs[i:] {
				c.spent = append(c.spent, spentMessage(&m))
			}
			break
		}
		c.queueLocked(&msgs[i])
	}
	if push {
		c.pushLocked()
	}
	c.unlock()
}

func spentMessage(m *transport.Message) spent {
	s := spent{release: m.Release}
	s.bufs[0] = m.Payload
	return s
}

func (c *serverConn) queueLocked(m *transport.Message) {
	s, err := c.dev.stage(m, false)
	switch {
	case err == nil && !c.m.fits(m.Header, s.size):
		s.drop()
		err = fmt.Errorf("%w: an answer of %d bytes is more than its request has room for",
			transport.ErrTooBig, s.size)
		fallthrough
	case errors.Is(err, transport.ErrTooBig):
		c.server.cfg.Logger.Error("rdma: message cannot be sent", "remote", c.remote, "err", err)
		c.insteadLocked(m, transport.Message{Header: withStatus(m.Header, wire.StatusInternal)})
		return
	case err != nil && m.Header.Response():
		c.dev.count.overloaded.Add(1)
		c.insteadLocked(m, c.overloaded(m.Header))
		return
	case err != nil:
		c.dev.count.lost.Add(1)
		c.spent = append(c.spent, spentMessage(m))
		return
	}
	c.addLocked(m, &s)
	if unsent := c.unsent.Load(); unsent > c.server.cfg.MaxOutbound {
		c.failLocked(fmt.Errorf("%w: %d bytes unsent, limit %d", transport.ErrSlowReader, unsent,
			c.server.cfg.MaxOutbound))
		c.loop.call(c.conn)
	}
}

func withStatus(h wire.Header, s wire.Status) wire.Header {
	h.Status = s
	return h
}

// insteadLocked sends another answer than m, so that the peer does not wait for ever.
func (c *serverConn) insteadLocked(m *transport.Message, other transport.Message) {
	c.spent = append(c.spent, spentMessage(m))
	if m.Header.Response() {
		c.addLocked(&other, &staged{})
	}
}

// Close implements transport.ServerConn.
func (c *serverConn) Close(err error) {
	if err == nil {
		err = transport.ErrClosed
	}
	c.close(err)
}

// over implements side.
func (c *serverConn) over(err error) {
	c.dev.count.open.Add(-1)
	c.meter.Open.Add(-1)
	c.server.open.Add(-1)
	if !errors.Is(err, transport.ErrClosed) && err != io.EOF {
		c.dev.count.bad.Add(1)
		c.server.cfg.Logger.Warn("rdma: closed a connection", "addr", c.server.Addr(), "remote",
			c.remote, "peer", c.Peer().Name, "err", err)
	}
	if c.opened {
		c.server.handler.OnClose(c, err)
	}
	c.server.forget(c.conn)
}
