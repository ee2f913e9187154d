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
// none. Members up to GivenUp that only learn are not wanted any more.
//
// A replacement that is given up is undone only while its new member learns. From then on that it
// votes nobody may call it back, since others count on what it said. That it will never vote is
// certain once two things have happened in this order: every member has heard that it is given up,
// so that none proposes anything for it any more; and a leader has committed an entry since and is
// without it then, so that nothing that was proposed before can still come. The control plane sees
// to the first, and then asks for the second with Confirm.
type Change struct {
	Joining, Leaving, GivenUp uint64
	Confirm                   bool
}

// farewell is how far a leader is with confirming that a member that was given up never votes.
type farewell struct {
	of     uint64 // the member
	marker uint64 // the entry that does it; 0: raft has not taken one yet
	done   bool
}

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
	stray := slices.IndexFunc(conf.Learners, func(id uint64) bool {
		return id <= want.GivenUp || id != want.Joining && want.Joining != 0
	})
	voter := slices.Contains(conf.Voters, want.Joining)
	learner := slices.Contains(conf.Learners, want.Joining)
	leaving := leaver(conf, want, members)
	switch {
	case len(conf.VotersOutgoing) > 0: // raft is about to leave it by itself
	case stray >= 0: // of a replacement that was given up
		step(raftpb.ConfChangeRemoveNode, conf.Learners[stray])
	case want.Joining == 0 || want.Leaving == 0: // nothing is wanted
	case voter && leaving != raft.None:
		step(raftpb.ConfChangeRemoveNode, leaving)
	case voter, leaving == raft.None:
		// Done, or not a change of this membership.
	case !learner && want.Joining <= want.GivenUp:
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
	if !r.Serving() || r.status.LeadTransferee != raft.None {
		return
	}
	r.tellVoters()
	if r.stuckBetween() {
		r.ignore(r.node.ProposeConfChange(raftpb.ConfChangeV2{}))
	}
	if r.change.Joining == 0 && !r.hasGivenUp() || r.joint() {
		return
	}
	r.confirmGivenUp()
	members := make([]uint64, len(r.peers))
	for i := range r.peers {
		members[i] = r.peers[i].ReplicaID
	}
	cc, ok := nextChange(&r.entries.conf, r.change, members, r.caughtUp(r.change.Joining))
	if !ok {
		return
	}
	r.log.Info("membership", "propose", raftpb.ConfChangesToString(cc.Changes),
		"joining", r.change.Joining, "leaving", r.change.Leaving, "given up", r.change.GivenUp)
	r.ignore(r.node.ProposeConfChange(cc))
}

// hasGivenUp reports whether a member learns that is not wanted any more.
func (r *Replica) hasGivenUp() bool {
	return slices.ContainsFunc(r.entries.conf.Learners, func(id uint64) bool {
		return id <= r.change.GivenUp
	})
}

// confirmGivenUp puts an entry on the log when the member that was given up is none.
func (r *Replica) confirmGivenUp() {
	if !r.change.Confirm || r.change.Joining > r.change.GivenUp || r.knows(r.change.Joining) {
		return
	}
	if r.farewell.of != r.change.Joining {
		r.farewell = farewell{of: r.change.Joining}
	}
	if r.farewell.marker == 0 && !r.farewell.done {
		r.farewell.marker = r.proposeMarker()
	}
}

// knows reports whether somebody is a member of any kind.
func (r *Replica) knows(id uint64) bool {
	conf := &r.entries.conf
	for _, list := range [][]uint64{conf.Voters, conf.VotersOutgoing, conf.Learners,
		conf.LearnersNext} {
		if slices.Contains(list, id) {
			return true
		}
	}
	return false
}

// gaveUp is the member of which a leader has confirmed that it never votes; 0: none.
func (r *Replica) gaveUp() uint64 {
	if r.farewell.done && r.change.Confirm && r.farewell.of == r.change.Joining {
		return r.farewell.of
	}
	return 0
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
	r.settling.marker = r.proposeMarker()
}

// proposeMarker puts an entry on the log that says nothing; 0: raft does not take one now.
func (r *Replica) proposeMarker() uint64 {
	marker := []raftpb.Entry{{}}
	err := r.node.Step(raftpb.Message{Type: raftpb.MsgProp, From: r.self, Entries: marker})
	if err != nil {
		r.ignore(err)
		return 0
	}
	return marker[0].Index
}

// told ends what waits for a marker when that is committed.
func (r *Replica) told(applied uint64) {
	if m := r.settling.marker; m != 0 && applied >= m {
		r.settling = settling{}
	}
	if m := r.farewell.marker; m != 0 && applied >= m {
		r.farewell.marker, r.farewell.done = 0, !r.knows(r.farewell.of)
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
