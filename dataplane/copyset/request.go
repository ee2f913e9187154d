package copyset

import (
	"maps"
	"slices"

	"github.com/ashlar-storage/ashlar/dataplane/lane"
	"github.com/ashlar-storage/ashlar/rpc/wire"
)

// Submit takes a client's request; its Reply comes out of this call or a later one.
func (r *Replica) Submit(q *Request, now int64, fx *Effects) {
	r.now = now
	r.arrive(q, now)
	r.unanswered.add(q)
	r.stir()
	if s := r.admit(q); s != wire.StatusOK {
		r.refuse(q, s, fx)
		return
	}
	if q.Kind == KindFence {
		r.enqueue(q, nil, 0)
		return
	}
	first := q.Offset / BlockSize
	last := (q.Offset + q.Length - 1) / BlockSize
	if q.Kind != KindZero && last-first >= MaxOpBytes/BlockSize {
		r.refuse(q, wire.StatusBadRequest, fx)
		return
	}
	q.lane = lane.Op{Chunk: q.Chunk, First: first, Count: last - first + 1, User: q}
	switch {
	case q.Kind == KindRead:
		q.lane.Mode = lane.Read
		r.beginRead(q, fx)
		return
	case q.whole():
		q.lane.Mode = lane.Write
	default:
		q.lane.Mode = lane.Merge
	}
	r.enter(q, fx)
}

// admit decides whether the replica can take a request now.
func (r *Replica) admit(q *Request) wire.Status {
	switch {
	case r.err != nil:
		return wire.StatusUnavailable
	case !r.leading():
		return wire.StatusNotLeader
	case !r.Serving():
		return wire.StatusRetry
	case q.Kind == KindFence:
		return r.admitFence(q)
	case q.Length == 0:
		return wire.StatusBadRequest
	case uint64(q.Offset)+uint64(q.Length) > uint64(r.chunkBlocks)*BlockSize:
		return wire.StatusOutOfRange
	case q.Kind != KindZero && q.Length > MaxOpBytes:
		return wire.StatusBadRequest
	case r.lanes.Len()+r.reads.len() >= MaxPending:
		return wire.StatusOverloaded
	case q.Kind == KindRead:
		return wire.StatusOK
	}
	return r.admitWrite(q)
}

func (r *Replica) admitFence(q *Request) wire.Status {
	switch newest := r.sessions.epoch(q.Chunk.Volume); {
	case q.Epoch == 0 || q.Payload.Len != 0:
		return wire.StatusBadRequest
	case q.Epoch < newest:
		return wire.StatusStaleEpoch
	case r.lanes.Len()+r.reads.len()+len(r.waiting) >= MaxPending,
		!r.sessions.hasRoom(q.Chunk.Volume):
		return wire.StatusOverloaded
	}
	return wire.StatusOK
}

func (r *Replica) admitWrite(q *Request) wire.Status {
	if q.Session == 0 || q.Kind == KindWrite && q.Payload.Len != int(q.Length) {
		return wire.StatusBadRequest
	}
	c := Command{Session: q.Session, Epoch: q.Epoch, OpID: q.OpID, LowWater: q.LowWater,
		Volume: q.Chunk.Volume}
	switch r.sessions.judge(&c) {
	case fenced:
		return wire.StatusStaleEpoch
	case flooded:
		return wire.StatusBadRequest
	case crowded:
		return wire.StatusOverloaded
	}
	return wire.StatusOK
}

// whole reports whether a write touches no block in part.
func (q *Request) whole() bool { return q.Offset%BlockSize == 0 && q.Length%BlockSize == 0 }

// partialEnds says which end blocks the request touches only in part. A request inside one block
// counts as its head.
func (q *Request) partialEnds() (head, tail bool) {
	end := q.Offset + q.Length
	head = q.Offset%BlockSize != 0 || q.lane.Count == 1 && end%BlockSize != 0
	tail = q.lane.Count > 1 && end%BlockSize != 0
	return head, tail
}

func (r *Replica) enter(q *Request, fx *Effects) {
	q.at.goes(StageLane, r.now)
	q.inLane = true
	if r.lanes.Enter(&q.lane) {
		r.begin(q, fx)
	}
}

// begin goes on with a request that its lane let through. Leadership may have gone while it
// waited.
func (r *Replica) begin(q *Request, fx *Effects) {
	switch {
	case r.err != nil || !r.Serving():
		r.refuse(q, wire.StatusNotLeader, fx)
	case q.Kind == KindRead:
		r.readBlocks(q, fx)
	case q.lane.Mode == lane.Merge:
		r.readEdges(q, fx)
	default:
		q.entry, q.Payload = q.Payload, Payload{}
		r.enqueue(q, q.CRCs, 0)
	}
}

// enqueue puts a request whose entry is complete into the next batch of proposals.
func (r *Replica) enqueue(q *Request, crcs []uint32, flags uint8) {
	c := Command{Kind: CmdWrite, Flags: flags, Session: q.Session, Epoch: q.Epoch, OpID: q.OpID,
		LowWater: q.LowWater, Volume: q.Chunk.Volume, Chunk: q.Chunk.Index,
		First: q.lane.First, Count: q.lane.Count, CRCs: crcs}
	switch q.Kind {
	case KindZero:
		c.Kind = CmdZero
	case KindFence:
		c = Command{Kind: CmdFence, Session: q.Session, Epoch: q.Epoch, Volume: q.Chunk.Volume}
	}
	q.cmd = c.AppendTo(r.slab(c.size()))
	q.at.goes(StagePropose, r.now)
	r.proposals = append(r.proposals, q)
}

// slab gives room for n bytes of a command, which live as long as their log entry: in pieces of
// memory that neighbours in the log share and go with.
func (r *Replica) slab(n int) []byte {
	if n > cap(r.room)-len(r.room) {
		r.room = make([]byte, 0, max(n, commandSlab))
	}
	from := len(r.room)
	r.room = r.room[:from+n]
	return r.room[from:from:len(r.room)]
}

// Refuse answers a request that the owner does not let in.
func (r *Replica) Refuse(q *Request, s wire.Status, fx *Effects) {
	r.arrive(q, r.now)
	r.refuse(q, s, fx)
}

// refuse answers a request with a failure.
func (r *Replica) refuse(q *Request, s wire.Status, fx *Effects) {
	reply := Reply{Request: q, Status: s}
	switch s {
	case wire.StatusNotLeader:
		if lead := r.status.Lead; lead != r.self {
			reply.Leader = r.Peer(lead)
		}
	case wire.StatusOverloaded, wire.StatusRetry:
		reply.RetryMS = 2
	case wire.StatusUnavailable:
		if r.err != nil {
			reply.Message = r.err.Error()
		}
	}
	r.answer(reply, fx)
}

// answer ends a request: its reply leaves, its place in the lane is free.
func (r *Replica) answer(reply Reply, fx *Effects) {
	q := reply.Request
	if q.at.stage == stageAnswered {
		panic("copyset: request answered twice")
	}
	if q.at.goes(stageAnswered, r.now); reply.Status == wire.StatusOK {
		r.timing.note(q)
	}
	r.unanswered.drop(q)
	q.Payload.Release()
	q.entry.Release()
	fx.Replies = append(fx.Replies, reply)
	if q.inLane {
		q.inLane = false
		r.leave(&q.lane, fx)
	}
}

// leave frees a place in a lane and begins whatever waited for it.
func (r *Replica) leave(op *lane.Op, fx *Effects) {
	outer := len(r.granted)
	r.granted = r.lanes.Leave(op, r.granted)
	r.beginGranted(outer, fx)
}

// beginGranted begins what was granted from number outer on: what begins may grant more.
func (r *Replica) beginGranted(outer int, fx *Effects) {
	for i := outer; i < len(r.granted); i++ {
		switch u := r.granted[i].User.(type) {
		case *Request:
			r.begin(u, fx)
		case *FlushJob:
			r.flushGranted(u, fx)
		case *ReadJob:
			r.fetchGranted(u, fx)
		}
	}
	clear(r.granted[outer:])
	r.granted = r.granted[:outer]
}

// refuseAll answers everything that waits for this replica to be leader.
func (r *Replica) refuseAll(fx *Effects) {
	status := wire.StatusNotLeader
	if r.err != nil {
		status = wire.StatusUnavailable
	}
	proposals := r.proposals
	r.proposals = nil
	for _, q := range proposals {
		r.refuse(q, status, fx)
	}
	for _, index := range slices.Sorted(maps.Keys(r.waiting)) {
		q := r.waiting[index]
		delete(r.waiting, index)
		r.refuse(q, status, fx)
	}
	for _, q := range r.reads.drain() {
		r.refuse(q, status, fx)
	}
	r.abandonReads(status, fx)
}
