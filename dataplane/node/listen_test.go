package node

import (
	"bytes"
	"context"
	"errors"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ashlar-storage/ashlar/io/uring"
	"github.com/ashlar-storage/ashlar/rpc/transport"
	"github.com/ashlar-storage/ashlar/rpc/wire"
)

// socketAt serves a unix socket as a further transport.
func socketAt(path string) transport.ListenFunc {
	return func(_ string, h transport.Handler, cfg transport.ServerConfig) (transport.Listener,
		error) {
		return transport.Listen("unix:"+path, h, cfg)
	}
}

func TestNodeServesEveryTransportItIsGiven(t *testing.T) {
	path := filepath.Join(t.TempDir(), "sock")
	c := startClusterWith(t, 1, 1, func(cfg *Config) {
		none := func(string, transport.Handler, transport.ServerConfig) (transport.Listener,
			error) {
			return nil, nil
		}
		cfg.Further = []transport.ListenFunc{none, socketAt(path)}
	})
	c.leader(1)
	data := bytes.Repeat([]byte{3}, 8192)
	c.write(1, 0, 0, data)
	c.addrs[0] = "unix:" + path
	if got := c.read(1, 0, 0, 8192); string(got) != string(data) {
		t.Error("read through the socket differs from what TCP wrote")
	}
	n := c.nodes[0]
	if open := n.serverStats().Open; open != 2 || len(n.servers) != 2 {
		t.Errorf("%d connections on %d transports, want one on each of two", open, len(n.servers))
	}
	// An answer is counted right after it left, when its reader may have it already.
	for end := time.Now().Add(5 * time.Second); ; time.Sleep(time.Millisecond) {
		wrong := wrongFlows(n.meter.Read())
		if len(wrong) == 0 {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("%+v", wrong)
		}
	}
}

// wrongFlows are the transports that carried anything but one write over TCP and one read over the
// socket.
func wrongFlows(flows []transport.Traffic) (wrong []transport.Traffic) {
	one := transport.Flow{Payloads: 1, Bytes: 8192}
	for _, m := range flows {
		in, out := m.Received, m.Sent
		switch m.Transport {
		case transport.NameTCP:
			one := one
			one.Copied = 8192
			if in != one || out.Bytes != 0 {
				wrong = append(wrong, m)
			}
		case transport.NameUnix:
			if in.Bytes != 0 || out != one {
				wrong = append(wrong, m)
			}
		}
	}
	return wrong
}

func TestNodeServesTCPByZeroCopySendsWhenItIsTold(t *testing.T) {
	if err := uring.Probe(); err != nil {
		t.Skipf("no io_uring here: %v", err)
	}
	for _, zero := range []transport.ZeroCopy{{}, {Threshold: 4096, Keep: true}} {
		c := startClusterWith(t, 1, 1, func(cfg *Config) { cfg.ZeroCopy = zero })
		c.leader(1)
		data := bytes.Repeat([]byte{5}, 8192)
		c.write(1, 0, 0, data)
		if got := c.read(1, 0, 0, 8192); string(got) != string(data) {
			t.Error("read differs from what was written")
		}
		m := c.nodes[0].meter.Read()[0]
		if (m.ZeroCopy > 0) != (zero.Threshold > 0) || m.Sent.Copied != 0 {
			t.Errorf("%+v: %+v", zero, m)
		}
	}
}

func TestNodeThatCannotServeATransportDoesNotStart(t *testing.T) {
	broken := errors.New("no such card")
	cfg := Config{Name: "n1", Zone: "z1", Listen: "127.0.0.1:0", Control: "127.0.0.1:1",
		Further: []transport.ListenFunc{func(string, transport.Handler, transport.ServerConfig) (
			transport.Listener, error) {
			return nil, broken
		}}}
	if _, err := Start(cfg); !errors.Is(err, broken) {
		t.Errorf("%v", err)
	}
}

func TestPeersAreDialledAsConfigured(t *testing.T) {
	var dials atomic.Int64
	c := startClusterWith(t, 3, 1, func(cfg *Config) {
		cfg.Dial = func(ctx context.Context, addr string, to transport.Config) (transport.Conn,
			error) {
			dials.Add(1)
			return transport.Dial(ctx, addr, to)
		}
	})
	at := c.leader(1)
	c.write(1, 0, 0, bytes.Repeat([]byte{1}, wire.BlockSize))
	if dials.Load() == 0 {
		t.Error("nobody was dialled")
	}
	out := c.nodes[at].outward.Read()
	if len(out) != 1 || out[0].Sent.Bytes < wire.BlockSize || out[0].Sent.Copied != 0 {
		t.Errorf("the leader sent %+v", out)
	}
}
