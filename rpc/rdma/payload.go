package rdma

import (
	"fmt"

	"github.com/ashlar-storage/ashlar/io/buf"
	"github.com/ashlar-storage/ashlar/rpc/rdma/verbs"
	"github.com/ashlar-storage/ashlar/rpc/transport"
	"github.com/ashlar-storage/ashlar/rpc/wire"
)

// staged is the memory taken for a message before it is queued.
type staged struct {
	size   int
	copied *buf.Buf
	room   *buf.Buf
}

func (s *staged) drop() {
	for _, b := range []*buf.Buf{s.copied, s.room} {
		if b != nil {
			b.Release()
		}
	}
	*s = staged{}
}

// sizeOf checks a message against the limits and returns the length of its payload in bytes.
func sizeOf(m *transport.Message) (int, error) {
	n := m.PayloadBytes()
	if len(m.Meta) > wire.MaxMeta || n > wire.MaxPayload || m.Room > wire.MaxPayload {
		return 0, fmt.Errorf("%w: %v with %d bytes of metadata, %d of payload and room for %d, "+
			"limits %d, %d and %d", transport.ErrTooBig, m.Header.Op, len(m.Meta), n, m.Room,
			wire.MaxMeta, wire.MaxPayload, wire.MaxPayload)
	}
	return n, nil
}

// stage copies a payload that cannot be opened to the peer as it lies: memory that is not in the
// pool, or in too many pieces, or lent for the call only. Errors are those of the pool.
func (d *Device) stage(m *transport.Message, lent bool) (s staged, err error) {
	if s.size, err = sizeOf(m); err != nil || s.size == 0 || d.direct(m, lent) {
		return s, err
	}
	if s.copied, err = d.cfg.Pool.Get(s.size); err != nil {
		return staged{}, err
	}
	to := s.copied.Bytes()
	for _, b := range m.Body {
		to = to[copy(to, b):]
	}
	if m.Payload != nil {
		copy(to, m.Payload.Bytes())
	}
	d.count.copies.Add(1)
	d.count.copied.Add(int64(s.size))
	return s, nil
}

// direct reports whether the payload may stay where it is.
func (d *Device) direct(m *transport.Message, lent bool) bool {
	pieces := 0
	var last []byte
	for i := range len(m.Body) + 1 {
		b, held := []byte(nil), !lent
		if i < len(m.Body) {
			b = m.Body[i]
		} else if m.Payload != nil {
			b, held = m.Payload.Bytes(), true
		}
		if len(b) == 0 {
			continue
		}
		if !held || !d.cfg.Pool.Owns(b) {
			return false
		}
		if last == nil || addressOf(last)+uint64(len(last)) != addressOf(b) {
			pieces++
		}
		last = b
	}
	return pieces <= MaxPieces
}

func (c *conn) meterSent(s *staged) {
	flow := transport.Flow{Bytes: int64(s.size)}
	if s.size > 0 {
		flow.Payloads = 1
	}
	if s.copied != nil {
		flow.Copied = int64(s.size)
	}
	c.meter.Sent.Add(flow)
}

// addLocked queues a message with what was staged for it.
func (c *conn) addLocked(m *transport.Message, s *staged) {
	f := c.m.newOut()
	f.h = m.Header
	f.h.PayloadLen, f.size = uint32(s.size), s.size
	f.head = append(f.head[:0], make([]byte, wire.HeaderSize)...)
	f.head = append(f.head, m.Meta...)
	wire.PutHeader(f.head, f.h, m.Meta)
	f.bytes = int64(len(f.head) + s.size)
	c.unsent.Add(f.bytes)
	c.meterSent(s)
	f.room = s.room
	if s.copied != nil {
		f.copied = s.copied
		f.pieces = c.piece(f.pieces, s.copied.Bytes())
		c.spent = append(c.spent, spent{bufs: [3]*buf.Buf{m.Payload}, release: m.Release})
	} else {
		for _, b := range m.Body {
			f.pieces = c.piece(f.pieces, b)
		}
		if m.Payload != nil {
			f.pieces = c.piece(f.pieces, m.Payload.Bytes())
		}
		f.payload, f.release = m.Payload, m.Release
	}
	c.m.push(f)
}

// piece adds memory of the pool, joined with what lies right before it.
func (c *conn) piece(pieces []verbs.Piece, b []byte) []verbs.Piece {
	if len(b) == 0 {
		return pieces
	}
	if n := len(pieces); n > 0 {
		last := &pieces[n-1]
		if addressOf(last.Mem)+uint64(len(last.Mem)) == addressOf(b) {
			arena := c.dev.cfg.Pool.Arena()
			begin := addressOf(last.Mem) - addressOf(arena)
			end := begin + uint64(len(last.Mem)+len(b))
			last.Mem = arena[begin:end:end]
			return pieces
		}
	}
	return append(pieces, verbs.Piece{Mem: b, Key: c.dev.region.Key()})
}
