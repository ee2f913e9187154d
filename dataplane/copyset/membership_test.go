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
