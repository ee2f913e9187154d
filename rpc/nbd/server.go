package nbd

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/bits"
	"net"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ashlar-storage/ashlar/io/buf"
)

// Config of a Server. Zero values stand for the defaults in limits.go.
type Config struct {
	Backend       Backend
	DefaultExport string // what the empty name stands for; empty: the backend is asked for ""

	Pool             *buf.Pool // payload memory; nil: the server makes its own
	MemoryBytes      int64     // bound of the payload memory, at least 16 MiB
	MaxConns         int
	MaxConnRequests  int
	MaxConnBytes     int64
	HandshakeTimeout time.Duration
	WriteTimeout     time.Duration
	Logger           *slog.Logger
}

// leastMemory fits the largest reservation, a whole read of gatherMax.
const leastMemory = 16 << 20

func (c Config) withDefaults() (Config, error) {
	if c.Backend == nil {
		return c, errors.New("nbd: Config.Backend is nil: set it")
	}
	setDefault(&c.MemoryBytes, DefaultMemory)
	setDefault(&c.MaxConns, DefaultMaxConns)
	setDefault(&c.MaxConnRequests, DefaultMaxConnRequests)
	setDefault(&c.MaxConnBytes, DefaultMaxConnBytes)
	setDefault(&c.HandshakeTimeout, DefaultHandshakeTimeout)
	setDefault(&c.WriteTimeout, DefaultWriteTimeout)
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	if c.MemoryBytes < leastMemory {
		return c, fmt.Errorf("nbd: Config.MemoryBytes is %d: set at least %d", c.MemoryBytes,
			leastMemory)
	}
	if c.MaxConns < 0 || c.MaxConnRequests < 0 || c.MaxConnBytes < 0 ||
		c.HandshakeTimeout < 0 || c.WriteTimeout < 0 {
		return c, errors.New("nbd: a bound in Config is negative: use 0 for the default")
	}
	return c, nil
}

func setDefault[T comparable](v *T, def T) {
	var zero T
	if *v == zero {
		*v = def
	}
}

// Stats count since the start of a server.
type Stats struct {
	Conns      int64 // open now
	Accepted   int64
	Rejected   int64 // closed at once, over MaxConns
	Requests   int64
	Failures   int64 // requests answered with an error
	Violations int64 // connections closed for breaking the protocol
	Replies    int64 // replies and parts of replies sent
	Writes     int64 // system calls that sent them
	HeapBufs   int64 // payload buffers that the pool could not give
}

type outStats struct{ items, writes atomic.Int64 }

type counters struct {
	accepted, rejected, requests, failures, violations atomic.Int64
	out                                                outStats
}

// Server serves the exports of a Backend.
type Server struct {
	cfg     Config
	log     *slog.Logger
	mem     *memory
	ownPool bool
	stats   counters
	wg      sync.WaitGroup // accept loops and connections

	mu        sync.Mutex
	conns     map[*conn]struct{}
	listeners map[net.Listener]struct{}
	stop      atomic.Bool
}

// NewServer checks cfg and allocates the payload memory. It listens nowhere yet.
func NewServer(cfg Config) (*Server, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	s := &Server{
		cfg: cfg, log: cfg.Logger,
		conns:     make(map[*conn]struct{}),
		listeners: make(map[net.Listener]struct{}),
	}
	pool := cfg.Pool
	if pool == nil {
		if pool, err = buf.NewPool(buf.Config{Bytes: cfg.MemoryBytes}); err != nil {
			return nil, fmt.Errorf("nbd: payload memory: %w", err)
		}
		s.ownPool = true
	}
	s.mem = newMemory(pool, cfg.MemoryBytes)
	return s, nil
}

// Listen serves addr, "host:port" or "unix:/path", in the background until Shutdown or Close. It
// returns the address in use. A socket file that no server answers on is replaced; ErrBusy
// otherwise.
func (s *Server) Listen(addr string) (net.Addr, error) {
	network, address := splitAddr(addr)
	if network == "unix" {
		if err := clearSocket(address); err != nil {
			return nil, err
		}
	}
	// Plain TCP: multipath TCP, the default of the runtime, costs latency.
	var lc net.ListenConfig
	lc.SetMultipathTCP(false)
	l, err := lc.Listen(context.Background(), network, address)
	if err != nil {
		return nil, fmt.Errorf("nbd: listen on %s: %w", addr, err)
	}
	return l.Addr(), s.Serve(l)
}

// Serve accepts connections of l in the background and owns l from now on.
func (s *Server) Serve(l net.Listener) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stop.Load() {
		return errors.Join(ErrClosed, l.Close())
	}
	s.listeners[l] = struct{}{}
	s.wg.Add(1)
	go s.accept(l)
	return nil
}

// clearSocket removes a socket file whose server is gone.
func clearSocket(path string) error {
	st, err := os.Stat(path)
	if err != nil || st.Mode()&os.ModeSocket == 0 {
		return nil
	}
	nc, err := net.DialTimeout("unix", path, time.Second)
	if err == nil {
		_ = nc.Close()
		return fmt.Errorf("%w: a server answers on %s: stop it or choose another path", ErrBusy,
			path)
	}
	if err := os.Remove(path); err != nil {
		return fmt.Errorf("nbd: remove the stale socket: %w", err)
	}
	return nil
}

// splitAddr tells "unix:/path" from "host:port".
func splitAddr(addr string) (network, address string) {
	if path, ok := strings.CutPrefix(addr, "unix:"); ok {
		return "unix", path
	}
	return "tcp", addr
}

func (s *Server) accept(l net.Listener) {
	defer s.wg.Done()
	for {
		nc, err := l.Accept()
		if err == nil {
			s.adopt(nc)
			continue
		}
		if s.stopping() || errors.Is(err, net.ErrClosed) {
			return
		}
		// Out of descriptors, most likely: the next try may succeed.
		s.log.Error("nbd: accept failed", "addr", l.Addr().String(), "err", err)
		<-time.After(acceptPause)
	}
}

func (s *Server) adopt(nc net.Conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stop.Load() || len(s.conns) >= s.cfg.MaxConns {
		s.stats.rejected.Add(1)
		s.log.Warn("nbd: connection refused", "remote", remoteName(nc), "max", s.cfg.MaxConns)
		_ = nc.Close()
		return
	}
	s.stats.accepted.Add(1)
	c := newConn(s, nc)
	s.conns[c] = struct{}{}
	s.wg.Add(1)
	go func() {
		defer s.wg.Done()
		c.serve()
		s.mu.Lock()
		delete(s.conns, c)
		s.mu.Unlock()
	}()
}

func (s *Server) stopping() bool { return s.stop.Load() }

// open looks an export up for a connection.
func (s *Server) open(name string) (Export, ExportInfo, error) {
	if s.stopping() {
		return nil, ExportInfo{}, ErrClosed
	}
	exp, err := s.cfg.Backend.Lookup(name)
	if err != nil {
		return nil, ExportInfo{}, err
	}
	info, err := infoOf(exp)
	if err != nil {
		s.log.Error("nbd: export cannot be served", "export", name, "err", err)
		return nil, ExportInfo{}, errors.Join(err, exp.Close())
	}
	return exp, info, nil
}

// describe learns of an export without keeping it open.
func (s *Server) describe(name string) (ExportInfo, error) {
	if d, ok := s.cfg.Backend.(Describer); ok {
		info, err := d.Describe(name)
		if err != nil {
			return info, err
		}
		info = info.withDefaults()
		return info, info.check()
	}
	exp, info, err := s.open(name)
	if err != nil {
		return info, err
	}
	if err := exp.Close(); err != nil {
		s.log.Warn("nbd: closing the export failed", "export", name, "err", err)
	}
	return info, nil
}

func infoOf(exp Export) (ExportInfo, error) {
	info := exp.Info().withDefaults()
	if _, ok := exp.(Mapper); !ok {
		info.Extents = false
	}
	return info, info.check()
}

// check refuses what cannot be told to a client.
func (i ExportInfo) check() error {
	power := func(v uint32) bool { return bits.OnesCount32(v) == 1 }
	switch {
	case i.Size < 0:
		return fmt.Errorf("nbd: export %q: size %d is negative", i.Name, i.Size)
	case len(i.Name) > MaxName:
		return fmt.Errorf("nbd: export name of %d bytes, at most %d", len(i.Name), MaxName)
	case !power(i.MinBlock) || i.MinBlock > 1<<16:
		return fmt.Errorf("nbd: export %q: minimum block %d is not a power of two up to 65536",
			i.Name, i.MinBlock)
	case !power(i.PreferredBlock) || i.PreferredBlock < max(512, i.MinBlock):
		return fmt.Errorf("nbd: export %q: preferred block %d is not a power of two from %d",
			i.Name, i.PreferredBlock, max(512, i.MinBlock))
	case i.MaxPayload < i.PreferredBlock:
		return fmt.Errorf("nbd: export %q: maximum payload %d is below the preferred block",
			i.Name, i.MaxPayload)
	}
	return nil
}

// Shutdown stops listening, lets every connection finish the requests it has taken in, and
// closes it. When ctx ends first, the rest is broken off and its error returned.
func (s *Server) Shutdown(ctx context.Context) error {
	s.stopListening(func(c *conn) { _ = c.nc.SetReadDeadline(time.Unix(1, 0)) })
	done := make(chan struct{})
	go func() {
		s.wg.Wait()
		close(done)
	}()
	select {
	case <-done:
		return s.closePool()
	case <-ctx.Done():
	}
	s.stopListening(func(c *conn) { c.fail(ErrClosed) })
	<-done
	return errors.Join(ctx.Err(), s.closePool())
}

// Close breaks every connection off and returns when all requests have left the exports.
func (s *Server) Close() error {
	s.stopListening(func(c *conn) { c.fail(ErrClosed) })
	s.wg.Wait()
	return s.closePool()
}

func (s *Server) stopListening(each func(*conn)) {
	s.mu.Lock()
	s.stop.Store(true)
	for l := range s.listeners {
		_ = l.Close()
	}
	clear(s.listeners)
	conns := make([]*conn, 0, len(s.conns))
	for c := range s.conns {
		conns = append(conns, c)
	}
	s.mu.Unlock()
	for _, c := range conns {
		each(c)
	}
}

func (s *Server) closePool() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.ownPool {
		return nil
	}
	s.ownPool = false
	return s.mem.pool.Close()
}

// Stats returns a snapshot.
func (s *Server) Stats() Stats {
	s.mu.Lock()
	open := int64(len(s.conns))
	s.mu.Unlock()
	return Stats{
		Conns:      open,
		Accepted:   s.stats.accepted.Load(),
		Rejected:   s.stats.rejected.Load(),
		Requests:   s.stats.requests.Load(),
		Failures:   s.stats.failures.Load(),
		Violations: s.stats.violations.Load(),
		Replies:    s.stats.out.items.Load(),
		Writes:     s.stats.out.writes.Load(),
		HeapBufs:   s.mem.heap.Load(),
	}
}
