package node

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	"github.com/ashlar-storage/ashlar/dataplane/copyset"
	"github.com/ashlar-storage/ashlar/dataplane/store"
	"github.com/ashlar-storage/ashlar/rpc/admin"
	v1 "github.com/ashlar-storage/ashlar/rpc/admin/kitex_gen/ashlar/v1"
)

const (
	// heartbeatDefault is the pace until the control plane names one.
	heartbeatDefault = time.Second
	// heartbeatGather is how soon a change of leader is reported.
	heartbeatGather = 50 * time.Millisecond
	// registerPause is how long a node waits for a control plane that does not answer.
	registerPause = 500 * time.Millisecond
)

// heartbeats registers with the control plane and reports until ctx ends. A control plane that is
// away is waited for; one that refuses this node's identity ends it.
func (n *Node) heartbeats(ctx context.Context) error {
	interval := heartbeatDefault
	registered := false
	for ctx.Err() == nil {
		var err error
		if !registered {
			interval, err = n.register(ctx)
			registered = err == nil
		} else {
			err = n.beat(ctx)
		}
		switch {
		case err == nil:
		case errors.Is(err, admin.ErrInvalid) || errors.Is(err, admin.ErrForeign) ||
			errors.Is(err, ErrForeign):
			return fmt.Errorf("node: %w", err)
		case errors.Is(err, admin.ErrNotFound):
			registered = false // the control plane does not know this node: register anew
		case ctx.Err() == nil:
			n.log.Warn("control plane does not answer; serving goes on", "err", err)
		}
		pause := interval
		if !registered {
			pause = registerPause
		}
		n.wait(ctx, pause)
	}
	return nil
}

// wait sleeps for a heartbeat interval, or less when a leader changed: then it waits a moment for
// the others that change with it.
func (n *Node) wait(ctx context.Context, d time.Duration) {
	if !n.adopted.Load() {
		d = min(d, heartbeatGather)
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	case <-n.news:
		timer.Reset(heartbeatGather)
		select {
		case <-ctx.Done():
		case <-timer.C:
		}
	}
}

func (n *Node) register(ctx context.Context) (time.Duration, error) {
	req := &v1.RegisterNodeRequest{Name: n.cfg.Name, Zone: n.cfg.Zone, Addr: n.addr,
		Pid: uint64(os.Getpid()), Version: n.cfg.Version, ClusterId: n.clusterID,
		AdminUrl: n.adminURL(), Features: admin.Features, Level: admin.Level,
		OldestLevel: admin.OldestControlLevel, Incarnation: n.process}
	for _, s := range n.stores {
		mark := s.LogMark()
		req.Stores = append(req.Stores, &v1.StoreIdentity{Uuid: s.UUID(), Path: s.Path(),
			StoreId: s.ID(), CapacityBytes: uint64(s.Report().Capacity), Life: mark.Life,
			LogEnd: mark.Opened})
	}
	resp, err := n.clients.Node.RegisterNode(ctx, req)
	if err != nil {
		return heartbeatDefault, err
	}
	for _, id := range resp.Stores {
		if err := n.named(resp.ClusterId, id); err != nil {
			return heartbeatDefault, err
		}
	}
	n.mu.Lock()
	n.clusterID, n.nodeID = resp.ClusterId, resp.NodeId
	n.mu.Unlock()
	n.log.Info("registered", "cluster", resp.ClusterId, "node", resp.NodeId)
	return max(time.Duration(resp.HeartbeatIntervalMs)*time.Millisecond, heartbeatGather), nil
}

// named takes over a store's number, and how far its log went by all that was heard of it.
func (n *Node) named(cluster string, id *v1.StoreIdentity) error {
	for _, s := range n.stores {
		if s.UUID() != id.Uuid {
			continue
		}
		if err := s.Adopt(cluster, id.StoreId); err != nil {
			return err
		}
		if id.LogEnd == 0 {
			s.Proven()
		} else if err := s.Regressed(id.LogEnd); err != nil {
			return err
		}
	}
	return nil
}

// beat reports, and does what the answer says; twice where the control plane knows nothing of what
// others were told.
func (n *Node) beat(ctx context.Context) error {
	again, err := n.tell(ctx)
	if err == nil && again {
		_, err = n.tell(ctx)
	}
	return err
}

func (n *Node) tell(ctx context.Context) (again bool, err error) {
	req := n.report()
	n.told.Reduce(req)
	resp, err := n.clients.Node.HeartbeatNode(ctx, req)
	if err != nil {
		n.volumes.lost()
		n.told.Lost()
		return false, err
	}
	n.answered.Store(time.Now().UnixNano())
	again = n.told.Answered(resp)
	n.volumes.wanted = resp.WantVolumes
	if resp.DesiredPresent {
		n.adopt(resp)
	}
	for _, t := range resp.Transfers {
		if s := n.home(t.CopysetId); s != nil {
			s.Transfer(t.CopysetId, t.ToReplicaId)
		}
	}
	for _, id := range resp.Rouse {
		if s := n.home(id); s != nil {
			s.Rouse(id)
		}
	}
	n.deleteVolumes(resp.DeleteVolumes)
	n.erased(resp.ErasedVolumes)
	n.retire(resp.Retire)
	n.survey(ctx, resp)
	n.scrubWhen(resp.ScrubWindows, resp.ScrubZone)
	return again, nil
}

// scrubWhen tells the stores when they are scrubbed. What cannot be read is of a newer release, and
// holds for nobody here.
func (n *Node) scrubWhen(windows, zone string) {
	told := windows + "\n" + zone
	if told == n.scrubTold {
		return
	}
	n.scrubTold = told
	for _, s := range n.stores {
		if err := s.SetScrubWindows(windows, zone); err != nil {
			n.log.Warn("scrub windows are not taken", "err", err)
		}
	}
}

// retire destroys replicas that are no members of their copysets any more.
func (n *Node) retire(replicas []*v1.RetireReplica) {
	for _, r := range replicas {
		for _, s := range n.stores {
			if err := s.Retire(r.CopysetId, r.ReplicaId); err != nil {
				n.log.Warn("cannot destroy a replica that is no member any more", "copyset",
					r.CopysetId, "replica", r.ReplicaId, "store", s.Path(), "err", err)
			}
		}
	}
	if len(replicas) > 0 {
		n.reroute()
	}
}

func (n *Node) deleteVolumes(volumes []uint64) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.deleted = n.deleted[:0]
	for _, v := range volumes {
		gone := true
		for _, s := range n.stores {
			gone = s.DeleteVolume(v) && gone
		}
		if gone {
			n.deleted = append(n.deleted, v)
		}
	}
}

// erased tells the stores of volumes of which nothing is left.
func (n *Node) erased(told []*v1.VolumeRun) {
	var volumes []copyset.Volumes
	for _, r := range told {
		volumes = append(volumes, copyset.Volumes{First: r.First, Last: r.Last})
	}
	for _, s := range n.stores {
		s.Erased(volumes)
	}
}

// adopt makes the copysets that the control plane wants here. What fails is tried again with the
// next heartbeat, because the version is not taken over.
func (n *Node) adopt(resp *v1.HeartbeatNodeResponse) {
	failed := false
	for _, c := range resp.Copysets {
		if err := n.ensure(c); err != nil {
			n.log.Error("copyset is not served", "copyset", c.CopysetId, "err", err)
			failed = true
		}
	}
	if !n.reroute() {
		n.log.Warn("an owner does not say what it has: its copysets are asked for again")
		failed = true
	}
	n.adopted.Store(true)
	if !failed {
		n.mu.Lock()
		n.desired = resp.DesiredVersion
		n.mu.Unlock()
	}
}

// ensure makes, or instructs, the replica of a copyset that belongs here. The one that shall join
// comes before the one it replaces on the same store.
func (n *Node) ensure(c *v1.Copyset) error {
	var peers []copyset.Peer
	var mine *v1.Replica
	var home *store.Store
	absent := false
	for _, r := range admin.Members(c) {
		peers = append(peers, copyset.Peer{ReplicaID: r.ReplicaId, NodeID: r.NodeId,
			StoreID: r.StoreId, Addr: r.Addr})
		absent = absent || r.NodeId == n.nodeID
		for _, s := range n.stores {
			if r.NodeId == n.nodeID && s.ID() == r.StoreId {
				mine, home = r, s
			}
		}
	}
	switch {
	case mine != nil:
	case absent: // its store is not here, as the control plane knows
		return nil
	default:
		return fmt.Errorf("node: no store here is a member of copyset %d", c.CopysetId)
	}
	st := copyset.NewState(c.CopysetId, c.Epoch, mine.ReplicaId, peers)
	st.Conf.Voters = founders(c)
	err := home.Assign(store.Assignment{State: st, Existed: mine.Recorded,
		Lead:   c.PreferredLeaderReplicaId == mine.ReplicaId && c.Joining == nil,
		Change: changeOf(c)})
	if errors.Is(err, store.ErrFailed) {
		return nil // the store is reported as failed, until the node starts again
	}
	if errors.Is(err, copyset.ErrDamaged) {
		n.log.Warn("copyset is not served: its replica here is lost, and is reported",
			"copyset", c.CopysetId, "replica", mine.ReplicaId, "err", err)
		return nil // to try again would change nothing
	}
	return err
}

// changeOf is the change of members that the control plane wants.
func changeOf(c *v1.Copyset) copyset.Change {
	return copyset.Change{Joining: c.GetJoining().GetReplicaId(), Leaving: c.LeavingReplicaId,
		GivenUp: c.GivenUpReplicaId, Confirm: c.GivenUpHeard}
}

// founders are the members with which the copyset began: what its log builds on.
func founders(c *v1.Copyset) []uint64 {
	if len(c.FoundingReplicaIds) > 0 {
		return slices.Clone(c.FoundingReplicaIds)
	}
	var ids []uint64
	for _, r := range c.Replicas {
		ids = append(ids, r.ReplicaId)
	}
	return ids
}

func (n *Node) report() *v1.HeartbeatNodeRequest {
	n.mu.Lock()
	req := &v1.HeartbeatNodeRequest{ClusterId: n.clusterID, NodeId: n.nodeID,
		DesiredVersion: n.desired, DeletedVolumes: slices.Clone(n.deleted),
		Features: admin.Features, Level: admin.Level, Version: n.cfg.Version,
		Incarnation: n.process}
	n.mu.Unlock()
	now := time.Now()
	n.volumes.begin(now)
	for i, s := range n.stores {
		rep, mark := s.Report(), s.LogMark()
		writes, took := s.LogWrites()
		out := &v1.StoreReport{StoreId: s.ID(), CapacityBytes: uint64(max(rep.Capacity, 0)),
			UsedBytes: uint64(rep.Used), Chunks: uint64(rep.Chunks), State: string(rep.State),
			CorruptBlocks: rep.CorruptBlocks, RepairedBlocks: rep.Repaired,
			Life: mark.Life, LogEnd: mark.End,
			LogWriteNs: uint64(n.paces[i].note(now, writes, took)),
			LogBytes:   uint64(max(rep.LogBytes, 0)), Scrub: scrubReport(s.ScrubReport()),
			Waiting: waitingReport(&rep), Space: n.volumes.spaceReport(s, &rep.Space, now)}
		if rep.Why != nil {
			out.Detail = rep.Why.Error()
		}
		was := &n.rested[i]
		was.refresh(s)
		out.ReadOps, out.WriteOps = was.reads, was.writes
		req.WantsErased = req.WantsErased || was.many
		req.Replicas = append(req.Replicas, was.replicas...)
		req.Stores = append(req.Stores, out)
	}
	return req
}

// rested is what was last reported of a store's replicas, which still holds while they rest. The
// reports are shared by requests and never changed.
type rested struct {
	rest          uint64 // store.Rest
	replicas      []*v1.ReplicaReport
	reads, writes uint64
	many          bool // a copyset led here should know of erased volumes
}

func (r *rested) refresh(s *store.Store) {
	if rest := s.Rest(); rest != 0 && rest == r.rest {
		return
	}
	list, rest := s.ReplicasAtRest()
	*r = rested{rest: rest}
	for _, st := range list {
		r.reads += st.Counters.Reads
		r.writes += st.Counters.Writes
		r.many = r.many || st.ManyVolumes && st.Serving
		r.replicas = append(r.replicas, replicaReport(s, &st))
	}
}

// waitingReport has the node's own words for what has waited too long, so that all say the same.
func waitingReport(r *store.Report) *v1.Waiting {
	out := &v1.Waiting{AgeNs: uint64(r.Waiting.Age), CopysetId: r.Waiting.Copyset,
		Op: r.Waiting.Op, Stage: r.Waiting.Stage, DeviceNs: uint64(max(r.Waiting.Device, 0))}
	if r.Late != nil {
		out.Late = r.Waiting.String()
	}
	return out
}

func scrubReport(r store.Scrub) *v1.Scrub {
	out := &v1.Scrub{On: r.On, Cycle: r.Cycle, Percent: uint64(r.Percent),
		StartedUnixNs: r.Started.UnixNano(), CheckedBlocks: r.Checked, BadBlocks: r.Bad,
		RepairedBlocks: r.Repaired, UnrepairedBlocks: uint64(r.Unrepaired),
		SkippedBlocks: r.Skipped, CycleBadBlocks: r.CycleBad, BadMetadata: r.BadMeta,
		RepairedMetadata: r.RepairedMeta, ComparedBlocks: r.Compared,
		DivergedBlocks: uint64(r.Diverged), Findings: r.Findings}
	out.Waits = r.Waits
	if !r.Opens.IsZero() {
		out.OpensUnixNs = r.Opens.UnixNano()
	}
	if !r.Finished.IsZero() {
		out.FinishedUnixNs = r.Finished.UnixNano()
	}
	return out
}

func replicaReport(s *store.Store, r *copyset.Status) *v1.ReplicaReport {
	out := &v1.ReplicaReport{CopysetId: r.Copyset, ReplicaId: r.Replica, StoreId: s.ID(),
		Leader: r.Serving, LeaderReplicaId: r.Leader, Term: r.Term, CommitIndex: r.Commit,
		AppliedIndex: r.Applied, State: "ok", Voters: r.Voters, Learners: r.Learners,
		Joint: r.Joint, Recorded: r.Recorded, GivenUpReplicaId: r.GaveUp}
	switch {
	case r.Err != nil:
		out.State, out.Detail = "damaged", r.Err.Error()
	case r.Restoring:
		out.State = "catching-up"
	}
	for _, p := range r.Progress {
		out.Progress = append(out.Progress, &v1.PeerProgress{ReplicaId: p.Replica,
			MatchIndex: p.Match, Active: p.Active})
	}
	return out
}
