package transport

import (
	"fmt"
	"sync/atomic"

	"github.com/ashlar-storage/ashlar/io/buf"
	"github.com/ashlar-storage/ashlar/rpc/wire"
)

// outQueue is a batch of frames on their way out: headers and metadata encoded
// one behind the other, payloads by reference.
type outQueue struct {
	heads  []byte
	frames []outFrame
	refs   [][]byte
	bytes  int64
	flow   Flow // the payloads

	largest int  // payload of a frame in bytes
	loose   bool // a Body without Release is its owner's again when it has been sent
	// lent: zero-copy sends may hold the memory. holders counts them and the writer.
	lent    bool
	holders atomic.Int32
}

type outFrame struct {
	head    int // bytes in heads
	refs    int // pieces in refs
	payload *buf.Buf
	release func()
}

func (q *outQueue) empty() bool { return len(q.frames) == 0 }

// outSize checks a message against the limits and returns the length of its
// payload in bytes.
func outSize(m *Message) (int, error) {
	n := m.PayloadBytes()
	if len(m.Meta) > wire.MaxMeta || n > wire.MaxPayload {
		return 0, fmt.Errorf("%w: %v with %d bytes of metadata and %d of payload, limits %d and %d",
			ErrTooBig, m.Header.Op, len(m.Meta), n, wire.MaxMeta, wire.MaxPayload)
	}
	return n, nil
}

// add takes over a message whose payload has n bytes.
func (q *outQueue) add(m *Message, n int) {
	start := len(q.heads)
	var blank [wire.HeaderSize]byte
	q.heads = append(q.heads, blank[:]...)
	q.heads = append(q.heads, m.Meta...)
	h := m.Header
	h.PayloadLen = uint32(n)
	wire.PutHeader(q.heads[start:], h, m.Meta)
	f := outFrame{head: len(q.heads) - start, payload: m.Payload, release: m.Release}
	for _, b := range m.Body {
		if len(b) > 0 {
			q.refs = append(q.refs, b)
			f.refs++
		}
	}
	if m.Payload != nil {
		q.refs = append(q.refs, m.Payload.Bytes())
		f.refs++
	}
	q.frames = append(q.frames, f)
	q.bytes += int64(f.head + n)
	q.largest = max(q.largest, n)
	q.loose = q.loose || (len(m.Body) > 0 && m.Release == nil)
	if n > 0 {
		q.flow.Payloads++
		q.flow.Bytes += int64(n)
	}
}

// vector appends the pieces of the whole batch to dst, with neighbouring
// headers joined. Nothing may be added until release.
func (q *outQueue) vector(dst [][]byte) [][]byte {
	refs, start, end := q.refs, 0, 0
	for i := range q.frames {
		f := &q.frames[i]
		end += f.head
		if f.refs == 0 {
			continue
		}
		dst = append(dst, q.heads[start:end:end])
		dst = append(dst, refs[:f.refs]...)
		refs, start = refs[f.refs:], end
	}
	if start < end {
		dst = append(dst, q.heads[start:end:end])
	}
	return dst
}

// release gives all memory back to its owners and empties the batch.
func (q *outQueue) release() {
	for i := range q.frames {
		f := q.frames[i]
		if f.payload != nil {
			f.payload.Release()
		}
		if f.release != nil {
			f.release()
		}
	}
	clear(q.frames)
	clear(q.refs)
	q.frames, q.refs, q.heads, q.bytes = q.frames[:0], q.refs[:0], q.heads[:0], 0
	q.flow, q.largest, q.loose = Flow{}, 0, false
	if cap(q.heads) > keepScratch {
		q.heads = nil
	}
	if cap(q.frames) > maxIov {
		q.frames, q.refs = nil, nil
	}
}
