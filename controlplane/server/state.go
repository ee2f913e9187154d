package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync/atomic"
	"time"

	"github.com/ashlar-storage/ashlar/controlplane/meta"
	"github.com/ashlar-storage/ashlar/controlplane/placement"
	"github.com/ashlar-storage/ashlar/controlplane/schedule"
	"github.com/ashlar-storage/ashlar/rpc/admin"
	v1 "github.com/ashlar-storage/ashlar/rpc/admin/kitex_gen/ashlar/v1"
	"github.com/ashlar-storage/ashlar/rpc/window"
)

const (
	stateUp           = "up"
	stateOffline      = "offline"
	stateFailed       = "failed"
	stateReplaced     = "replaced"
	stateOK           = "ok"
	stateTrashed      = "trashed"
	stateDeleting     = "deleting"
	healthDegraded    = "degraded"
	healthUnavailable = "unavailable"
)

// cluster is the state of the control plane. Methods named like calls, tick and flush take the
// lock; all others want it held.
type cluster struct {
	cfg  Config
	log  *slog.Logger
	kv   meta.Store // fenced: it is the leadership's
	id   string
	addr string // of this process

	commits atomic.Uint64 // of changes, so far

	mu       lock
	failed   error     // set when memory and metadata may differ; refuses changes
	started  time.Time // of this process
	topology uint64    // version of copysets and addresses; 0: none yet

	nodes     map[uint64]*node
	nodeNames map[string]uint64
	stores    map[uint64]*store
	uuids     map[string]uint64 // store ids
	copysets  map[uint64]*copyset
	order     []uint64 // copyset ids, rising
	volumes   map[uint64]*v1.Volume
	space     *namespace      // names of volumes; deleted ones have none any more
	trash     map[uint64]bool // volumes that may be restored
	deletions map[uint64]*deletion
	erased    volumeRuns // each run is replaced, never changed
	mapped    mapped
	telling   turnstile
	paused    map[schedule.Kind]*v1.Scheduler // schedulers that begin nothing
	tuned     schedule.Limits                 // that hold now, but for what is paused
	set       map[string]*v1.Limit            // limits that differ from the configuration
	scrub     *v1.ScrubWindows                // nil: none
	windows   window.Week                     // the same
	givingUp  map[uint64]bool                 // copysets whose replacement is being cancelled
	common    uint64                          // features that all nodes have
	journal   journal
	sessions  map[uint64]*session
	processes map[string]*process
	waits     []waiting             // what the scheduler wants and cannot begin
	unlisted  map[schedule.Kind]int // how many more of that there are

	restored  *meta.Restored       // nil: the metadata were never restored
	unsettled []unsettled          // as of the last tick
	survey    *survey              // nil: there was none since the start
	used      map[uint64]time.Time // volumes by sessions that cannot be taken up, see survivors.go

	tally   tally
	members members
	unseen  []*copyset // touched since the schedulers took them over
	late    []*copyset // records that are to be written down, and some that were

	turns                   turns
	lastFlush, lastSchedule time.Time
	resting                 time.Time // until then the schedulers have no turn
	leaderMoves             uint64    // since the start
}

// node is a data-plane process.
type node struct {
	rec       *v1.Node // identity and address; replaced, never changed
	heard     time.Time
	upSince   time.Time
	wasUp     bool   // at the last tick, to log changes
	told      string // the kind of the last event of it
	desired   uint64 // version of its desired state
	process   uint64 // incarnation of the one that counts; 0: unknown
	taken     uint64 // version that it has taken over, by its last heartbeat; 0: none
	stores    map[uint64]bool
	reports   map[uint64]*v1.ReplicaReport   // by copyset, as of the last heartbeat
	sums      map[uint64]uint64              // of those that were heard, by copyset; nil: none were
	sum       uint64                         // of the sums
	outside   map[uint64]*v1.ReplicaReport   // by copyset, of a replica there that was no member
	raw       map[uint64][]*v1.ReplicaReport // by copyset, of all there; after a restore only
	judgedUp  bool                           // when its copysets were judged
	transfers []*v1.TransferLeader
	claims    map[uint64][]*v1.ReplicaReport // of copysets that are not settled
	// erasedTold is behind the run of erased volumes that it was told of last.
	erasedTold uint64
}

// store is a disk.
type store struct {
	rec    *v1.Store       // identity and capacity; replaced, never changed
	report *v1.StoreReport // nil before the first
	// Chunks by volume, as the store told at volumesAt; nil before that.
	volumes        map[uint64]uint64
	volumesVersion uint64
	volumesAt      time.Time
	left           []uint64 // of those, the erased ones
	judged         string   // its state when its copysets were judged
	failed         bool     // it said that it had when its copysets were laid for new chunks
	dirty          bool     // rec differs from the metadata
	// downSince is since when it is offline or has failed, as this process has seen; zero: it is
	// not.
	downSince time.Time
	told      string // the kind of the last event of it
}

// copyset is a raft group.
type copyset struct {
	rec          *v1.Copyset // with the leader as last reported; replaced, never changed
	version      uint64      // of the desired state of its nodes that has the members of rec
	lastOperator time.Time
	lastRepair   time.Time
	losses       schedule.Losses
	dirty        bool          // rec differs from the metadata
	stale        bool          // the verdict may be wrong
	unseen       bool          // the schedulers do not have it as it is
	moved        bool          // new chunks of it may go elsewhere
	members      []*v1.Replica // of rec
	verdict      verdict
	doubt        bool // its leader names members from before a restore that rec does not have
}

type session struct {
	rec     *meta.Session
	expires time.Time
}

func openCluster(cfg Config, kv meta.Store) (*cluster, error) {
	ident, err := meta.Init(context.Background(), kv)
	if err != nil {
		return nil, fmt.Errorf("control: %w", err)
	}
	c := &cluster{
		cfg: cfg, log: cfg.Logger, kv: kv, id: ident.ClusterID, started: cfg.Now(),
		nodes: map[uint64]*node{}, nodeNames: map[string]uint64{},
		stores: map[uint64]*store{}, uuids: map[string]uint64{},
		copysets: map[uint64]*copyset{}, volumes: map[uint64]*v1.Volume{},
		space: newNamespace(), trash: map[uint64]bool{}, deletions: map[uint64]*deletion{},
		paused: map[schedule.Kind]*v1.Scheduler{},
		tuned:  cfg.Schedule, set: map[string]*v1.Limit{}, givingUp: map[uint64]bool{},
		mapped: mapped{bytes: map[uint64]uint64{}, sets: map[uint64]placement.Copyset{},
			given: map[uint64]uint64{}},
		sessions: map[uint64]*session{}, processes: map[string]*process{},
		tally: newTally(), members: newMembers(),
		used: map[uint64]time.Time{},
	}
	if err := kv.View(context.Background(), c.load); err != nil {
		return nil, fmt.Errorf("control: read metadata: %w", err)
	}
	c.weighFeatures(c.started)
	return c, nil
}

func (c *cluster) load(r meta.Reader) error {
	return errors.Join(c.loadTopology(r), c.loadVolumes(r), c.loadSessions(r), c.loadMapping(r),
		c.loadSchedulers(r), c.loadLimits(r), c.loadScrub(r),
		c.loadErased(r), c.loadEvents(r))
}

func (c *cluster) loadTopology(r meta.Reader) error {
	topology, err := meta.LastID(r, meta.CounterTopology)
	if err != nil {
		return err
	}
	c.topology = topology
	if c.restored, err = meta.ReadRestored(r); err != nil {
		return err
	}
	err = meta.Nodes.Scan(r, nil, nil, 0, func(_ meta.Key, n *v1.Node) error {
		c.addNode(n)
		return nil
	})
	if err != nil {
		return err
	}
	err = meta.Stores.Scan(r, nil, nil, 0, func(_ meta.Key, s *v1.Store) error {
		c.addStore(s)
		return nil
	})
	if err != nil {
		return err
	}
	return meta.Copysets.Scan(r, nil, nil, 0, func(_ meta.Key, g *v1.Copyset) error {
		c.addCopyset(g)
		return nil
	})
}

func (c *cluster) loadVolumes(r meta.Reader) error {
	volumes, err := meta.Volumes.All(r)
	if err != nil {
		return err
	}
	for _, v := range volumes {
		c.volumes[v.VolumeId] = v
		switch v.State {
		case stateTrashed:
			c.trash[v.VolumeId] = true
		case stateDeleting:
			used, err := copysetsOf(r, v.VolumeId)
			if err != nil {
				return err
			}
			c.deletions[v.VolumeId] = &deletion{pending: used}
		}
	}
	return c.loadNames(r)
}

// loadSessions gives every session a whole lease: its client may not have reached anyone while
// there was no control plane.
func (c *cluster) loadSessions(r meta.Reader) error {
	return meta.Sessions.Scan(r, nil, nil, 0, func(_ meta.Key, s *meta.Session) error {
		c.sessions[s.SessionID] = &session{rec: s, expires: c.started.Add(c.cfg.SessionLease)}
		return nil
	})
}

// addNode takes a record into memory, over an older one.
func (c *cluster) addNode(rec *v1.Node) *node {
	n := c.nodes[rec.NodeId]
	if n == nil {
		n = &node{desired: c.topology, stores: map[uint64]bool{}}
		c.nodes[rec.NodeId] = n
	}
	if n.rec = rec; c.restored == nil { // those of a backup are of its time
		n.process = rec.Incarnation
	}
	c.nodeNames[rec.Name] = rec.NodeId
	return n
}

func (c *cluster) addStore(rec *v1.Store) {
	s := c.stores[rec.StoreId]
	if s == nil {
		s = &store{}
		c.stores[rec.StoreId] = s
	}
	s.rec = rec
	c.uuids[rec.Uuid] = rec.StoreId
	if n := c.nodes[rec.NodeId]; n != nil {
		n.stores[rec.StoreId] = true
	}
}

func (c *cluster) addCopyset(rec *v1.Copyset) {
	g := c.copysets[rec.CopysetId]
	if g == nil {
		g = &copyset{}
		c.copysets[rec.CopysetId] = g
		c.order = append(c.order, rec.CopysetId)
	}
	g.rec, g.version = rec, c.topology
	c.noteGivenUp(rec)
	c.relate(g)
}

// update commits a change of the metadata, with its news and others that wait. Only when it returns
// nil may memory follow.
func (c *cluster) update(fn func(meta.Tx) error, own ...news) error {
	if c.failed != nil {
		return c.failed
	}
	var batch []*meta.Event
	var taken int
	err := c.kv.Update(context.Background(), func(tx meta.Tx) error {
		if err := fn(tx); err != nil {
			return err
		}
		batch, taken = c.journal.batch(own, c.cfg.Now())
		return c.journal.write(tx, batch)
	})
	if err == nil {
		c.commits.Add(1)
		c.journal.written(batch, taken)
		return nil
	}
	if !errors.Is(err, meta.ErrClosed) && !errors.Is(err, meta.ErrTooLarge) &&
		!errors.Is(err, meta.ErrLost) {
		c.tellMetadata(err)
	}
	return c.updateError(err)
}

// errLost: the change was refused, as another is active.
var errLost = admin.Errorf(admin.ErrUnavailable, "control: not active any more")

// updateError gives a failure of the metadata the class that callers know, and remembers one that
// is for good.
func (c *cluster) updateError(err error) error {
	switch {
	case errors.Is(err, meta.ErrFailed):
		c.failed = admin.Errorf(admin.ErrUnavailable, "control: the metadata failed, restart the "+
			"control plane: %v", err)
		c.log.Error("metadata failed; all changes are refused until a restart", "error", err)
		return c.failed
	case errors.Is(err, meta.ErrLost):
		return errLost
	case errors.Is(err, meta.ErrUnavailable):
		return admin.Errorf(admin.ErrUnavailable, "control: %v", err)
	case errors.Is(err, meta.ErrClosed):
		return admin.Errorf(admin.ErrUnavailable, "control: stopping")
	case errors.Is(err, meta.ErrTooLarge):
		return admin.Errorf(admin.ErrInvalid, "control: %v", err)
	}
	return fmt.Errorf("control: metadata: %w", err)
}

// up says whether the node is heard from.
func (c *cluster) up(n *node, now time.Time) bool {
	return n != nil && !n.heard.IsZero() && now.Sub(n.heard) < c.cfg.OfflineAfter
}

// storeUp says whether the store can serve, and if not, in which state it is and why.
func (c *cluster) storeUp(s *store, now time.Time) (state, detail string) {
	if s.rec.Replaced {
		return stateReplaced, "an empty store took its place"
	}
	n := c.nodes[s.rec.NodeId]
	if !c.up(n, now) {
		return stateOffline, "its node is offline"
	}
	if s.report == nil || s.report.State == "" || s.report.State == stateUp {
		return stateUp, ""
	}
	return s.report.State, s.report.Detail
}

// replicasPerBlock is how many copies the pool keeps: what the copysets have, whatever the
// configuration says since they were made.
func (c *cluster) replicasPerBlock() int {
	for _, g := range c.copysets {
		return len(g.rec.Replicas)
	}
	return c.cfg.Replicas
}

func sortedIDs[V any](m map[uint64]V) []uint64 { return slices.Sorted(maps.Keys(m)) }

// clip bounds text that others send and that is only shown.
func clip(s string, n int) string {
	if len(s) <= n {
		return s
	}
	return s[:n]
}

// tick does what time demands. It is called every TickInterval.
func (c *cluster) tick() {
	c.judgeAll()
	c.resettleAll()
	if c.work() {
		c.turn()
	}
}

// work is all of a tick but the schedulers' turn; it says whether that is due.
func (c *cluster) work() (due bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.cfg.Now()
	c.noticeNodes(now)
	c.noticeStores(now)
	c.tellStores(now)
	c.forgetProcesses(now)
	c.weighFeatures(now)
	for _, work := range []struct {
		what string
		do   func(time.Time) error
	}{
		{"end leases", c.expireSessions},
		{"create copysets", c.ensureCopysets},
		{"take over what leaders confirm", c.settle},
		{"empty the trash", c.emptyTrash},
		{"finish deletions", c.finishDeletions},
		{"finish replacements", c.finishReplacements},
		{"finish what was cancelled", c.finishCancelled},
	} {
		if err := work.do(now); err != nil {
			c.log.Warn("cannot "+work.what, "error", err)
		}
	}
	if now.Sub(c.lastFlush) >= c.cfg.FlushInterval || len(c.late) > maxLate {
		c.lastFlush = now
		if err := c.writeDirty(); err != nil {
			c.log.Warn("cannot write leaders and capacities", "error", err)
		}
	}
	return c.due(now)
}

// flush writes down what may be written late.
func (c *cluster) flush() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	for {
		if err := c.writeDirty(); err != nil || len(c.late) == 0 {
			return err
		}
	}
}

// writeDirty writes the stores that changed, and maxLate copysets; the rest follows.
func (c *cluster) writeDirty() error {
	n := min(maxLate, len(c.late))
	copysets := slices.DeleteFunc(slices.Clone(c.late[:n]), func(g *copyset) bool {
		return !g.dirty
	})
	var stores []*store
	for _, s := range c.stores {
		if s.dirty {
			stores = append(stores, s)
		}
	}
	if len(copysets)+len(stores)+len(c.journal.pending) == 0 {
		c.late = c.late[n:]
		return nil
	}
	err := c.update(func(tx meta.Tx) error {
		for _, g := range copysets {
			if err := meta.Copysets.Put(tx, meta.ID(g.rec.CopysetId), g.rec); err != nil {
				return err
			}
		}
		for _, s := range stores {
			if err := meta.Stores.Put(tx, meta.ID(s.rec.StoreId), s.rec); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	for _, g := range copysets {
		g.dirty = false
	}
	for _, s := range stores {
		s.dirty = false
	}
	if c.late = c.late[n:]; len(c.late) == 0 {
		c.late = nil
	}
	return nil
}

func (c *cluster) noticeNodes(now time.Time) {
	for _, n := range c.nodes {
		c.tellNode(n, now)
		up := c.up(n, now)
		if up != n.wasUp {
			n.wasUp = up
			if up {
				c.log.Info("node is up", "node", n.rec.Name, "addr", n.rec.Addr)
			} else {
				c.log.Warn("node is offline", "node", n.rec.Name, "addr", n.rec.Addr,
					"silent", now.Sub(n.heard).Round(time.Millisecond))
			}
		}
		if !up {
			n.transfers = nil
		}
	}
}

// noticeStores notes since when stores are away. One that is full or stalled is there.
func (c *cluster) noticeStores(now time.Time) {
	for _, s := range c.stores {
		state, _ := c.storeUp(s, now)
		switch {
		case state != stateOffline && state != stateFailed:
			s.downSince = time.Time{}
		case s.downSince.IsZero():
			s.downSince = now
		}
	}
}
