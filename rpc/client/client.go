package client

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/bits"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ashlar-storage/ashlar/io/buf"
	v1 "github.com/ashlar-storage/ashlar/rpc/admin/kitex_gen/ashlar/v1"
	"github.com/ashlar-storage/ashlar/rpc/transport"
)

// Config is for Connect. Zero fields get the defaults of limits.go.
type Config struct {
	// Endpoint is the control plane's host:port.
	Endpoint string
	// Control, when set, is used instead of Endpoint. Close closes it.
	Control Control
	// Pool gives the buffers in which read data arrives; nil makes one of DefaultPoolBytes.
	Pool *buf.Pool
	// Dial makes the connections to nodes; nil means transport.Dial.
	Dial transport.Dialer
	// Timeout is the deadline of each operation, noticed in steps of 50 ms.
	Timeout time.Duration
	// MaxInflight and MaxInflightBytes bound the operations of one volume between Submit and
	// Done, and their data.
	MaxInflight      int
	MaxInflightBytes int64
	// Name says who this is, in the listings and logs of the cluster.
	Name string
	// ReadOnly opens every volume read-only.
	ReadOnly bool
	// Seed makes the jitter of waits repeatable; 0 takes one from the clock.
	Seed uint64
	// Logger; nil means slog.Default().
	Logger *slog.Logger
}

func (c *Config) complete() error {
	if c.Endpoint == "" && c.Control == nil {
		return fmt.Errorf("%w: Config.Endpoint is empty: set it to the control plane's host:port",
			ErrInvalid)
	}
	if c.Timeout < 0 || c.MaxInflight < 0 || c.MaxInflightBytes < 0 {
		return fmt.Errorf("%w: Config: Timeout, MaxInflight and MaxInflightBytes must not be < 0",
			ErrInvalid)
	}
	if c.Timeout == 0 {
		c.Timeout = DefaultTimeout
	}
	if c.MaxInflight == 0 {
		c.MaxInflight = DefaultMaxInflight
	}
	if c.MaxInflightBytes == 0 {
		c.MaxInflightBytes = DefaultMaxInflightBytes
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	if c.Dial == nil {
		c.Dial = transport.Dial
	}
	if c.Seed == 0 {
		c.Seed = uint64(time.Now().UnixNano())
	}
	return nil
}

// Client is a connection to a cluster, shared by the volumes opened through it. It is safe for
// concurrent use.
type Client struct {
	cfg     Config
	log     *slog.Logger
	control Control
	pool    *buf.Pool
	ownPool bool
	began   time.Time
	coarse  atomic.Int64 // now, at most a tick old
	seed    atomic.Uint64
	net     netCounters
	meter   transport.Meter
	timers  *timers
	mapper  *mapper

	ctx    context.Context
	cancel context.CancelFunc
	wg     sync.WaitGroup

	// The slices are replaced, never changed in place.
	mu      sync.Mutex
	closed  bool
	cluster string
	peers   map[uint64]*peer
	byID    map[uint64]*route
	volumes map[*Volume]struct{}
	peerSet atomic.Pointer[[]*peer]
	routes  atomic.Pointer[[]*route]
	volSet  atomic.Pointer[[]*Volume]
}

// Connect prepares a client. It does not talk to anyone yet: an unreachable cluster shows when a
// volume is opened. Close ends it.
func Connect(ctx context.Context, cfg Config) (*Client, error) {
	if err := cfg.complete(); err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("client: connect: %w", err)
	}
	c := &Client{
		cfg: cfg, log: cfg.Logger, control: cfg.Control, pool: cfg.Pool, began: time.Now(),
		peers: map[uint64]*peer{}, byID: map[uint64]*route{}, volumes: map[*Volume]struct{}{},
	}
	if c.control == nil {
		control, err := dialControl(cfg.Endpoint)
		if err != nil {
			return nil, fmt.Errorf("client: connect: %w", err)
		}
		c.control = control
	}
	if c.pool == nil {
		pool, err := buf.NewPool(buf.Config{Bytes: DefaultPoolBytes})
		if err != nil {
			return nil, errors.Join(fmt.Errorf("client: connect: %w", err), c.control.Close())
		}
		c.pool, c.ownPool = pool, true
	}
	c.seed.Store(cfg.Seed)
	c.timers = newTimers(c.now, c.tick)
	c.mapper = newMapper(c)
	c.ctx, c.cancel = context.WithCancel(context.Background())
	c.wg.Add(2)
	go func() {
		defer c.wg.Done()
		c.timers.run(c.fire)
	}()
	go c.mapper.run(c.ctx)
	return c, nil
}

// now is the client's clock in ns; it starts near 0 and never steps back.
func (c *Client) now() int64 { return int64(time.Since(c.began)) }

// random is a step of splitmix64: good enough for jitter, and free of locks.
func (c *Client) random() uint32 {
	x := c.seed.Add(0x9e3779b97f4a7c15)
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return bits.Reverse32(uint32(x ^ x>>31))
}

// OpenOption changes how a volume is opened.
type OpenOption func(*openOptions)

type openOptions struct{ readOnly bool }

// ReadOnly attaches the volume without fencing its writer; writes fail with ErrReadOnly.
func ReadOnly() OpenOption { return func(o *openOptions) { o.readOnly = true } }

// OpenVolume attaches a volume. Unless it is read-only this fences the session that had it before:
// when it returns, no copyset of the volume takes a write of an older session any more. It fails
// when one of them cannot be reached in Config.Timeout. Errors of the control plane keep their
// class (admin.ErrNotFound, admin.ErrUnavailable, ...).
func (c *Client) OpenVolume(ctx context.Context, name string, opts ...OpenOption) (*Volume, error) {
	o := openOptions{readOnly: c.cfg.ReadOnly}
	for _, opt := range opts {
		opt(&o)
	}
	if c.isClosed() {
		return nil, ErrClosed
	}
	resp, err := c.control.OpenVolume(ctx, &v1.OpenVolumeRequest{
		Name: name, ReadOnly: o.readOnly, Client: c.cfg.Name,
	})
	if err != nil {
		return nil, fmt.Errorf("client: open volume %q: %w", name, err)
	}
	v, err := newVolume(c, name, o.readOnly, resp)
	if err != nil {
		return nil, err
	}
	if err := c.enter(v, resp.ClusterId); err != nil {
		v.endSession()
		return nil, err
	}
	v.beginRenewal()
	// The first segments' mapping comes along, so that the first requests need not wait for it.
	// A failure here is not one of the volume: requests ask again.
	if err := v.fetch(ctx, 0); err != nil {
		c.log.Warn("client: mapping not fetched at open", "volume", name, "err", err)
	}
	if o.readOnly {
		return v, nil
	}
	if err := v.fence(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("client: open volume %q: fence older sessions: %w", name,
			err), v.Close())
	}
	return v, nil
}

// enter adds a volume to the client.
func (c *Client) enter(v *Volume, cluster string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return ErrClosed
	}
	if c.cluster != "" && cluster != "" && c.cluster != cluster {
		return fmt.Errorf("%w: control plane is of cluster %q, this client is attached to %q",
			ErrInvalid, cluster, c.cluster)
	}
	c.cluster = cluster
	c.volumes[v] = struct{}{}
	c.listVolumes()
	v.ctx, v.cancel = context.WithCancel(c.ctx)
	return nil
}

func (c *Client) forget(v *Volume) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.volumes, v)
	c.listVolumes()
}

func (c *Client) listVolumes() {
	list := make([]*Volume, 0, len(c.volumes))
	for v := range c.volumes {
		list = append(list, v)
	}
	c.volSet.Store(&list)
}

// Close closes every volume, then the connections. Operations under way fail with ErrClosed. It
// may be called more than once.
func (c *Client) Close() error {
	c.mu.Lock()
	if c.closed {
		c.mu.Unlock()
		return nil
	}
	c.closed = true
	volumes := c.allVolumes()
	c.mu.Unlock()
	for _, v := range volumes {
		_ = v.Close()
	}
	c.cancel()
	c.timers.close()
	c.wg.Wait()
	err := c.control.Close()
	if c.ownPool {
		err = errors.Join(err, c.pool.Close())
	}
	return err
}

func (c *Client) isClosed() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.closed
}

func (c *Client) clusterID() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.cluster
}

// peer returns the node of that id, and connects to it when it is new. The address is the control
// plane's.
func (c *Client) peer(node uint64, addr string) *peer {
	p, fresh := c.meet(node, addr)
	if !fresh {
		p.move(addr)
	}
	return p
}

// hintedPeer is peer for an address that a replica told, which counts when the node is new or
// cannot be reached.
func (c *Client) hintedPeer(node uint64, addr string) *peer {
	p, fresh := c.meet(node, addr)
	if !fresh {
		p.hint(addr)
	}
	return p
}

// meet finds the node of that id or adds it.
func (c *Client) meet(node uint64, addr string) (p *peer, fresh bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if p = c.peers[node]; p != nil {
		return p, false
	}
	p = newPeer(c, node, addr)
	c.peers[node] = p
	list := append(append(make([]*peer, 0, len(c.peers)), c.allPeers()...), p)
	c.peerSet.Store(&list)
	if c.closed {
		p.state.Store(peerDown)
	} else {
		c.wg.Add(1)
		go p.run(c.ctx)
	}
	return p, true
}

// route returns what is known of a copyset, possibly nothing yet.
func (c *Client) route(id uint64) *route {
	c.mu.Lock()
	defer c.mu.Unlock()
	r := c.byID[id]
	if r == nil {
		r = &route{id: id, leader: none}
		c.byID[id] = r
		list := append(append(make([]*route, 0, len(c.byID)), c.allRoutes()...), r)
		c.routes.Store(&list)
	}
	return r
}

// learnCopysets takes over members of copysets and polls those that had nobody to ask.
func (c *Client) learnCopysets(list []*v1.Copyset) {
	for _, cs := range list {
		r := c.route(cs.CopysetId)
		r.set(cs, c.peer)
		c.pollNow(r)
	}
}

func all[T any](p *atomic.Pointer[[]T]) []T {
	if list := p.Load(); list != nil {
		return *list
	}
	return nil
}

func (c *Client) allPeers() []*peer     { return all(&c.peerSet) }
func (c *Client) allRoutes() []*route   { return all(&c.routes) }
func (c *Client) allVolumes() []*Volume { return all(&c.volSet) }
