package client

import (
	"bytes"
	"log/slog"
	"net/netip"
	"testing"
	"time"

	"github.com/ashlar-storage/ashlar/io/buf"
	"github.com/ashlar-storage/ashlar/rpc/dial"
	cards "github.com/ashlar-storage/ashlar/rpc/rdma/fake"
	"github.com/ashlar-storage/ashlar/rpc/transport"
)

// fabric is cards under the nodes of a fake cluster, which have TCP at the same addresses, and the
// client's.
type fabric struct {
	net   *cards.Network
	nodes *dial.Set
	own   *dial.Set
	pool  *buf.Pool // the client's
}

// newFabric starts nodes with cards.
func newFabric(t *testing.T, seed uint64) (*fake, *fabric) {
	t.Helper()
	x := &fabric{net: cards.New(seed)}
	t.Cleanup(func() {
		if c := x.net.Counts(); c != (cards.Counts{}) {
			t.Errorf("left on the cards: %+v", c)
		}
		x.net.Close()
	})
	host := x.net.Host(cards.Card{Name: "fake0", Addr: netip.MustParseAddr("127.0.0.1")})
	f := newFake(t, 0)
	f.fabric = x
	open := func(pool *buf.Pool) *dial.Set {
		s, err := dial.Open(dial.Config{Pool: pool, Provider: host,
			RetryAfter: 50 * time.Millisecond, Logger: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	x.nodes = open(f.pool)
	f.addNodes(testMembers)
	var err error
	if x.pool, err = buf.NewPool(buf.Config{Bytes: 64 << 20}); err != nil {
		t.Fatal(err)
	}
	x.own = open(x.pool)
	t.Cleanup(func() { // after the client
		if err := x.own.Close(); err != nil {
			t.Error(err)
		}
		if err := x.pool.Close(); err != nil {
			t.Error(err)
		}
	})
	return f, x
}

func (x *fabric) use(c *Config) { c.Pool, c.Dial = x.pool, x.own.Dial }

// startCard serves a node's address over its card.
func (n *fakeNode) startCard(addr string, cfg transport.ServerConfig) {
	x := n.f.fabric
	if x == nil {
		return
	}
	var err error
	for range 100 {
		if n.card, err = x.nodes.Device().Listen(addr, n, cfg); err == nil {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	n.f.t.Fatal(err)
}

func (n *fakeNode) stopCard() {
	if n.card != nil {
		if err := n.card.Close(); err != nil {
			n.f.t.Error(err)
		}
		n.card = nil
	}
}

func TestClientOverCardsCopiesNothing(t *testing.T) {
	f, x := newFabric(t, 1)
	v := f.open(x.use)
	for i := range int64(20) {
		b := filledBuffer(t, v.c, uint64(i), 65536-int(i)*100)
		if err := v.WriteBuf(b, i*40_000); err != nil {
			t.Fatal(err)
		}
		got, _ := fetched(t, v, i*40_000, int64(len(b.Bytes())))
		if !bytes.Equal(got, b.Bytes()) {
			t.Fatalf("buffer %d reads back as something else", i)
		}
		b.Release()
	}
	if n := v.Stats().CopiedBytes; n != 0 {
		t.Errorf("the client copied %d bytes", n)
	}
	for _, m := range v.c.Traffic() {
		if m.Transport != transport.NameRDMA || m.Sent.Copied+m.Received.Copied != 0 ||
			m.Sent.Bytes == 0 || m.Received.Bytes != m.Sent.Bytes {
			t.Errorf("%+v", m)
		}
	}
	// Memory that no card knows is copied once, and counted.
	mustWrite(t, v, fill(1, 4096), 0)
	if m := v.c.Traffic()[0]; m.Sent.Copied != 4096 {
		t.Errorf("%+v", m)
	}
}

// The soak over cards, with queue pairs that break in the middle of whatever they do.
func TestRandomFaultsOverCardsLoseNothing(t *testing.T) {
	seed := seedOfSoak(t)
	f, x := newFabric(t, seed)
	v := f.open(func(c *Config) {
		x.use(c)
		c.Timeout, c.Seed = time.Minute, seed
	})
	f.soak(v, seed, func(stop chan struct{}) {
		for !f.pause(stop, 100*time.Millisecond) {
			x.net.BreakAll()
		}
	})
	t.Logf("%+v %+v %+v", v.Stats(), v.c.NetStats(), x.own.Stats())
	if x.own.Stats().Breaks == 0 {
		t.Error("nothing broke")
	}
}

// A write is given up while the card of a node may still fetch its data: the buffer that the caller
// has back by then is not handed out again before the card has done with it.
func TestBufferOfAnAttemptThatWasGivenUpStaysWithTheCard(t *testing.T) {
	f, x := newFabric(t, 1)
	v := f.open(x.use)
	hasten(v, 300*time.Millisecond)
	x.net.SetFaults(cards.Faults{Slow: 100 * time.Millisecond})
	held := 0
	for range 4 {
		b := filledBuffer(t, v.c, 3, 65536)
		if err := v.WriteBuf(b, 0); err == nil {
			t.Error("a write over a card that does nothing succeeded")
		}
		mem := b.Bytes()
		b.Release()
		if x.net.Uses(mem) {
			held++
		}
		c, err := v.c.Buffer(65536)
		if err != nil {
			t.Fatal(err)
		}
		if x.net.Uses(c.Bytes()) {
			t.Error("memory that the card still uses was handed out")
		}
		c.Release()
	}
	if held == 0 {
		t.Error("the card was done with every buffer: the test shows nothing")
	}
	x.net.SetFaults(cards.Faults{})
}
