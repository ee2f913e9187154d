package copyset

import (
	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"
	"go.etcd.io/raft/v3/tracker"
)

// resign has another member stand for election at once, without the agreement that HandOff waits
// for: this replica is about to stop and may be able to agree to nothing any more. That member wins
// only if it has everything that was committed, so at worst nobody gains by it.
func (r *Replica) resign(fx *Effects) {
	if r.resigned || !r.leading() {
		return
	}
	r.resigned = true
	r.lease.given = true
	if best := r.closest(); best != 0 {
		fx.Messages = append(fx.Messages, Message{Copyset: r.id, Message: raftpb.Message{
			Type: raftpb.MsgTimeoutNow, From: r.self, To: best, Term: r.status.Term}})
	}
}

// closest is the voter in touch that has most of the log; 0 when there is none.
func (r *Replica) closest() (best uint64) {
	match := uint64(0)
	r.node.WithProgress(func(id uint64, kind raft.ProgressType, p tracker.Progress) {
		if id != r.self && kind == raft.ProgressTypePeer && p.RecentActive && p.Match >= match {
			best, match = id, p.Match
		}
	})
	return best
}

// HandOff gives the leadership to the member that has most of the log, so that a planned stop
// costs the clients a moment and not an election time-out. It reports whether this replica leads
// still; without a member in touch it keeps the leadership.
func (r *Replica) HandOff() bool {
	if r.err != nil || !r.leading() {
		return false
	}
	if r.status.LeadTransferee != raft.None {
		return true
	}
	best := r.closest()
	if best == 0 {
		return false
	}
	r.Transfer(best)
	return true
}
