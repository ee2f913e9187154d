package rdma

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"sync"
	"time"

	"github.com/ashlar-storage/ashlar/io/buf"
	"github.com/ashlar-storage/ashlar/rpc/rdma/verbs"
	"github.com/ashlar-storage/ashlar/rpc/transport"
)

// Config is for Open. Zero fields get the defaults of limits.go.
type Config struct {
	// Provider reaches the cards, Device names the one to use; empty if there is one only.
	Provider verbs.Provider
	Device   string
	// Pool is registered with the card as a whole. Every connection's Pool must be this one.
	Pool *buf.Pool
	// Key is the pre-shared key, at least MinKey bytes; nil: none. Both sides must have the same.
	Key []byte
	// Loops is the number of polling loops.
	Loops int
	// Credits is the messages that a peer may have under way on one connection, Receives those that
	// all accepted connections share, Windows the windows of one connection.
	Credits, Receives, Windows int
	// Spin is how long a loop without work goes on asking the card; negative: it sleeps at once.
	Spin time.Duration
	// RetryTimeout is about how long a card that does not answer is tried; 0: the card's default.
	RetryTimeout time.Duration
	// Logger gets one line per refused or broken connection; nil means slog.Default().
	Logger *slog.Logger
}

func (cfg *Config) fill() error {
	if cfg.Provider == nil || cfg.Pool == nil {
		return fmt.Errorf("%w: Config.Provider or Config.Pool is nil: set both",
			transport.ErrConfig)
	}
	if cfg.Loops < 0 || cfg.Receives < 0 || cfg.Windows < 0 {
		return fmt.Errorf("%w: negative bound in Config: use 0 for the default",
			transport.ErrConfig)
	}
	if n := len(cfg.Key); n > 0 && n < MinKey {
		return fmt.Errorf("%w: Config.Key has %d bytes: use at least %d random ones",
			transport.ErrConfig, n, MinKey)
	}
	cfg.Loops = cmp.Or(cfg.Loops, min(runtime.NumCPU(), transport.MaxLoops))
	cfg.Credits = cmp.Or(cfg.Credits, DefaultCredits)
	cfg.Receives = cmp.Or(cfg.Receives, DefaultReceives)
	cfg.Windows = cmp.Or(cfg.Windows, DefaultWindows)
	cfg.Spin = cmp.Or(cfg.Spin, DefaultSpin)
	if cfg.Credits < MinCredits || cfg.Credits > MaxCredits {
		return fmt.Errorf("%w: Config.Credits is %d: use %d to %d", transport.ErrConfig,
			cfg.Credits, MinCredits, MaxCredits)
	}
	if cfg.Windows < frameWindows {
		return fmt.Errorf("%w: Config.Windows is %d: use at least %d, which one frame may need",
			transport.ErrConfig, cfg.Windows, frameWindows)
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.Default()
	}
	return nil
}

// Device is an open card with its polling loops. Connections are made and accepted through it.
type Device struct {
	cfg    Config
	log    *slog.Logger
	ctx    verbs.Context
	caps   verbs.Caps
	region verbs.Region
	loops  []*loop
	count  counters

	mu      sync.Mutex
	closed  bool
	lastID  uint64
	clients map[uint64]*conn
	servers map[*Server]bool
	shared  *sharedReceives
	reapers sync.WaitGroup
	dials   sync.WaitGroup
	stopped chan struct{} // closed when the device is: dials end
}

// Open makes a card ready: its pool is registered and its loops run. Errors are of the classes of
// package verbs, or transport.ErrConfig.
func Open(cfg Config) (*Device, error) {
	if err := cfg.fill(); err != nil {
		return nil, err
	}
	ctx, err := cfg.Provider.Open(cfg.Device)
	if err != nil {
		return nil, fmt.Errorf("rdma: open: %w", err)
	}
	d := &Device{cfg: cfg, log: cfg.Logger, ctx: ctx, caps: ctx.Device().Caps,
		clients: map[uint64]*conn{}, servers: map[*Server]bool{}, stopped: make(chan struct{})}
	if err := d.start(); err != nil {
		d.stop()
		return nil, fmt.Errorf("rdma: open %s: %w", ctx.Device().Name, err)
	}
	return d, nil
}

func (d *Device) start() (err error) {
	if !d.caps.TypeTwo {
		return fmt.Errorf("%w: the card has no memory windows of type 2B", verbs.ErrUnsupported)
	}
	if d.region, err = d.ctx.Register(d.cfg.Pool.Arena()); err != nil {
		return err
	}
	for range d.cfg.Loops {
		l, err := newLoop(d)
		if err != nil {
			return err
		}
		d.loops = append(d.loops, l)
		go l.run()
	}
	return nil
}

// stop takes down what there is. No connection is left.
func (d *Device) stop() {
	for _, l := range d.loops {
		l.end()
	}
	if d.shared != nil {
		d.shared.close()
	}
	if d.region != nil {
		_ = d.region.Close()
	}
	_ = d.ctx.Close()
}

// Name is the card's name.
func (d *Device) Name() string { return d.ctx.Device().Name }

// Info tells what the card is.
func (d *Device) Info() verbs.Device { return d.ctx.Device() }

// Stats returns the counters.
func (d *Device) Stats() Stats { return d.count.stats() }

// Close closes every server and connection and waits until the card uses no memory any more. It
// must not be called from a handler.
func (d *Device) Close() error {
	d.mu.Lock()
	if d.closed {
		d.mu.Unlock()
		return fmt.Errorf("rdma: %w", transport.ErrClosed)
	}
	d.closed = true
	close(d.stopped)
	d.mu.Unlock()
	d.dials.Wait()
	d.mu.Lock()
	var servers []*Server
	for s := range d.servers {
		servers = append(servers, s)
	}
	var clients []*conn
	for _, c := range d.clients {
		clients = append(clients, c)
	}
	d.mu.Unlock()
	var errs []error
	for _, s := range servers {
		errs = append(errs, s.Close())
	}
	for _, c := range clients {
		c.close(transport.ErrClosed)
	}
	for _, c := range clients {
		<-c.dead
	}
	d.reapers.Wait()
	d.stop()
	return errors.Join(errs...)
}

// newConn makes a connection without a queue pair on the loop that has fewest. Its memory for
// messages to send is taken from the pool.
func (d *Device) newConn() (*conn, error) {
	mem, err := d.cfg.Pool.Get(d.cfg.Credits * SlotSize)
	if err != nil {
		return nil, fmt.Errorf("rdma: memory for a connection: %w", err)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		mem.Release()
		return nil, fmt.Errorf("rdma: %w", transport.ErrClosed)
	}
	d.lastID++
	c := &conn{dev: d, id: d.lastID, sendMem: mem, opened: time.Now(), dead: make(chan struct{}),
		meter: new(transport.Counts)}
	c.wait.L = &c.mu
	for _, l := range d.loops {
		if c.loop == nil || l.load.Load() < c.loop.load.Load() {
			c.loop = l
		}
	}
	if c.loop.load.Add(1) > int64(c.loop.most) {
		c.loop.load.Add(-1)
		mem.Release()
		return nil, fmt.Errorf("rdma: the card's completion queues have no room for connection %d",
			len(d.loops)*c.loop.most+1)
	}
	return c, nil
}

// sharedReceives is the receives of all accepted connections. There are as many as they have
// credits, and no fewer than there once were.
type sharedReceives struct {
	d   *Device
	srq verbs.SRQ

	mu     sync.Mutex
	chunks []*buf.Buf   // of Config.Credits messages each
	all    []verbs.Recv // by their id
	batch  []verbs.Recv
	posted int // receives there are
	wanted int // credits given to connections
}

func (d *Device) share() (*sharedReceives, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return nil, transport.ErrClosed
	}
	if d.shared == nil {
		srq, err := d.ctx.NewSRQ(min(d.cfg.Receives, d.caps.Depth))
		if err != nil {
			return nil, err
		}
		d.shared = &sharedReceives{d: d, srq: srq}
	}
	return d.shared, nil
}

// grow gives a connection its receives; an error when there are no more.
func (s *sharedReceives) grow() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := s.d.cfg.Credits
	if most := min(s.d.cfg.Receives, s.d.caps.Depth); s.wanted+n > most {
		return fmt.Errorf("rdma: all %d receives are given to connections", most)
	}
	if s.wanted+n > s.posted {
		b, err := s.d.cfg.Pool.Get(n * SlotSize)
		if err != nil {
			return fmt.Errorf("rdma: memory for receives: %w", err)
		}
		first := len(s.chunks) * n
		s.chunks = append(s.chunks, b)
		for i := range n {
			s.all = append(s.all, s.recv(uint64(first+i)))
		}
		if err := s.srq.PostRecv(s.all[first:]); err != nil {
			return fmt.Errorf("rdma: post receives: %w", err)
		}
		s.posted += n
	}
	s.wanted += n
	return nil
}

func (s *sharedReceives) shrink() {
	s.mu.Lock()
	s.wanted -= s.d.cfg.Credits
	s.mu.Unlock()
}

// mem is the memory of a receive.
func (s *sharedReceives) mem(i uint64) []byte {
	n := uint64(s.d.cfg.Credits)
	s.mu.Lock()
	b := s.chunks[i/n]
	s.mu.Unlock()
	return b.Bytes()[i%n*SlotSize : (i%n+1)*SlotSize]
}

// recv is called with mu held.
func (s *sharedReceives) recv(i uint64) verbs.Recv {
	n := uint64(s.d.cfg.Credits)
	return verbs.Recv{ID: i | recvBit | sharedBit, Pieces: []verbs.Piece{{
		Mem: s.chunks[i/n].Bytes()[i%n*SlotSize : (i%n+1)*SlotSize], Key: s.d.region.Key()}}}
}

// again posts receives whose messages are dealt with.
func (s *sharedReceives) again(ids []uint64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.batch = s.batch[:0]
	for _, id := range ids {
		s.batch = append(s.batch, s.all[id])
	}
	return s.srq.PostRecv(s.batch)
}

// close frees the memory. No queue pair is left.
func (s *sharedReceives) close() {
	_ = s.srq.Close()
	for _, b := range s.chunks {
		b.Release()
	}
}
