package transport

import (
	"testing"

	"github.com/ashlar-storage/ashlar/rpc/wire"
)

func TestPayloadsAndTheirCopiesAreCounted(t *testing.T) {
	const size = 64 << 10
	pool := newPool(t, 8<<20)
	var near, far Meter
	h := &testHandler{onMessage: echo}
	s := startServer(t, "127.0.0.1:0", h, ServerConfig{Pool: pool, Meter: &far})
	c, err := Dial(t.Context(), s.Addr(), Config{Pool: pool, Meter: &near})
	if err != nil {
		t.Fatal(err)
	}
	const n = 10
	for range n {
		if err := c.Send([]Message{{Header: wire.Header{Op: wire.OpPing},
			Body: [][]byte{make([]byte, size)}}}); err != nil {
			t.Fatal(err)
		}
		m, err := c.Recv()
		if err != nil {
			t.Fatal(err)
		}
		m.done()
	}
	here, there := near.Read()[0], far.Read()[0]
	sent := Flow{Payloads: n, Bytes: n * size}
	if here.Sent != sent || here.Made != 1 || here.Open != 1 || here.Transport != NameTCP {
		t.Errorf("client: %+v", here)
	}
	if got := here.Received; got.Payloads != n || got.Bytes != n*size ||
		got.Copied > size+(n-1)*headRead {
		t.Errorf("client received %+v: after the first, all but what came with heads goes "+
			"straight into the pool", got)
	}
	if there.Received != (Flow{Payloads: n, Bytes: n * size, Copied: n * size}) {
		t.Errorf("server received %+v", there.Received)
	}
	eventually(t, "the server has counted what it sent", func() bool {
		return far.Read()[0].Sent == sent
	})
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the connection is counted out", func() bool {
		return near.Read()[0].Open == 0 && far.Read()[0].Open == 0
	})
}
