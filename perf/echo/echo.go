package echo

import (
	"context"
	"fmt"
	"time"

	"github.com/ashlar-storage/ashlar/io/buf"
	"github.com/ashlar-storage/ashlar/perf/hist"
	"github.com/ashlar-storage/ashlar/rpc/transport"
	"github.com/ashlar-storage/ashlar/rpc/wire"
)

// PoolBytes is the payload memory of either end: frames under way must fit.
const PoolBytes = 64 << 20

type handler struct{}

func (handler) OnOpen(transport.ServerConn)         {}
func (handler) OnBatchEnd(transport.ServerConn)     {}
func (handler) OnClose(transport.ServerConn, error) {}

func (handler) OnMessage(c transport.ServerConn, m *transport.Message) {
	h := wire.Header{Op: m.Header.Op, Flags: wire.FlagResponse, ID: m.Header.ID}
	c.Reply([]transport.Message{{Header: h, Payload: m.Payload}})
}

// Serve echoes frames at addr until ctx ends; ready gets the address once it listens.
func Serve(ctx context.Context, addr string, ready func(addr string)) error {
	pool, err := buf.NewPool(buf.Config{Bytes: PoolBytes})
	if err != nil {
		return fmt.Errorf("echo: %w", err)
	}
	s, err := transport.Listen(addr, handler{}, transport.ServerConfig{Pool: pool,
		Hello: wire.Hello{ClusterID: "echo", Role: "node", Name: "echo"}})
	if err != nil {
		return fmt.Errorf("echo: %w", err)
	}
	ready(s.Addr())
	<-ctx.Done()
	return s.Close()
}

// Measure sends frames of size bytes to a server of Serve, one at a time for d, and returns the
// times from sending to the arrival of the answer.
func Measure(ctx context.Context, addr string, size int, d time.Duration) (*hist.Hist, error) {
	pool, err := buf.NewPool(buf.Config{Bytes: PoolBytes})
	if err != nil {
		return nil, fmt.Errorf("echo: %w", err)
	}
	defer pool.Close()
	conn, err := transport.Dial(ctx, addr, transport.Config{Pool: pool,
		Hello: wire.Hello{ClusterID: "echo", Role: "client", Name: "echo"}})
	if err != nil {
		return nil, fmt.Errorf("echo: %w", err)
	}
	defer conn.Close()
	h, body := new(hist.Hist), [][]byte{make([]byte, size)}
	msg := make([]transport.Message, 1)
	end := time.Now().Add(d)
	for id := uint64(1); ctx.Err() == nil; id++ {
		began := time.Now()
		if began.After(end) {
			return h, nil
		}
		msg[0] = transport.Message{Header: wire.Header{Op: wire.OpWrite, ID: id}, Body: body}
		if err := conn.Send(msg); err != nil {
			return nil, fmt.Errorf("echo: %w", err)
		}
		m, err := conn.Recv()
		if err != nil {
			return nil, fmt.Errorf("echo: %w", err)
		}
		h.Add(uint64(time.Since(began)))
		if m.Payload == nil || len(m.Payload.Bytes()) != size {
			return nil, fmt.Errorf("echo: frame %d came back without its %d bytes", id, size)
		}
		m.Payload.Release()
	}
	return nil, ctx.Err()
}
