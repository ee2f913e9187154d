package transport

import (
	"github.com/ashlar-storage/ashlar/io/buf"
	"github.com/ashlar-storage/ashlar/rpc/wire"
)

// decoder turns a byte stream into frames, wherever it is cut: header, then
// metadata, then payload, each taken as far as the bytes go. It is pure but
// for the buffers it takes from get.
type decoder struct {
	get  func(n int) (*buf.Buf, error)
	part part
	have int // bytes of the header or of the payload taken so far
	head [wire.HeaderSize]byte
	h    wire.Header
	meta []byte // the frame's metadata: borrowed from the input, or scratch
	// scratch holds metadata that arrived in pieces or whose payload did.
	scratch  []byte
	borrowed bool
	payload  *buf.Buf // nil while the payload is discarded
	flow     Flow     // payloads since the owner looked last
}

type part uint8

const (
	partHead part = iota
	partMeta
	partPayload
)

// keepMeta is the most scratch memory in bytes that outlives a frame.
const keepMeta = 8 << 10

// frame is a decoded message. noBuffer tells that its payload found no buffer
// and was discarded.
type frame struct {
	Message
	noBuffer bool
}

// next takes bytes from p and returns what is left of them. When ok, f is a
// whole frame whose Meta may point into p; otherwise p is used up. After an
// error the stream has no framing any more and only reset may be called.
func (d *decoder) next(p []byte) (f frame, rest []byte, ok bool, err error) {
	if d.part == partHead {
		if p, ok, err = d.takeHead(p); !ok {
			return frame{}, nil, false, err
		}
	}
	if d.part == partMeta {
		if p, ok, err = d.takeMeta(p); !ok {
			return frame{}, nil, false, err
		}
	}
	if p, ok = d.takePayload(p); !ok {
		d.keepBorrowed()
		return frame{}, nil, false, nil
	}
	f.Message = Message{Header: d.h, Meta: d.meta, Payload: d.payload}
	f.noBuffer = d.h.PayloadLen > 0 && d.payload == nil
	if d.payload != nil {
		d.flow.Payloads++
		d.flow.Bytes += int64(d.h.PayloadLen)
	}
	d.part, d.have, d.payload = partHead, 0, nil
	return f, p, true, nil
}

func (d *decoder) takeHead(p []byte) (rest []byte, ok bool, err error) {
	n := copy(d.head[d.have:], p)
	d.have += n
	if d.have < wire.HeaderSize {
		return nil, false, nil
	}
	if d.h, err = wire.ParseHeader(d.head[:]); err != nil {
		return nil, false, err
	}
	if cap(d.scratch) > keepMeta {
		d.scratch = nil
	}
	d.part, d.have, d.scratch = partMeta, 0, d.scratch[:0]
	return p[n:], true, nil
}

// takeMeta ends with the header verified and the payload's buffer taken:
// nothing is allocated for a payload before the checksum vouches for its
// length.
func (d *decoder) takeMeta(p []byte) (rest []byte, ok bool, err error) {
	need := int(d.h.MetaLen) - len(d.scratch)
	if d.borrowed = len(d.scratch) == 0 && len(p) >= need; d.borrowed {
		d.meta = p[:need:need]
	} else {
		n := min(need, len(p))
		d.scratch = append(d.scratch, p[:n]...)
		if n < need {
			return nil, false, nil
		}
		d.meta = d.scratch
	}
	if err := wire.VerifyMeta(d.head[:], d.meta); err != nil {
		return nil, false, err
	}
	d.part, d.have = partPayload, 0
	if d.h.PayloadLen > 0 {
		d.payload, _ = d.get(int(d.h.PayloadLen))
	}
	return p[need:], true, nil
}

func (d *decoder) takePayload(p []byte) (rest []byte, ok bool) {
	n := min(int(d.h.PayloadLen)-d.have, len(p))
	if d.payload != nil {
		d.flow.Copied += int64(copy(d.payload.Bytes()[d.have:], p[:n]))
	}
	d.have += n
	return p[n:], d.have == int(d.h.PayloadLen)
}

// keepBorrowed saves metadata that points into input about to go away.
func (d *decoder) keepBorrowed() {
	if d.borrowed {
		d.scratch = append(d.scratch[:0], d.meta...)
		d.meta, d.borrowed = d.scratch, false
	}
}

// midFrame reports whether a frame has begun and not ended.
func (d *decoder) midFrame() bool { return d.part != partHead || d.have > 0 }

// reset gives a begun frame's buffer back.
func (d *decoder) reset() {
	if d.payload != nil {
		d.payload.Release()
	}
	*d = decoder{get: d.get}
}
