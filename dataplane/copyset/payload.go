package copyset

import (
	"github.com/ashlar-storage/ashlar/io/buf"
	"github.com/ashlar-storage/ashlar/io/wal"
)

// Payload is the bytes of an entry: whole blocks in a reference-counted buffer that other entries
// may share, or only their place in the log after the buffer was let go. The buffer that the
// network filled is the one that the log, the followers, the overlay and the chunk file are
// written from.
type Payload struct {
	B   []byte   // nil: none, or only in the log at At
	Buf *buf.Buf // what keeps B alive; nil for memory that needs no counting
	At  wal.LSN  // where the log has it; 0 until durable
	Len int      // bytes, a multiple of BlockSize
}

// NewPayload takes over one reference of b.
func NewPayload(b *buf.Buf) Payload {
	return Payload{B: b.Bytes(), Buf: b, Len: len(b.Bytes())}
}

// Retain adds a reference for another holder.
func (p Payload) Retain() Payload {
	if p.Buf != nil {
		p.Buf.Retain()
	}
	return p
}

// Release gives the reference back. The bytes must not be used afterwards.
func (p *Payload) Release() {
	if p.Buf != nil {
		p.Buf.Release()
	}
	p.Buf, p.B = nil, nil
}

// block is block i of the payload, without a reference of its own. Its capacity reaches to the end
// of the buffer, by which neighbours are found to lie side by side.
func (p Payload) block(i int) []byte {
	if p.B == nil {
		return nil
	}
	return p.B[i*BlockSize : (i+1)*BlockSize]
}

// only is block i alone, under the same reference.
func (p Payload) only(i int) Payload {
	b := Payload{B: p.block(i), Buf: p.Buf, Len: BlockSize}
	if p.At != 0 {
		b.At = p.At + wal.LSN(i)*BlockSize
	}
	return b
}

// zeroes is what blocks that were never written read as. It is never written to.
var zeroes [MaxOpBytes]byte
