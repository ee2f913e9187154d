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
		if id != r.self && kind == raft.ProgressTypePeer && r.inTouch(&p) && p.Match >= match {
			best, match = id, p.Match
		}
	})
	return best
}

// Transfer hands the leadership over to a voter that follows closely; to another it does not, as
// nothing is written until that has caught up. The lease ends at once and for the rest of the term.
func (r *Replica) Transfer(to uint64) {
	if r.err != nil || !r.leading() || to == r.self {
		return
	}
	follows := false
	r.node.WithProgress(func(id uint64, kind raft.ProgressType, p tracker.Progress) {
		follows = follows || id == to && kind == raft.ProgressTypePeer && r.inTouch(&p) &&
			p.State == tracker.StateReplicate
	})
	if follows {
		r.transfer(to)
	}
}

func (r *Replica) transfer(to uint64) {
	r.wake()
	r.lease.given = true
	r.transferAt = r.ticks
	r.node.TransferLeader(to)
	r.noteTransferee()
}

// abortTransfer keeps the leadership, which nobody has taken over. That may come to lead all the
// same, so the lease stays given away.
func (r *Replica) abortTransfer() {
	r.node.TransferLeader(r.self)
	r.noteTransferee()
}

// noteTransferee takes over whom raft is handing over to, and nothing else: that the leadership was
// lost in this turn is for noteRole to find, which answers whoever waits for this leader.
func (r *Replica) noteTransferee() {
	r.status.LeadTransferee = r.node.BasicStatus().LeadTransferee
}

// handingOver reports whether the leadership is being given away, or is lost since the last turn.
func (r *Replica) handingOver() bool {
	if !r.leading() {
		return false
	}
	now := r.node.BasicStatus()
	return now.RaftState != raft.StateLeader || now.LeadTransferee != raft.None
}

// Retire keeps the replica from leading ever again: its process is about to stop.
func (r *Replica) Retire() {
	r.rouse()
	r.retiring = true
}

// HandOff gives the leadership to the member that has most of the log, so that a planned stop
// costs the clients a moment and not an election time-out. It reports whether this replica is
// needed still: it leads, or whom it handed over to does not serve yet, as far as it knows. That
// one may want its vote, and its copy of the entry that begins the term. Without a member in touch
// it keeps the leadership.
func (r *Replica) HandOff() bool {
	if r.err != nil {
		return false
	}
	if !r.leading() {
		return r.handed && (r.status.Lead == raft.None || r.appliedTerm != r.status.Term)
	}
	if r.status.LeadTransferee != raft.None {
		return true
	}
	best := r.closest()
	if best == 0 {
		return false
	}
	r.handed = true
	r.transfer(best)
	return true
}
