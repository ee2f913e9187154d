package peer

import (
	"sync"

	"github.com/ashlar-storage/ashlar/dataplane/copyset"
	"github.com/ashlar-storage/ashlar/io/buf"
)

// hold keeps the buffers of a frame until the transport has done with them. A socket has their
// bytes when Send returns; a card that lets the peer fetch them reads them later.
type hold struct {
	bufs    []*buf.Buf
	release func() // drop, made once
}

var holds sync.Pool

func newHold() *hold {
	if h, ok := holds.Get().(*hold); ok {
		return h
	}
	h := new(hold)
	h.release = h.drop
	return h
}

// holdOf is what a transport is to call when it has sent the payloads of m; nil when they need
// nobody to keep them.
func holdOf(m *copyset.Message) func() {
	var h *hold
	for i := range m.Payloads {
		b := m.Payloads[i].Buf
		if b == nil {
			continue
		}
		if h == nil {
			h = newHold()
		}
		h.bufs = append(h.bufs, b.Retain())
	}
	if h == nil {
		return nil
	}
	return h.release
}

func (h *hold) drop() {
	for i, b := range h.bufs {
		b.Release()
		h.bufs[i] = nil
	}
	h.bufs = h.bufs[:0]
	holds.Put(h)
}
