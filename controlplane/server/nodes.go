package server

import (
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/ashlar-storage/ashlar/controlplane/meta"
	"github.com/ashlar-storage/ashlar/rpc/admin"
	v1 "github.com/ashlar-storage/ashlar/rpc/admin/kitex_gen/ashlar/v1"
)

// registerNode gives a node and its stores their ids, or finds them again: the node by its name,
// a store by its uuid.
func (c *cluster) registerNode(req *v1.RegisterNodeRequest) (*v1.RegisterNodeResponse, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.cfg.Now()
	if req.Zone == "" {
		req.Zone = req.Name
	}
	if err := c.checkRegistration(req, now); err != nil {
		return nil, err
	}
	rec := c.nodeRecord(req)
	known := c.reached(req.Stores)
	stores, topology, err := c.commitNode(rec, req.Stores)
	if err != nil {
		return nil, err
	}
	n := c.addNode(rec)
	for _, s := range stores {
		c.addStore(s)
	}
	c.markAbsent(n, "its node was started without it", func(id uint64) bool {
		return slices.ContainsFunc(req.Stores, func(s *v1.StoreIdentity) bool {
			return c.uuids[s.Uuid] == id
		})
	})
	if topology != 0 {
		c.raiseTopology(topology, rec.NodeId)
	}
	c.welcome(n, len(req.Stores), now)
	if err := c.ensureCopysets(now); err != nil {
		c.log.Warn("cannot create copysets", "error", err)
	}
	resp := &v1.RegisterNodeResponse{
		ClusterId: c.id, NodeId: rec.NodeId,
		HeartbeatIntervalMs: c.cfg.HeartbeatInterval.Milliseconds(),
	}
	for i, s := range req.Stores {
		resp.Stores = append(resp.Stores, &v1.StoreIdentity{
			Uuid: s.Uuid, Path: s.Path, CapacityBytes: s.CapacityBytes, StoreId: c.uuids[s.Uuid],
			LogEnd: known[i],
		})
	}
	return resp, nil
}

// nodeRecord is what is written down of a node that registers.
func (c *cluster) nodeRecord(req *v1.RegisterNodeRequest) *v1.Node {
	rec := &v1.Node{
		NodeId: c.nodeNames[req.Name], Name: req.Name, Zone: req.Zone, Addr: req.Addr,
		Pid: req.Pid, Version: clip(req.Version, maxTextBytes),
		AdminUrl: clip(req.AdminUrl, maxTextBytes), Features: req.Features, Level: req.Level,
		Incarnation: req.Incarnation,
	}
	if old := c.nodes[rec.NodeId]; old != nil {
		rec.Draining = old.rec.Draining
	}
	return rec
}

// welcome forgets what the node reported before: a process that has just started leads nothing and
// has reported nothing.
func (c *cluster) welcome(n *node, stores int, now time.Time) {
	n.heard, n.upSince, n.reports, n.transfers, n.claims = now, now, nil, nil, nil
	n.sums, n.sum, n.outside, n.raw, n.taken = nil, 0, nil, nil, 0
	n.process = n.rec.Incarnation
	c.touchNode(n)
	c.relocateNode(n)
	c.weighFeatures(now)
	rec := n.rec
	c.tell(newEvent(eventInfo, "node-started", aNode, rec.NodeId, rec.Name, "node %s (%s) was "+
		"started: stores %d, process %d, version %s", rec.Name, rec.Addr, stores, rec.Pid,
		rec.Version))
	c.log.Info("node registered", "node", rec.Name, "id", rec.NodeId, "zone", rec.Zone,
		"addr", rec.Addr, "pid", rec.Pid, "stores", stores)
}

func (c *cluster) checkRegistration(req *v1.RegisterNodeRequest, now time.Time) error {
	err := cmp.Or(checkName("node name", req.Name), checkName("zone", req.Zone),
		checkAddr("addr", req.Addr), c.checkLevel(req))
	if err != nil {
		return err
	}
	if req.ClusterId != "" && req.ClusterId != c.id {
		return admin.Errorf(admin.ErrForeign, "control: node %s belongs to cluster %.64s, "+
			"this is cluster %s", req.Name, req.ClusterId, c.id)
	}
	if len(req.Stores) == 0 || len(req.Stores) > maxStoresPerNode {
		return admin.Errorf(admin.ErrInvalid, "control: node %s has %d stores, want 1 to %d",
			req.Name, len(req.Stores), maxStoresPerNode)
	}
	known := c.nodes[c.nodeNames[req.Name]]
	if known == nil && len(c.nodes) >= maxNodes {
		return admin.Errorf(admin.ErrBusy, "control: %d nodes are registered, no more are taken",
			maxNodes)
	}
	if known != nil && known.rec.Zone != req.Zone && c.inUse(known) {
		return admin.Errorf(admin.ErrInvalid, "control: node %s is in zone %s and holds replicas "+
			"that were placed for it; it cannot move to zone %s", req.Name, known.rec.Zone,
			req.Zone)
	}
	shared, err := c.checkStores(req, known)
	if err != nil {
		return err
	}
	return c.checkName(req, known, shared, now)
}

// checkStores refuses stores that are not this node's to bring. shared says that at least one of
// them was this node's before.
func (c *cluster) checkStores(req *v1.RegisterNodeRequest, known *node) (shared bool, err error) {
	seen := map[string]bool{}
	for _, s := range req.Stores {
		if s == nil {
			return false, admin.Errorf(admin.ErrInvalid, "control: node %s: empty store", req.Name)
		}
		if err := checkUUID(s.Uuid); err != nil {
			return false, err
		}
		if seen[s.Uuid] {
			return false, admin.Errorf(admin.ErrInvalid, "control: node %s names store %s twice; "+
				"was a disk copied?", req.Name, s.Uuid)
		}
		seen[s.Uuid] = true
		id, have := c.uuids[s.Uuid]
		if !have && c.isForgotten(req, s) {
			continue
		}
		if s.StoreId != 0 && (!have || id != s.StoreId) {
			return false, admin.Errorf(admin.ErrForeign, "control: store %s (%s) has id %d of "+
				"another cluster; cluster %s does not know it", s.Uuid, clip(s.Path, maxTextBytes),
				s.StoreId, c.id)
		}
		if !have {
			continue
		}
		if owner := c.nodes[c.stores[id].rec.NodeId]; owner != known {
			return false, admin.Errorf(admin.ErrInvalid, "control: store %s belongs to node %s; "+
				"start it there", s.Uuid, owner.rec.Name)
		}
		shared = true
	}
	return shared, nil
}

// checkName keeps two processes from being one node. A process that brings a store of the node
// holds that store's lock, so the one before it is gone.
func (c *cluster) checkName(req *v1.RegisterNodeRequest, known *node, shared bool,
	now time.Time,
) error {
	if known == nil || shared || !c.up(known, now) || known.rec.Addr == req.Addr {
		return nil
	}
	return admin.Errorf(admin.ErrBusy, "control: node name %s is in use by %s (pid %d), heard "+
		"from %v ago; choose another name, or stop that node and try again", req.Name,
		known.rec.Addr, known.rec.Pid, now.Sub(known.heard).Round(time.Millisecond))
}

// commitNode writes the node and its stores, and those whose place others have taken, and returns
// the stores' records. topology is the new version where known addresses changed, else 0.
func (c *cluster) commitNode(rec *v1.Node, idents []*v1.StoreIdentity) (
	stores []*v1.Store, topology uint64, err error,
) {
	old := c.nodes[rec.NodeId]
	moved := old != nil && old.rec.Addr != rec.Addr
	err = c.update(func(tx meta.Tx) (err error) {
		stores, topology = nil, 0
		if old == nil {
			if rec.NodeId, err = meta.NextID(tx, meta.CounterNode); err != nil {
				return err
			}
		}
		if moved {
			if topology, err = meta.NextID(tx, meta.CounterTopology); err != nil {
				return err
			}
		}
		for _, ident := range idents {
			s, err := c.commitStore(tx, rec.NodeId, ident)
			if err != nil {
				return err
			}
			stores = append(stores, s)
		}
		gone := c.displaced(old, idents)
		for _, s := range gone {
			if err := meta.Stores.Put(tx, meta.ID(s.StoreId), s); err != nil {
				return err
			}
		}
		stores = append(stores, gone...)
		return meta.Nodes.Put(tx, meta.ID(rec.NodeId), rec)
	})
	return stores, topology, err
}

func (c *cluster) commitStore(tx meta.Tx, node uint64, ident *v1.StoreIdentity) (
	*v1.Store, error,
) {
	s := &v1.Store{
		StoreId: c.uuids[ident.Uuid], Uuid: ident.Uuid, NodeId: node,
		Path: clip(ident.Path, maxTextBytes), CapacityBytes: ident.CapacityBytes,
	}
	switch {
	case s.StoreId != 0:
	case ident.StoreId != 0: // given before a restore, see isForgotten
		s.StoreId = ident.StoreId
		if err := meta.Raise(tx, meta.CounterStore, s.StoreId); err != nil {
			return nil, err
		}
	default:
		id, err := meta.NextID(tx, meta.CounterStore)
		if err != nil {
			return nil, err
		}
		s.StoreId = id
	}
	if old := c.stores[s.StoreId]; old != nil {
		s.Draining = old.rec.Draining
	}
	c.carryMark(s, ident)
	return s, meta.Stores.Put(tx, meta.ID(s.StoreId), s)
}

// heartbeatNode takes a node's report and answers with what it should do. Of one that waited for so
// long that the node has given it up, as when a thousand nodes tell of everything after a takeover,
// only that the node lives is taken: it says it all again, and others wait behind it.
func (c *cluster) heartbeatNode(ctx context.Context, req *v1.HeartbeatNodeRequest) (
	*v1.HeartbeatNodeResponse, error,
) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.cfg.Now()
	if req.ClusterId != c.id {
		return nil, admin.Errorf(admin.ErrForeign, "control: heartbeat of node %d of cluster "+
			"%.64s, this is cluster %s", req.NodeId, req.ClusterId, c.id)
	}
	n := c.nodes[req.NodeId]
	if n == nil {
		return nil, admin.Errorf(admin.ErrNotFound, "control: node %d is not registered; register "+
			"first", req.NodeId)
	}
	if err := c.checkProcess(n, req.Incarnation); err != nil {
		return nil, err
	}
	if !c.up(n, now) {
		n.upSince = now
	}
	n.heard = now
	if ctx.Err() != nil {
		return nil, admin.Errorf(admin.ErrUnavailable, "control: node %s gave its heartbeat up "+
			"while it waited", n.rec.Name)
	}
	n.taken = req.DesiredVersion
	c.takeProgram(n, req, now)
	c.takeStores(n, req.Stores)
	c.noteNode(n, now)
	known := c.takeReplicas(n, req)
	c.hear(n)
	c.takeDeleted(n, req.DeletedVolumes)
	if c.mustWait(n, req, known, now) {
		return c.later(n), nil
	}
	return c.orders(n, req, known, now), nil
}

// checkProcess refuses a process that another has followed under the same name and with the same
// stores, as copies of a machine do. Two of them would vote twice. Of two the one that began later
// stays: where another has registered since, which a call does that was long under way, it
// registers again. A control plane that does not know who came last takes the first that it hears.
func (c *cluster) checkProcess(n *node, incarnation uint64) error {
	if n.process == 0 {
		n.process = incarnation
	}
	switch {
	case incarnation == 0 || n.process == incarnation:
		return nil
	case incarnation > n.process:
		return admin.Errorf(admin.ErrNotFound, "control: node %s: an older process of it "+
			"registered since; register again", n.rec.Name)
	}
	return admin.Errorf(admin.ErrForeign, "control: node %s was started after this process, with "+
		"the same stores, as process %d at %s; this one must end: was its machine or its disk "+
		"copied?", n.rec.Name, n.rec.Pid, n.rec.Addr)
}

// orders is what a node shall do that has just been heard. known says that all of its reports are.
func (c *cluster) orders(n *node, req *v1.HeartbeatNodeRequest, known bool,
	now time.Time,
) *v1.HeartbeatNodeResponse {
	version := req.DesiredVersion
	resp := &v1.HeartbeatNodeResponse{DesiredVersion: n.desired, Transfers: n.transfers}
	n.transfers = nil
	if version != n.desired {
		resp.DesiredPresent = true
		resp.Copysets, resp.Nodes = c.desiredState(n)
	}
	resp.DeleteVolumes = c.deletionsFor(n)
	if req.WantsErased {
		resp.ErasedVolumes = c.erasedFor(n)
	}
	if len(c.tally.stale) <= 2*maxTouched { // else so many tell of all that a tick judges
		c.judgeStale(now)
	}
	resp.Rouse = c.leaderless(n, now)
	resp.Retire = c.retired(n, now)
	resp.TakesPartial = n.rec.Features&admin.FeaturePartial != 0 && known && version == n.desired
	resp.WantVolumes = c.lacksVolumes(n, now)
	c.surveyFor(n, now, resp)
	resp.ScrubWindows, resp.ScrubZone = c.windows.Text(), c.windows.Zone()
	return resp
}

// markAbsent forgets what was reported of a node's stores and notes those that are not there.
func (c *cluster) markAbsent(n *node, why string, present func(id uint64) bool) {
	for id := range n.stores {
		s := c.stores[id]
		switch {
		case !present(id):
			s.report = &v1.StoreReport{StoreId: id, State: stateOffline, Detail: why}
		case s.report.GetState() == stateOffline:
			s.report = nil
		}
	}
}

// takeStores takes the report of all stores of a node. One without any says nothing about them.
func (c *cluster) takeStores(n *node, reports []*v1.StoreReport) {
	if len(reports) == 0 {
		return
	}
	c.markAbsent(n, "its node does not report it", func(id uint64) bool {
		return slices.ContainsFunc(reports, func(r *v1.StoreReport) bool {
			return r.GetStoreId() == id
		})
	})
	for _, r := range reports {
		s := c.stores[r.GetStoreId()]
		if s == nil || s.rec.NodeId != n.rec.NodeId {
			continue
		}
		r.State, r.Detail = clip(r.State, maxNameBytes), clip(r.Detail, maxTextBytes)
		clipScrub(r.Scrub)
		clipWaiting(r.Waiting)
		if s.takeSpace(r.Space, c.cfg.Now()) {
			s.left = c.leftOn(s)
		}
		if s.report.GetState() != r.State && r.State == stateFailed {
			c.log.Warn("store failed", "node", n.rec.Name, "store", r.StoreId, "detail", r.Detail)
		}
		s.report = r
		c.takeMark(s, r)
		if r.CapacityBytes != 0 && r.CapacityBytes != s.rec.CapacityBytes {
			rec := *s.rec
			rec.CapacityBytes = r.CapacityBytes
			s.rec, s.dirty = &rec, true
		}
	}
}

// clipScrub bounds what a store says of its scrubber.
func clipScrub(s *v1.Scrub) {
	if s == nil {
		return
	}
	s.Findings = s.Findings[:min(len(s.Findings), maxFindings)]
	for i := range s.Findings {
		s.Findings[i] = clip(s.Findings[i], maxTextBytes)
	}
}

// clipWaiting bounds what a store says of a request that waits.
func clipWaiting(w *v1.Waiting) {
	if w != nil {
		w.Op, w.Stage = clip(w.Op, maxNameBytes), clip(w.Stage, maxNameBytes)
		w.Late = clip(w.Late, maxTextBytes)
	}
}

// takeReplicas takes the reports of a node's replicas: all, or those that changed since the last
// heartbeat. known says that what is known of all of them is what the node has told. A report that
// is refused is heard again when the node has taken over another desired state, since heartbeats
// are full until then.
func (c *cluster) takeReplicas(n *node, req *v1.HeartbeatNodeRequest) (known bool) {
	if !req.Partial {
		for id := range n.reports {
			c.touch(c.copysets[id])
		}
		n.reports, n.sum = make(map[uint64]*v1.ReplicaReport, len(req.Replicas)), 0
		n.sums = make(map[uint64]uint64, len(req.Replicas))
		n.outside = map[uint64]*v1.ReplicaReport{}
	}
	if n.sums == nil { // what it tells of is beside something that was never heard
		return false
	}
	c.keepRaw(n, req)
	for _, id := range req.Gone {
		n.sum -= n.sums[id]
		delete(n.sums, id)
		delete(n.reports, id)
		delete(n.outside, id)
		c.touch(c.copysets[id])
	}
	for _, r := range req.Replicas {
		if r == nil {
			continue
		}
		sum := admin.ReportSum(r)
		n.sum += sum - n.sums[r.CopysetId]
		n.sums[r.CopysetId] = sum
		c.takeReplica(n, r)
	}
	return req.ReplicaSum != 0 && n.sum == req.ReplicaSum &&
		uint64(len(n.sums)) == req.ReplicaCount
}

func (c *cluster) takeReplica(n *node, r *v1.ReplicaReport) {
	g := c.copysets[r.CopysetId]
	c.touch(g)
	if g == nil || !member(g.rec, r.ReplicaId, n.rec.NodeId) {
		if was := n.reports[r.CopysetId]; was != nil && was.ReplicaId == r.ReplicaId {
			delete(n.reports, r.CopysetId)
		}
		if g != nil {
			n.outside[r.CopysetId] = r
		}
		return
	}
	if n.outside[r.CopysetId].GetReplicaId() == r.ReplicaId {
		delete(n.outside, r.CopysetId)
	}
	r.State, r.Detail = clip(r.State, maxNameBytes), clip(r.Detail, maxTextBytes)
	c.takeRecorded(g, r)
	if two := n.reports[r.CopysetId]; two == nil || two.ReplicaId <= r.ReplicaId {
		n.reports[r.CopysetId] = r // the older one is on a store that is lost
	}
	leader := r.LeaderReplicaId
	if r.Leader {
		leader = r.ReplicaId
	}
	c.takeLeader(g, leader, r.Term)
}

// takeLeader believes the newest term. Raft elects at most one leader in a term, so within one
// there is nothing to choose.
func (c *cluster) takeLeader(g *copyset, leader, term uint64) {
	if leader == 0 || !member(g.rec, leader, 0) {
		return
	}
	if term < g.rec.LeaderTerm || term == g.rec.LeaderTerm && g.rec.LeaderReplicaId != 0 {
		return
	}
	rec := *g.rec
	if rec.LeaderReplicaId != 0 && rec.LeaderReplicaId != leader {
		c.leaderMoves++
	}
	rec.LeaderReplicaId, rec.LeaderTerm = leader, term
	g.rec = &rec
	c.writeLater(g)
}

// member says whether the copyset has the replica on the node; 0 stands for any.
func member(rec *v1.Copyset, replica, node uint64) bool {
	return slices.ContainsFunc(admin.Members(rec), func(m *v1.Replica) bool {
		return (replica == 0 || m.ReplicaId == replica) && (node == 0 || m.NodeId == node)
	})
}

// desiredState is everything that node n should run, and whom it needs to know for that.
func (c *cluster) desiredState(n *node) ([]*v1.Copyset, []*v1.Node) {
	var copysets []*v1.Copyset
	peers := map[uint64]bool{n.rec.NodeId: true}
	for _, g := range c.of(n.rec.NodeId) {
		if c.isUnsettled(g.rec.CopysetId) {
			continue
		}
		shown := c.show(g.rec)
		shown.LeaderReplicaId, shown.LeaderTerm = 0, 0
		copysets = append(copysets, shown)
		for _, m := range g.members {
			peers[m.NodeId] = true
		}
	}
	var nodes []*v1.Node
	for _, id := range sortedIDs(peers) {
		if p := c.nodes[id]; p != nil {
			nodes = append(nodes, &v1.Node{NodeId: id, Name: p.rec.Name, Zone: p.rec.Zone,
				Addr: p.rec.Addr})
		}
	}
	return copysets, nodes
}

// show returns a copy of a copyset with the addresses its replicas have now.
func (c *cluster) show(rec *v1.Copyset) *v1.Copyset {
	shown := *rec
	at := func(m *v1.Replica) *v1.Replica {
		r := *m
		if n := c.nodes[m.NodeId]; n != nil {
			r.Addr = n.rec.Addr
		}
		return &r
	}
	shown.Replicas = make([]*v1.Replica, len(rec.Replicas))
	for i, m := range rec.Replicas {
		shown.Replicas[i] = at(m)
	}
	if rec.Joining != nil {
		shown.Joining = at(rec.Joining)
	}
	return &shown
}

// raiseTopology marks the desired state of a node and of all that share a copyset with it as
// changed at the version.
func (c *cluster) raiseTopology(version, changed uint64) {
	c.topology = version
	for _, g := range c.of(changed) {
		for _, m := range g.members {
			if n := c.nodes[m.NodeId]; n != nil {
				n.desired = version
			}
		}
	}
	if n := c.nodes[changed]; n != nil {
		n.desired = version
	}
}

func (c *cluster) listNodes(*v1.ListNodesRequest) (*v1.ListNodesResponse, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.cfg.Now()
	resp := &v1.ListNodesResponse{}
	for _, id := range sortedIDs(c.nodes) {
		resp.Nodes = append(resp.Nodes, c.showNode(c.nodes[id], now))
	}
	return resp, nil
}
