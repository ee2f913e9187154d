package wal

import "time"

// queue is a list of appends, linked through themselves.
type queue struct {
	first, last *Append
	n           int
}

func (q *queue) push(a *Append) {
	if q.last == nil {
		q.first = a
	} else {
		q.last.next = a
	}
	q.last = a
	q.n++
}

func (q *queue) pop() *Append {
	a := q.first
	q.first, a.next = a.next, nil
	if q.first == nil {
		q.last = nil
	}
	q.n--
	return a
}

// take moves all of o to the end of q.
func (q *queue) take(o *queue) {
	if o.first == nil {
		return
	}
	if q.last == nil {
		q.first = o.first
	} else {
		q.last.next = o.first
	}
	q.last = o.last
	q.n += o.n
	*o = queue{}
}

// batch is one write: the appends it carries and the memory it is encoded in. Everything that
// belongs to a write in flight is here, so that a log with two of them needs two batches.
type batch struct {
	appends queue
	extent  extent
	seg     *segment
	frame   frameHeader
	fresh   bool     // the segment's header goes with the frame
	front   []byte   // header block, then the descriptor
	vec     [][]byte // what is written, at off
	off     int64
	bytes   int64
	asked   int64 // bytes that the appends would have taken alone
	began   time.Time
	took    time.Duration // of the write
}

// newBatch makes a batch for segments of a size. A descriptor lies in one, behind the header.
func newBatch(segment int64) *batch {
	return &batch{
		front: alignedBytes(int(min(BlockSize+maxDescriptor, segment))),
		vec:   make([][]byte, 0, maxIOV),
	}
}

func (b *batch) reset() {
	clear(b.vec) // payloads belong to their callers again
	b.vec, b.extent, b.seg, b.fresh, b.bytes = b.vec[:0], extent{}, nil, false, 0
	b.asked = 0
	b.began, b.took = time.Time{}, 0
}

// encode lays out the frame, and tells every record where it lies.
func (b *batch) encode(y layout) {
	h := &b.frame
	h.descBlocks, h.payloadBlocks = b.extent.descriptor()/BlockSize, b.extent.blocks
	h.records, h.body = b.extent.records, b.extent.body
	descriptor := b.front[BlockSize : BlockSize+h.descBlocks*BlockSize]
	b.off = y.off(h.at)
	b.vec = append(b.vec, descriptor)
	if b.fresh {
		b.seg.hdr.put(b.front)
		b.vec[0] = b.front[:BlockSize+len(descriptor)]
		b.off = 0
	}
	pos, payload := frameHeaderSize, h.at+LSN(len(descriptor))
	for a := b.appends.first; a != nil; a = a.next {
		if a.Err != nil {
			continue
		}
		for i := range a.Records {
			r := &a.Records[i]
			pos += putRecord(descriptor[pos:], r)
			r.At = h.at
			if len(r.Payload) > 0 {
				r.At = payload
				payload += LSN(len(r.Payload))
				b.vec = appendSlice(b.vec, r.Payload)
			}
		}
		a.End = payload
	}
	h.put(descriptor)
	b.bytes = b.extent.frame()
	if b.fresh {
		b.bytes += BlockSize
	}
}
