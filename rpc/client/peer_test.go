package client

import (
	"testing"
	"time"

	"github.com/ashlar-storage/ashlar/internal/loopback"
	"github.com/ashlar-storage/ashlar/rpc/wire"
)

// connected waits until a node is connected to, by another link than the old one.
func connected(t *testing.T, p *peer, old *link) *link {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); {
		if l := p.link.Load(); l != nil && l != old {
			return l
		}
		time.Sleep(time.Millisecond)
	}
	t.Fatal("no connection")
	return nil
}

// A node that is connected to again, at an address that another has by now, moves when the control
// plane tells of its new one.
func TestNodeWhoseAddressAnotherHasIsFoundElsewhere(t *testing.T) {
	f := newFake(t, 4)
	f.setHints(false)
	f.setLeader(0)
	v := f.open(nil)
	mustWrite(t, v, fill(1, 4096), 0)
	leader, other := f.nodes[0], f.nodes[3]
	p, _ := v.c.meet(1, "")
	first := p.link.Load()
	leader.stop()
	other.stop()
	other.addr.Store(leader.addr.Load())
	other.react(func(*fakeNode, wire.Op, *wire.IORequest) reaction {
		return reaction{status: wire.StatusWrongCopyset}
	})
	other.start()
	wrong := connected(t, p, first)
	free, err := loopback.Addrs(1)
	if err != nil {
		t.Fatal(err)
	}
	leader.addr.Store(&free[0])
	leader.start()
	mustRead(t, v, fill(1, 4096), 0)
	if l := connected(t, p, wrong); l.addr != free[0] {
		t.Errorf("connected to %s, not to %s", l.addr, free[0])
	}
}

// What replicas say of the address of a node that is connected to changes nothing, nor does the
// control plane when it repeats itself.
func TestHintLeavesALiveConnectionAlone(t *testing.T) {
	f := newFake(t, 3)
	v := f.open(nil)
	mustWrite(t, v, fill(1, 4096), 0)
	p, _ := v.c.meet(1, "")
	l := connected(t, p, nil)
	for range 3 {
		v.c.hintedPeer(1, "127.0.0.1:1")
		v.c.peer(1, l.addr)
	}
	if p.address() != l.addr {
		t.Errorf("the next attempt goes to %s", p.address())
	}
	mustRead(t, v, fill(1, 4096), 0)
	if p.link.Load() != l || v.c.NetStats().Broken != 0 {
		t.Error("the connection was given up")
	}
}
