package copyset

import (
	"testing"
	"time"

	"go.etcd.io/raft/v3/raftpb"
)

// follow makes replica 1 of three a follower of replica `leader`, heard at the time it returns.
func follow(t *testing.T, leader uint64) (h *solo, heard int64) {
	h = newSolo(t, 3)
	h.now += int64(time.Second)
	heard = h.now
	h.heartbeat(leader, 1)
	if h.r.Leader() != leader {
		t.Fatalf("follows %d", h.r.Leader())
	}
	h.sent = nil
	return h, heard
}

// wake lets a suspicion have its effect at a time, and reports whether the replica stood for
// election.
func (h *solo) wake(at int64) (stood bool) {
	h.sent = nil
	h.now = at
	h.r.Wake(at)
	h.settle()
	for _, m := range h.sent {
		stood = stood || m.Type == raftpb.MsgPreVote
	}
	return stood
}

// votes reports whether the replica would vote for replica 3 at a time.
func (h *solo) votes(at int64) (granted bool) {
	h.sent = nil
	h.now = at
	h.receive(raftpb.Message{Type: raftpb.MsgPreVote, From: 3, Term: h.r.status.Term + 1,
		Index: 100, LogTerm: 9})
	for _, m := range h.sent {
		granted = granted || m.Type == raftpb.MsgPreVoteResp && !m.Reject
	}
	return granted
}

func TestFollowerOfAnEndedLeaderStandsOnceItsPromiseIsOver(t *testing.T) {
	h, heard := follow(t, 2)
	over := heard + int64(promiseDuration)
	at := h.r.Gone(2, h.now)
	if want := over + int64(standMargin); at != want {
		t.Fatalf("wants to be woken %v after it heard the leader, want %v",
			time.Duration(at-heard), time.Duration(want-heard))
	}
	if h.wake(over - 1) {
		t.Error("stood for election before its promise was over")
	}
	if !h.wake(at) {
		t.Error("did not stand for election")
	}
}

func TestFollowerOfAnEndedLeaderVotesOnceItsPromiseIsOver(t *testing.T) {
	h, heard := follow(t, 2)
	h.r.Gone(2, h.now)
	if h.votes(heard + int64(promiseDuration) - 1) {
		t.Error("voted while its promise held")
	}
	if !h.votes(heard + int64(promiseDuration)) {
		t.Error("does not vote after that")
	}
}

func TestFollowersOfAnEndedLeaderStandOneAfterTheOther(t *testing.T) {
	h, heard := follow(t, 2)
	first := h.r.Gone(2, h.now)
	h.wake(first)
	if h.wake(first + 2*int64(standApart) - 1) {
		t.Error("stood again in the turn of the other")
	}
	if !h.wake(first + 2*int64(standApart)) {
		t.Error("did not stand again")
	}
	h.r.self = 3 // as the other sees it
	h.r.suspect.tries = 0
	if at := h.r.turnToStand(); at != first+int64(standApart) {
		t.Errorf("the other's turn is %v after the leader was heard, want %v",
			time.Duration(at-heard), time.Duration(first-heard)+standApart)
	}
	h.r.self = 1
}

func TestLeaderThatIsHeardIsNotDoubted(t *testing.T) {
	h, _ := follow(t, 2)
	at := h.r.Gone(2, h.now)
	h.now = at - 10
	h.heartbeat(2, 1)
	if h.wake(at) || h.r.Leader() != 2 {
		t.Error("doubts a leader that was heard since")
	}
	if h.wake(at+2*int64(promiseDuration)) || h.r.Leader() != 2 {
		t.Error("doubts a leader that is slow, because of what it heard before")
	}
	h.now -= int64(promiseDuration)
	h.heartbeat(2, 1)
	at = h.now
	if h.votes(at) {
		t.Error("votes against a leader that was heard since")
	}
}

func TestOnlyTheLeadersEndMatters(t *testing.T) {
	h, heard := follow(t, 2)
	if at := h.r.Gone(3, h.now); at != 0 {
		t.Errorf("wants to be woken at %d for another follower", at)
	}
	if h.wake(heard + int64(time.Second)) {
		t.Error("stood for election")
	}
}

func TestReplicaToldToStandKeepsItsPromise(t *testing.T) {
	h, heard := follow(t, 2)
	h.now = heard + int64(promiseDuration) - 2
	h.r.now = h.now
	h.r.Campaign()
	h.turn()
	if len(h.sent) != 0 || h.r.Leader() != 2 {
		t.Error("stood for election while its promise held: it would vote for others too")
	}
	h.r.now += 2
	h.r.Campaign()
	h.turn()
	if len(h.sent) == 0 {
		t.Error("did not stand after that")
	}
}

// Replica 1 asked 3 for its vote, then heard the leader, and then 3's refusal, which came from a
// newer term: raft follows nobody any more.
func TestAPromiseHoldsThoughANewerTermWasHeardOf(t *testing.T) {
	h, heard := follow(t, 2)
	h.receive(raftpb.Message{Type: raftpb.MsgPreVoteResp, From: 3, Term: h.r.status.Term + 1,
		Reject: true})
	if h.r.Leader() != 0 {
		t.Fatalf("follows %d after it heard of a newer term", h.r.Leader())
	}
	voted := func(at int64, context string, from uint64) (granted bool) {
		h.sent = nil
		h.now = at
		h.receive(raftpb.Message{Type: raftpb.MsgVote, From: from, Term: h.r.status.Term + 1,
			Index: 100, LogTerm: 9, Context: []byte(context)})
		for _, m := range h.sent {
			granted = granted || m.Type == raftpb.MsgVoteResp && !m.Reject
		}
		return granted
	}
	over := heard + int64(promiseDuration)
	if h.votes(over-2) || voted(over-1, "", 3) {
		t.Error("voted while its promise held")
	}
	if !voted(over-1, "", 2) {
		t.Error("does not vote for the leader that it promised to")
	}
	if !voted(over-1, transferred, 3) {
		t.Error("does not vote for whom the leader hands over to")
	}
	if !voted(over, "", 3) {
		t.Error("does not vote after that")
	}
}
