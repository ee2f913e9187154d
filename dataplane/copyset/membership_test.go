package copyset

import (
	"slices"
	"testing"

	"go.etcd.io/raft/v3/raftpb"
)

// Every membership that a replacement can pass through, with the step that follows.
func TestNextStepOfAReplacement(t *testing.T) {
	ids := func(n ...uint64) []uint64 { return n }
	want := Change{Joining: 4, Leaving: 3}
	gone := Change{Joining: 4, Leaving: 3, GivenUp: 4}
	for _, c := range []struct {
		name     string
		conf     raftpb.ConfState
		want     Change
		caughtUp bool
		step     string
	}{
		{"nothing is wanted", raftpb.ConfState{Voters: ids(1, 2, 3)}, Change{}, true, ""},
		{"the new member is unknown", raftpb.ConfState{Voters: ids(1, 2, 3)}, want, false, "l4"},
		{"the learner is behind",
			raftpb.ConfState{Voters: ids(1, 2, 3), Learners: ids(4)}, want, false, ""},
		{"the learner has caught up",
			raftpb.ConfState{Voters: ids(1, 2, 3), Learners: ids(4)}, want, true, "v4 r3"},
		{"a learner of a replacement that was given up",
			raftpb.ConfState{Voters: ids(1, 2, 3), Learners: ids(4, 9)}, want, true, "r9"},
		{"a joint membership is left by raft", raftpb.ConfState{Voters: ids(1, 2, 4),
			VotersOutgoing: ids(1, 2, 3), AutoLeave: true}, want, true, ""},
		{"done", raftpb.ConfState{Voters: ids(1, 2, 4)}, want, true, ""},
		{"the new one votes, the old one still does",
			raftpb.ConfState{Voters: ids(1, 2, 3, 4)}, want, true, "r3"},
		{"the old one is no member", raftpb.ConfState{Voters: ids(1, 2, 5)}, want, true, ""},
		{"one of two", raftpb.ConfState{Voters: ids(1, 3)}, want, false, "l4"},
		{"an earlier newcomer was lost as a voter",
			raftpb.ConfState{Voters: ids(1, 2, 4)}, Change{Joining: 5, Leaving: 3}, false, "l5"},
		{"and the next has caught up", raftpb.ConfState{Voters: ids(1, 2, 4), Learners: ids(5)},
			Change{Joining: 5, Leaving: 3}, true, "v5 r4"},
		{"one that was not taken on is given up", raftpb.ConfState{Voters: ids(1, 2, 3)},
			gone, true, ""},
		{"a learner is given up", raftpb.ConfState{Voters: ids(1, 2, 3), Learners: ids(4)},
			gone, true, "r4"},
		{"one that votes is not given up", raftpb.ConfState{Voters: ids(1, 2, 3, 4)},
			gone, true, "r3"},
		{"nor while the membership changes", raftpb.ConfState{Voters: ids(1, 2, 4),
			VotersOutgoing: ids(1, 2, 3), AutoLeave: true}, gone, true, ""},
		{"one that was given up comes late", raftpb.ConfState{Voters: ids(1, 2, 3),
			Learners: ids(4)}, Change{GivenUp: 4}, true, "r4"},
		{"the next one after it", raftpb.ConfState{Voters: ids(1, 2, 3)},
			Change{Joining: 5, Leaving: 3, GivenUp: 4}, false, "l5"},
		{"nothing is known to be given up", raftpb.ConfState{Voters: ids(1, 2, 3),
			Learners: ids(4)}, Change{}, true, ""},
		{"an earlier newcomer was lost as a learner",
			raftpb.ConfState{Voters: ids(1, 2, 3), Learners: ids(4)},
			Change{Joining: 5, Leaving: 3}, false, "r4"},
	} {
		cc, ok := nextChange(&c.conf, c.want, ids(1, 2, 3, c.want.Joining), c.caughtUp)
		if got := raftpb.ConfChangesToString(cc.Changes); got != c.step || ok != (c.step != "") {
			t.Errorf("%s: %q, want %q", c.name, got, c.step)
		}
	}
}

// From any membership the steps end, and never leave fewer voters than there were.
func TestReplacementEndsFromEveryMembership(t *testing.T) {
	all := []uint64{1, 2, 3, 4, 9}
	for bits := range 1 << (2 * len(all)) {
		var conf raftpb.ConfState
		for i, id := range all {
			switch bits >> (2 * i) & 3 {
			case 1:
				conf.Voters = append(conf.Voters, id)
			case 2:
				conf.Learners = append(conf.Learners, id)
			}
		}
		if len(conf.Voters) == 0 {
			continue
		}
		voters := len(conf.Voters)
		both := slices.Contains(conf.Voters, 4) && slices.Contains(conf.Voters, 3)
		next := func() (raftpb.ConfChangeV2, bool) {
			return nextChange(&conf, Change{Joining: 4, Leaving: 3}, []uint64{1, 2, 3, 4}, true)
		}
		for range 10 {
			cc, ok := next()
			if !ok {
				break
			}
			applyAll(&conf, cc)
		}
		if _, ok := next(); ok {
			t.Fatalf("%+v: never ends", conf)
		}
		if n := len(conf.Voters); n < voters && !(both && n == voters-1) {
			t.Fatalf("%+v: %d voters of %d are left", conf, n, voters)
		}
	}
}

// applyAll is what raft makes of a change, once it has left a joint membership.
func applyAll(conf *raftpb.ConfState, cc raftpb.ConfChangeV2) {
	for _, c := range cc.Changes {
		drop := func(ids []uint64) []uint64 {
			return slices.DeleteFunc(slices.Clone(ids), func(id uint64) bool {
				return id == c.NodeID
			})
		}
		conf.Voters, conf.Learners = drop(conf.Voters), drop(conf.Learners)
		switch c.Type {
		case raftpb.ConfChangeAddNode:
			conf.Voters = append(conf.Voters, c.NodeID)
		case raftpb.ConfChangeAddLearnerNode:
			conf.Learners = append(conf.Learners, c.NodeID)
		}
	}
}

// What a leader calls done is known to a majority: whoever leads next counts votes by it.
func TestReplacementIsDoneWhenAMajorityKnows(t *testing.T) {
	h := lead(t)
	term := h.r.Status().Term
	change := raftpb.ConfChangeV2{Changes: []raftpb.ConfChangeSingle{
		{Type: raftpb.ConfChangeAddNode, NodeID: 4},
		{Type: raftpb.ConfChangeRemoveNode, NodeID: 3}}}
	if err := h.r.node.ProposeConfChange(change); err != nil {
		t.Fatal(err)
	}
	h.settle()
	ack := func() {
		last := h.r.entries.last()
		for _, from := range []uint64{2, 4} {
			h.receive(raftpb.Message{Type: raftpb.MsgAppResp, From: from, Term: term, Index: last})
		}
	}
	ack() // now between the two sets of voters
	if s := h.r.Status(); !s.Joint || len(h.r.entries.conf.VotersOutgoing) == 0 {
		t.Fatalf("not in a joint membership: %+v", s)
	}
	ack() // and it is left: the voters have the entry, and have not heard that it is committed
	if s := h.r.Status(); !s.Joint || !slices.Equal(s.Voters, []uint64{1, 2, 4}) {
		t.Errorf("joint %v with the voters %v, though nobody knows", s.Joint, s.Voters)
	}
	left := h.r.applied
	carried := 0
	for _, m := range h.sent {
		if m.Type == raftpb.MsgApp && m.Index == left {
			carried++
			if m.Commit < left {
				t.Errorf("entry %d travels with commit index %d", m.Index+1, m.Commit)
			}
		}
	}
	if carried == 0 {
		t.Error("nobody is told")
	}
	ack()
	if s := h.r.Status(); s.Joint || s.Applied <= left {
		t.Errorf("joint %v after entry %d of %d", s.Joint, s.Applied, left)
	}
}
