package client

import (
	"context"
	"testing"

	"github.com/ashlar-storage/ashlar/io/buf"
	"github.com/ashlar-storage/ashlar/rpc/transport"
	"github.com/ashlar-storage/ashlar/rpc/wire"
)

// null is a server that answers everything with success at once: what is left is the client and
// the transport of both sides, in one process.
type null struct {
	pool *buf.Pool
	out  []transport.Message
	meta []byte
	req  wire.IORequest
	resp wire.IOResponse
}

func (s *null) OnOpen(transport.ServerConn)         {}
func (s *null) OnClose(transport.ServerConn, error) {}

func (s *null) OnMessage(c transport.ServerConn, m *transport.Message) {
	if m.Payload != nil {
		m.Payload.Release()
	}
	reply := transport.Message{Header: wire.Header{
		Op: m.Header.Op, Flags: wire.FlagResponse, ID: m.Header.ID,
	}}
	if m.Header.Op == wire.OpRead {
		if err := s.req.Decode(m.Meta); err != nil {
			panic("client: " + err.Error())
		}
		b, err := s.pool.Get(int(s.req.Length))
		if err != nil {
			panic("client: " + err.Error())
		}
		clear(b.Bytes())
		s.resp.CRCs = wire.ChecksumPieces(s.resp.CRCs[:0], s.req.Offset, b.Bytes())
		s.meta = s.resp.AppendTo(s.meta[:0])
		reply.Meta, reply.Payload = s.meta, b
	}
	s.out = append(s.out[:0], reply)
	c.Reply(s.out)
}

func (s *null) OnBatchEnd(transport.ServerConn) {}

func startNull(b *testing.B) (*fake, *transport.Server) {
	b.Helper()
	pool, err := buf.NewPool(buf.Config{Bytes: 64 << 20})
	if err != nil {
		b.Fatal(err)
	}
	srv, err := transport.Listen("127.0.0.1:0", &null{pool: pool}, transport.ServerConfig{
		Pool: pool, Loops: 1, Logger: quiet(),
	})
	if err != nil {
		b.Fatal(err)
	}
	f := &fake{
		t: b, pool: pool, chunkBytes: 16 << 20, segBytes: 1 << 30, size: 1 << 30,
		copysets: []uint64{101}, leader: map[uint64]int{101: 0},
	}
	f.nodes = []*fakeNode{newFakeNode(f, 0, srv.Addr())}
	b.Cleanup(func() {
		if err := srv.Close(); err != nil {
			b.Error(err)
		}
		if err := pool.Close(); err != nil {
			b.Error(err)
		}
	})
	return f, srv
}

// BenchmarkTransportQD1 is the floor of the others: the same frames, no client.
func BenchmarkTransportQD1(b *testing.B) {
	f, srv := startNull(b)
	conn, err := transport.Dial(context.Background(), srv.Addr(), transport.Config{Pool: f.pool})
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	p := make([]byte, 4096)
	req := wire.IORequest{Length: 4096, CRCs: make([]uint32, 1)}
	meta := req.AppendTo(nil)
	msgs := []transport.Message{{Header: wire.Header{Op: wire.OpWrite}, Meta: meta,
		Body: [][]byte{p}}}
	b.ReportAllocs()
	for b.Loop() {
		if err := conn.Send(msgs); err != nil {
			b.Fatal(err)
		}
		if _, err := conn.Recv(); err != nil {
			b.Fatal(err)
		}
	}
}

func benchQD1(b *testing.B, kind Kind) {
	f, _ := startNull(b)
	v := f.open(nil)
	p := make([]byte, 4096)
	off := int64(0)
	b.ReportAllocs()
	for b.Loop() {
		if err := v.do(kind, off, p, 4096); err != nil {
			b.Fatal(err)
		}
		off = (off + 4096) % f.size
	}
}

func BenchmarkWriteQD1(b *testing.B) { benchQD1(b, OpWrite) }
func BenchmarkReadQD1(b *testing.B)  { benchQD1(b, OpRead) }

func benchDeep(b *testing.B, kind Kind, depth int) {
	benchOps(b, depth, func(_ *Volume, op *Op) { op.Kind, op.Data = kind, make([]byte, 4096) })
}

func benchOps(b *testing.B, depth int, set func(*Volume, *Op)) {
	f, _ := startNull(b)
	v := f.open(nil)
	free := make(chan *Op, depth)
	for range cap(free) {
		op := &Op{Done: func(op *Op) { free <- op }}
		set(v, op)
		free <- op
	}
	off := int64(0)
	b.ReportAllocs()
	for b.Loop() {
		op := <-free
		if op.Err != nil {
			b.Fatal(op.Err)
		}
		op.dropBufs()
		op.Off = off
		off = (off + 4096) % f.size
		v.Submit(op)
	}
	for range cap(free) {
		op := <-free
		op.dropBufs()
		if op.Buf != nil {
			op.Buf.Release()
		}
	}
	b.StopTimer()
	n := v.c.NetStats()
	b.ReportMetric(float64(n.Messages)/float64(max(n.Sends, 1)), "frames/write")
}

func BenchmarkWriteQD4(b *testing.B)  { benchDeep(b, OpWrite, 4) }
func BenchmarkWriteQD32(b *testing.B) { benchDeep(b, OpWrite, 32) }
func BenchmarkReadQD32(b *testing.B)  { benchDeep(b, OpRead, 32) }
