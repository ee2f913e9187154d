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
//
// The one that left may be destroyed only when nobody counts on its vote any more. Raft counts
// votes by the membership that a member has applied, and followers learn late what is committed:
// those that lead next could find themselves between the two sets of voters, where the one that
// left still decides. So a leader calls a replacement done only when a majority of the new voters
// has it on their logs that the old membership is over.

// settling is how far a leader that has left a joint membership is with telling the voters.
type settling struct {
	open   bool
	marker uint64 // the entry that tells them; 0: raft has not taken one yet
}

// Change is a replacement that the control plane wants: Joining takes the place of Leaving. Zero:
// none.
type Change struct{ Joining, Leaving uint64 }

// changeTicks is how often a leader looks whether the next step of a change can be taken.
const changeTicks = 4

// catchUpEntries is how far a learner may be behind the commit index to become a voter. Under load
// it is never level; what it lacks then, it gets as any follower does.
const catchUpEntries = 256

// SetChange takes over the replacement that the control plane wants.
func (r *Replica) SetChange(c Change) {
	if c != r.change {
		r.rouse()
	}
	r.change = c
}

// leaver is the voter whose place the joining member takes. Usually it is the one the control plane
// names. When that is gone already, an earlier newcomer took its place and was lost as a voter,
// before the control plane heard of it: then it leaves, as one that is no member and is older than
// the newcomer. A voter with a higher number is of a plan that this replica has not heard of.
func leaver(conf *raftpb.ConfState, want Change, members []uint64) uint64 {
	if slices.Contains(conf.Voters, want.Leaving) {
		return want.Leaving
	}
	for _, id := range conf.Voters {
		if id < want.Joining && !slices.Contains(members, id) {
			return id
		}
	}
	return raft.None
}

// nextChange decides the next step: from the membership, what is wanted, the members that the
// control plane knows, and whether the joining one has caught up. ok is false when there is nothing
// to do now.
func nextChange(conf *raftpb.ConfState, want Change, members []uint64, caughtUp bool) (
	cc raftpb.ConfChangeV2, ok bool) {
	step := func(t raftpb.ConfChangeType, id uint64) {
		cc.Changes = append(cc.Changes, raftpb.ConfChangeSingle{Type: t, NodeID: id})
	}
	stray := slices.IndexFunc(conf.Learners, func(id uint64) bool { return id != want.Joining })
	voter := slices.Contains(conf.Voters, want.Joining)
	learner := slices.Contains(conf.Learners, want.Joining)
	leaving := leaver(conf, want, members)
	switch {
	case want.Joining == 0 || want.Leaving == 0, len(conf.VotersOutgoing) > 0:
		// Nothing is wanted, or raft is about to leave a joint membership by itself.
	case stray >= 0: // of a replacement that was given up
		step(raftpb.ConfChangeRemoveNode, conf.Learners[stray])
	case voter && leaving != raft.None:
		step(raftpb.ConfChangeRemoveNode, leaving)
	case voter, leaving == raft.None:
		// Done, or not a change of this membership.
	case !learner:
		step(raftpb.ConfChangeAddLearnerNode, want.Joining)
	case caughtUp:
		step(raftpb.ConfChangeAddNode, want.Joining)
		step(raftpb.ConfChangeRemoveNode, leaving)
	}
	return cc, len(cc.Changes) > 0
}

// advanceChange proposes the next step of the change, if this replica leads. Raft refuses a second
// one while the first is not applied; it is proposed again later.
func (r *Replica) advanceChange() {
	if !r.serving() || r.status.LeadTransferee != raft.None {
		return
	}
	r.tellVoters()
	if r.stuckBetween() {
		r.ignore(r.node.ProposeConfChange(raftpb.ConfChangeV2{}))
	}
	if r.change.Joining == 0 || r.joint() {
		return
	}
	members := make([]uint64, len(r.peers))
	for i := range r.peers {
		members[i] = r.peers[i].ReplicaID
	}
	cc, ok := nextChange(&r.entries.conf, r.change, members, r.caughtUp(r.change.Joining))
	if !ok {
		return
	}
	r.log.Info("membership", "propose", raftpb.ConfChangesToString(cc.Changes),
		"joining", r.change.Joining, "leaving", r.change.Leaving)
	r.ignore(r.node.ProposeConfChange(cc))
}

// stuckBetween reports whether a joint membership has nothing under way that ends it. Raft leaves
// one by itself when it applies it, but not while the leadership is being handed over, and then
// tries again with the next entry, which in an idle copyset may be a long time coming.
func (r *Replica) stuckBetween() bool {
	return len(r.entries.conf.VotersOutgoing) > 0 && r.applied == r.entries.last()
}

// joint reports whether a restart of the members could find the membership between two sets of
// voters.
func (r *Replica) joint() bool {
	return len(r.entries.conf.VotersOutgoing) > 0 || r.settling.open
}

// applyConf takes over a committed membership. A leader that has left a joint one tells the voters
// with an empty entry: the message that carries it also says up to where all is committed, and a
// follower makes both durable together, before it answers.
func (r *Replica) applyConf(cc raftpb.ConfChangeV2) {
	between := len(r.entries.conf.VotersOutgoing) > 0
	r.entries.conf = *r.node.ApplyConfChange(cc)
	if between && len(r.entries.conf.VotersOutgoing) == 0 && r.leading() {
		r.settling = settling{open: true}
		r.tellVoters()
	}
}

func (r *Replica) tellVoters() {
	if !r.settling.open || r.settling.marker != 0 {
		return
	}
	marker := []raftpb.Entry{{}}
	err := r.node.Step(raftpb.Message{Type: raftpb.MsgProp, From: r.self, Entries: marker})
	if err == nil {
		r.settling.marker = marker[0].Index
	}
	r.ignore(err)
}

// told ends the settling when the marker is committed.
func (r *Replica) told(applied uint64) {
	if m := r.settling.marker; m != 0 && applied >= m {
		r.settling = settling{}
	}
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
