package server

import (
	"fmt"
	"slices"
	"time"

	"github.com/ashlar-storage/ashlar/controlplane/schedule"
	"github.com/ashlar-storage/ashlar/rpc/admin"
	v1 "github.com/ashlar-storage/ashlar/rpc/admin/kitex_gen/ashlar/v1"
)

const (
	operatorRunning = "running"
	operatorWaiting = "waiting"
	// operatorCancelling is one whose new member is being removed, operatorCancelled one of which
	// nothing is left.
	operatorCancelling = "cancelling"
	operatorCancelled  = "cancelled"
)

// waiting is a replacement that the scheduler wants and cannot begin yet.
type waiting struct {
	schedule.Waiting
	since time.Time
}

// stuck says that only a change of the cluster lets it begin: more zones, more space.
func (w *waiting) stuck() bool { return w.NoPlace }

// takeWaits remembers what waits, and since when it does.
func (c *cluster) takeWaits(plan *schedule.Plan, now time.Time) {
	since := make(map[uint64]time.Time, len(c.waits))
	for i := range c.waits {
		since[c.waits[i].From] = c.waits[i].since
	}
	c.waits = c.waits[:0]
	for _, w := range plan.Waiting {
		began, known := since[w.From]
		if !known {
			began = now
		}
		c.waits = append(c.waits, waiting{w, began})
	}
	c.unlisted = plan.Unlisted
}

// allWaits is how many replacements wait, with those that are not listed.
func (c *cluster) allWaits() int {
	n := len(c.waits)
	for _, more := range c.unlisted {
		n += more
	}
	return n
}

func (c *cluster) listOperators(*v1.ListOperatorsRequest) (*v1.ListOperatorsResponse, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.cfg.Now()
	resp := &v1.ListOperatorsResponse{Operators: append(c.replacements(now), c.transfers()...)}
	resp.Running, resp.Waiting = uint64(len(resp.Operators)), uint64(c.allWaits())
	for i := range c.waits[:min(len(c.waits), maxWaitsShown)] {
		resp.Operators = append(resp.Operators, c.showWait(&c.waits[i]))
	}
	return resp, nil
}

func (c *cluster) showWait(w *waiting) *v1.Operator {
	op := &v1.Operator{Kind: string(w.Kind), CopysetId: w.Copyset, FromReplicaId: w.From,
		SinceUnixNs: w.since.UnixNano(), State: operatorWaiting, Reason: w.Reason}
	op.FromStoreId, op.FromNode = c.whereIs(w.Copyset, w.From)
	return op
}

// replacements are the changes of membership that are under way.
func (c *cluster) replacements(now time.Time) (list []*v1.Operator) {
	for _, g := range c.under() {
		list = append(list, c.showReplacement(g, now))
	}
	return list
}

func (c *cluster) showReplacement(g *copyset, now time.Time) *v1.Operator {
	id, j := g.rec.CopysetId, g.rec.Joining
	op := &v1.Operator{Kind: string(whyOf(g.rec)), CopysetId: id,
		FromReplicaId: g.rec.LeavingReplicaId, ToReplicaId: j.ReplicaId,
		SinceUnixNs: g.rec.ChangeBeganUnixNs, State: operatorRunning,
		Progress: c.progress(g, now), Reason: g.rec.ChangeReason}
	if isGivenUp(g.rec) {
		op.State, op.Progress = operatorCancelling, c.undoing(g, now)
	}
	op.FromStoreId, op.FromNode = c.whereIs(id, g.rec.LeavingReplicaId)
	op.ToStoreId, op.ToNode = c.whereIs(id, j.ReplicaId)
	return op
}

// transfers are the changes of leader that nodes have not been told of yet.
func (c *cluster) transfers() (list []*v1.Operator) {
	for _, id := range sortedIDs(c.nodes) {
		for _, t := range c.nodes[id].transfers {
			list = append(list, c.showTransfer(t))
		}
	}
	return list
}

func (c *cluster) showTransfer(t *v1.TransferLeader) *v1.Operator {
	g := c.copysets[t.CopysetId]
	op := &v1.Operator{Kind: string(schedule.TransferLeader), CopysetId: t.CopysetId,
		FromReplicaId: g.rec.LeaderReplicaId, ToReplicaId: t.ToReplicaId,
		SinceUnixNs: g.lastOperator.UnixNano(), State: operatorRunning,
		Progress: "its leader has not been told yet"}
	op.FromStoreId, op.FromNode = c.whereIs(t.CopysetId, g.rec.LeaderReplicaId)
	op.ToStoreId, op.ToNode = c.whereIs(t.CopysetId, t.ToReplicaId)
	return op
}

// progress says in words how far a replacement is.
func (c *cluster) progress(g *copyset, now time.Time) string {
	j, lead := g.rec.Joining, c.leading(g, now)
	report := c.reportOf(g, j, now)
	switch {
	case lead == nil:
		return "waits for a leader"
	case !c.up(c.nodes[j.NodeId], now):
		return "the new member's node is offline"
	case report == nil:
		return "the new member has not begun"
	case report.State == stateDamaged:
		return "the new member is damaged"
	case lead.Joint:
		return "the membership changes"
	case slices.Contains(lead.Voters, j.ReplicaId):
		return "the new member votes"
	case !slices.Contains(lead.Learners, j.ReplicaId):
		return "the leader has not taken the new member on"
	case report.State != stateOK:
		return "chunks are fetched"
	}
	for _, p := range lead.Progress {
		if p.ReplicaId == j.ReplicaId && lead.CommitIndex > p.MatchIndex {
			return fmt.Sprintf("%d entries behind", lead.CommitIndex-p.MatchIndex)
		}
	}
	return "the new member has everything"
}

// whyOf is what a replacement is for.
func whyOf(rec *v1.Copyset) schedule.Kind {
	switch {
	case rec.Joining == nil:
		return ""
	case rec.ChangeKind == "": // begun by an earlier release
		return schedule.ReplaceReplica
	}
	return schedule.Kind(rec.ChangeKind)
}

// storeOf is the store of a member; 0 when there is none.
func (c *cluster) storeOf(copysetID, replica uint64) uint64 {
	id, _ := c.whereIs(copysetID, replica)
	return id
}

func (c *cluster) whereIs(copysetID, replica uint64) (store uint64, node string) {
	g := c.copysets[copysetID]
	if g == nil {
		return 0, ""
	}
	for _, m := range admin.Members(g.rec) {
		if m.ReplicaId != replica {
			continue
		}
		if n := c.nodes[m.NodeId]; n != nil {
			node = n.rec.Name
		}
		return m.StoreId, node
	}
	return 0, ""
}

// moveProblems says which replicas of lost stores cannot be made anew, and what that needs.
func (c *cluster) moveProblems() []string {
	number := map[string]int{}
	var order []string
	for i := range c.waits {
		w := &c.waits[i]
		if w.Kind != schedule.RecoverReplica || !w.stuck() {
			continue
		}
		if number[w.Reason]++; number[w.Reason] == 1 {
			order = append(order, w.Reason)
		}
	}
	var problems []string
	for _, reason := range order {
		least := ""
		if c.unlisted[schedule.RecoverReplica] > 0 {
			least = "at least "
		}
		problems = append(problems, fmt.Sprintf("%s%d replicas of lost stores cannot be made "+
			"anew: %s", least, number[reason], reason))
	}
	return problems
}
