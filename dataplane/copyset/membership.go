package copyset

import (
	"slices"

	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"
	"go.etcd.io/raft/v3/tracker"
)

// A replica that may have lost something it promised is never mended in place: raft counts on what
// a member once said, and nobody can tell what the damaged one said. A new member with a number of
// its own takes its place instead. It begins with nothing, learns everything from the leader, and
// then replaces the other in one step, through a joint membership in which majorities of the old
// and of the new voters must agree. The control plane wants it; the leader does it.

// Change is a replacement that the control plane wants: Joining takes the place of Leaving. Zero:
// none.
type Change struct{ Joining, Leaving uint64 }

// changeTicks is how often a leader looks whether the next step of a change can be taken.
const changeTicks = 4

// catchUpEntries is how far a learner may be behind the commit index to become a voter. Under load
// it is never level; what it lacks then, it gets as any follower does.
const catchUpEntries = 256

// SetChange takes over the replacement that the control plane wants.
func (r *Replica) SetChange(c Change) { r.change = c }

// nextChange decides the next step: from the membership, what is wanted, and whether the joining
// member has caught up. ok is false when there is nothing to do now.
func nextChange(conf *raftpb.ConfState, want Change, caughtUp bool) (raftpb.ConfChangeV2, bool) {
	var cc raftpb.ConfChangeV2
	step := func(t raftpb.ConfChangeType, id uint64) {
		cc.Changes = append(cc.Changes, raftpb.ConfChangeSingle{Type: t, NodeID: id})
	}
	stray := slices.IndexFunc(conf.Learners, func(id uint64) bool { return id != want.Joining })
	voter := slices.Contains(conf.Voters, want.Joining)
	learner := slices.Contains(conf.Learners, want.Joining)
	leaving := slices.Contains(conf.Voters, want.Leaving)
	switch {
	case want.Joining == 0 || want.Leaving == 0, len(conf.VotersOutgoing) > 0:
		// Nothing is wanted, or raft is about to leave a joint membership by itself.
	case stray >= 0: // of a replacement that was given up
		step(raftpb.ConfChangeRemoveNode, conf.Learners[stray])
	case voter && leaving:
		step(raftpb.ConfChangeRemoveNode, want.Leaving)
	case voter, !leaving:
		// Done, or not a change of this membership.
	case !learner:
		step(raftpb.ConfChangeAddLearnerNode, want.Joining)
	case caughtUp:
		step(raftpb.ConfChangeAddNode, want.Joining)
		step(raftpb.ConfChangeRemoveNode, want.Leaving)
	}
	return cc, len(cc.Changes) > 0
}

// advanceChange proposes the next step of the change, if this replica leads. Raft refuses a second
// one while the first is not applied; it is proposed again later.
func (r *Replica) advanceChange() {
	if !r.serving() || r.status.LeadTransferee != raft.None || r.change.Joining == 0 {
		return
	}
	cc, ok := nextChange(&r.entries.conf, r.change, r.caughtUp(r.change.Joining))
	if !ok {
		return
	}
	r.log.Info("membership", "propose", raftpb.ConfChangesToString(cc.Changes),
		"joining", r.change.Joining, "leaving", r.change.Leaving)
	r.ignore(r.node.ProposeConfChange(cc))
}

// caughtUp reports whether a member follows the log closely.
func (r *Replica) caughtUp(member uint64) bool {
	close := false
	r.node.WithProgress(func(id uint64, _ raft.ProgressType, p tracker.Progress) {
		if id == member {
			close = p.RecentActive && p.State == tracker.StateReplicate &&
				p.Match+catchUpEntries >= r.status.Commit
		}
	})
	return close
}

func cloneConf(c *raftpb.ConfState) raftpb.ConfState {
	return raftpb.ConfState{Voters: slices.Clone(c.Voters), Learners: slices.Clone(c.Learners),
		VotersOutgoing: slices.Clone(c.VotersOutgoing),
		LearnersNext:   slices.Clone(c.LearnersNext), AutoLeave: c.AutoLeave}
}
