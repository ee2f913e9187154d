//go:build rdma && cgo && linux

package rdma

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ashlar-storage/ashlar/io/buf"
	"github.com/ashlar-storage/ashlar/rpc/rdma/ibv"
	"github.com/ashlar-storage/ashlar/rpc/transport"
	"github.com/ashlar-storage/ashlar/rpc/wire"
)

// With RDMA_ADDRESS, the address of a card of this machine, the tests of this package use that card
// instead of those in this process. The lane (make rdma) runs them so.
func init() {
	text := os.Getenv("RDMA_ADDRESS")
	if text == "" {
		return
	}
	var err error
	if realAddr, err = netip.ParseAddr(text); err == nil {
		realCard, err = ibv.New(ibv.Options{GIDIndex: ibv.AnyGID})
		addrA, addrB, addrC = realAddr, realAddr, realAddr // of the one card
	}
	if err != nil {
		panic(fmt.Sprintf("rdma: RDMA_ADDRESS: %v", err))
	}
	if to := os.Getenv("RDMA_VICTIM_OF"); to != "" {
		fmt.Fprintln(os.Stderr, victim(to))
		os.Exit(1)
	}
}

func needsCard(t *testing.T) {
	t.Helper()
	if realCard == nil {
		t.Skip("needs an RDMA card: make rdma has one")
	}
}

// victim is a client that writes until it is killed.
func victim(to string) error {
	pool, err := buf.NewPool(buf.Config{Bytes: 16 << 20})
	if err != nil {
		return err
	}
	dev, err := Open(Config{Provider: realCard, Pool: pool, Loops: 1})
	if err != nil {
		return err
	}
	c, err := dev.Dial(context.Background(), to, transport.Config{Pool: pool})
	if err != nil {
		return err
	}
	go func() {
		for {
			if _, err := c.Recv(); err != nil {
				return
			}
		}
	}()
	for id := uint64(1); ; id++ {
		b, err := pool.Get(wire.MaxPayload)
		if err != nil {
			time.Sleep(time.Millisecond)
			continue
		}
		copy(b.Bytes(), sample(wire.MaxPayload, byte(id)))
		m := transport.Message{Header: wire.Header{Op: wire.OpWrite, ID: id}, Payload: b,
			Release: func() {}}
		if err := c.Send([]transport.Message{m}); err != nil {
			return err
		}
	}
}

func TestPeerKilledInTheMiddleOfATransfer(t *testing.T) {
	needsCard(t)
	var got atomic.Int64
	h := &testHandler{onMessage: func(c transport.ServerConn, m *transport.Message) {
		if m.Header.ID < 1000 && m.Payload != nil {
			got.Add(1)
		}
		meta := response(m.Header)
		if m.Header.ID >= 1000 {
			echo(c, m)
			return
		}
		if m.Payload != nil {
			m.Payload.Release()
		}
		c.Reply([]transport.Message{{Header: meta}})
	}}
	p := newPair(t, h, transport.ServerConfig{})
	c := p.dial(t)
	for round := range 3 {
		before := got.Load()
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), "RDMA_VICTIM_OF="+p.srv.Addr())
		cmd.Stderr = os.Stderr
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		eventually(t, "payloads arrive", func() bool { return got.Load() >= before+5 })
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		call(t, c, uint64(1000+round), nil, sample(50000, byte(round)))
		_ = h.whyClosed(t, round+1)
		call(t, c, uint64(2000+round), nil, sample(50000, byte(round)))
	}
}

func TestBrokenQueuePairIsDialledAnew(t *testing.T) {
	needsCard(t)
	p := newPair(t, &testHandler{onMessage: echo}, transport.ServerConfig{})
	for round := range 3 {
		c := p.dial(t)
		call(t, c, 1, nil, sample(300000, byte(round)))
		for id := range uint64(8) {
			m := transport.Message{Header: wire.Header{Op: wire.OpWrite, ID: 10 + id},
				Body: [][]byte{sample(wire.MaxPayload/2, byte(id))}}
			if err := c.Send([]transport.Message{m}); err != nil {
				t.Fatal(err)
			}
		}
		c.(*clientConn).qp.Disconnect()
		answers := 0
		for {
			m, err := c.Recv()
			if err != nil {
				t.Logf("after %d answers: %v", answers, err)
				break
			}
			answers++
			if m.Payload != nil {
				m.Payload.Release()
			}
		}
	}
	call(t, p.dial(t), 1, nil, sample(300000, 9))
}
