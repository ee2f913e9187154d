package nbd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"sync"
	"time"

	"github.com/ashlar-storage/ashlar/rpc/socket"
)

// conn is one connection of a server. Its reader (serve) is the only goroutine that takes
// requests in; replies come from whatever goroutine ends them.
type conn struct {
	srv    *Server
	nc     net.Conn
	in     *input
	out    *outbox
	log    *slog.Logger
	ctx    context.Context // ends when the connection fails
	cancel context.CancelFunc
	ses    session
	exp    Export
	mapper Mapper

	mu         sync.Mutex
	room       *sync.Cond // the reader waits here
	submitting *piece     // the reader is inside Submit with it
	executing  int        // pieces inside the export
	unsent     int        // pieces in the outbox
	requests   int        // taken in and not answered
	bytes      int64      // payload memory held
	failed     error
	pieces     *piece // free
	tasks      *task  // free
}

func newConn(s *Server, nc net.Conn) *conn {
	c := &conn{
		srv: s, nc: nc, in: newInput(socket.Reader(nc)),
		log: s.log.With("remote", remoteName(nc)),
	}
	c.ctx, c.cancel = context.WithCancel(context.Background())
	c.room = sync.NewCond(&c.mu)
	c.out = newOutbox(newSock(nc, s.cfg.WriteTimeout), &s.stats.out, c.fail)
	return c
}

// serve runs the connection to its end.
func (c *conn) serve() {
	defer c.cancel()
	defer func() { _ = c.nc.Close() }()
	agreed, err := c.negotiate()
	if c.exp == nil {
		c.logEnd(err)
		return
	}
	if err != nil {
		c.logEnd(err)
	} else {
		c.serveExport(agreed)
	}
	if cerr := c.exp.Close(); cerr != nil {
		c.log.Warn("nbd: closing the export failed", "err", cerr)
	}
}

// serveExport is the transmission phase, from the first request to the last reply.
func (c *conn) serveExport(agreed agreement) {
	c.ses = newSession(agreed)
	c.log = c.log.With("export", agreed.info.Name)
	c.log.Debug("nbd: export attached", "structured", agreed.structured)
	writer := make(chan struct{})
	go func() {
		c.out.run()
		close(writer)
	}()
	err := c.transmit()
	c.drain(err)
	c.out.close()
	<-writer
	_ = c.nc.Close()
	c.logEnd(err)
}

// negotiate drives the handshake. Without an error and without c.exp the client has left.
func (c *conn) negotiate() (agreement, error) {
	deadline := time.Now().Add(c.srv.cfg.HandshakeTimeout)
	hs := handshake{defaultName: c.srv.cfg.DefaultExport}
	out := hs.greeting(nil)
	what := nextRead
	for {
		if err := c.speak(out, deadline); err != nil {
			return agreement{}, err
		}
		switch what {
		case nextClose:
			return agreement{}, nil
		case nextEnter:
			return hs.result, c.nc.SetDeadline(time.Time{})
		case nextRead:
			if err := c.listen(deadline); err != nil {
				return agreement{}, err
			}
		}
		used, ask, more, err := hs.feed(c.in.peek(), out[:0])
		c.in.skip(used)
		if err != nil {
			return agreement{}, errors.Join(err, c.speak(more, deadline))
		}
		what, out = c.answer(&hs, ask, more)
	}
}

// speak sends a part of the handshake.
func (c *conn) speak(out []byte, deadline time.Time) error {
	if len(out) == 0 {
		return nil
	}
	if err := c.nc.SetWriteDeadline(later(deadline, c.srv.cfg.WriteTimeout)); err != nil {
		return err
	}
	_, err := c.nc.Write(out)
	return err
}

// listen waits for more of the handshake.
func (c *conn) listen(deadline time.Time) error {
	if err := c.nc.SetReadDeadline(deadline); err != nil {
		return err
	}
	if c.srv.stopping() {
		return ErrClosed
	}
	err := c.in.fill(c.in.buffered() + 1)
	switch {
	case c.srv.stopping():
		return ErrClosed
	case isTimeout(err):
		return fmt.Errorf("%w: no export chosen within %v", ErrProtocol,
			c.srv.cfg.HandshakeTimeout)
	}
	return err
}

// later keeps a slow backend from using up the time to answer.
func later(deadline time.Time, least time.Duration) time.Time {
	if t := time.Now().Add(least); t.After(deadline) {
		return t
	}
	return deadline
}

// answer asks the backend what the handshake wants to know.
func (c *conn) answer(hs *handshake, ask next, out []byte) (next, []byte) {
	switch ask {
	case nextList:
		exports, err := c.srv.cfg.Backend.List()
		return nextRead, hs.answerList(exports, err, out)
	case nextInfo:
		info, err := c.srv.describe(hs.asked)
		return hs.answerExport(info, err, out)
	case nextOpen:
		exp, info, err := c.srv.open(hs.asked)
		what, out := hs.answerExport(info, err, out)
		if err == nil {
			c.exp = exp
			c.mapper, _ = exp.(Mapper)
		}
		return what, out
	}
	return ask, out
}

// transmit reads requests until the client leaves (nil or io.EOF) or the connection breaks.
func (c *conn) transmit() error {
	if c.srv.stopping() {
		return ErrClosed // the deadline that Shutdown set may be the one negotiate cleared
	}
	for {
		if c.in.buffered() < requestSize {
			c.out.flush()
			if err := c.in.fill(requestSize); err != nil {
				return c.readError(err)
			}
		}
		h, err := parseRequest(c.in.peek())
		if err != nil {
			return err
		}
		c.in.skip(requestSize)
		if h.cmd == CmdDisc {
			return nil
		}
		c.srv.stats.requests.Add(1)
		if err := c.request(h); err != nil {
			return c.readError(err)
		}
	}
}

// readError tells a server that stops from a peer that broke.
func (c *conn) readError(err error) error {
	if isTimeout(err) && c.srv.stopping() {
		return ErrClosed
	}
	return err
}

// drain waits until nothing of the connection is in progress. What was taken in is still
// answered when the client left in order.
func (c *conn) drain(err error) {
	if err != nil && err != io.EOF && !errors.Is(err, ErrClosed) {
		c.fail(err)
	}
	c.out.flush()
	c.mu.Lock()
	for c.executing > 0 || c.unsent > 0 {
		c.room.Wait()
	}
	c.mu.Unlock()
}

// fail breaks the connection: nothing more is read or written. Requests in the export go on.
func (c *conn) fail(err error) {
	c.mu.Lock()
	if c.failed == nil {
		c.failed = err
	}
	c.room.Broadcast()
	c.mu.Unlock()
	c.cancel()
	_ = c.nc.Close()
	c.out.fail(err)
}

// logEnd reports why the connection ended, loudly only where the peer did something wrong.
func (c *conn) logEnd(err error) {
	c.mu.Lock()
	if c.failed != nil {
		err = c.failed
	}
	c.mu.Unlock()
	switch {
	case err == nil, err == io.EOF, errors.Is(err, ErrClosed):
		c.log.Debug("nbd: connection closed")
	case errors.Is(err, ErrProtocol):
		c.srv.stats.violations.Add(1)
		c.log.Warn("nbd: connection closed: the client broke the protocol", "err", err)
	default:
		c.log.Info("nbd: connection broken", "err", err)
	}
}

func remoteName(nc net.Conn) string {
	if a := nc.RemoteAddr(); a != nil && a.String() != "" && a.String() != "@" {
		return a.String()
	}
	return nc.LocalAddr().Network() + ":" + nc.LocalAddr().String()
}
