package server

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/ashlar-storage/ashlar/controlplane/meta"
	"github.com/ashlar-storage/ashlar/controlplane/schedule"
	"github.com/ashlar-storage/ashlar/rpc/admin"
	v1 "github.com/ashlar-storage/ashlar/rpc/admin/kitex_gen/ashlar/v1"
)

// An operator that is cancelled ends. What only waits, and a transfer that no leader has been told
// of, just does not begin. A replacement goes back as long as its new member learns: the record
// says that it is given up, and the copyset's leader removes it. When all other members have heard
// that, so that none of them takes it on again should it lead next, the leader confirms with an
// entry of its log that nothing of it can come any more; then the record forgets it, and its node
// destroys it. Where a leader had made it a voter before, the replacement goes on to its end.

// isGivenUp says whether the replacement under way is being cancelled.
func isGivenUp(rec *v1.Copyset) bool {
	return rec.Joining != nil && rec.Joining.ReplicaId <= rec.GivenUpReplicaId
}

// noteGivenUp keeps the list of what is being cancelled.
func (c *cluster) noteGivenUp(rec *v1.Copyset) {
	if isGivenUp(rec) {
		c.givingUp[rec.CopysetId] = true
	} else {
		delete(c.givingUp, rec.CopysetId)
	}
}

// tooLate is what is said of a replacement that is done though somebody cancelled it.
func tooLate(rec *v1.Copyset) string {
	if isGivenUp(rec) {
		return "; to cancel it was too late"
	}
	return ""
}

// isGivenUpFor says whether it has been for so long that another may take the place.
func (c *cluster) isGivenUpFor(rec *v1.Copyset, now time.Time) bool {
	since := time.Unix(0, rec.HeldUnixNs)
	return isGivenUp(rec) && (rec.HeldKind == "" || now.Sub(since) >= c.limits().Hold)
}

// holdsOf is what was cancelled in a copyset, the last first.
func holdsOf(rec *v1.Copyset) (list []schedule.Hold) {
	if rec.HeldKind != "" {
		list = append(list, schedule.Hold{Kind: schedule.Kind(rec.HeldKind),
			Since: time.Unix(0, rec.HeldUnixNs)})
	}
	for _, h := range rec.EarlierHolds {
		list = append(list, schedule.Hold{Kind: schedule.Kind(h.Kind),
			Since: time.Unix(0, h.UnixNs)})
	}
	return list
}

// hold notes that an operator was cancelled. What holds already, of other kinds, holds on.
func (c *cluster) hold(rec *v1.Copyset, kind string, now time.Time) {
	var earlier []*v1.OperatorHold
	for _, h := range holdsOf(rec) {
		if string(h.Kind) != kind && now.Sub(h.Since) < c.limits().Hold {
			earlier = append(earlier, &v1.OperatorHold{Kind: string(h.Kind),
				UnixNs: h.Since.UnixNano()})
		}
	}
	rec.HeldKind, rec.HeldUnixNs, rec.EarlierHolds = kind, now.UnixNano(), earlier
}

func (c *cluster) cancelOperator(req *v1.CancelOperatorRequest) (*v1.CancelOperatorResponse,
	error,
) {
	c.mu.Lock()
	defer c.mu.Unlock()
	g, err := c.copysetOf(req.CopysetId)
	if err != nil {
		return nil, err
	}
	if req.Kind != "" {
		if _, err := schedulerOf(req.Kind); err != nil {
			return nil, err
		}
	}
	now := c.cfg.Now()
	op, err := c.operatorOf(g, req.Kind, now)
	if err != nil {
		return nil, err
	}
	if op.State == operatorRunning && op.Kind != string(schedule.TransferLeader) {
		err = c.callBack(g, op, now)
	} else if op.State != operatorCancelling {
		err = c.dropOperator(g, op, now)
	}
	return &v1.CancelOperatorResponse{Operator: op}, err
}

// operatorOf is the operator of a copyset, of a kind or the only one.
func (c *cluster) operatorOf(g *copyset, kind string, now time.Time) (*v1.Operator, error) {
	all := c.operatorsOf(g, now)
	var kinds []string
	for _, op := range all {
		if op.Kind == kind {
			return op, nil
		}
		kinds = append(kinds, op.Kind)
	}
	slices.Sort(kinds)
	kinds = slices.Compact(kinds)
	switch {
	case kind != "":
		return nil, admin.Errorf(admin.ErrNotFound, "control: copyset %d has no %s that runs or "+
			"waits", g.rec.CopysetId, kind)
	case len(all) == 0:
		return nil, admin.Errorf(admin.ErrNotFound, "control: nothing of copyset %d moves or "+
			"waits to; `ashlar operator list` has what does", g.rec.CopysetId)
	case len(kinds) > 1:
		return nil, admin.Errorf(admin.ErrInvalid, "control: copyset %d has several operators, "+
			"kind must be one of %s", g.rec.CopysetId, strings.Join(kinds, ", "))
	}
	return all[0], nil
}

// operatorsOf are all operators of a copyset, those that run first.
func (c *cluster) operatorsOf(g *copyset, now time.Time) (all []*v1.Operator) {
	if g.rec.Joining != nil {
		all = append(all, c.showReplacement(g, now))
	}
	for _, n := range c.nodes {
		for _, t := range n.transfers {
			if t.CopysetId == g.rec.CopysetId {
				all = append(all, c.showTransfer(t))
			}
		}
	}
	for i := range c.waits {
		if c.waits[i].Copyset == g.rec.CopysetId {
			all = append(all, c.showWait(&c.waits[i]))
		}
	}
	return all
}

// dropOperator ends one of which nothing has happened.
func (c *cluster) dropOperator(g *copyset, op *v1.Operator, now time.Time) error {
	rec := *g.rec
	c.hold(&rec, op.Kind, now)
	err := c.update(func(tx meta.Tx) error {
		return meta.Copysets.Put(tx, meta.ID(rec.CopysetId), &rec)
	}, c.cancelNews(op, "it had not begun"))
	if err != nil {
		return err
	}
	g.rec = &rec
	c.touch(g)
	if op.Kind == string(schedule.TransferLeader) {
		for _, n := range c.nodes {
			n.transfers = slices.DeleteFunc(n.transfers, func(t *v1.TransferLeader) bool {
				return t.CopysetId == rec.CopysetId
			})
		}
	}
	c.waits = slices.DeleteFunc(c.waits, func(w waiting) bool {
		return w.Copyset == rec.CopysetId && string(w.Kind) == op.Kind
	})
	op.State, op.Progress = operatorCancelled, ""
	return nil
}

// callBack begins to undo a replacement.
func (c *cluster) callBack(g *copyset, op *v1.Operator, now time.Time) error {
	id := g.rec.CopysetId
	if lead := c.leading(g, now); lead != nil && (lead.Joint ||
		slices.Contains(lead.Voters, g.rec.Joining.ReplicaId)) {
		return admin.Errorf(admin.ErrBusy, "control: the %s of copyset %d cannot be cancelled any "+
			"more: its new member %d votes, and others count on it; it will be done in a moment",
			op.Kind, id, g.rec.Joining.ReplicaId)
	}
	var nodes []uint64
	for _, m := range admin.Members(g.rec) {
		nodes = append(nodes, m.NodeId)
	}
	if lacking := c.lacking(admin.FeatureCancel, nodes); len(lacking) > 0 {
		return admin.Errorf(admin.ErrBusy, "control: the %s of copyset %d cannot be cancelled: "+
			"its nodes %s do not know how; start them with version %s", op.Kind, id,
			strings.Join(lacking, ", "), c.cfg.Version)
	}
	rec := *g.rec
	rec.Epoch++
	rec.GivenUpReplicaId, rec.GivenUpHeard = rec.Joining.ReplicaId, false
	c.hold(&rec, op.Kind, now)
	if err := c.changeMembers([]*v1.Copyset{&rec}, nil); err != nil {
		return err
	}
	c.tell(c.cancelNews(op, fmt.Sprintf("its new member %d on store %d is removed",
		op.ToReplicaId, op.ToStoreId))())
	op.State, op.Progress = operatorCancelling, c.undoing(g, now)
	return nil
}

func (c *cluster) cancelNews(op *v1.Operator, what string) news {
	c.log.Info("operator cancelled", "kind", op.Kind, "copyset", op.CopysetId)
	return func() *meta.Event {
		return newEvent(eventInfo, "operator-cancelled", aCopyset, op.CopysetId, "", "copyset "+
			"%d: the %s of replica %d was cancelled, %s; nothing of the kind begins there for %v",
			op.CopysetId, op.Kind, op.FromReplicaId, what, c.limits().Hold)
	}
}

// undoing says in words how far the end of a replacement is.
func (c *cluster) undoing(g *copyset, now time.Time) string {
	lead, joining := c.leading(g, now), g.rec.Joining.ReplicaId
	switch {
	case lead == nil:
		return "waits for a leader"
	case lead.Joint || slices.Contains(lead.Voters, joining):
		return "it came too late: the new member votes"
	case slices.Contains(lead.Learners, joining):
		return "the leader removes the new member"
	}
	if names := c.unheard(g); len(names) > 0 {
		return "waits until the nodes of all members have heard of it: " +
			strings.Join(names, ", ")
	}
	return "the leader confirms it"
}

// unheard are the nodes of a copyset's members, without the one that joins, that have not taken
// over what is wanted.
func (c *cluster) unheard(g *copyset) (names []string) {
	for _, m := range g.rec.Replicas {
		if n := c.nodes[m.NodeId]; n != nil && n.taken < g.version {
			names = append(names, n.rec.Name)
		}
	}
	return names
}

// finishCancelled has leaders confirm that new members never vote, and forgets those then.
func (c *cluster) finishCancelled(now time.Time) error {
	for _, id := range sortedIDs(c.givingUp) {
		g := c.copysets[id]
		var err error
		if said := c.confirmsEnd(g, now); said != nil {
			err = c.endCancelled(g, said)
		} else if !g.rec.GivenUpHeard && len(c.unheard(g)) == 0 {
			rec := *g.rec
			rec.Epoch++
			rec.GivenUpHeard = true
			err = c.changeMembers([]*v1.Copyset{&rec}, nil)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// confirmsEnd is the report of a member that says that the new one never votes. What it says stays
// true, whoever leads now.
func (c *cluster) confirmsEnd(g *copyset, now time.Time) *v1.ReplicaReport {
	for _, m := range g.rec.Replicas {
		r := c.reportOf(g, m, now)
		if r.GetGivenUpReplicaId() == g.rec.Joining.ReplicaId && !r.Joint {
			return r
		}
	}
	return nil
}

// endCancelled forgets the new member. Where an earlier one had taken the place already, and was
// lost before anybody heard of it, the copyset is short of one: nothing is held there, and the
// scheduler has another come.
func (c *cluster) endCancelled(g *copyset, said *v1.ReplicaReport) error {
	if g.rec.HeldKind == "" { // the further one has not begun yet
		return nil
	}
	id, joining := g.rec.CopysetId, g.rec.Joining.ReplicaId
	rec := *g.rec
	rec.Epoch++
	rec.GivenUpHeard = false
	text := fmt.Sprintf("copyset %d: replica %d was removed before it was a member", id, joining)
	if slices.ContainsFunc(rec.Replicas, func(m *v1.Replica) bool {
		return !slices.Contains(said.Voters, m.ReplicaId)
	}) {
		rec.HeldKind, rec.HeldUnixNs = "", 0
		text += "; one before it had taken the place of another, so a further one comes"
	} else {
		rec.Joining, rec.LeavingReplicaId = nil, 0
		rec.ChangeKind, rec.ChangeReason, rec.ChangeBeganUnixNs = "", "", 0
	}
	if err := c.changeMembers([]*v1.Copyset{&rec}, nil); err != nil {
		return err
	}
	c.tell(newEvent(eventInfo, "replacement-undone", aCopyset, id, "", "%s", text))
	c.log.Info("replacement undone", "copyset", id, "joining", joining)
	return nil
}
