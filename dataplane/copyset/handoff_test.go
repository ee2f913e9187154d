package copyset

import (
	"errors"
	"testing"

	"go.etcd.io/raft/v3/raftpb"

	"github.com/ashlar-storage/ashlar/rpc/wire"
)

// told are the members that were told to stand for election.
func (h *solo) told() (members []uint64) {
	for _, m := range h.sent {
		if m.Type == raftpb.MsgTimeoutNow {
			members = append(members, m.To)
		}
	}
	h.sent = nil
	return members
}

func TestStoppedLeaderHasTheMemberWithMostOfTheLogTakeOver(t *testing.T) {
	h := newSolo(t, 3)
	h.elect()
	term := h.r.Status().Term
	h.receive(raftpb.Message{Type: raftpb.MsgHeartbeatResp, From: 3, Term: term})
	h.sent = nil
	h.r.Stop(errors.New("device lost"), &h.fx)
	h.turn()
	if to := h.told(); len(to) != 1 || to[0] != 2 {
		t.Errorf("told %v, want 2, which has everything", to)
	}
	h.r.Stop(errors.New("again"), &h.fx)
	h.turn()
	if to := h.told(); len(to) != 0 {
		t.Errorf("told %v once more", to)
	}
}

func TestStoppedFollowerTellsNobody(t *testing.T) {
	h := newSolo(t, 3)
	h.heartbeat(2, 1)
	h.r.Stop(errors.New("device lost"), &h.fx)
	h.turn()
	if to := h.told(); len(to) != 0 {
		t.Errorf("told %v", to)
	}
}

func TestReadsOfADeposedLeaderAreAnsweredBeforeTheDeviceIs(t *testing.T) {
	h := newSolo(t, 3)
	h.elect()
	h.submit(h.request(KindWrite, 100, 100, 1)) // reads its block first, as the other does
	h.submit(h.request(KindZero, 2*BlockSize+100, 100, 2))
	h.settle()
	if len(h.reads) != 2 {
		t.Fatalf("%d reads under way", len(h.reads))
	}
	h.heartbeat(2, h.r.status.Term+1)
	h.settle()
	if len(h.replies) != 2 {
		t.Fatalf("%d of 2 requests answered while the device keeps their blocks", len(h.replies))
	}
	for _, rep := range h.replies {
		if rep.Status != wire.StatusNotLeader {
			t.Errorf("answered %v", rep.Status)
		}
	}
	h.replies = nil
	if h.r.lanes.Len() != 2 {
		t.Errorf("%d operations in the lanes while two reads are under way", h.r.lanes.Len())
	}
	for _, job := range h.reads {
		if !job.Abandoned() {
			t.Error("the job does not know that nobody waits for it")
		}
		job.Err, job.Bad = errors.New("late, and bad"), []uint32{0}
		h.r.ReadDone(job, h.now, &h.fx)
	}
	h.reads = nil
	h.settle()
	if h.r.lanes.Len() != 0 || len(h.replies) != 0 || len(h.fx.Repairs) != 0 {
		t.Errorf("%d in the lanes, %d answers", h.r.lanes.Len(), len(h.replies))
	}
}

// lead makes replica 1 of three the leader, with replica 2 close behind.
func lead(t *testing.T) *solo {
	h := newSolo(t, 3)
	h.elect()
	h.receive(raftpb.Message{Type: raftpb.MsgHeartbeatResp, From: 3, Term: h.r.Status().Term})
	h.sent = nil
	return h
}

// writes submits a write and reports whether the replica takes it.
func (h *solo) writes(op uint64) bool {
	last := h.r.entries.last()
	h.submit(h.request(KindWrite, 0, BlockSize, op))
	h.settle()
	h.replies = nil
	return h.r.entries.last() > last
}

func TestLeaderThatNobodyTakesOverFromGoesOn(t *testing.T) {
	h := lead(t)
	h.r.lease.answer(2, h.now)
	if !h.r.leased() {
		t.Fatal("no lease to give away")
	}
	h.r.Transfer(2)
	if h.writes(1) {
		t.Fatal("a write was taken while the leadership is handed over")
	}
	for range transferTicks {
		h.r.Tick(h.now)
	}
	if !h.writes(2) {
		t.Error("takes no writes after nobody took over")
	}
	h.r.lease.answer(2, h.now)
	if h.r.leased() {
		t.Error("reads alone, though the other may come to lead yet")
	}
}

func TestWritesWaitForTheNextLeaderDuringAHandOver(t *testing.T) {
	h := lead(t)
	term := h.r.Status().Term
	h.r.Transfer(2)
	h.replies = nil
	h.submit(h.request(KindWrite, 0, BlockSize, 1))
	h.settle()
	if len(h.replies) != 0 {
		t.Fatalf("answered %v before anybody else leads", h.replies[0].Status)
	}
	h.receive(raftpb.Message{Type: raftpb.MsgVote, From: 2, Term: term + 1, Index: 100,
		LogTerm: term, Context: []byte("CampaignTransfer")})
	if len(h.replies) != 1 || h.replies[0].Status != wire.StatusNotLeader {
		t.Errorf("answered %+v", h.replies)
	}
}

// deposedInATurn is a leader with a write that waits for its entry, which in one turn hands over to
// a member, is deposed by another's message, and hears that the member's process has ended.
func deposedInATurn(t *testing.T, message func(h *solo, term, prev uint64) *Message) *solo {
	h := lead(t)
	term, prev := h.r.Status().Term, h.r.entries.last()
	h.submit(h.request(KindWrite, 0, BlockSize, 1))
	h.settle()
	h.replies = nil
	h.r.Transfer(2)
	h.r.Message(message(h, term, prev), h.now, &h.fx)
	h.r.Gone(2, h.now)
	h.settle()
	if len(h.replies) != 1 || h.replies[0].Status != wire.StatusNotLeader {
		t.Errorf("answered %+v", h.replies)
	}
	return h
}

func TestWriteOfADeposedLeaderIsNotAnsweredByAnothersEntry(t *testing.T) {
	h := deposedInATurn(t, func(h *solo, term, prev uint64) *Message {
		m := h.entryFrom(3, term+1, prev+1)
		m.LogTerm, m.Commit = term, prev+1
		return m
	})
	if got := h.r.Status(); got.Leader != 3 || got.Applied != got.Last {
		t.Fatalf("the other's entry has not come: %+v", got)
	}
}

func TestFormerLeaderAnswersWhoWaitsAtOnce(t *testing.T) {
	deposedInATurn(t, func(_ *solo, term, _ uint64) *Message {
		return &Message{Copyset: 1, Message: raftpb.Message{Type: raftpb.MsgHeartbeat, From: 3,
			To: 1, Term: term + 1}}
	})
}

func TestLeaderDoesNotWaitForAProcessThatHasEnded(t *testing.T) {
	h := lead(t)
	h.r.Transfer(2)
	h.r.Gone(3, h.now)
	if h.writes(1) {
		t.Fatal("kept the leadership because of another that ended")
	}
	h.r.Gone(2, h.now)
	if !h.writes(2) {
		t.Error("waits for a member whose process has ended")
	}
}

func TestLeadershipIsNotGivenToAMemberThatLags(t *testing.T) {
	h := lead(t)
	h.r.Transfer(3) // it has answered, and what it has is not known
	if to := h.told(); len(to) != 0 || !h.writes(1) {
		t.Errorf("waits until a member has caught up; told %v", to)
	}
}

func TestRetiredMemberLeadsNoMore(t *testing.T) {
	h := newSolo(t, 3)
	h.heartbeat(2, 1)
	h.r.Retire()
	term := h.r.Status().Term
	h.receive(raftpb.Message{Type: raftpb.MsgTimeoutNow, From: 2, Term: term})
	h.r.now += int64(promiseDuration)
	h.r.Campaign()
	h.settle()
	if s := h.r.Status(); s.Term != term || s.Leader != 2 {
		t.Errorf("stands for election: %+v", s)
	}
}

func TestLeaderThatHandsOverStaysUntilTheNextServes(t *testing.T) {
	h := lead(t)
	term := h.r.Status().Term
	if !h.r.HandOff() {
		t.Fatal("not needed while it leads")
	}
	h.receive(raftpb.Message{Type: raftpb.MsgVote, From: 2, Term: term + 1, Index: 100,
		LogTerm: term, Context: []byte("CampaignTransfer")})
	if !h.r.HandOff() {
		t.Error("not needed while nobody leads: its vote may not be on its way yet")
	}
	m := h.entryFrom(2, term+1, h.r.entries.last()+1)
	m.LogTerm = term
	h.r.Message(m, h.now, &h.fx)
	h.settle()
	if !h.r.HandOff() {
		t.Error("not needed while the next leader's first entry may want its copy")
	}
	h.receive(raftpb.Message{Type: raftpb.MsgHeartbeat, From: 2, Term: term + 1,
		Commit: h.r.entries.last()})
	if h.r.HandOff() {
		t.Error("needed though the next leader serves")
	}
}
