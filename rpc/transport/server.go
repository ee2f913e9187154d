package transport

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/panjf2000/gnet/v2"

	"github.com/ashlar-storage/ashlar/rpc/wire"
)

// Server accepts connections and runs their event loops.
type Server struct {
	cfg     ServerConfig
	handler Handler
	log     *slog.Logger
	ln      net.Listener
	addr    string
	loops   *gnet.Client

	writable *writable
	zc       *zcRing // nil: no zero-copy sends
	meter    *Counts

	stop      chan struct{}
	closeOnce sync.Once
	closeErr  error
	tasks     sync.WaitGroup // accept and sweep
	events    sync.WaitGroup // writable

	mu     sync.Mutex
	conns  map[uint64]*serverConn
	lastID uint64

	counts struct {
		open, accepted, refused, overloaded, lost, bad, reads, writes atomic.Int64
	}
}

// Stats is a snapshot of a server's counters.
type Stats struct {
	// Open is the number of connections now, Accepted since the start, Refused
	// those closed for MaxConns.
	Open, Accepted, Refused int64
	// Overloaded counts requests answered with StatusOverloaded because their
	// payload found no buffer, Lost the one-way frames dropped for it.
	Overloaded, Lost int64
	// Bad counts connections closed for garbage, time-outs and slow reading.
	Bad int64
	// Reads and Writes count system calls that moved frames in and out.
	Reads, Writes int64
}

// Listen starts serving at addr: "host:port" (port 0 picks one) or
// "unix:/path". A stale socket at the path is replaced.
func Listen(addr string, h Handler, cfg ServerConfig) (*Server, error) {
	if err := cfg.Complete(); err != nil {
		return nil, err
	}
	network, address, err := splitAddr(addr)
	if err != nil {
		return nil, err
	}
	if network == "unix" {
		if err := clearStale(address); err != nil {
			return nil, fmt.Errorf("transport: listen %s: %w", addr, err)
		}
	}
	var lc net.ListenConfig
	lc.SetMultipathTCP(false)
	ln, err := lc.Listen(context.Background(), network, address)
	if err != nil {
		return nil, fmt.Errorf("transport: listen %s: %w", addr, err)
	}
	if network == "tcp" {
		addr = ln.Addr().String()
	}
	return serve(ln, addr, h, cfg)
}

// serve takes ln over.
func serve(ln net.Listener, addr string, h Handler, cfg ServerConfig) (*Server, error) {
	s := &Server{
		cfg: cfg, handler: h, log: cfg.Logger, ln: ln, addr: addr,
		stop: make(chan struct{}), conns: make(map[uint64]*serverConn),
		meter: cfg.Meter.Of(ln.Addr().Network()),
	}
	if err := s.start(); err != nil {
		_ = ln.Close()
		return nil, fmt.Errorf("transport: start event loops: %w", err)
	}
	return s, nil
}

// Complete checks the configuration and fills in the defaults, for servers of any transport. The
// error is of class ErrConfig.
func (cfg *ServerConfig) Complete() error {
	if cfg.Pool == nil {
		return fmt.Errorf("%w: ServerConfig.Pool is nil: set it", ErrConfig)
	}
	if cfg.Loops < 0 || cfg.MaxConns < 0 || cfg.MaxOutbound < 0 ||
		cfg.HelloTimeout < 0 || cfg.FrameTimeout < 0 {
		return fmt.Errorf("%w: negative bound in ServerConfig: use 0 for the default", ErrConfig)
	}
	setDefault(&cfg.Loops, defaultLoops())
	setDefault(&cfg.MaxConns, DefaultMaxConns)
	setDefault(&cfg.MaxOutbound, DefaultMaxOutbound)
	setDefault(&cfg.HelloTimeout, DefaultHelloTimeout)
	setDefault(&cfg.FrameTimeout, DefaultFrameTimeout)
	cfg.Hello.Version = wire.ProtocolVersion
	if cfg.Logger == nil {
		cfg.Logger = slog.Default()
	}
	return nil
}

func setDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

func (s *Server) start() (err error) {
	if s.writable, err = newWritable(s.onWritable); err != nil {
		return err
	}
	defer func() {
		if err != nil {
			s.writable.free()
		}
	}()
	s.loops, err = gnet.NewClient(&engine{server: s},
		gnet.WithNumEventLoop(s.cfg.Loops),
		gnet.WithReadBufferCap(ReadBuffer),
		// Nagle is off and keep-alive on from package net already.
		gnet.WithTCPNoDelay(gnet.TCPDelay),
		gnet.WithLogger(loopLogger{s.log}))
	if err != nil {
		return err
	}
	if err := s.loops.Start(); err != nil {
		return err
	}
	s.startZeroCopy()
	s.events.Go(s.writable.run)
	s.tasks.Go(s.accept)
	s.tasks.Go(s.sweep)
	return nil
}

func (s *Server) startZeroCopy() {
	if s.cfg.ZeroCopy.Threshold <= 0 || s.ln.Addr().Network() != NameTCP {
		return
	}
	var err error
	if s.zc, err = newZCRing(); err != nil {
		s.log.Warn("transport: no zero-copy sends", "addr", s.addr, "err", err)
	}
}

// Addr is the address to dial: with the picked port, or the unix address as
// given to Listen.
func (s *Server) Addr() string { return s.addr }

// Stats returns the counters.
func (s *Server) Stats() Stats {
	c := &s.counts
	return Stats{
		Open: c.open.Load(), Accepted: c.accepted.Load(), Refused: c.refused.Load(),
		Overloaded: c.overloaded.Load(), Lost: c.lost.Load(), Bad: c.bad.Load(),
		Reads: c.reads.Load(), Writes: c.writes.Load(),
	}
}

// Close stops accepting, closes every connection and waits until all callbacks
// have returned. It must not be called from a handler.
func (s *Server) Close() error {
	s.closeOnce.Do(func() {
		close(s.stop)
		_ = s.ln.Close()
		s.tasks.Wait()
		s.closeErr = s.loops.Stop()
		if s.zc != nil {
			s.closeErr = errors.Join(s.closeErr, s.zc.end())
		}
		s.writable.end()
		s.events.Wait()
		s.writable.free()
	})
	return s.closeErr
}

func (s *Server) onWritable(id uint64) {
	s.mu.Lock()
	c := s.conns[id]
	s.mu.Unlock()
	if c != nil {
		c.onWritable()
	}
}

// accept takes connections and gives each to the loop that has fewest.
func (s *Server) accept() {
	const minPause, maxPause = 5 * time.Millisecond, time.Second
	pause := minPause
	for {
		nc, err := s.ln.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			// Out of descriptors or memory: what is open goes on.
			s.log.Warn("transport: accept", "addr", s.addr, "err", err, "pause", pause)
			if !s.pause(pause) {
				return
			}
			pause = min(2*pause, maxPause)
			continue
		}
		pause = minPause
		s.admit(nc)
	}
}

// pause waits for d and reports whether the server is still open.
func (s *Server) pause(d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-s.stop:
		return false
	}
}

func (s *Server) admit(nc net.Conn) {
	remote := remoteName(nc)
	if s.counts.open.Load() >= int64(s.cfg.MaxConns) {
		s.counts.refused.Add(1)
		s.log.Warn("transport: too many connections, refused one",
			"addr", s.addr, "remote", remote, "limit", s.cfg.MaxConns)
		_ = nc.Close()
		return
	}
	c := s.newConn(remote)
	if _, err := s.loops.EnrollContext(nc, c); err != nil || c.gc == nil {
		s.forget(c)
		s.log.Warn("transport: connection could not join an event loop",
			"addr", s.addr, "remote", remote, "err", err)
	}
}

func remoteName(nc net.Conn) string {
	if a := nc.RemoteAddr(); a != nil && a.Network() != "unix" {
		return a.String()
	}
	return "unix"
}

func (s *Server) newConn(remote string) *serverConn {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lastID++
	c := &serverConn{server: s, id: s.lastID, remote: remote, opened: time.Now(),
		queue: new(outQueue), cur: new(outQueue)}
	c.idle.L = &c.mu
	if s.zc != nil {
		c.steps.cfg = s.cfg.ZeroCopy
	}
	c.dec.get = s.cfg.Pool.Get
	s.conns[c.id] = c
	s.counts.open.Add(1)
	s.counts.accepted.Add(1)
	s.meter.Open.Add(1)
	s.meter.Made.Add(1)
	return c
}

func (s *Server) forget(c *serverConn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.conns, c.id)
	s.counts.open.Add(-1)
	s.meter.Open.Add(-1)
}

// sweep looks at every connection now and then. A time-out may last a tenth longer.
func (s *Server) sweep() {
	shortest := min(s.cfg.HelloTimeout, s.cfg.FrameTimeout)
	t := time.NewTicker(max(min(shortest/sweepShare, sweepMax), time.Millisecond))
	defer t.Stop()
	var conns []*serverConn
	for {
		select {
		case <-s.stop:
			return
		case now := <-t.C:
			conns = s.snapshot(conns[:0])
			for _, c := range conns {
				c.check(now)
			}
			clear(conns)
		}
	}
}

func (s *Server) snapshot(dst []*serverConn) []*serverConn {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range s.conns {
		dst = append(dst, c)
	}
	return dst
}
