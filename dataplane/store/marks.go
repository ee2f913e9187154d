package store

import (
	"go.etcd.io/raft/v3/raftpb"

	"github.com/ashlar-storage/ashlar/dataplane/copyset"
	"github.com/ashlar-storage/ashlar/ebpf/mark"
)

// The records count in the same stages.
var _ [mark.Stages]struct{} = [copyset.Stages]struct{}{}

// marks is what an owner has to tell a tracer. Requests are told in the turn that answers them, as
// the kernel notes when that is. Appends and acks say themselves when they were, and are held back
// until there are some: a call of a marker costs more than a record.
type marks struct {
	on      bool // one was attached when the turn began
	ops     []mark.Op
	appends []mark.Append
	acks    []mark.Ack
	held    int64 // since when there have been appends or acks, by the store's clock
}

// attach begins a turn. Of what was held back for a tracer that has gone nobody is told.
func (t *marks) attach(on bool) {
	if on != t.on {
		*t = marks{on: on}
	}
}

// hold notes when the first of the appends and acks came.
func (t *marks) hold(now int64) {
	if len(t.appends)+len(t.acks) == 0 {
		t.held = now
	}
}

// due reports whether appends and acks are told in this turn.
func (t *marks) due(now int64) bool {
	n := len(t.appends) + len(t.acks)
	return n >= marksHeld || n > 0 && now-t.held >= int64(marksTime)
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

// sendMarks hands over what was gathered. The answers have left, took ns after this turn began.
func (o *Owner) sendMarks(took int64) {
	t := &o.marks
	for i := range t.ops {
		t.ops[i].Spent[copyset.StageReply] = took
		t.ops[i].Been |= 1 << copyset.StageReply
	}
	mark.Ops(t.ops)
	t.ops = t.ops[:0]
	if t.due(o.now) {
		mark.Appends(t.appends)
		mark.Acks(t.acks)
		t.appends, t.acks = t.appends[:0], t.acks[:0]
	}
}
