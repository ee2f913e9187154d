package copyset

import (
	"errors"
	"testing"
	"time"

	"go.etcd.io/raft/v3/raftpb"
)

// unproven is replica 1 of three, recovered at time 100, with its effects.
func unproven(t *testing.T) (r *Replica, fx *Effects) {
	return restarted(t, true), new(Effects)
}

// electsUntil lets the replica live to a time, with all that may have it take part in an election,
// and reports whether it did.
func electsUntil(r *Replica, fx *Effects, from, to int64) bool {
	for now := from; now < to; now += int64(TickInterval) {
		r.Tick(now)
		r.Campaign()
		r.Message(voteRequest(), now, fx)
		r.Message(&Message{Copyset: 1, Message: raftpb.Message{Type: raftpb.MsgTimeoutNow, From: 2,
			To: 1, Term: r.status.Term}}, now, fx)
		r.Ready(now, fx)
		if len(fx.Messages)+len(fx.Appends) != 0 {
			return true
		}
	}
	return false
}

func TestUnprovenReplicaTakesNoPartInElections(t *testing.T) {
	r, fx := unproven(t)
	if electsUntil(r, fx, 100, 100+int64(proofTime)) {
		t.Fatalf("took part in an election: %+v", fx)
	}
	if !electsUntil(r, fx, 100+int64(proofTime), 100+int64(proofTime)+int64(TickInterval)) {
		t.Error("takes part in none when nobody could prove anything")
	}
}

func TestProvenReplicaTakesPartInElections(t *testing.T) {
	r, fx := unproven(t)
	soon := 100 + 2*electionTicks*int64(TickInterval)
	if electsUntil(r, fx, 100, soon) {
		t.Fatalf("took part in an election: %+v", fx)
	}
	r.Proven()
	if !electsUntil(r, fx, soon, soon+int64(TickInterval)) {
		t.Error("takes no part in an election")
	}
}

func TestUnprovenReplicaAnswersNoLeader(t *testing.T) {
	r, fx := unproven(t)
	term, last := r.status.Term, r.entries.last()
	hear := func() (answers int) {
		for _, m := range []raftpb.Message{
			{Type: raftpb.MsgHeartbeat, From: 2, To: 1, Term: term, Commit: last,
				Context: []byte("read")},
			{Type: raftpb.MsgApp, From: 2, To: 1, Term: term, Index: last, LogTerm: term,
				Entries: []raftpb.Entry{{Term: term, Index: last + 1}}},
		} {
			r.Message(&Message{Copyset: 1, Message: m, Stamp: 7}, 200, fx)
			r.Ready(200, fx)
		}
		return len(fx.Messages) + len(fx.Appends)
	}
	if n := hear(); n != 0 {
		t.Fatalf("%d answers to a leader that the replica may have deposed: %+v", n, fx)
	}
	r.Proven()
	if n := hear(); n == 0 {
		t.Error("no answer when all is proven")
	}
}

func TestUnprovenReplicaLearnsWhatItForgot(t *testing.T) {
	r, fx := unproven(t)
	beat := raftpb.Message{Type: raftpb.MsgHeartbeat, From: 2, To: 1, Term: r.status.Term,
		Commit: r.entries.last() + 1}
	r.Message(&Message{Copyset: 1, Message: beat}, 200, fx)
	if err := r.Lost(); !errors.Is(err, ErrDamaged) {
		t.Errorf("without an entry that it had acknowledged: %v", err)
	}
}

func TestReplicaThatForgotWhatItsLeaderKnowsIsLost(t *testing.T) {
	h := newSolo(t, 3)
	h.now += int64(time.Second)
	last := h.r.entries.last()
	beat := func(commit uint64) {
		h.receive(raftpb.Message{Type: raftpb.MsgHeartbeat, From: 2, Term: 1, Commit: commit})
	}
	beat(last)
	if err := h.r.Lost(); err != nil {
		t.Fatalf("with everything: %v", err)
	}
	beat(last + 1)
	if err := h.r.Lost(); !errors.Is(err, ErrDamaged) {
		t.Errorf("without an entry that it had acknowledged: %v", err)
	}
}
