package copyset

import (
	"github.com/ashlar-storage/ashlar/rpc/wire"
)

// Requests that touch blocks in part become entries of whole blocks before they are proposed: the
// leader reads the blocks at the ends, in the lane, so that nothing else changes them until this
// request is committed, and puts the new bytes over the old. Every replica then applies the same
// whole blocks.

// readEdges reads the end blocks that the request does not cover.
func (r *Replica) readEdges(q *Request, fx *Effects) {
	job := r.readJob(q)
	if q.Kind == KindZero {
		r.readZeroEdges(job, fx)
		return
	}
	if !r.allocate(job) {
		r.refuse(q, wire.StatusOverloaded, fx)
		return
	}
	job.room()
	head, tail := q.partialEnds()
	if head {
		r.needEdge(job, 0, job.First)
	}
	if tail {
		r.needEdge(job, job.Count-1, job.First+job.Count-1)
	}
	r.readOrMerge(job, fx)
}

// needEdge fills place i of the job's buffer with a block from the overlay, or lists it to be read.
func (r *Replica) needEdge(job *ReadJob, i, block uint32) {
	dst := job.buf.block(int(i))
	b, ok := r.overlay.lookup(job.Chunk, block)
	switch {
	case ok && b.zero:
		clear(dst)
	case ok && b.data.B != nil:
		copy(dst, b.data.B)
	case ok:
		job.CRCs[i] = b.crc
		job.add(i, block, b.data.At)
	default:
		job.add(i, block, 0)
	}
}

func (r *Replica) readOrMerge(job *ReadJob, fx *Effects) {
	if len(job.Parts) > 0 {
		r.startRead(job, fx)
		return
	}
	r.merge(job, fx)
}

// merge lays the request's bytes over the blocks that were read and proposes the whole. Blocks read
// in an earlier term are refused: another leader may have changed them since.
func (r *Replica) merge(job *ReadJob, fx *Effects) {
	q := job.req
	if !r.Serving() || job.term != r.status.Term {
		job.release()
		r.refuse(q, wire.StatusNotLeader, fx)
		return
	}
	if q.Kind == KindZero {
		r.mergeZero(job)
		return
	}
	copy(job.buf.B[q.Offset%BlockSize:], q.Payload.B)
	head, tail := q.partialEnds()
	copy(job.CRCs, q.CRCs)
	if head {
		job.CRCs[0] = wire.CRC32C(job.buf.block(0))
	}
	if tail {
		job.CRCs[job.Count-1] = wire.CRC32C(job.buf.block(int(job.Count - 1)))
	}
	q.Payload.Release()
	q.Payload = Payload{}
	q.entry = job.buf
	r.enqueue(q, job.CRCs, 0)
}

// readZeroEdges reads the one or two end blocks of a zeroing; the blocks between need no bytes.
func (r *Replica) readZeroEdges(job *ReadJob, fx *Effects) {
	head, tail := job.req.partialEnds()
	edges := 0
	for _, edge := range []bool{head, tail} {
		if edge {
			edges++
		}
	}
	b, err := r.pool.Get(edges * BlockSize)
	if err != nil {
		r.refuse(job.req, wire.StatusOverloaded, fx)
		return
	}
	edge := &ReadJob{Replica: r, Chunk: job.Chunk, First: job.First, Count: uint32(edges),
		req: job.req, term: job.term, buf: NewPayload(b), CRCs: make([]uint32, edges),
		blocks: make([]Payload, edges)}
	if head {
		r.needEdge(edge, 0, job.First)
	}
	if tail {
		r.needEdge(edge, uint32(edges-1), job.First+job.Count-1)
	}
	r.readOrMerge(edge, fx)
}

func (r *Replica) mergeZero(job *ReadJob) {
	q := job.req
	head, tail := q.partialEnds()
	flags, i := uint8(0), 0
	if head {
		b := job.buf.block(0)
		from := q.Offset % BlockSize
		clear(b[from:min(BlockSize, from+q.Length)])
		job.CRCs[0] = wire.CRC32C(b)
		flags, i = flags|flagHead, 1
	}
	if tail {
		b := job.buf.block(i)
		clear(b[:(q.Offset+q.Length)%BlockSize])
		job.CRCs[i] = wire.CRC32C(b)
		flags |= flagTail
	}
	q.entry = job.buf
	r.enqueue(q, job.CRCs, flags)
}
