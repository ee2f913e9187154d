package copyset

import (
	"testing"
	"time"

	"go.etcd.io/raft/v3/raftpb"

	"github.com/ashlar-storage/ashlar/rpc/wire"
)

// ticks passes n of them and counts the messages that were sent.
func (h *solo) ticks(n int) (sent int) {
	for range n {
		before := len(h.sent)
		h.now += int64(TickInterval)
		h.r.Tick(h.now)
		h.settle()
		sent += len(h.sent) - before
	}
	return sent
}

// followed answers what the leader sent to two followers that have everything.
func (h *solo) followed() {
	for _, from := range []uint64{2, 3} {
		h.receive(raftpb.Message{Type: raftpb.MsgAppResp, From: from, Term: h.r.status.Term,
			Index: h.r.entries.last()})
	}
}

// quiet passes ticks, with the followers' answers, until the replica rests or n ticks have passed.
func (h *solo) quiet(n int) bool {
	for range n {
		h.ticks(1)
		for _, from := range []uint64{2, 3} {
			m := raftpb.Message{To: 1, From: from, Type: raftpb.MsgHeartbeatResp,
				Term: h.r.status.Term}
			h.r.Message(&Message{Copyset: 1, Stamp: h.now, Message: m}, h.now, &h.fx)
			h.settle()
		}
		if h.r.Asleep() {
			return true
		}
	}
	return false
}

func TestLeaderOfAnIdleCopysetGoesToRest(t *testing.T) {
	h := lead(t)
	if h.quiet(2 * restTicks) {
		t.Fatal("rests though a follower has not got everything")
	}
	h.followed()
	q := h.request(KindFence, 0, 0, 1)
	h.submit(q)
	h.settle()
	h.receive(raftpb.Message{Type: raftpb.MsgAppResp, From: 2, Term: h.r.status.Term,
		Index: h.r.entries.last()})
	if s := h.answer(); s != wire.StatusOK {
		t.Fatalf("answered %v", s)
	}
	if h.quiet(2 * restTicks) {
		t.Fatal("rests though a follower lacks an entry")
	}
	h.followed()
	h.sent = nil
	if !h.quiet(2 * restTicks) {
		t.Fatalf("never rests: %+v", h.r.Status())
	}
	told := map[uint64]bool{}
	for _, m := range h.sent {
		if string(m.Context) == string(restContext) {
			told[m.To] = true
		}
	}
	if len(told) != 2 {
		t.Errorf("told %v of the rest", told)
	}
	for _, p := range h.r.Status().Progress {
		if !p.Active {
			t.Errorf("member %d counts as out of touch", p.Replica)
		}
	}
	if n := h.ticks(100); n != 0 || !h.r.Asleep() {
		t.Errorf("%d messages at rest, asleep %v", n, h.r.Asleep())
	}
	if !h.writes(1) || h.r.Asleep() {
		t.Error("a write does not wake it")
	}
	if n := h.ticks(heartbeatTicks + 1); n == 0 {
		t.Error("no heartbeat after it woke")
	}
	if h.quiet(2 * restTicks) {
		t.Error("rests with a write under way")
	}
}

func TestLeaderAtRestHasNoLease(t *testing.T) {
	h := lead(t)
	h.followed()
	h.r.lease.answer(2, h.now)
	if !h.quiet(2 * restTicks) {
		t.Fatal("never rests")
	}
	h.now += int64(time.Hour)
	h.submit(h.request(KindRead, 0, BlockSize, 0))
	h.settle()
	if len(h.replies) != 0 {
		t.Errorf("answered %v under the lease of an hour ago", h.replies[0].Status)
	}
}

// resting is a follower whose leader, replica 2, has laid the copyset to rest.
func resting(t *testing.T) *solo {
	h := newSolo(t, 3)
	h.heartbeat(2, 1)
	h.receive(raftpb.Message{Type: raftpb.MsgHeartbeat, From: 2, Term: 1, Context: restContext})
	if !h.r.Asleep() {
		t.Fatal("does not rest")
	}
	h.sent = nil
	return h
}

func TestFollowerAtRestHoldsNoElection(t *testing.T) {
	h := resting(t)
	if n := h.ticks(1000); n != 0 || !h.r.Asleep() {
		t.Errorf("%d messages at rest, asleep %v", n, h.r.Asleep())
	}
	h.heartbeat(2, 1)
	if h.r.Asleep() {
		t.Error("a heartbeat does not wake it")
	}
	if n := h.ticks(3 * electionTicks); n == 0 {
		t.Error("awake, and holds no election though the leader is silent")
	}
}

func TestFollowerThatLacksSomethingDoesNotRest(t *testing.T) {
	h := newSolo(t, 3)
	h.r.Message(h.entryFrom(2, 1, 1), h.now, &h.fx) // not known to be committed
	h.settle()
	h.receive(raftpb.Message{Type: raftpb.MsgHeartbeat, From: 2, Term: 1, Context: restContext})
	if h.r.Asleep() {
		t.Error("rests with an entry that is not applied")
	}
}

// Whoever asks a follower at rest had no answer from the leader: it does not wait a whole time-out.
func TestFollowerAtRestThatIsAskedLooksForTheLeader(t *testing.T) {
	h := resting(t)
	h.now += int64(time.Hour)
	h.submit(h.request(KindRead, 0, BlockSize, 0))
	h.settle()
	if s := h.answer(); s != wire.StatusNotLeader {
		t.Errorf("answered %v", s)
	}
	poked := false
	for _, m := range h.sent {
		poked = poked || m.To == 2 && m.Type == raftpb.MsgHeartbeatResp &&
			string(m.Context) == string(wakeContext)
	}
	if !poked {
		t.Errorf("the leader is not woken: %v", h.sent)
	}
	h.sent = nil
	for n := 1; len(h.sent) == 0; n++ {
		if h.ticks(1); n < pokeTicks && len(h.sent) > 0 {
			t.Errorf("stands for election after %d ticks, before the leader can say something", n)
		} else if n > electionTicks+pokeTicks {
			t.Fatal("never stands for election")
		}
	}
}

// TestFollowerAtRestThatIsRousedStandsForElection: of a leader that is gone without a trace only
// somebody else can tell.
func TestFollowerAtRestThatIsRousedStandsForElection(t *testing.T) {
	h := resting(t)
	h.now += int64(time.Hour)
	h.r.Rouse(h.now)
	h.settle()
	if h.r.Asleep() || len(h.sent) != 1 || h.sent[0].To != 2 {
		t.Errorf("asleep %v, sent %v: the leader is to be asked first", h.r.Asleep(), h.sent)
	}
	h.sent = nil
	for n := 0; len(h.sent) == 0; n++ {
		if h.ticks(1); n > 2*electionTicks {
			t.Fatal("never stands for election")
		}
	}
}

func TestLeaderAtRestThatIsPokedSaysSomethingAtOnce(t *testing.T) {
	h := lead(t)
	h.followed()
	if !h.quiet(2 * restTicks) {
		t.Fatal("never rests")
	}
	h.sent = nil
	h.receive(raftpb.Message{Type: raftpb.MsgHeartbeatResp, From: 3, Term: h.r.status.Term,
		Context: wakeContext})
	told := map[uint64]bool{}
	for _, m := range h.sent {
		if m.Type == raftpb.MsgHeartbeat {
			told[m.To] = true
		}
	}
	if len(told) != 2 || h.r.Asleep() {
		t.Errorf("told %v, asleep %v", told, h.r.Asleep())
	}
}

// A follower at rest has not counted how long its leader is silent: it gives its vote when what it
// promised is over, and not before.
func TestFollowerAtRestVotesOnceItsPromiseIsOver(t *testing.T) {
	for over, want := range map[bool]bool{false: false, true: true} {
		h := resting(t)
		if over {
			h.now += int64(promiseDuration)
		}
		h.receive(raftpb.Message{Type: raftpb.MsgPreVote, From: 3, Term: 2, Index: 100, LogTerm: 9})
		granted := false
		for _, m := range h.sent {
			granted = granted || m.Type == raftpb.MsgPreVoteResp && !m.Reject
		}
		if granted != want || h.r.Asleep() || (h.r.Leader() == 0) != want {
			t.Errorf("promise over %v: vote given %v, asleep %v, follows %d", over, granted,
				h.r.Asleep(), h.r.Leader())
		}
	}
}
