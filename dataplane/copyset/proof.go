package copyset

import (
	"fmt"

	"go.etcd.io/raft/v3/raftpb"
)

// A disk can come back older than it was: restored from a copy, or from the wrong half of a mirror.
// All that is on it is sound, and yet the member has forgotten entries that it acknowledged and
// votes that it gave. Such a member must not take part in an election, or what a majority had is a
// minority's. It must answer no leader either: one that was deposed with its forgotten vote would
// take the answer for a majority's, and serve reads and commit writes beside its successor. And it
// must not stay, because nobody knows what it promised.
//
// Two others remember. The control plane knows up to where the store's log once reached, which the
// store asks it at its start: until it has answered, Proven, or a bounded time has passed, the
// replica neither votes nor stands for election nor hears anybody. And a leader that has led since
// before knows which entries the member acknowledged, and says so with every heartbeat.

// proof is what a recovered replica waits for.
type proof struct {
	until int64 // ns; 0: it waits for nothing
	lost  error
}

func newProof(unproven bool, now int64) proof {
	if !unproven {
		return proof{}
	}
	return proof{until: now + int64(proofTime)}
}

func (p *proof) missing(now int64) bool { return now < p.until }

// Proven tells that what was recovered is the newest there ever was.
func (r *Replica) Proven() { r.proof.until = 0 }

// mayElect reports whether this replica may vote and be voted for.
func (r *Replica) mayElect() bool {
	return r.now >= r.voteAfter && !r.proof.missing(r.now)
}

// unheard reports whether a message is dropped, as nobody knows yet what this replica has promised.
// A heartbeat may tell.
func (r *Replica) unheard(m *Message) bool {
	missing := r.proof.missing(r.now)
	if missing && m.Type == raftpb.MsgHeartbeat {
		r.forgot(m)
	}
	return missing
}

// forgot reports whether a heartbeat speaks of committed entries that this member acknowledged and
// does not have. Raft sends no higher commit index than the member was seen to have.
func (r *Replica) forgot(m *Message) bool {
	if m.Commit <= r.entries.last() {
		return false
	}
	if r.proof.lost == nil {
		r.proof.lost = fmt.Errorf("%w: the leader knows that entry %d was here, and the log ends "+
			"at %d: the disk was put back to an earlier state", ErrDamaged, m.Commit,
			r.entries.last())
	}
	return true
}

// Lost is why the member can be trusted no more, of class ErrDamaged, and has to be replaced; nil
// while it can. The owner asks after each message.
func (r *Replica) Lost() error { return r.proof.lost }
