package load

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ashlar-storage/ashlar/rpc/admin"
	v1 "github.com/ashlar-storage/ashlar/rpc/admin/kitex_gen/ashlar/v1"
)

// fleet is the simulated nodes.
type fleet struct {
	cluster string
	nodes   []*node

	mu    sync.Mutex
	truth *truth
	lags  int // followers that fall behind in a step

	beats, failed atomic.Uint64
	last          atomic.Pointer[string] // the last failure
}

// node is one of them. The fleet's lock guards all but what only its own beat uses.
type node struct {
	id      uint64
	conn    *admin.Clients
	version uint64            // of its desired state
	known   bool              // the next heartbeat may be partial
	all     bool              // it tells of everything; neither: it asks
	holds   map[uint64]uint64 // copyset -> replica
	changed map[uint64]bool   // copysets to tell of
	gone    []uint64
	sums    map[uint64]uint64
	sum     uint64
}

func newFleet(c config, cluster, addr string, recs []*v1.Copyset) (*fleet, error) {
	f := &fleet{cluster: cluster, truth: newTruth(c, recs)}
	for i := range c.nodes {
		conn, err := admin.Dial(addr, admin.WithCallTimeout(beatTime))
		if err != nil {
			f.close()
			return nil, fmt.Errorf("load: %w", err)
		}
		f.nodes = append(f.nodes, &node{id: uint64(i + 1), conn: conn, version: topology,
			holds: map[uint64]uint64{}, changed: map[uint64]bool{}})
	}
	for _, rec := range recs {
		for _, m := range rec.Replicas {
			f.nodes[m.NodeId-1].holds[rec.CopysetId] = m.ReplicaId
		}
	}
	return f, nil
}

func (f *fleet) close() {
	for _, n := range f.nodes {
		n.conn.Close()
	}
}

// run has the nodes send heartbeats, spread over the interval, and lets time work, until ctx ends.
func (f *fleet) run(ctx context.Context) {
	var all sync.WaitGroup
	for i, n := range f.nodes {
		first := interval * time.Duration(i) / time.Duration(len(f.nodes))
		all.Go(func() { f.live(ctx, n, first) })
	}
	tick := time.NewTicker(step)
	defer tick.Stop()
	for ctx.Err() == nil {
		select {
		case <-ctx.Done():
		case now := <-tick.C:
			f.pass(now)
		}
	}
	all.Wait()
}

// pass is a step of time.
func (f *fleet) pass(now time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.truth.fill(func(copyset, left uint64) {
		f.tell(copyset)
		f.drop(f.nodes[left-1], copyset)
	})
	f.truth.lag(now, f.lags, f.tell)
}

// tell has the nodes of a copyset report it anew.
func (f *fleet) tell(copyset uint64) {
	for _, id := range f.truth.group(copyset).nodes() {
		f.nodes[id-1].changed[copyset] = true
	}
}

// drop has a node hold a copyset no more.
func (f *fleet) drop(n *node, copyset uint64) {
	if n.holds[copyset] != 0 {
		delete(n.holds, copyset)
		delete(n.changed, copyset)
		n.gone = append(n.gone, copyset)
	}
}

// kill has a node die, and its copysets elect others a while later.
func (f *fleet) kill(node uint64) {
	f.mu.Lock()
	f.truth.die(node, f.tell)
	f.mu.Unlock()
	time.AfterFunc(election, func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.truth.succeed(f.tell)
	})
}

func (f *fleet) change(lags int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.lags = lags
}

func (f *fleet) live(ctx context.Context, n *node, first time.Duration) {
	begin := time.NewTimer(first)
	defer begin.Stop()
	select {
	case <-ctx.Done():
		return
	case <-begin.C:
	}
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for ctx.Err() == nil {
		if f.isDead(n) {
			return
		}
		if err := f.beat(ctx, n); err != nil && ctx.Err() == nil {
			f.failed.Add(1)
			text := err.Error()
			f.last.Store(&text)
		}
		select {
		case <-ctx.Done():
		case <-tick.C:
		}
	}
}

func (f *fleet) isDead(n *node) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.truth.dead == n.id
}

// beat is a heartbeat, and another at once where the answer to one that asks is that all is to be
// told, as admin.Told has it.
func (f *fleet) beat(ctx context.Context, n *node) error {
	asks := !n.known && !n.all
	if err := f.send(ctx, n); err != nil || !asks || !n.all {
		return err
	}
	return f.send(ctx, n)
}

func (f *fleet) send(ctx context.Context, n *node) error {
	req := f.heartbeat(n)
	resp, err := n.conn.Node.HeartbeatNode(ctx, req)
	f.mu.Lock()
	defer f.mu.Unlock()
	if err != nil {
		n.known, n.all = false, false
		return err
	}
	f.beats.Add(1)
	n.known, n.all = resp.TakesPartial, !resp.TakesPartial && !resp.TellLater
	if resp.DesiredPresent {
		f.obey(n, resp)
	}
	for _, t := range resp.Transfers {
		if f.truth.elect(t.CopysetId, t.ToReplicaId) {
			f.tell(t.CopysetId)
		}
	}
	return nil
}

// heartbeat is what a node says: of all its replicas, or of those that have changed, or only what
// they add up to.
func (f *fleet) heartbeat(n *node) *v1.HeartbeatNodeRequest {
	f.mu.Lock()
	defer f.mu.Unlock()
	req := &v1.HeartbeatNodeRequest{ClusterId: f.cluster, NodeId: n.id, Partial: !n.all,
		DesiredVersion: n.version, Features: admin.Features, Level: admin.Level,
		Stores: []*v1.StoreReport{{StoreId: n.id, State: "up", Life: 1,
			CapacityBytes: capacity, UsedBytes: 1 << 40, Chunks: 1 << 16, LogWriteNs: 1e6,
			Waiting: &v1.Waiting{}, Space: &v1.Space{}, Scrub: &v1.Scrub{On: true}}}}
	if n.all {
		n.sums, n.sum, n.gone = make(map[uint64]uint64, len(n.holds)), 0, nil
		for copyset := range n.holds {
			f.say(n, req, copyset)
		}
	}
	if !n.known && !n.all {
		req.ReplicaCount, req.ReplicaSum = uint64(len(n.sums)), n.sum
		return req
	}
	for copyset := range n.changed {
		if n.known && n.holds[copyset] != 0 {
			f.say(n, req, copyset)
		}
	}
	clear(n.changed)
	for _, copyset := range n.gone {
		n.sum -= n.sums[copyset]
		delete(n.sums, copyset)
	}
	req.Gone, n.gone = n.gone, nil
	req.ReplicaCount, req.ReplicaSum = uint64(len(n.sums)), n.sum
	return req
}

func (f *fleet) say(n *node, req *v1.HeartbeatNodeRequest, copyset uint64) {
	r := f.truth.report(copyset, n.holds[copyset], n.id)
	sum := admin.ReportSum(r)
	n.sum += sum - n.sums[copyset]
	n.sums[copyset] = sum
	req.Replicas = append(req.Replicas, r)
}

// obey takes over a desired state. What is not in it any more was dropped when its place was taken.
func (f *fleet) obey(n *node, resp *v1.HeartbeatNodeResponse) {
	n.version = resp.DesiredVersion
	for _, rec := range resp.Copysets {
		if f.truth.want(rec) {
			f.tell(rec.CopysetId)
		}
		if replica := f.truth.group(rec.CopysetId).at(n.id); replica != n.holds[rec.CopysetId] {
			n.holds[rec.CopysetId] = replica
			n.changed[rec.CopysetId] = true
		}
	}
}

// trouble is an error when more heartbeats failed than may.
func (f *fleet) trouble(most uint64) error {
	if n := f.failed.Load(); n > most {
		return fmt.Errorf("load: %d heartbeats failed, the last one: %w", n,
			errors.New(*f.last.Load()))
	}
	return nil
}
