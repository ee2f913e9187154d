package client

import (
	"fmt"
	"sync"

	"github.com/ashlar-storage/ashlar/io/buf"
	"github.com/ashlar-storage/ashlar/rpc/transport"
)

// Pool is where answers arrive and where Buffer takes from.
func (c *Client) Pool() *buf.Pool { return c.pool }

// Buffer gives n bytes, 1 to buf.MaxSize, of memory that connections send without copying it, for
// Op.Buf and Volume.WriteBuf. The caller releases it. It never blocks: buf.ErrExhausted while other
// buffers and arriving data fill the pool. All must be released before the pool is closed, which
// Close does unless the pool was given in Config.
func (c *Client) Buffer(n int) (*buf.Buf, error) {
	b, err := c.pool.Get(n)
	if err != nil {
		return nil, fmt.Errorf("client: buffer of %d bytes: %w", n, err)
	}
	return b, nil
}

// checkMemory sees that written memory can be kept for as long as a connection needs it.
func (c *Client) checkMemory(op *Op) error {
	switch {
	case op.Kind == OpRead:
	case op.Buf == nil && c.pool.Owns(op.Data):
		return fmt.Errorf("%w: Op.Data lies in the client's pool: name its buffer in Op.Buf",
			ErrInvalid)
	case op.Buf != nil && op.Data != nil && !op.Buf.Holds(op.Data):
		return fmt.Errorf("%w: Op.Data does not lie in Op.Buf", ErrInvalid)
	}
	return nil
}

// data is what is written or read into.
func (op *Op) data() []byte {
	if op.Kind == OpWrite && op.Data == nil && op.Buf != nil {
		return op.Buf.Bytes()
	}
	return op.Data
}

// carry gives a message the data of a piece: by reference, and for memory of a buffer with a
// reference that the transport gives back.
func (b *batch) carry(m *transport.Message, x *piece) {
	if x.buf != nil && len(x.data) == len(x.buf.Bytes()) {
		m.Payload = x.buf.Retain()
		return
	}
	b.bodies = append(b.bodies, [1][]byte{x.data})
	m.Body = b.bodies[len(b.bodies)-1][:]
	if x.buf != nil {
		m.Release = holdOf(x.buf)
	}
}

// hold is a reference that a transport gives back; it is used again, so that it costs nothing.
type hold struct {
	b    *buf.Buf
	drop func()
}

var holds sync.Pool

func holdOf(b *buf.Buf) func() {
	h, ok := holds.Get().(*hold)
	if !ok {
		h = new(hold)
		h.drop = h.release
	}
	h.b = b.Retain()
	return h.drop
}

func (h *hold) release() {
	h.b.Release()
	h.b = nil
	holds.Put(h)
}
