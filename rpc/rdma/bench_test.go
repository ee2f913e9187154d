package rdma

import (
	"testing"

	"github.com/ashlar-storage/ashlar/rpc/transport"
	"github.com/ashlar-storage/ashlar/rpc/wire"
)

// What the transport itself costs: the card of these is this process.
func BenchmarkWrite4K(b *testing.B) {
	h := &testHandler{onMessage: func(c transport.ServerConn, m *transport.Message) {
		m.Payload.Release()
		c.Reply([]transport.Message{{Header: response(m.Header)}})
	}}
	p := newPair(b, h, transport.ServerConfig{})
	c := p.dial(b)
	mem := p.client.get(b, 4096, 1)
	defer mem.Release()
	b.ReportAllocs()
	var id uint64
	for b.Loop() {
		id++
		if err := c.Send([]transport.Message{{Header: wire.Header{Op: wire.OpWrite, ID: id},
			Payload: mem.Retain()}}); err != nil {
			b.Fatal(err)
		}
		if _, err := c.Recv(); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkRead4K(b *testing.B) {
	var p *pair
	h := &testHandler{onMessage: func(c transport.ServerConn, m *transport.Message) {
		mem, err := p.server.pool.Get(4096)
		if err != nil {
			b.Error(err)
			return
		}
		c.Reply([]transport.Message{{Header: response(m.Header), Payload: mem}})
	}}
	p = newPair(b, h, transport.ServerConfig{})
	c := p.dial(b)
	b.ReportAllocs()
	var id uint64
	for b.Loop() {
		id++
		if err := c.Send([]transport.Message{{Header: wire.Header{Op: wire.OpRead, ID: id},
			Room: 4096}}); err != nil {
			b.Fatal(err)
		}
		m, err := c.Recv()
		if err != nil {
			b.Fatal(err)
		}
		m.Payload.Release()
	}
}
