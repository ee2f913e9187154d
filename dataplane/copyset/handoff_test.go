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
