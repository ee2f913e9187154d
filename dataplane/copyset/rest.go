package copyset

import (
	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"
	"go.etcd.io/raft/v3/tracker"
)

// A copyset that nobody uses costs nothing. When nothing has happened in it for restTicks and every
// member has all, its leader lays it to rest: a last heartbeat says so, and from then on neither
// the leader nor the followers count ticks. No message is sent and no election held, whatever
// becomes of the leader meanwhile, until something wakes them: a request, a message, the news that
// a member's process has ended, a change of the membership, the control plane's word that nobody
// leads. The leader has no lease when it wakes, so its first read asks a majority, as always
// without one.
//
// A follower that a client asks was asked because the leader does not answer, or by mistake. It
// pokes the leader, which says something at once if it lives; if it does not, the follower stands
// for election after pokeTicks and not after a whole time-out, since the silence has lasted long.
//
// Rest is not a state of raft's: who misses the last heartbeat waits out its time-out, asks the
// others for their votes, and so wakes them, and the leader answers.

// The contexts of heartbeats and their answers that speak of rest. Those of ReadIndex are 8 bytes.
var (
	restContext = []byte("rest")
	wakeContext = []byte("wake")
)

// rest is what a replica knows about the rest of its copyset.
type rest struct {
	after  int // ticks
	asleep bool
	quiet  int    // ticks, in a leader, since something happened
	by     uint64 // the leader that said so in this turn
	poke   bool   // the leader is to be woken
}

// Asleep reports whether the replica needs no ticks.
func (r *Replica) Asleep() bool { return r.rest.asleep }

// wake ends the rest.
func (r *Replica) wake() { r.rest.asleep, r.rest.quiet = false, 0 }

// rouse ends the rest for something that only this replica knows of: a follower tells its leader,
// and waits for its heartbeats again.
func (r *Replica) rouse() {
	r.rest.poke = r.rest.asleep && !r.leading()
	r.wake()
}

// Rouse ends the rest because a caller has reason to doubt that the leader is there: nobody notices
// what becomes of it while the copyset rests.
func (r *Replica) Rouse(now int64) {
	r.now = now
	if r.err == nil {
		r.rouse()
	}
}

// stir ends the rest when a client asks.
func (r *Replica) stir() {
	if r.rouse(); r.rest.poke {
		for range electionTicks - pokeTicks {
			r.node.Tick()
		}
	}
}

// hearRest takes what a message says of rest, before raft has it.
func (r *Replica) hearRest(m *Message) {
	switch {
	case m.Type == raftpb.MsgHeartbeat && string(m.Context) == string(restContext):
		r.rest.by = m.From
		return
	case m.Type == raftpb.MsgHeartbeatResp && string(m.Context) == string(wakeContext):
		if r.leading() && r.rest.asleep {
			r.wake()
			for range heartbeatTicks {
				r.node.Tick()
			}
		}
		return
	case m.Type == raftpb.MsgHeartbeatResp, m.Type == raftpb.MsgAppResp:
		return // to what the leader sent before it went to rest
	}
	votes := m.Type == raftpb.MsgVote || m.Type == raftpb.MsgPreVote
	if votes && r.rest.asleep && !r.leading() && r.now >= r.promised() {
		r.ignore(r.node.ForgetLeader()) // it has been silent for longer than a time-out
	}
	r.wake()
}

// tickRest counts for how long nothing has happened.
func (r *Replica) tickRest() {
	if r.Serving() && r.idle() && r.everybodyHasAll() {
		r.rest.quiet++
	} else {
		r.rest.quiet = 0
	}
}

// goToRest ends a turn: a leader lays the copyset to rest, a follower follows.
func (r *Replica) goToRest(fx *Effects) {
	by := r.rest.by
	r.rest.by = 0
	switch {
	case r.rest.poke:
		r.rest.poke = false
		if lead := r.status.Lead; lead != raft.None && lead != r.self {
			r.sayRest(raftpb.MsgHeartbeatResp, lead, wakeContext, fx)
		}
	case r.leading() && r.rest.quiet >= r.rest.after:
		r.rest.quiet = 0
		if !r.idle() || !r.everybodyHasAll() {
			return
		}
		r.rest.asleep = true
		r.node.WithProgress(func(id uint64, _ raft.ProgressType, _ tracker.Progress) {
			if id != r.self {
				r.sayRest(raftpb.MsgHeartbeat, id, restContext, fx)
			}
		})
	case by != 0 && by == r.status.Lead && r.idle():
		r.rest.asleep = true
	}
}

func (r *Replica) sayRest(t raftpb.MessageType, to uint64, context []byte, fx *Effects) {
	fx.Messages = append(fx.Messages, Message{Copyset: r.id, Message: raftpb.Message{Type: t,
		From: r.self, To: to, Term: r.status.Term, Commit: r.status.Commit, Context: context}})
}

// idle reports whether nothing is under way here that a tick might carry on.
func (r *Replica) idle() bool {
	return r.err == nil && r.applied == r.entries.last() && r.applied == r.status.Commit &&
		r.lanes.Len()+r.reads.len()+len(r.waiting)+len(r.proposals) == 0 &&
		len(r.overlay.chunks) == 0 && r.flushes == 0 && len(r.deletes) == 0 && !r.deleting &&
		r.restore == nil && r.checkpoint == nil && r.status.LeadTransferee == raft.None &&
		!r.joint() && r.change.Joining == 0 && !r.hasGivenUp() && !r.retiring &&
		r.suspect.leader == 0
}

// inTouch reports whether a member answered lately. At rest nobody is asked, and all did before.
func (r *Replica) inTouch(p *tracker.Progress) bool { return p.RecentActive || r.rest.asleep }

// everybodyHasAll reports whether every other member has the whole log, and answered lately. Raft's
// own note of who is active begins anew with every time-out.
func (r *Replica) everybodyHasAll() bool {
	all, lately := true, r.now-electionTicks*int64(TickInterval)
	r.node.WithProgress(func(id uint64, _ raft.ProgressType, p tracker.Progress) {
		all = all && (id == r.self || p.State == tracker.StateReplicate &&
			p.Match == r.entries.last() && r.lease.acked[id] >= lately)
	})
	return all
}
