package rdma

import (
	"bytes"
	"sync/atomic"
	"testing"

	"github.com/ashlar-storage/ashlar/io/buf"
	"github.com/ashlar-storage/ashlar/rpc/transport"
	"github.com/ashlar-storage/ashlar/rpc/wire"
)

func (e *end) get(t testing.TB, n int, seed byte) *buf.Buf {
	t.Helper()
	b, err := e.pool.Get(n)
	if err != nil {
		t.Fatal(err)
	}
	copy(b.Bytes(), sample(n, seed))
	return b
}

func (p *pair) copies() int64 { return p.server.dev.Stats().Copies + p.client.dev.Stats().Copies }

func TestAWriteFromThePoolIsNotCopied(t *testing.T) {
	got := make(chan []byte, 1)
	h := &testHandler{onMessage: func(c transport.ServerConn, m *transport.Message) {
		got <- bytes.Clone(m.Payload.Bytes())
		m.Payload.Release()
		c.Reply([]transport.Message{{Header: response(m.Header)}})
	}}
	p := newPair(t, h, transport.ServerConfig{})
	c := p.dial(t)
	var released atomic.Int64
	for i, n := range []int{1, 4096, 65536, wire.MaxPayload} {
		b := p.client.get(t, n, byte(i))
		m := transport.Message{Header: wire.Header{Op: wire.OpWrite, ID: uint64(i)},
			Body:    [][]byte{b.Bytes()[:n/3], b.Bytes()[n/3:]},
			Release: func() { released.Add(1); b.Release() }}
		if err := c.Send([]transport.Message{m}); err != nil {
			t.Fatal(err)
		}
		expect(t, c, uint64(i), nil, nil)
		if !bytes.Equal(<-got, sample(n, byte(i))) {
			t.Errorf("%d bytes arrived changed", n)
		}
	}
	eventually(t, "every release", func() bool { return released.Load() == 4 })
	if p.copies() != 0 {
		t.Errorf("%d copies", p.copies())
	}
}

func TestAReadIsPlacedInItsRoomAndNotCopied(t *testing.T) {
	var p *pair
	h := &testHandler{onMessage: func(c transport.ServerConn, m *transport.Message) {
		n := int(m.Header.ID)
		b, err := p.server.pool.Get(max(n, 1))
		if err != nil {
			t.Error(err)
			return
		}
		copy(b.Bytes(), sample(n, 9))
		out := transport.Message{Header: response(m.Header), Body: [][]byte{b.Bytes()[:n/2],
			b.Bytes()[n/2 : n]}, Release: b.Release}
		c.Reply([]transport.Message{out})
	}}
	p = newPair(t, h, transport.ServerConfig{})
	c := p.dial(t)
	for _, n := range []int{0, 1, 4096, 100000, wire.MaxPayload} {
		for _, room := range []int{0, max(n, 1), wire.MaxPayload} {
			m := transport.Message{Header: wire.Header{Op: wire.OpRead, ID: uint64(n)}, Room: room}
			before := p.server.dev.Stats()
			if err := c.Send([]transport.Message{m}); err != nil {
				t.Fatal(err)
			}
			expect(t, c, uint64(n), nil, sample(n, 9))
			after := p.server.dev.Stats()
			if want := int64(n); room > 0 && after.PushedBytes-before.PushedBytes != want {
				t.Errorf("%d bytes with room %d: %d placed", n, room, after.PushedBytes)
			}
		}
	}
	if p.copies() != 0 {
		t.Errorf("%d copies", p.copies())
	}
}

func TestOneWayFramesArriveInOrderAndAreReleased(t *testing.T) {
	const n = 500
	var arrived atomic.Int64
	h := &testHandler{onMessage: func(_ transport.ServerConn, m *transport.Message) {
		i := arrived.Add(1) - 1
		want := sample(1000+int(i), byte(i))
		if m.Header.ID != uint64(i) || !bytes.Equal(m.Payload.Bytes(), want) {
			t.Errorf("frame %d came as number %d, or changed", m.Header.ID, i)
		}
		m.Payload.Release()
	}}
	p := newPair(t, h, transport.ServerConfig{})
	c := p.dial(t)
	var released atomic.Int64
	for i := range n {
		b := p.client.get(t, 1000+i, byte(i))
		m := transport.Message{Header: wire.Header{Op: wire.OpRaft, ID: uint64(i)}, Payload: b,
			Release: func() { released.Add(1) }}
		if err := c.Send([]transport.Message{m}); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "every frame arrived", func() bool { return arrived.Load() == n })
	eventually(t, "every frame is released", func() bool { return released.Load() == n })
	if p.copies() != 0 {
		t.Errorf("%d copies", p.copies())
	}
	if st := p.client.dev.Stats(); st.WindowsBound != 0 {
		t.Errorf("%d windows bound", st.WindowsBound)
	}
}
