package rdma

import (
	"crypto/rand"
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"sync/atomic"

	"github.com/ashlar-storage/ashlar/rpc/rdma/verbs"
	"github.com/ashlar-storage/ashlar/rpc/transport"
	"github.com/ashlar-storage/ashlar/rpc/wire"
)

// Server accepts connections of a card.
type Server struct {
	dev     *Device
	cfg     transport.ServerConfig
	handler transport.Handler
	ln      verbs.Listener
	shared  *sharedReceives
	tasks   sync.WaitGroup
	places  chan struct{} // requests that are being accepted

	open atomic.Int64

	mu     sync.Mutex
	closed bool
	conns  map[uint64]*conn
	left   sync.WaitGroup // connections
}

// Listen starts serving at addr ("ip:port", port 0 picks one) with the handler of any transport.
// Loops of cfg is of no meaning: the device has its own.
func (d *Device) Listen(addr string, h transport.Handler, cfg transport.ServerConfig) (*Server,
	error) {
	if err := d.fillServer(&cfg); err != nil {
		return nil, err
	}
	at, err := netip.ParseAddrPort(addr)
	if err != nil {
		return nil, fmt.Errorf("%w: address %q: want ip:port: %w", transport.ErrConfig, addr, err)
	}
	shared, err := d.share()
	if err != nil {
		return nil, fmt.Errorf("rdma: listen %s: %w", addr, err)
	}
	s := &Server{dev: d, cfg: cfg, handler: h, shared: shared, conns: map[uint64]*conn{},
		places: make(chan struct{}, accepting)}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return nil, fmt.Errorf("rdma: listen %s: %w", addr, transport.ErrClosed)
	}
	if s.ln, err = d.ctx.Listen(at, backlog); err != nil {
		return nil, fmt.Errorf("rdma: listen %s: %w", addr, err)
	}
	d.servers[s] = true
	s.tasks.Go(s.accept)
	return s, nil
}

func (d *Device) fillServer(cfg *transport.ServerConfig) error {
	if cfg.Pool != d.cfg.Pool {
		return fmt.Errorf("%w: ServerConfig.Pool is not the device's: use that",
			transport.ErrConfig)
	}
	if cfg.Logger == nil {
		cfg.Logger = d.log
	}
	return cfg.Complete()
}

// Addr is the address to dial, with the picked port.
func (s *Server) Addr() string { return s.ln.Addr().String() }

// Stats returns the counters of the device's accepted connections, with calls of the card in place
// of system calls; Open is this server's own.
func (s *Server) Stats() transport.Stats {
	c := s.dev.Stats()
	return transport.Stats{Open: s.open.Load(), Accepted: c.Accepted, Refused: c.Refused,
		Overloaded: c.Overloaded, Lost: c.Lost, Bad: c.Bad, Reads: c.Polls, Writes: c.Posts}
}

// Close stops accepting, closes every connection and waits until all callbacks have returned. It
// must not be called from a handler.
func (s *Server) Close() error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return nil
	}
	s.closed = true
	s.mu.Unlock()
	err := s.ln.Close()
	s.tasks.Wait()
	s.mu.Lock()
	conns := make([]*conn, 0, len(s.conns))
	for _, c := range s.conns {
		conns = append(conns, c)
	}
	s.mu.Unlock()
	for _, c := range conns {
		c.close(transport.ErrClosed)
	}
	s.left.Wait()
	s.dev.mu.Lock()
	delete(s.dev.servers, s)
	s.dev.mu.Unlock()
	return err
}

// accept takes requests. Each is answered by a goroutine of its own, because a peer may be slow.
func (s *Server) accept() {
	for {
		r, err := s.ln.Next()
		if errors.Is(err, verbs.ErrClosed) {
			return
		}
		if err != nil {
			s.dev.log.Warn("rdma: accept", "addr", s.Addr(), "err", err)
			continue
		}
		s.places <- struct{}{}
		s.tasks.Go(func() {
			s.admit(r)
			<-s.places
		})
	}
}

func (s *Server) admit(r verbs.Request) {
	theirs, err := parseIntro(r.Private())
	mine := intro{credits: uint16(s.dev.cfg.Credits), slotSize: SlotSize}
	_, _ = rand.Read(mine.nonce[:])
	if s.dev.cfg.Key != nil {
		mine.flags = introKey
	}
	switch {
	case errors.Is(err, wire.ErrVersion):
		s.refuse(r, reasonVersion, err)
	case err != nil:
		s.refuse(r, reasonBad, err)
	case theirs.flags != mine.flags:
		s.refuse(r, reasonKey, fmt.Errorf("%w: one side has one and the other not", ErrKey))
	case s.open.Add(1) > int64(s.cfg.MaxConns):
		s.open.Add(-1)
		s.refuse(r, reasonFull, fmt.Errorf("rdma: too many connections, limit %d", s.cfg.MaxConns))
	default:
		if err := s.welcome(r, &mine, &theirs); err != nil {
			s.open.Add(-1)
		}
	}
}

func (s *Server) refuse(r verbs.Request, why reason, err error) {
	s.dev.count.refused.Add(1)
	s.cfg.Logger.Warn("rdma: refused a connection", "addr", s.Addr(), "remote", r.Remote(),
		"err", err)
	no := intro{reason: why, slotSize: SlotSize}
	_ = r.Reject(no.appendTo(nil))
}

// welcome makes the connection.
func (s *Server) welcome(r verbs.Request, mine, theirs *intro) error {
	c, err := s.dev.newConn()
	if err != nil {
		s.refuse(r, reasonFull, err)
		return err
	}
	if err := s.shared.grow(); err != nil {
		c.free()
		s.refuse(r, reasonFull, err)
		return err
	}
	s.prepare(c, r, mine, theirs)
	_, err = r.Accept(c.qpConfig(), mine.appendTo(nil), func(qp verbs.QP) error {
		c.attach(qp)
		return nil
	})
	if err != nil {
		if !c.voided() {
			return nil
		}
		s.dev.count.open.Add(-1)
		c.meter.Open.Add(-1)
		s.forget(c)
		s.dev.count.refused.Add(1)
		s.cfg.Logger.Warn("rdma: a connection did not come about", "addr", s.Addr(), "remote",
			c.remote, "err", err)
		return err
	}
	s.dev.count.accepted.Add(1)
	c.watch()
	return nil
}

// prepare makes a connection ready for what the peer may send as soon as it stands.
func (s *Server) prepare(c *conn, r verbs.Request, mine, theirs *intro) {
	c.shared = s.shared
	c.meter = s.cfg.Meter.Of(Name)
	c.side, c.remote = &serverConn{conn: c, server: s}, r.Remote().String()
	c.helloDue, c.frameDue = s.cfg.HelloTimeout, s.cfg.FrameTimeout
	c.patience = min(c.helloDue, c.frameDue)
	if key := s.dev.cfg.Key; key != nil {
		c.keyed = true
		c.expect = proof(key, true, theirs.nonce, mine.nonce)
		c.prove = proof(key, false, theirs.nonce, mine.nonce)
	}
	c.begin(int(theirs.credits))
	s.mu.Lock()
	s.conns[c.id] = c
	s.left.Add(1)
	s.mu.Unlock()
	s.dev.count.open.Add(1)
	c.meter.Open.Add(1)
	c.meter.Made.Add(1)
}

func (s *Server) forget(c *conn) {
	s.mu.Lock()
	delete(s.conns, c.id)
	s.mu.Unlock()
	s.left.Done()
}
