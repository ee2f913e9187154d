package server

import (
	"cmp"
	"fmt"
	"hash/fnv"
	"math/bits"
	"time"

	"github.com/ashlar-storage/ashlar/controlplane/meta"
	"github.com/ashlar-storage/ashlar/controlplane/placement"
	"github.com/ashlar-storage/ashlar/controlplane/schedule"
	"github.com/ashlar-storage/ashlar/rpc/admin"
	v1 "github.com/ashlar-storage/ashlar/rpc/admin/kitex_gen/ashlar/v1"
)

// waiting says what is missing before copysets can be made; empty when nothing is.
func (c *cluster) waiting(now time.Time) string {
	up, zones := 0, map[string]bool{}
	for _, n := range c.nodes {
		if c.up(n, now) {
			up++
			zones[n.rec.Zone] = true
		}
	}
	switch {
	case up < c.cfg.MinNodes:
		return fmt.Sprintf("waiting for %d nodes, %d are up", c.cfg.MinNodes, up)
	case len(zones) < c.cfg.Replicas:
		return fmt.Sprintf("%d replicas need nodes in %d zones, the %d nodes that are up lie in %d",
			c.cfg.Replicas, c.cfg.Replicas, up, len(zones))
	}
	return ""
}

// ensureCopysets makes the pool's copysets once enough nodes are up.
func (c *cluster) ensureCopysets(now time.Time) error {
	// After a restore those that there are come from the nodes.
	if len(c.copysets) > 0 || c.restored != nil || c.waiting(now) != "" {
		return nil
	}
	places := c.places(now)
	sets, err := placement.Generate(places, placement.Params{
		Replicas: c.cfg.Replicas, Copysets: cmp.Or(c.cfg.Copysets, c.copysetCount(len(places))),
		ScatterWidth: c.cfg.ScatterWidth, Seed: seed(c.id),
	})
	if err != nil {
		return err
	}
	return c.found(sets, len(places))
}

// found writes copysets down that were drawn over so many stores, and has their replicas made.
func (c *cluster) found(sets []placement.Copyset, stores int) error {
	var recs []*v1.Copyset
	var topology uint64
	err := c.update(func(tx meta.Tx) (err error) {
		recs, err = c.numberCopysets(tx, sets)
		if err != nil {
			return err
		}
		topology, err = meta.NextID(tx, meta.CounterTopology)
		return err
	})
	if err != nil {
		return err
	}
	c.topology = topology
	for _, rec := range recs {
		c.addCopyset(rec)
		for _, m := range rec.Replicas {
			c.nodes[m.NodeId].desired = topology
		}
	}
	c.tell(newEvent(eventInfo, "copysets-created", aCluster, 0, "", "%d copysets with %d replicas "+
		"were placed on %d stores", len(recs), c.cfg.Replicas, stores))
	c.log.Info("copysets created", "copysets", len(recs), "replicas", c.cfg.Replicas,
		"stores", stores)
	return nil
}

// copysetCount is how many copysets so many stores get where nobody says so.
func (c *cluster) copysetCount(stores int) int {
	wide := placement.CountFor(stores, c.cfg.Replicas, c.cfg.ScatterWidth)
	return min(max(copysetsEach*stores, wide), maxCopysets)
}

// places are the stores that are up, weighted by capacity. The upper twelve bits of the largest one
// count, so that a million stores stay below placement.MaxWeight.
func (c *cluster) places(now time.Time) (places []placement.Store) {
	largest := uint64(0)
	for _, s := range c.stores {
		largest = max(largest, s.rec.CapacityBytes)
	}
	shift := max(0, bits.Len64(largest)-12)
	for _, id := range sortedIDs(c.stores) {
		s := c.stores[id]
		if state, _ := c.storeUp(s, now); state == stateUp && !c.draining(s) {
			places = append(places, placement.Store{ID: id, Zone: c.nodes[s.rec.NodeId].rec.Zone,
				Weight: s.rec.CapacityBytes >> shift})
		}
	}
	return places
}

func seed(id string) uint64 {
	h := fnv.New64a()
	h.Write([]byte(id))
	return h.Sum64()
}

// numberCopysets gives drawn copysets their ids and preferred leaders, and writes them.
func (c *cluster) numberCopysets(tx meta.Tx, sets []placement.Copyset) ([]*v1.Copyset, error) {
	lastSet, err := meta.Advance(tx, meta.CounterCopyset, uint64(len(sets)))
	if err != nil {
		return nil, err
	}
	members := uint64(len(sets) * c.cfg.Replicas)
	replica, err := meta.Advance(tx, meta.CounterReplica, members)
	if err != nil {
		return nil, err
	}
	replica -= members
	recs := make([]*v1.Copyset, 0, len(sets))
	plan := make([]schedule.Copyset, 0, len(sets))
	for i, set := range sets {
		rec := &v1.Copyset{
			CopysetId: lastSet - uint64(len(sets)-1-i), Epoch: c.nextEpoch(0), PoolId: poolID,
		}
		for _, id := range set {
			replica++
			rec.Replicas = append(rec.Replicas, &v1.Replica{
				ReplicaId: replica, StoreId: id, NodeId: c.stores[id].rec.NodeId,
			})
			rec.FoundingReplicaIds = append(rec.FoundingReplicaIds, replica)
		}
		recs = append(recs, rec)
		plan = append(plan, planned(rec))
	}
	preferred := schedule.Spread(plan)
	for _, rec := range recs {
		rec.PreferredLeaderReplicaId = preferred[rec.CopysetId]
		if err := meta.Copysets.Put(tx, meta.ID(rec.CopysetId), rec); err != nil {
			return nil, err
		}
	}
	return recs, nil
}

// planned is a copyset as the schedulers see it, without what only reports tell.
func planned(rec *v1.Copyset) schedule.Copyset {
	g := schedule.Copyset{ID: rec.CopysetId, Preferred: rec.PreferredLeaderReplicaId}
	for _, m := range rec.Replicas {
		g.Replicas = append(g.Replicas, schedule.Replica{ID: m.ReplicaId, Store: m.StoreId})
	}
	return g
}

// leading returns the report of the leader when it is confirmed: its node is up and its last
// heartbeat says that it leads, in no older term than any other replica spoke of.
func (c *cluster) leading(g *copyset, now time.Time) *v1.ReplicaReport {
	if c.isUnsettled(g.rec.CopysetId) {
		return nil
	}
	for _, m := range admin.Members(g.rec) {
		if m.ReplicaId != g.rec.LeaderReplicaId {
			continue
		}
		n := c.nodes[m.NodeId]
		if !c.up(n, now) {
			return nil
		}
		r := n.reports[g.rec.CopysetId]
		if r == nil || !r.Leader || r.ReplicaId != m.ReplicaId || r.Term < g.rec.LeaderTerm {
			return nil
		}
		return r
	}
	return nil
}

// replicaFull says whether a replica has everything, by its own word and its leader's. A store
// without room for new chunks serves those that it has.
func (c *cluster) replicaFull(g *copyset, m *v1.Replica, lead *v1.ReplicaReport,
	now time.Time,
) bool {
	n, s := c.nodes[m.NodeId], c.stores[m.StoreId]
	if s == nil || lead == nil {
		return false
	}
	if state, _ := c.storeUp(s, now); state != stateUp && state != stateFull {
		return false
	}
	r := n.reports[g.rec.CopysetId]
	if r == nil || r.ReplicaId != m.ReplicaId || r.State != "" && r.State != stateOK {
		return false
	}
	if r.ReplicaId == lead.ReplicaId {
		return true
	}
	for _, p := range lead.Progress {
		if p.GetReplicaId() == m.ReplicaId {
			return p.Active && admin.CaughtUp(lead, p)
		}
	}
	return false
}

// health of a copyset: ok, degraded (serves, short of replicas) or unavailable (no leader).
func (c *cluster) health(g *copyset, now time.Time) string {
	lead := c.leading(g, now)
	if lead == nil {
		return healthUnavailable
	}
	for _, m := range g.rec.Replicas {
		if !c.replicaFull(g, m, lead, now) {
			return healthDegraded
		}
	}
	return stateOK
}

func (c *cluster) listCopysets(*v1.ListCopysetsRequest) (*v1.ListCopysetsResponse, error) {
	resp := &v1.ListCopysetsResponse{}
	c.inTurns(func(g *copyset, now time.Time) {
		resp.Copysets = append(resp.Copysets, c.copysetStatus(g, now))
	})
	return resp, nil
}

func (c *cluster) getCopyset(req *v1.GetCopysetRequest) (*v1.GetCopysetResponse, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	g, err := c.copysetOf(req.CopysetId)
	if err != nil {
		return nil, err
	}
	return &v1.GetCopysetResponse{Status: c.copysetStatus(g, c.cfg.Now())}, nil
}

func (c *cluster) copysetOf(id uint64) (*copyset, error) {
	g := c.copysets[id]
	if g == nil {
		return nil, admin.Errorf(admin.ErrNotFound, "control: copyset %d does not exist", id)
	}
	return g, nil
}

// copysetStatus shows a copyset with the last report of each replica whose node is up.
func (c *cluster) copysetStatus(g *copyset, now time.Time) *v1.CopysetStatus {
	status := &v1.CopysetStatus{Copyset: c.show(g.rec), Health: c.health(g, now)}
	if c.leading(g, now) == nil {
		status.Copyset.LeaderReplicaId = 0
	}
	for _, m := range admin.Members(g.rec) {
		if r := c.reportOf(g, m, now); r != nil {
			status.Replicas = append(status.Replicas, r)
		}
	}
	return status
}

func (c *cluster) lookupCopysets(req *v1.LookupCopysetsRequest) (
	*v1.LookupCopysetsResponse, error,
) {
	if len(req.CopysetIds) > maxLookup {
		return nil, admin.Errorf(admin.ErrInvalid, "control: copyset_ids has %d entries, at "+
			"most %d", len(req.CopysetIds), maxLookup)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	resp := &v1.LookupCopysetsResponse{}
	for _, id := range req.CopysetIds {
		g, err := c.copysetOf(id)
		if err != nil {
			return nil, err
		}
		resp.Copysets = append(resp.Copysets, c.show(g.rec))
	}
	return resp, nil
}
