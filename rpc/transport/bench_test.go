package transport

import (
	"sort"
	"testing"
	"time"

	"github.com/ashlar-storage/ashlar/io/buf"
	"github.com/ashlar-storage/ashlar/rpc/wire"
)

// The benchmarks send frames of 4 KiB with depth of them in flight over one
// connection, client and server in one process: allocations are those of both
// ends. "loop" answers in OnMessage; "owner" hands the batch to one goroutine
// that queues all answers and flushes once, as a copyset's owner does; "reply"
// calls Reply for each.

type pendingReply struct {
	c ServerConn
	m Message
}

func BenchmarkEcho4K(b *testing.B) {
	for _, kind := range []string{"loop", "owner", "reply"} {
		for _, depth := range []int{1, 32} {
			name := map[int]string{1: "depth1", 32: "depth32"}[depth]
			b.Run(kind+"/tcp/"+name, func(b *testing.B) {
				benchEcho(b, "127.0.0.1:0", kind, depth, wire.BlockSize)
			})
		}
	}
	b.Run("loop/unix/depth1", func(b *testing.B) {
		benchEcho(b, unixAddr(b), "loop", 1, wire.BlockSize)
	})
	b.Run("loop/unix/depth32", func(b *testing.B) {
		benchEcho(b, unixAddr(b), "loop", 32, wire.BlockSize)
	})
}

func BenchmarkEcho128K(b *testing.B) {
	b.Run("loop/depth1", func(b *testing.B) { benchEcho(b, "127.0.0.1:0", "loop", 1, 128<<10) })
	b.Run("loop/depth8", func(b *testing.B) { benchEcho(b, "127.0.0.1:0", "loop", 8, 128<<10) })
}

func benchEcho(b *testing.B, addr, kind string, depth, size int) {
	pool := newPool(b, 64<<20)
	work := make(chan []pendingReply, 64)
	free := make(chan []pendingReply, 64)
	done := make(chan struct{})
	go func() {
		defer close(done)
		answer(work, free, kind == "owner")
	}()
	var one [1]Message
	h := &testHandler{onMessage: func(c ServerConn, m *Message) {
		one[0] = Message{Header: response(m.Header), Meta: m.Meta, Payload: m.Payload}
		c.Reply(one[:])
	}}
	if kind != "loop" {
		var batch []pendingReply
		h.onMessage = func(c ServerConn, m *Message) {
			batch = append(batch, pendingReply{c, Message{Header: response(m.Header),
				Payload: m.Payload}})
		}
		h.onBatch = func(ServerConn) {
			if len(batch) == 0 {
				return
			}
			work <- batch
			select {
			case batch = <-free:
			default:
				batch = nil
			}
		}
	}
	s := startServer(b, addr, h, ServerConfig{Pool: pool, Loops: 1})
	c := dial(b, s.Addr(), pool)
	lat := make([]time.Duration, 0, 1<<16)
	run(b, c, pool, depth, size, &lat)
	st := s.Stats()
	b.ReportMetric(float64(st.Writes)/float64(b.N), "srv-writes/op")
	sort.Slice(lat, func(i, j int) bool { return lat[i] < lat[j] })
	if len(lat) > 0 {
		b.ReportMetric(float64(lat[len(lat)/2].Nanoseconds())/1e3, "p50-us")
		b.ReportMetric(float64(lat[len(lat)*99/100].Nanoseconds())/1e3, "p99-us")
	}
	_ = c.Close()
	_ = s.Close()
	close(work)
	<-done
}

func answer(work, free chan []pendingReply, batched bool) {
	var one [1]Message
	for batch := range work {
		for i := range batch {
			one[0] = batch[i].m
			if batched {
				batch[i].c.Queue(one[:])
			} else {
				batch[i].c.Reply(one[:])
			}
		}
		if batched {
			batch[0].c.Flush()
		}
		clear(batch)
		select {
		case free <- batch[:0]:
		default:
		}
	}
}

// run keeps depth requests in flight: it sends as many as came back.
func run(b *testing.B, c Conn, pool *buf.Pool, depth, size int, lat *[]time.Duration) {
	body := make([]byte, size)
	msgs := make([]Message, depth)
	for i := range msgs {
		h := wire.Header{Op: wire.OpWrite, ID: uint64(i)}
		msgs[i] = Message{Header: h, Body: [][]byte{body}}
	}
	b.SetBytes(int64(size))
	b.ReportAllocs()
	b.ResetTimer()
	for left := b.N; left > 0; {
		n := min(depth, left)
		now := time.Now()
		if err := c.Send(msgs[:n]); err != nil {
			b.Fatal(err)
		}
		for range n {
			m, err := c.Recv()
			if err != nil {
				b.Fatal(err)
			}
			m.Payload.Release()
		}
		if len(*lat) < cap(*lat) {
			*lat = append(*lat, time.Since(now))
		}
		left -= n
	}
	b.StopTimer()
}
