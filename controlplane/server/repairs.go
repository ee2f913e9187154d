package server

import (
	"fmt"
	"slices"
	"time"

	"github.com/ashlar-storage/ashlar/controlplane/meta"
	"github.com/ashlar-storage/ashlar/controlplane/schedule"
	"github.com/ashlar-storage/ashlar/rpc/admin"
	v1 "github.com/ashlar-storage/ashlar/rpc/admin/kitex_gen/ashlar/v1"
)

// A replacement goes like this. A store reports a replica as damaged, or is lost, or has too many
// of them, or shall have none. The scheduler wants a new member in its place, there or on another
// store; its number and the plan are written down, and every node concerned hears of
// them with its next heartbeat. The copyset's leader changes the membership, step by step, and
// reports it; when the new member votes and the old one does not, the plan has become the truth.
// Nothing of this is on the path of a read or a write, and each step may be repeated.

// stateDamaged is what a node reports of a replica that its store has lost.
const stateDamaged = "damaged"

// reportOf is the last report of a member, if its node is up and runs, or lost, just that one.
func (c *cluster) reportOf(g *copyset, m *v1.Replica, now time.Time) *v1.ReplicaReport {
	n := c.nodes[m.NodeId]
	if !c.up(n, now) {
		return nil
	}
	if r := n.reports[g.rec.CopysetId]; r != nil && r.ReplicaId == m.ReplicaId {
		return r
	}
	return nil
}

// damaged says whether a member's store has lost it. While a newcomer has its place there, its
// store speaks of that one.
func (c *cluster) damaged(g *copyset, m *v1.Replica, now time.Time) bool {
	why := whyOf(g.rec)
	leaves := m.ReplicaId == g.rec.LeavingReplicaId
	if leaves && (why == schedule.ReplaceReplica || why == schedule.RecoverReplica) ||
		c.isReplaced(m.StoreId) {
		return true
	}
	return c.reportOf(g, m, now).GetState() == stateDamaged
}

func (c *cluster) beginReplacement(g *copyset, op schedule.Operator, now time.Time) error {
	rec := *g.rec
	rec.Epoch++
	rec.LeavingReplicaId = op.From
	rec.ChangeKind, rec.ChangeReason = string(op.Kind), op.Reason
	rec.ChangeBeganUnixNs = now.UnixNano()
	return c.changeMembers([]*v1.Copyset{&rec}, func(tx meta.Tx) error {
		id, err := meta.NextID(tx, meta.CounterReplica)
		rec.Joining = &v1.Replica{ReplicaId: id, StoreId: op.Store,
			NodeId: c.stores[op.Store].rec.NodeId}
		return err
	})
}

// finishReplacements takes over the memberships that leaders report as changed, maxFinish in one
// transaction; the rest follows.
func (c *cluster) finishReplacements(now time.Time) error {
	var recs []*v1.Copyset
	for _, g := range c.under() {
		if len(recs) < maxFinish && replaced(g.rec, c.leading(g, now)) {
			recs = append(recs, finished(g.rec))
		}
	}
	if len(recs) == 0 {
		return nil
	}
	was := make([]*v1.Copyset, 0, len(recs))
	for _, rec := range recs {
		was = append(was, c.copysets[rec.CopysetId].rec)
	}
	if err := c.changeMembers(recs, nil); err != nil {
		return err
	}
	for _, old := range was {
		id, joined, left := old.CopysetId, old.Joining.ReplicaId, old.LeavingReplicaId
		c.tell(newEvent(eventInfo, "replacement-done", aCopyset, id, "", "copyset %d: replica %d "+
			"took the place of replica %d%s", id, joined, left, tooLate(old)))
		c.log.Info("replica replaced", "copyset", id, "old", left, "new", joined)
	}
	return nil
}

// finished is the record of a copyset whose new member has the old one's place.
func finished(old *v1.Copyset) *v1.Copyset {
	rec := *old
	rec.Epoch++
	rec.Replicas = slices.Clone(rec.Replicas)
	for i, m := range rec.Replicas {
		if m.ReplicaId == old.LeavingReplicaId {
			rec.Replicas[i] = old.Joining
		}
	}
	if rec.PreferredLeaderReplicaId == old.LeavingReplicaId {
		rec.PreferredLeaderReplicaId = old.Joining.ReplicaId
	}
	rec.Joining, rec.LeavingReplicaId, rec.GivenUpHeard = nil, 0, false
	rec.ChangeKind, rec.ChangeReason, rec.ChangeBeganUnixNs = "", "", 0
	return &rec
}

// replaced says whether the leader's membership has the new member as a voter, and the old one not
// any more.
func replaced(rec *v1.Copyset, lead *v1.ReplicaReport) bool {
	return lead != nil && !lead.Joint &&
		slices.Contains(lead.Voters, rec.Joining.ReplicaId) &&
		!slices.Contains(lead.Voters, rec.LeavingReplicaId)
}

// changeMembers writes changed copysets as one and tells the nodes of all that are or were members.
func (c *cluster) changeMembers(recs []*v1.Copyset, prepare func(meta.Tx) error) error {
	var topology uint64
	err := c.update(func(tx meta.Tx) (err error) {
		if prepare != nil {
			if err := prepare(tx); err != nil {
				return err
			}
		}
		for _, rec := range recs {
			if err := meta.Copysets.Put(tx, meta.ID(rec.CopysetId), rec); err != nil {
				return err
			}
		}
		topology, err = meta.NextID(tx, meta.CounterTopology)
		return err
	})
	if err != nil {
		return err
	}
	c.topology = topology
	for _, rec := range recs {
		g := c.copysets[rec.CopysetId]
		concerned := append(admin.Members(g.rec), admin.Members(rec)...)
		g.rec, g.version, g.dirty = rec, topology, false
		c.noteGivenUp(rec)
		c.relate(g)
		for _, m := range concerned {
			if n := c.nodes[m.NodeId]; n != nil {
				n.desired = topology
			}
		}
	}
	return nil
}

// takeRecorded remembers that a member exists on its store: a store that has no trace of it any
// more has lost it.
func (c *cluster) takeRecorded(g *copyset, r *v1.ReplicaReport) {
	isNews := func(m *v1.Replica) bool { return m.ReplicaId == r.ReplicaId && !m.Recorded }
	if !r.Recorded || r.State == stateDamaged ||
		!slices.ContainsFunc(admin.Members(g.rec), isNews) {
		return
	}
	mark := func(m *v1.Replica) *v1.Replica {
		known := *m
		known.Recorded = known.Recorded || isNews(m)
		return &known
	}
	rec := *g.rec
	rec.Replicas = slices.Clone(rec.Replicas)
	for i, m := range rec.Replicas {
		rec.Replicas[i] = mark(m)
	}
	if rec.Joining != nil {
		rec.Joining = mark(rec.Joining)
	}
	g.rec = &rec
	c.writeLater(g)
}

// replicaProblems says which replicas are lost and what is done about it.
func (c *cluster) replicaProblems(now time.Time) []string {
	var problems []string
	for _, id := range sortedIDs(c.tally.harmed) {
		g := c.copysets[id]
		for _, m := range g.rec.Replicas {
			if c.damaged(g, m, now) {
				problems = append(problems, c.describeLost(g, m, now))
			}
		}
	}
	return problems
}

func (c *cluster) describeLost(g *copyset, m *v1.Replica, now time.Time) string {
	at := fmt.Sprintf("copyset %d: replica %d on store %d", g.rec.CopysetId, m.ReplicaId, m.StoreId)
	if s, n := c.stores[m.StoreId], c.nodes[m.NodeId]; s != nil && n != nil {
		at += fmt.Sprintf(" (%s on node %s)", s.rec.Path, n.rec.Name)
	}
	if isGivenUp(g.rec) && m.ReplicaId == g.rec.LeavingReplicaId {
		return at + " is damaged or lost, and making it anew was cancelled"
	}
	if j := g.rec.Joining; j != nil && m.ReplicaId == g.rec.LeavingReplicaId {
		what := "was damaged and is being rebuilt"
		if whyOf(g.rec) == schedule.RecoverReplica {
			what = fmt.Sprintf("is lost and is being rebuilt on store %d", j.StoreId)
		}
		return fmt.Sprintf("%s %s as replica %d", at, what, j.ReplicaId)
	}
	text := at + " is damaged"
	if c.isReplaced(m.StoreId) {
		text += ": the store was replaced by an empty one"
	}
	if detail := c.reportOf(g, m, now).GetDetail(); detail != "" {
		text += ": " + detail
	}
	good := 0
	if lead := c.leading(g, now); lead != nil {
		for _, other := range g.rec.Replicas {
			if c.replicaFull(g, other, lead, now) {
				good++
			}
		}
	}
	if good <= len(g.rec.Replicas)/2 {
		text += "; it cannot be rebuilt until a majority of the others is up and caught up"
	}
	return text
}
