package node

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ashlar-storage/ashlar/dataplane/peer"
	"github.com/ashlar-storage/ashlar/dataplane/store"
	"github.com/ashlar-storage/ashlar/io/buf"
	"github.com/ashlar-storage/ashlar/io/disk"
	"github.com/ashlar-storage/ashlar/rpc/admin"
	"github.com/ashlar-storage/ashlar/rpc/ops"
	"github.com/ashlar-storage/ashlar/rpc/transport"
	"github.com/ashlar-storage/ashlar/rpc/wire"
)

// Config starts a node.
type Config struct {
	Name    string   // unique in the cluster
	Zone    string   // replicas of a copyset are on distinct zones
	Listen  string   // native protocol, host:port
	Control string   // control plane, host:port
	Stores  []string // one per disk: a directory, or a device that was formatted for it
	Version string
	// PoolBytes bounds the memory of all payloads; 0: DefaultPoolBytes. Pool, if set, is that
	// memory: of who has registered it with a card.
	PoolBytes int64
	Pool      *buf.Pool
	// ChunkBytes is the size of chunks in new stores, the same in the whole cluster; 0: 16 MiB.
	ChunkBytes int64
	// SegmentBytes is the size of log segments in new stores; 0: the default.
	SegmentBytes int64
	// LogBytes bounds the log of each store, StoreBytes its chunk files; 0: the defaults.
	LogBytes, StoreBytes int64
	// PlaceBytes is from how many bytes on writes in order are written once; 0: none are.
	PlaceBytes int64
	// High and Full are how full each store is when it is said to fill up, and when it refuses new
	// chunks; zero values: never, and when nothing is left.
	High, Full store.Watermark
	// ReserveChunks is how many chunk files each store keeps ready; 0: the default.
	ReserveChunks int
	// StallBound is the age of a read or a durable write at which a store gives its leaderships
	// away; 0: the default.
	StallBound time.Duration
	// ScrubBytes is how many bytes in a second each store's scrubber reads; 0: the default,
	// negative: it is off.
	ScrubBytes int64
	// Dial makes the connections to other nodes; nil means transport.Dial.
	Dial transport.Dialer
	// Further are transports that the node serves beside TCP, at the same address.
	Further []transport.ListenFunc
	// ReadIndex has leaders ask a majority for every read, instead of trusting leases and clocks.
	ReadIndex bool
	// FillBytes is how many bytes in a second each store gives to replicas that are filled from it
	// while it has clients; 0: the default, negative: as fast as it can.
	FillBytes int64
	// AllowVolatileCache opens stores that a power cut would take something from that they
	// promised; without it they are refused with an error that wraps ErrVolatile.
	AllowVolatileCache bool
	// NoURing forces the fallback without io_uring.
	NoURing bool
	// ZeroCopy is for what is served over TCP; connections to other nodes are Dial's.
	ZeroCopy transport.ZeroCopy
	// Admin is where metrics, profiles and counters are served, and to whom. Its Logger is this
	// one.
	Admin ops.Config
	// Ready, if not nil, is called by Run when the node serves.
	Ready func(*Node)
	// Trace is what the admin listener serves as /trace, to tracers only; nil: nothing.
	Trace  http.Handler
	Logger *slog.Logger
}

const (
	// DefaultPoolBytes is the buffer pool of a node.
	DefaultPoolBytes = 512 << 20
	// closeTime bounds the last checkpoint of a stop.
	closeTime = 20 * time.Second
	// handOffTime bounds the hand-over of leaderships at a stop.
	handOffTime = 500 * time.Millisecond
	// listsMax bounds the lists of chunks that are made for peers at one time.
	listsMax = 16
)

// ErrForeign marks a store that is not this cluster's to use; starting again does not mend it.
var ErrForeign = store.ErrForeign

// ErrVolatile marks a store on memory or on a write cache that is never flushed.
var ErrVolatile = disk.ErrVolatile

// Node is a running node.
type Node struct {
	cfg       Config
	log       *slog.Logger
	pool      *buf.Pool
	stores    []*store.Store
	paces     []logPace // of the stores; of the heartbeats alone
	rested    []rested  // of the stores; of the heartbeats alone
	scrubTold string    // the windows that the stores were told last; the heartbeats' own
	volumes   volumeLists
	told      admin.Told // by the heartbeats alone
	links     *peer.Links
	servers   []transport.Listener // of all transports
	meter     transport.Meter      // of the connections that come in
	outward   transport.Meter      // of those to other nodes
	clients   *admin.Clients
	admin     *ops.Listener
	routes    atomic.Pointer[map[uint64]*store.Owner] // copyset -> owner; replaced, never changed
	addr      string
	lists     chan struct{} // one for each list of chunks being made for a peer
	news      chan struct{} // of leaders that may have changed

	adopted  atomic.Bool  // a desired state has been seen: no hurry any more
	answered atomic.Int64 // ns; when the control plane last answered a heartbeat, or the start
	process  uint64       // when this process began, ns

	mu        sync.Mutex
	clusterID string
	nodeID    uint64
	desired   uint64 // version of the desired state taken over
	deleted   []uint64
}

// Run serves until ctx ends, and returns nil then.
func Run(ctx context.Context, cfg Config) error {
	n, err := Start(cfg)
	if err != nil {
		return err
	}
	if cfg.Ready != nil {
		cfg.Ready(n)
	}
	err = n.heartbeats(ctx)
	return errors.Join(err, n.Close())
}

// Start opens the stores and begins to serve; the caller drives the heartbeats with Run instead.
func Start(cfg Config) (*Node, error) {
	if cfg.Logger == nil {
		cfg.Logger = slog.Default()
	}
	pool, err := cfg.pool()
	if err != nil {
		return nil, fmt.Errorf("node: %w", err)
	}
	n := &Node{cfg: cfg, log: cfg.Logger, pool: pool, addr: cfg.Listen,
		lists: make(chan struct{}, listsMax), news: make(chan struct{}, 1),
		process: uint64(time.Now().UnixNano())}
	n.answered.Store(time.Now().UnixNano())
	n.routes.Store(&map[uint64]*store.Owner{})
	if n.clients, err = admin.Dial(cfg.Control); err != nil {
		return nil, fmt.Errorf("node: control plane: %w", err)
	}
	for _, path := range cfg.Stores {
		if err := n.openStore(path); err != nil {
			return nil, errors.Join(err, n.Close())
		}
	}
	if err := n.sameCluster(); err != nil {
		return nil, errors.Join(err, n.Close())
	}
	hello := wire.Hello{ClusterID: n.clusterID, Role: "node", Name: cfg.Name}
	n.links = peer.NewLinks(peer.Config{Pool: pool, Hello: hello, Logger: n.log, Dial: cfg.Dial,
		Meter: &n.outward, Gone: n.peerGone})
	for _, s := range n.stores {
		s.Run()
	}
	n.reroute()
	if err := n.listen(hello); err != nil {
		return nil, errors.Join(fmt.Errorf("node: %w", err), n.Close())
	}
	if n.admin, err = n.listenAdmin(cfg.Admin); err != nil {
		return nil, errors.Join(err, n.Close())
	}
	n.log.Info("serving", "addr", n.addr, "stores", len(n.stores))
	return n, nil
}

func (cfg *Config) pool() (*buf.Pool, error) {
	if cfg.Pool != nil {
		return cfg.Pool, nil
	}
	return buf.NewPool(buf.Config{Bytes: cmp.Or(cfg.PoolBytes, DefaultPoolBytes)})
}

func (n *Node) openStore(path string) error {
	if err := n.checkCache(path); err != nil {
		return fmt.Errorf("node: store %s: %w", path, err)
	}
	d, err := disk.Open(path, disk.Config{Arena: n.pool.Arena(), Logger: n.log,
		NoURing: n.cfg.NoURing})
	if err != nil {
		return fmt.Errorf("node: store %s: %w", path, err)
	}
	s, err := store.Open(store.Config{Disk: d, Path: path, Pool: n.pool, Host: n,
		ChunkSize: n.cfg.ChunkBytes, SegmentSize: n.cfg.SegmentBytes, LogBytes: n.cfg.LogBytes,
		LimitBytes: n.cfg.StoreBytes, PlaceBytes: n.cfg.PlaceBytes, StallBound: n.cfg.StallBound,
		High: n.cfg.High, Full: n.cfg.Full,
		ScrubBytes:    n.cfg.ScrubBytes,
		FillBytes:     n.cfg.FillBytes,
		ReadIndex:     n.cfg.ReadIndex,
		News:          n.news,
		Unproven:      true,
		ReserveChunks: n.cfg.ReserveChunks, Logger: n.log})
	if err != nil {
		return errors.Join(fmt.Errorf("node: %w", err), d.Close())
	}
	n.stores, n.paces = append(n.stores, s), append(n.paces, logPace{})
	n.rested = append(n.rested, rested{})
	return nil
}

// sameCluster refuses stores of two clusters in one node.
func (n *Node) sameCluster() error {
	for _, s := range n.stores {
		switch id := s.ClusterID(); {
		case id == "" || id == n.clusterID:
		case n.clusterID == "":
			n.clusterID = id
		default:
			return fmt.Errorf("node: %w: %s belongs to cluster %s, another store to %s", ErrForeign,
				s.Path(), id, n.clusterID)
		}
	}
	return nil
}

// peerGone has the followers of what led at an address stand for election early.
func (n *Node) peerGone(addr string) {
	for _, s := range n.stores {
		s.PeerGone(addr)
	}
}

// reroute rebuilds the way from copyset to owner. Of two replicas, one of them on a store that is
// lost, the way leads to the newer. False: an owner did not say what it has, and what it got last
// may have no way yet.
func (n *Node) reroute() (whole bool) {
	routes, newest := map[uint64]*store.Owner{}, map[uint64]uint64{}
	whole = true
	for _, s := range n.stores {
		list, now := s.ReplicasNow()
		whole = whole && now
		for _, r := range list {
			if r.Replica >= newest[r.Copyset] {
				routes[r.Copyset], newest[r.Copyset] = s.Owner(r.Copyset), r.Replica
			}
		}
	}
	n.routes.Store(&routes)
	return whole
}

func (n *Node) owner(copysetID uint64) *store.Owner { return (*n.routes.Load())[copysetID] }

// home is the store that a copyset's replica lies on; nil when there is none here.
func (n *Node) home(copysetID uint64) *store.Store {
	owner := n.owner(copysetID)
	for _, s := range n.stores {
		if owner != nil && s.Owner(copysetID) == owner {
			return s
		}
	}
	return nil
}

// Addr is where the native protocol is served.
func (n *Node) Addr() string { return n.addr }

// Close stops serving: leaderships are handed over, connections end, each store takes a last
// checkpoint.
func (n *Node) Close() error {
	var errs []error
	n.handOff()
	errs = append(errs, n.admin.Close())
	for _, s := range n.servers {
		errs = append(errs, s.Close())
	}
	if n.links != nil {
		n.links.Close()
	}
	ctx, cancel := context.WithTimeout(context.Background(), closeTime)
	defer cancel()
	for _, s := range n.stores {
		errs = append(errs, s.Close(ctx))
	}
	if n.clients != nil {
		errs = append(errs, n.clients.Close())
	}
	return errors.Join(errs...)
}

// handOff gives the leaderships of all stores away, while the connections are still there.
func (n *Node) handOff() {
	if len(n.servers) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), handOffTime)
	defer cancel()
	for _, s := range n.stores {
		s.HandOff(ctx)
	}
}
