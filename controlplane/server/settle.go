package server

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/ashlar-storage/ashlar/controlplane/meta"
	"github.com/ashlar-storage/ashlar/rpc/admin"
	v1 "github.com/ashlar-storage/ashlar/rpc/admin/kitex_gen/ashlar/v1"
)

// After a restore of older metadata the record of a copyset is not the truth any more, and the
// copyset itself is: its membership is in its log. So no record counts until the copyset's leader
// has confirmed it: nobody is told of it, nothing of it is changed, and no replica of it is made or
// destroyed. The replicas run meanwhile as they did. A leader's membership takes the record's
// place, with an epoch above the floor, which no record from before can have; who the members are
// that the record does not know, the nodes say that have them. A copyset that the metadata do not
// know at all is taken up in the same way.
//
// A plan of the backup's time is dropped: if it is wanted still, the scheduler wants it again, with
// a number that nobody ever had.

// claim is what a node said of a replica that it has.
type claim struct {
	node   uint64
	report *v1.ReplicaReport
}

// isUnsettled says whether the leader of a copyset has yet to confirm what the metadata say of it.
func (c *cluster) isUnsettled(id uint64) bool {
	g := c.copysets[id]
	return c.restored != nil && (g == nil || g.doubt || g.rec.Epoch < c.restored.Floor)
}

// anyUnsettled says whether leaders have yet to confirm copysets, known ones or others.
func (c *cluster) anyUnsettled() bool {
	return len(c.unsettled) > 0 || slices.ContainsFunc(c.order, c.isUnsettled)
}

// keepRaw keeps what a node says of each replica, also of those that the metadata do not know: a
// partial heartbeat does not say it again.
func (c *cluster) keepRaw(n *node, req *v1.HeartbeatNodeRequest) {
	if c.restored == nil {
		return
	}
	if !req.Partial {
		n.raw = make(map[uint64][]*v1.ReplicaReport, len(req.Replicas))
	}
	for _, id := range req.Gone {
		delete(n.raw, id)
	}
	for _, r := range req.Replicas {
		switch {
		case r == nil:
		case req.Partial:
			n.raw[r.CopysetId] = []*v1.ReplicaReport{r}
		default:
			n.raw[r.CopysetId] = append(n.raw[r.CopysetId], r)
		}
	}
}

// hear takes what a node says of copysets that are not settled. In a settled one a voter with a
// number of before the restore that the record does not have is a change that was under way.
func (c *cluster) hear(n *node) {
	n.claims = nil
	for _, id := range sortedIDs(n.raw) {
		c.hearOf(n, n.raw[id])
	}
}

func (c *cluster) hearOf(n *node, reports []*v1.ReplicaReport) {
	for _, r := range reports {
		if r.CopysetId == 0 || r.ReplicaId == 0 || r.CopysetId > c.restored.Floor {
			continue
		}
		if g := c.copysets[r.CopysetId]; g != nil && r.Leader && !g.doubt &&
			r.Term >= g.rec.LeaderTerm && slices.ContainsFunc(r.Voters, func(id uint64) bool {
			return id <= c.restored.Floor && !member(g.rec, id, 0)
		}) {
			g.doubt = true
			c.members.unsure[r.CopysetId] = true
			c.touch(g)
		}
		if c.isUnsettled(r.CopysetId) && len(n.claims) < maxCopysets {
			r.State, r.Detail = clip(r.State, maxNameBytes), clip(r.Detail, maxTextBytes)
			if n.claims == nil {
				n.claims = map[uint64][]*v1.ReplicaReport{}
			}
			n.claims[r.CopysetId] = append(n.claims[r.CopysetId], r)
		}
	}
}

// claims are what the nodes that are up say of each copyset that is not settled.
func (c *cluster) claims(now time.Time) map[uint64][]claim {
	said := map[uint64][]claim{}
	for _, id := range sortedIDs(c.nodes) {
		n := c.nodes[id]
		if !c.up(n, now) {
			continue
		}
		for copyset, reports := range n.claims {
			for _, r := range reports {
				if s := c.stores[r.StoreId]; s != nil && s.rec.NodeId == id {
					said[copyset] = append(said[copyset], claim{node: id, report: r})
				}
			}
		}
	}
	return said
}

// witness is the leader's report among the claims: that of the newest term that anybody spoke of.
func witness(said []claim) *v1.ReplicaReport {
	var lead *v1.ReplicaReport
	term := uint64(0)
	for _, s := range said {
		term = max(term, s.report.Term)
		if s.report.Leader && (lead == nil || s.report.Term > lead.Term) {
			lead = s.report
		}
	}
	if lead == nil || lead.Term < term {
		return nil
	}
	return lead
}

// confirm decides what the record of a copyset must be, by what its leader says; where nothing can
// be decided yet, it says what is missing. rec is as the metadata have it.
func confirm(rec *v1.Copyset, said []claim, floor uint64) (next *v1.Copyset, missing string) {
	lead := witness(said)
	switch {
	case lead == nil:
		return nil, "no leader has reported"
	case lead.Joint || len(lead.Voters) == 0:
		return nil, "its leader is changing the members"
	case len(lead.Voters) > maxReplicas:
		return nil, fmt.Sprintf("its leader names %d members", len(lead.Voters))
	}
	return confirmed(rec, lead, located(rec, said), floor)
}

// located is where replicas are, by the record and, over it, by who has them.
func located(rec *v1.Copyset, said []claim) map[uint64]*v1.Replica {
	at := map[uint64]*v1.Replica{}
	for _, m := range admin.Members(rec) {
		at[m.ReplicaId] = m
	}
	for _, s := range said {
		at[s.report.ReplicaId] = &v1.Replica{ReplicaId: s.report.ReplicaId,
			StoreId: s.report.StoreId, NodeId: s.node}
	}
	return at
}

// confirmed is the record that has the members that the leader names.
func confirmed(rec *v1.Copyset, lead *v1.ReplicaReport, at map[uint64]*v1.Replica,
	floor uint64,
) (next *v1.Copyset, missing string) {
	next = &v1.Copyset{CopysetId: rec.CopysetId, Epoch: max(rec.Epoch, floor) + 1,
		PoolId: rec.PoolId, FoundingReplicaIds: rec.FoundingReplicaIds,
		LeaderReplicaId: lead.ReplicaId, LeaderTerm: lead.Term}
	for _, id := range inOrderOf(rec, lead.Voters) {
		m := at[id]
		if m == nil {
			return nil, fmt.Sprintf("its member %d lies on a node that has not come back", id)
		}
		// That it was made is certain: else it would be no voter. What has lost it says so.
		next.Replicas = append(next.Replicas, &v1.Replica{ReplicaId: id,
			StoreId: m.StoreId, NodeId: m.NodeId, Recorded: true})
		if id == rec.PreferredLeaderReplicaId {
			next.PreferredLeaderReplicaId = id
		}
	}
	if len(next.FoundingReplicaIds) == 0 {
		next.FoundingReplicaIds = slices.Sorted(slices.Values(lead.Voters))
	}
	return next, ""
}

// inOrderOf gives the voters the order of the record, newcomers behind.
func inOrderOf(rec *v1.Copyset, voters []uint64) []uint64 {
	var ids []uint64
	for _, m := range rec.Replicas {
		if slices.Contains(voters, m.ReplicaId) {
			ids = append(ids, m.ReplicaId)
		}
	}
	for _, id := range slices.Sorted(slices.Values(voters)) {
		if !slices.Contains(ids, id) {
			ids = append(ids, id)
		}
	}
	return ids
}

// settle takes over what leaders confirm, and notes what is missing for the rest.
func (c *cluster) settle(now time.Time) error {
	c.unsettled = nil
	if c.restored == nil {
		return nil
	}
	said := c.claims(now)
	for id := range c.members.unsure {
		if _, spoken := said[id]; !spoken {
			said[id] = nil
		}
	}
	var taken []*v1.Copyset
	for _, id := range sortedIDs(said) {
		if !c.isUnsettled(id) {
			continue
		}
		rec := &v1.Copyset{CopysetId: id, PoolId: poolID}
		if g := c.copysets[id]; g != nil {
			rec = g.rec
		}
		next, missing := confirm(rec, said[id], c.restored.Floor)
		if next == nil || len(taken) == maxSettle {
			c.unsettled = append(c.unsettled, unsettled{id, missing})
			continue
		}
		taken = append(taken, next)
	}
	if len(taken) == 0 {
		return nil
	}
	return c.takeConfirmed(taken)
}

// unsettled is a copyset that waits, and for what.
type unsettled struct {
	copyset uint64
	missing string
}

// takeConfirmed writes records that leaders have confirmed, and tells the nodes.
func (c *cluster) takeConfirmed(recs []*v1.Copyset) error {
	var topology uint64
	err := c.update(func(tx meta.Tx) (err error) {
		for _, rec := range recs {
			err = errors.Join(err, meta.Copysets.Put(tx, meta.ID(rec.CopysetId), rec))
			for _, m := range rec.Replicas {
				err = errors.Join(err, meta.Raise(tx, meta.CounterReplica, m.ReplicaId))
			}
		}
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
		var was []*v1.Replica
		if g := c.copysets[rec.CopysetId]; g != nil {
			was, g.doubt, g.dirty = admin.Members(g.rec), false, false
		}
		c.tellConfirmed(rec, was)
		c.addCopyset(rec)
		for _, m := range append(was, rec.Replicas...) {
			if n := c.nodes[m.NodeId]; n != nil {
				n.desired = topology
			}
		}
	}
	slices.Sort(c.order)
	return nil
}

// tellConfirmed tells of a copyset that is not as the backup had it.
func (c *cluster) tellConfirmed(rec *v1.Copyset, was []*v1.Replica) {
	var old, now []string
	for _, m := range was {
		old = append(old, fmt.Sprint(m.ReplicaId))
	}
	for _, m := range rec.Replicas {
		now = append(now, fmt.Sprint(m.ReplicaId))
	}
	c.log.Info("copyset confirmed by its leader", "copyset", rec.CopysetId, "members", now,
		"before", old)
	if slices.Equal(old, now) {
		return
	}
	text := "the metadata did not know it"
	if len(old) > 0 {
		text = "the metadata had " + strings.Join(old, ", ")
	}
	c.tell(newEvent(eventWarning, "copyset-confirmed", aCopyset, rec.CopysetId, "", "copyset %d: "+
		"its leader names the members %s; %s", rec.CopysetId, strings.Join(now, ", "), text))
}

// settleProblems says which copysets are not confirmed yet.
func (c *cluster) settleProblems() []string {
	if len(c.unsettled) == 0 {
		return nil
	}
	var why []string
	for _, u := range c.unsettled[:min(len(c.unsettled), maxUnsettledShown)] {
		why = append(why, fmt.Sprintf("%d: %s", u.copyset, u.missing))
	}
	if more := len(c.unsettled) - len(why); more > 0 {
		why = append(why, fmt.Sprintf("and %d more", more))
	}
	return []string{fmt.Sprintf("the metadata were restored, and %d copysets are not confirmed "+
		"since; they serve, and nothing of them is moved or repaired: %s", len(c.unsettled),
		strings.Join(why, "; "))}
}

// explainUnsettled is about a copyset of which the metadata are not sure since they were restored;
// nil for all others. What its record says of leaders and members does not count.
func (c *cluster) explainUnsettled(id uint64, now time.Time) *account {
	g := c.copysets[id]
	at := slices.IndexFunc(c.unsettled, func(u unsettled) bool { return u.copyset == id })
	if !c.isUnsettled(id) || g == nil && at < 0 {
		return nil
	}
	a := newAccount(aCopyset, id, "", healthUnavailable)
	a.says("copyset %d is not confirmed by its leader since the metadata were restored; it serves "+
		"as it did, as far as its replicas run", id)
	if g == nil {
		a.because("the metadata, which are older, do not know it; nodes have told of it")
	} else {
		a.because("the metadata, which are older, may have other members than it has by now")
		for _, m := range g.rec.Replicas {
			if n := c.nodes[m.NodeId]; n != nil && !c.up(n, now) {
				c.explainSilence(a, n, now)
			}
		}
	}
	if at >= 0 {
		a.waitsFor("its leader to say who its members are: %s", c.unsettled[at].missing)
	} else {
		a.waitsFor("its leader to say who its members are")
	}
	a.then("what its leader says becomes the record; until then nothing of it is moved or repaired")
	return a
}

// unled are the copysets of a node that are not settled and that nobody leads, by all that was
// reported.
func (c *cluster) unled(n *node, now time.Time) (ids []uint64) {
	if len(n.claims) == 0 {
		return nil
	}
	said := c.claims(now)
	for id := range n.claims {
		if witness(said[id]) == nil {
			ids = append(ids, id)
		}
	}
	return ids
}
