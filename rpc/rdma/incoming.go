package rdma

import (
	"fmt"

	"github.com/ashlar-storage/ashlar/io/buf"
	"github.com/ashlar-storage/ashlar/rpc/rdma/verbs"
	"github.com/ashlar-storage/ashlar/rpc/transport"
	"github.com/ashlar-storage/ashlar/rpc/wire"
)

// inFrame is a frame of the peer. It is delivered when it is done and all before it were.
type inFrame struct {
	kind kind
	done bool
	// slot is the receive whose memory head and meta lie in, unless scratch holds them.
	slot     uint64
	borrowed bool
	scratch  []byte
	h        wire.Header
	meta     []byte
	flags    uint8
	room     desc
	pieces   []desc
	payload  *buf.Buf
	local    []verbs.Piece // of payload, one for each of pieces
	noBuffer bool
}

// frame is what a handler or Recv gets.
func (f *inFrame) message() transport.Message {
	return transport.Message{Header: f.h, Meta: f.meta, Payload: f.payload}
}

func (f *inFrame) drop() {
	if f.payload != nil {
		f.payload.Release()
		f.payload = nil
	}
}

func (m *machine) newIn() *inFrame {
	if n := len(m.spareIn); n > 0 {
		f := m.spareIn[n-1]
		m.spareIn = m.spareIn[:n-1]
		return f
	}
	return new(inFrame)
}

// giveBackOf frees the receive that a frame lies in, if it does.
func (m *machine) giveBackOf(f *inFrame) {
	if f.borrowed || f.kind > kindMore {
		m.giveBack(f.slot)
		f.borrowed = false
	}
}

// consumed takes back a frame that was delivered and is not looked at any more.
func (m *machine) consumed(f *inFrame) {
	m.giveBackOf(f)
	scratch, pieces, local := f.scratch[:0], f.pieces[:0], f.local[:0]
	if cap(scratch) > keepScratch {
		scratch = nil
	}
	clear(f.local)
	*f = inFrame{scratch: scratch, pieces: pieces, local: local}
	m.spareIn = append(m.spareIn, f)
}

// headArrived takes the beginning of a frame, or more of it.
func (m *machine) headArrived(id uint64, s *slot) error {
	f := m.partial
	if (s.kind == kindMore) != (f != nil) {
		m.giveBack(id)
		return fmt.Errorf("%w: a part of a frame out of place", ErrFormat)
	}
	if f == nil {
		var err error
		if f, err = m.beginFrame(s); err != nil {
			m.giveBack(id)
			return err
		}
	}
	size := wire.HeaderSize + int(f.h.MetaLen)
	head := s.body
	if whole := len(f.scratch) == 0 && len(head) == size; whole {
		f.slot, f.borrowed = id, true
	} else {
		f.scratch = append(f.scratch, s.body...)
		head = f.scratch
		m.giveBack(id)
	}
	m.partial = f
	if len(head) < size {
		return nil
	}
	m.partial = nil
	if err := m.complete(f, head, size); err != nil {
		if f.borrowed {
			m.giveBack(id)
		}
		return err
	}
	return nil
}

// beginFrame takes a frame's descriptors and header.
func (m *machine) beginFrame(s *slot) (f *inFrame, err error) {
	f = m.newIn()
	f.kind, f.flags, f.room = kindHead, s.flags, s.room
	for b := s.pieces; len(b) > 0; b = b[descSize:] {
		f.pieces = append(f.pieces, getDesc(b))
	}
	if f.h, err = wire.ParseHeader(s.body); err == nil {
		err = m.plausible(f)
	}
	return f, err
}

// plausible checks a frame's descriptors against its header.
func (m *machine) plausible(f *inFrame) error {
	total := 0
	for _, d := range f.pieces {
		if d.size == 0 || d.size > wire.MaxPayload {
			return fmt.Errorf("%w: a piece of %d bytes", ErrFormat, d.size)
		}
		total += int(d.size)
	}
	if f.flags&flagPlaced != 0 {
		if total = int(f.h.PayloadLen); total == 0 || !f.h.Response() {
			return fmt.Errorf("%w: %v of %d bytes says its payload is placed", ErrFormat, f.h.Op,
				total)
		}
	}
	switch {
	case total != int(f.h.PayloadLen):
		return fmt.Errorf("%w: pieces of %d bytes for a payload of %d", ErrFormat, total,
			f.h.PayloadLen)
	case f.flags&flagRoom != 0 && (f.h.Response() || f.h.Op.OneWay()):
		return fmt.Errorf("%w: room for an answer to %v that has none", ErrFormat, f.h.Op)
	case !m.cfg.trusted && (total > 0 || f.flags != 0):
		return fmt.Errorf("%w: %v with memory before the greeting", transport.ErrHello, f.h.Op)
	}
	return nil
}

// complete takes a frame whose head is all here.
func (m *machine) complete(f *inFrame, head []byte, size int) error {
	if len(head) > size {
		return fmt.Errorf("%w: %d bytes of head, the header says %d", ErrFormat, len(head), size)
	}
	f.meta = head[wire.HeaderSize:size:size]
	if err := wire.VerifyMeta(head, f.meta); err != nil {
		return err
	}
	if err := m.closeRoom(f); err != nil {
		return err
	}
	f.done = len(f.pieces) == 0
	if !f.done {
		var err error
		if f.payload, err = m.cfg.get(int(f.h.PayloadLen)); err != nil {
			f.payload, f.noBuffer, f.done = nil, true, true
		} else {
			m.reading.push(f)
		}
	}
	m.in.push(f)
	m.deliver()
	return nil
}

// closeRoom ends the room of the request that f answers. Its window is closed already, by the very
// message that ended the head, so that the peer cannot change what is delivered.
func (m *machine) closeRoom(f *inFrame) error {
	var r *outFrame
	if f.h.Response() {
		r = m.rooms[f.h.ID]
	}
	placed := f.flags&flagPlaced != 0
	switch {
	case r == nil && placed:
		return fmt.Errorf("%w: a payload placed in no room", ErrFormat)
	case r == nil:
		return nil
	case r.roomWin.w != nil:
		return fmt.Errorf("%w: answer %d left the room open", ErrFormat, f.h.ID)
	case int(f.h.PayloadLen) > len(r.room.Bytes()):
		return fmt.Errorf("%w: answer of %d bytes for a room of %d", ErrFormat, f.h.PayloadLen,
			len(r.room.Bytes()))
	}
	delete(m.rooms, f.h.ID)
	if placed {
		f.payload, r.room = r.room, nil
		f.payload.Truncate(int(f.h.PayloadLen))
	}
	m.release(r)
	return nil
}

// pumpReads asks for the payloads of frames in their order.
func (m *machine) pumpReads() {
	for m.reading.len() > 0 {
		f := m.reading.front()
		if m.space() < len(f.pieces) {
			return
		}
		m.reading.pop()
		left := f.payload.Bytes()
		for _, d := range f.pieces {
			f.local = append(f.local, verbs.Piece{Mem: left[:d.size], Key: m.cfg.key})
			left = left[d.size:]
		}
		for i, d := range f.pieces {
			p := posted{slot: -1}
			if i == len(f.pieces)-1 {
				p.then, p.in = thenRead, f
			}
			m.post(verbs.Send{Op: verbs.OpRead, Remote: verbs.Remote{Addr: d.addr, Key: d.key},
				Pieces: f.local[i : i+1 : i+1]}, p)
		}
		m.cfg.count.pulled.Add(int64(f.h.PayloadLen))
	}
}

// deliver makes the frames ready that are next in order.
func (m *machine) deliver() {
	for m.in.len() > 0 && m.in.front().done {
		f := m.in.pop()
		if len(f.pieces) > 0 {
			m.taken++
			m.urgent = m.urgent || f.h.Response() || f.h.Op.OneWay() || f.flags&flagTell != 0
		}
		if f.kind == kindHead && m.err == nil {
			m.err = m.remember(f)
		}
		m.ready = append(m.ready, f)
	}
}
