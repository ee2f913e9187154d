package copyset

import (
	"cmp"
	"encoding/binary"
	"maps"
	"slices"
	"sync"

	"go.etcd.io/raft/v3"

	"github.com/ashlar-storage/ashlar/io/wal"
	"github.com/ashlar-storage/ashlar/rpc/wire"
)

// readQueue holds the reads that wait for proof that this replica still leads, for when the lease
// has run out. One round of raft's ReadIndex serves all that waited when it began.
type readQueue struct {
	waiting []*Request
	rounds  []readRound
	seq     uint64
}

type readRound struct {
	seq   uint64
	index uint64 // proven: may be served when applied; 0: not yet
	reqs  []*Request
}

func (q *readQueue) len() int {
	n := len(q.waiting)
	for i := range q.rounds {
		n += len(q.rounds[i].reqs)
	}
	return n
}

func (q *readQueue) drain() []*Request {
	all := q.waiting
	for _, round := range q.rounds {
		all = append(all, round.reqs...)
	}
	q.waiting, q.rounds = nil, nil
	return all
}

// maxReadRounds bounds the rounds under way; later reads wait for one of them to end.
const maxReadRounds = 4

// beginRead serves a read at once under the lease, or queues it for a round of ReadIndex.
func (r *Replica) beginRead(q *Request, fx *Effects) {
	q.byLease = r.leased()
	if q.byLease {
		r.readBlocks(q, fx)
		return
	}
	q.at.goes(StageLease, r.now)
	r.reads.waiting = append(r.reads.waiting, q)
}

// leased reports whether nobody else can lead at this moment, as far as clocks are to be trusted.
// The clock must have been read after the request arrived.
func (r *Replica) leased() bool {
	return !r.readIndex && r.Serving() && r.status.LeadTransferee == raft.None &&
		r.now < r.lease.until(r.self, &r.entries.conf, r.now)
}

// proveLeadership starts a round of ReadIndex for the reads that wait. Raft is asked whether it
// leads, because a follower would pass the round on to the leader; the reads are refused soon.
func (r *Replica) proveLeadership() {
	if len(r.reads.waiting) == 0 || len(r.reads.rounds) >= maxReadRounds ||
		r.node.BasicStatus().RaftState != raft.StateLeader {
		return
	}
	r.reads.seq++
	r.reads.rounds = append(r.reads.rounds, readRound{seq: r.reads.seq, reqs: r.reads.waiting})
	r.reads.waiting = nil
	r.node.ReadIndex(binary.LittleEndian.AppendUint64(nil, r.reads.seq))
}

// proven notes which rounds raft confirmed. A round confirms every earlier one too.
func (r *Replica) proven(states []raft.ReadState) {
	for _, s := range states {
		if len(s.RequestCtx) != 8 {
			continue
		}
		seq := binary.LittleEndian.Uint64(s.RequestCtx)
		for i := range r.reads.rounds {
			if round := &r.reads.rounds[i]; round.seq <= seq && round.index == 0 {
				round.index = s.Index
			}
		}
	}
}

// serveProven serves the rounds that are proven and applied.
func (r *Replica) serveProven(fx *Effects) {
	for len(r.reads.rounds) > 0 {
		round := r.reads.rounds[0]
		if round.index == 0 || round.index > r.applied {
			return
		}
		r.reads.rounds = r.reads.rounds[1:]
		for _, q := range round.reqs {
			r.readBlocks(q, fx)
		}
	}
}

// readBlocks answers from the overlay when it has every block, and otherwise reads the missing
// ones, in the lane, so that no flush of the same blocks is under way.
func (r *Replica) readBlocks(q *Request, fx *Effects) {
	if r.inMemory(q) {
		job := r.readJob(q)
		r.plan(job)
		r.finishRead(job, fx)
		return
	}
	if !q.inLane {
		r.enter(q, fx)
		return
	}
	job := r.readJob(q)
	if !r.allocate(job) {
		r.refuse(q, wire.StatusOverloaded, fx)
		return
	}
	r.plan(job)
	r.startRead(job, fx)
}

// startRead begins a client's read and remembers it.
func (r *Replica) startRead(job *ReadJob, fx *Effects) {
	r.readSeq++
	job.seq = r.readSeq
	r.reading[job] = struct{}{}
	r.ask(job, fx)
}

// ask begins a job. What it reads from the log stays there until it has ended: a newer write may
// take the block's place meanwhile, so that no checkpoint waits for the older one any more.
func (r *Replica) ask(job *ReadJob, fx *Effects) {
	for i := range job.Parts {
		if at := job.Parts[i].At; at != 0 {
			if oldest, found := r.logReads[job]; !found || at < oldest {
				r.logReads[job] = at
			}
		}
	}
	fx.Reads = append(fx.Reads, job)
}

// abandonReads answers the clients whose blocks are being read, because this replica does not lead
// any more: the device may take long, or for ever, and another replica can answer. Until the device
// has answered, the job keeps the request's place in its lane.
func (r *Replica) abandonReads(status wire.Status, fx *Effects) {
	jobs := slices.SortedFunc(maps.Keys(r.reading), func(a, b *ReadJob) int {
		return cmp.Compare(a.seq, b.seq)
	})
	clear(r.reading)
	for _, job := range jobs {
		q := job.req
		job.abandoned, job.req = true, nil
		job.op.User = job
		r.lanes.Replace(&q.lane, &job.op)
		q.inLane = false
		r.refuse(q, status, fx)
	}
}

// Abandoned reports whether nobody waits for the job any more, and its result means nothing.
func (job *ReadJob) Abandoned() bool { return job.abandoned }

// readJobs are jobs whose replies are sent, kept for their memory.
var readJobs sync.Pool

func (r *Replica) readJob(q *Request) *ReadJob {
	q.at.goes(StageRead, r.now)
	job, _ := readJobs.Get().(*ReadJob)
	if job == nil {
		job = new(ReadJob)
		job.free = job.sent
	}
	job.Replica, job.Chunk, job.First, job.Count = r, q.Chunk, q.lane.First, q.lane.Count
	job.req, job.term = q, r.status.Term
	return job
}

// sent ends a job whose bytes are sent. One that ends otherwise is not used again: somebody may
// still look at it.
func (job *ReadJob) sent() {
	for i := range job.hold {
		job.hold[i].Release()
	}
	clear(job.hold)
	clear(job.body)
	clear(job.blocks)
	clear(job.Parts)
	*job = ReadJob{Parts: job.Parts[:0], CRCs: job.CRCs[:0], Bad: job.Bad[:0], User: job.User,
		blocks: job.blocks[:0], body: job.body[:0], hold: job.hold[:0], free: job.free}
	readJobs.Put(job)
}

func (r *Replica) inMemory(q *Request) bool {
	for i := range q.lane.Count {
		b, ok := r.overlay.lookup(q.Chunk, q.lane.First+i)
		if !ok || !b.zero && b.data.B == nil {
			return false
		}
	}
	return true
}

func (r *Replica) allocate(job *ReadJob) bool {
	b, err := r.pool.Get(int(job.Count) * BlockSize)
	if err != nil {
		return false
	}
	job.buf = NewPayload(b)
	return true
}

// plan takes what the overlay has by reference and lists the rest as parts to read.
func (r *Replica) plan(job *ReadJob) {
	job.room()
	for i := range job.Count {
		b, ok := r.overlay.lookup(job.Chunk, job.First+i)
		switch {
		case ok && b.zero:
			job.blocks[i] = Payload{B: zeroes[:BlockSize], Len: BlockSize}
			job.CRCs[i] = wire.ZeroCRC
		case ok && b.data.B != nil:
			job.blocks[i] = b.data.Retain()
			job.CRCs[i] = b.crc
		case ok:
			job.CRCs[i] = b.crc
			job.add(i, job.First+i, b.data.At)
		default:
			job.need(i)
		}
	}
}

// room makes room for what is known of each block.
func (job *ReadJob) room() {
	job.blocks = slices.Grow(job.blocks[:0], int(job.Count))[:job.Count]
	job.CRCs = slices.Grow(job.CRCs[:0], int(job.Count))[:job.Count]
	clear(job.blocks)
	clear(job.CRCs)
}

// need adds block i of the range to the parts read from the chunk file.
func (job *ReadJob) need(i uint32) {
	if n := len(job.Parts); n > 0 {
		p := &job.Parts[n-1]
		if p.At == 0 && p.First+p.Count == job.First+i {
			p.Count++
			p.Dst = p.Dst[:len(p.Dst)+BlockSize]
			p.CRCs = p.CRCs[:p.Count]
			return
		}
	}
	job.add(i, job.First+i, 0)
}

// add lists one block, read into place i of the job's buffer.
func (job *ReadJob) add(i, block uint32, at wal.LSN) {
	job.Parts = append(job.Parts, ReadPart{First: block, Count: 1, At: at,
		Dst: job.buf.B[i*BlockSize : (i+1)*BlockSize], CRCs: job.CRCs[i : i+1]})
}

// ReadDone takes a finished ReadJob back.
func (r *Replica) ReadDone(job *ReadJob, now int64, fx *Effects) {
	r.now = now
	delete(r.logReads, job)
	if job.fetch != nil {
		r.finishFetch(job, fx)
		return
	}
	if job.abandoned {
		r.leave(&job.op, fx)
		job.release()
		return
	}
	delete(r.reading, job)
	q := job.req
	if job.Err == nil {
		if q.Kind == KindRead {
			r.finishRead(job, fx)
		} else {
			r.merge(job, fx)
		}
		return
	}
	if len(job.Bad) > 0 && !q.repaired && r.err == nil {
		q.repaired = true
		r.counters.CorruptBlocks += uint64(len(job.Bad))
		r.repair(&RepairJob{Chunk: job.Chunk, Blocks: job.Bad, read: job}, fx)
		return
	}
	job.release()
	if r.err != nil {
		r.refuse(q, wire.StatusUnavailable, fx)
		return
	}
	r.log.Error("read failed", "chunk", job.Chunk, "first", job.First, "err", job.Err)
	r.refuse(q, wire.StatusCorrupt, fx)
}

// finishRead answers a read. Under the lease it must still be valid now; otherwise leadership is
// proven anew and the blocks are read again.
func (r *Replica) finishRead(job *ReadJob, fx *Effects) {
	q := job.req
	if q.byLease && !r.leased() {
		job.release()
		q.byLease = false
		if !r.Serving() {
			r.refuse(q, wire.StatusNotLeader, fx)
			return
		}
		q.at.goes(StageLease, r.now)
		r.reads.waiting = append(r.reads.waiting, q)
		return
	}
	r.counters.Reads++
	r.counters.ReadBytes += uint64(q.Length)
	reply := Reply{Request: q, Status: wire.StatusOK, CRCs: job.CRCs}
	job.bytes(q.Offset%BlockSize, q.Length)
	reply.Body, reply.Release = job.body, job.free
	if head, tail := q.partialEnds(); head || tail {
		reply.CRCs = pieceCRCs(job.CRCs, reply.Body, q.Offset)
	}
	r.answer(reply, fx)
}

// bytes lists in body the bytes from skip on, length of them, merging neighbours in the buffer, and
// in hold the references that keep them alive.
func (job *ReadJob) bytes(skip, length uint32) {
	body, hold := job.body[:0], job.hold[:0]
	if job.buf.B != nil {
		hold = append(hold, job.buf)
	}
	fromBuf := false
	for i := range job.Count {
		p := job.blocks[i]
		inBuf := p.B == nil
		if inBuf {
			p.B = job.buf.block(int(i))
		} else if p.Buf != nil {
			hold = append(hold, p)
		}
		lo, hi := uint32(0), uint32(BlockSize)
		if i == 0 {
			lo = skip
		}
		hi = min(hi, lo+length)
		length -= hi - lo
		if n := len(body); inBuf && fromBuf {
			body[n-1] = body[n-1][:len(body[n-1])+int(hi-lo)]
		} else if inBuf {
			body = append(body, job.buf.B[i*BlockSize+lo:i*BlockSize+hi])
		} else {
			body = append(body, p.B[lo:hi])
		}
		fromBuf = inBuf
	}
	job.body, job.hold = body, hold
}

// pieceCRCs replaces the checksums of blocks answered only in part by those of the parts.
func pieceCRCs(crcs []uint32, body [][]byte, offset uint32) []uint32 {
	pos := offset
	end := offset
	for _, b := range body {
		end += uint32(len(b))
	}
	for _, b := range body {
		for len(b) > 0 {
			n := min(uint32(len(b)), BlockSize-pos%BlockSize)
			if n < BlockSize {
				crcs[pos/BlockSize-offset/BlockSize] = wire.CRC32C(b[:n])
			}
			b, pos = b[n:], pos+n
		}
	}
	return crcs
}

func (job *ReadJob) release() {
	for i := range job.blocks {
		job.blocks[i].Release()
	}
	job.blocks = nil
	job.buf.Release()
	job.Parts = nil
}
