package copyset

import (
	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/tracker"
)

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
	best, match := uint64(0), uint64(0)
	r.node.WithProgress(func(id uint64, kind raft.ProgressType, p tracker.Progress) {
		if id != r.self && kind == raft.ProgressTypePeer && p.RecentActive && p.Match >= match {
			best, match = id, p.Match
		}
	})
	if best == 0 {
		return false
	}
	r.Transfer(best)
	return true
}
