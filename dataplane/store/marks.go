package store

import (
	"go.etcd.io/raft/v3/raftpb"

	"github.com/ashlar-storage/ashlar/dataplane/copyset"
	"github.com/ashlar-storage/ashlar/ebpf/mark"
)

// The records count in the same stages.
var _ [mark.Stages]struct{} = [copyset.Stages]struct{}{}

// marks is what an owner has to tell a tracer. Records say themselves when they were, and are held
// back until there are some: a call of a marker costs as much as thirty records. Only of some turns
// is everything told at once, as the kernel notes when that is and stages are held against it.
type marks struct {
	on      bool // one was attached when the turn began
	ops     []mark.Op
	turn    int // where in ops this turn's begin
	turns   int // that had any
	appends []mark.Append
	acks    []mark.Ack
	held    int64 // since when there have been records, by the store's clock
}

// attach begins a turn. Of what was held back for a tracer that has gone nobody is told.
func (t *marks) attach(on bool) {
	if on != t.on {
		*t = marks{on: on}
	}
}

// hold notes when the first of the records came.
func (t *marks) hold(now int64) {
	if len(t.ops)+len(t.appends)+len(t.acks) == 0 {
		t.held = now
	}
}

// due reports whether what is held back is told in this turn.
func (t *marks) due(now int64) bool {
	most := max(len(t.ops), len(t.appends), len(t.acks))
	return most >= marksHeld || most > 0 && now-t.held >= int64(marksTime)
}

// answer ends the stages of the requests that were answered in this turn, which took so long until
// their answers had left, and reports whether they are to be told at once.
func (t *marks) answer(took int64) (prompt bool) {
	fresh := t.ops[t.turn:]
	if len(fresh) == 0 {
		return false
	}
	been := uint8(1 << copyset.StageReply)
	if prompt = t.turns%marksPrompt == 0; prompt {
		been |= mark.Prompt
	}
	for i := range fresh {
		fresh[i].Spent[copyset.StageReply] = took
		fresh[i].Been |= been
	}
	t.turn = len(t.ops)
	t.turns++
	return prompt
}

// uptimeOf is CLOCK_MONOTONIC at a time of the store's clock, both in ns.
func (s *Store) uptimeOf(clock int64) int64 { return clock + s.epoch }

// noteAppend counts what an append took, whether somebody looks or not.
func (o *Owner) noteAppend(m *member, a *copyset.Append) {
	if a.Err != nil || a.Began.IsZero() {
		return
	}
	began := o.store.clockAt(a.Began)
	o.timing.Logged(began-a.Queued, int64(a.Took))
	if !o.marks.on {
		return
	}
	term, first, count, bytes := a.Entries()
	if count == 0 {
		return
	}
	o.marks.hold(o.now)
	o.marks.appends = append(o.marks.appends, mark.Append{Copyset: m.ID(), Term: term,
		First: first, Count: uint32(count), Bytes: uint32(bytes),
		Queued: o.store.uptimeOf(a.Queued), Began: o.store.uptimeOf(began),
		Durable: o.store.uptimeOf(began + int64(a.Took)), Taken: o.store.uptimeOf(o.now),
		Node: o.nodeOf(m, m.Self()), Store: o.store.meta.StoreID})
}

// markAck tells of a follower that has everything up to an entry.
func (o *Owner) markAck(m *member, msg *copyset.Message) {
	if msg.Type != raftpb.MsgAppResp || msg.Reject || m.Leader() != m.Self() {
		return
	}
	o.marks.hold(o.now)
	o.marks.acks = append(o.marks.acks, mark.Ack{Copyset: m.ID(), Term: msg.Term,
		Index: msg.Index, At: o.store.uptimeOf(o.now), From: o.nodeOf(m, msg.From),
		Node: o.nodeOf(m, m.Self()), Store: o.store.meta.StoreID})
}

// markOp tells of a request that is answered.
func (o *Owner) markOp(rep *copyset.Reply) {
	q, j := rep.Request, rep.Request.Journey()
	m := o.replicas[j.Copyset]
	if m == nil {
		return
	}
	o.marks.hold(o.now)
	o.marks.ops = append(o.marks.ops, mark.Op{Session: q.Session, ID: q.Number(), Copyset: m.ID(),
		Term: j.Term, Index: j.Index, Volume: q.Chunk.Volume,
		Offset: uint64(q.Chunk.Index)*uint64(o.store.meta.ChunkSize) + uint64(q.Offset),
		Length: q.Length, Kind: uint8(q.Kind), Status: uint16(rep.Status), Been: j.Been,
		Arrived: o.store.uptimeOf(j.Arrived), Spent: j.Spent,
		Node: o.nodeOf(m, m.Self()), Store: o.store.meta.StoreID})
}

func (o *Owner) nodeOf(m *member, replica uint64) uint64 {
	if p := m.Peer(replica); p != nil {
		return p.NodeID
	}
	return 0
}

// sendMarks hands over what was gathered, if it is time. The answers have left, took ns after this
// turn began.
func (o *Owner) sendMarks(took int64) {
	t := &o.marks
	if !t.answer(took) && !t.due(o.now) {
		return
	}
	mark.Ops(t.ops)
	mark.Appends(t.appends)
	mark.Acks(t.acks)
	t.ops, t.appends, t.acks, t.turn = t.ops[:0], t.appends[:0], t.acks[:0], 0
}
