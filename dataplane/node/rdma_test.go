package node

import (
	"fmt"
	"log/slog"
	"net/netip"
	"testing"
	"time"

	"github.com/ashlar-storage/ashlar/dataplane/copyset"
	"github.com/ashlar-storage/ashlar/io/buf"
	"github.com/ashlar-storage/ashlar/rpc/dial"
	"github.com/ashlar-storage/ashlar/rpc/rdma/fake"
	"github.com/ashlar-storage/ashlar/rpc/transport"
)

// fabric is a cluster whose nodes and client have cards that reach each other, at the addresses at
// which they have TCP too.
type fabric struct {
	*cluster
	net  *fake.Network
	host *fake.Host
	sets map[string]*dial.Set // of the nodes, by name
	own  *dial.Set
}

// startFabric starts one; without tells which nodes have no card.
func startFabric(t *testing.T, copysets int, without string) *fabric {
	t.Helper()
	return startFabricWith(t, copysets, without, dial.Auto)
}

// startFabricWith is for another mode of those with a card.
func startFabricWith(t *testing.T, copysets int, without string, cards dial.Mode) *fabric {
	t.Helper()
	f := &fabric{net: fake.New(1), sets: map[string]*dial.Set{}}
	f.host = f.net.Host(fake.Card{Name: "fake0", Addr: netip.MustParseAddr("127.0.0.1")})
	t.Cleanup(func() {
		if c := f.net.Counts(); c != (fake.Counts{}) {
			t.Errorf("left on the cards: %+v", c)
		}
		f.net.Close()
	})
	f.cluster = startClusterWith(t, 3, copysets, func(cfg *Config) {
		pool, err := buf.NewPool(buf.Config{Bytes: 64 << 20})
		if err != nil {
			t.Fatal(err)
		}
		mode := cards
		if cfg.Name == without {
			mode = dial.TCP
		}
		s := f.open(pool, mode)
		f.sets[cfg.Name] = s
		cfg.Pool, cfg.Dial, cfg.Further = pool, s.Dial, s.Listeners()
	})
	f.own = f.open(f.pool, cards)
	f.dial = f.own.Dial
	f.stopped = func(i int) {
		if err := f.sets[fmt.Sprintf("n%d", i+1)].Close(); err != nil {
			t.Error(err)
		}
	}
	t.Cleanup(func() {
		for addr, conn := range f.conns {
			conn.Close()
			delete(f.conns, addr)
		}
		if err := f.own.Close(); err != nil {
			t.Error(err)
		}
	})
	return f
}

func (f *fabric) open(pool *buf.Pool, mode dial.Mode) *dial.Set {
	s, err := dial.Open(dial.Config{Mode: mode, Pool: pool, Provider: f.host,
		Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		panic(err)
	}
	return s
}

// traffic is what passed the nodes' connections over a transport.
func (f *fabric) traffic(name string) (served, peers transport.Traffic) {
	for _, n := range f.nodes {
		if n == nil {
			continue
		}
		for _, t := range n.meter.Read() {
			if t.Transport == name {
				add(&served, t)
			}
		}
		for _, t := range n.outward.Read() {
			if t.Transport == name {
				add(&peers, t)
			}
		}
	}
	return served, peers
}

func add(to *transport.Traffic, t transport.Traffic) {
	for _, x := range []struct{ to, from *transport.Flow }{
		{&to.Received, &t.Received}, {&to.Sent, &t.Sent}} {
		x.to.Payloads += x.from.Payloads
		x.to.Bytes += x.from.Bytes
		x.to.Copied += x.from.Copied
	}
	to.Open += t.Open
}

// wantNoCopies checks that so many bytes were written to three replicas and read. Two of three
// acknowledge a write: the third may be reached later.
func (f *fabric) wantNoCopies(t *testing.T, least int64) {
	t.Helper()
	served, peers := f.traffic(transport.NameRDMA)
	for end := time.Now().Add(10 * time.Second); served.Received.Bytes < 3*least ||
		peers.Sent.Bytes < 2*least || served.Sent.Bytes < least; {
		if time.Now().After(end) {
			t.Fatalf("served %+v and peers %+v of 3 x %d bytes", served, peers, least)
		}
		time.Sleep(5 * time.Millisecond)
		served, peers = f.traffic(transport.NameRDMA)
	}
	copied := served.Received.Copied + served.Sent.Copied + peers.Received.Copied +
		peers.Sent.Copied
	if copied != 0 {
		t.Errorf("%d bytes were copied: served %+v, peers %+v", copied, served, peers)
	}
	if served, peers := f.traffic(transport.NameTCP); served.Received.Bytes+served.Sent.Bytes+
		peers.Received.Bytes+peers.Sent.Bytes != 0 {
		t.Errorf("over TCP: served %+v, peers %+v", served, peers)
	}
	for name, s := range f.sets {
		if st := s.Device().Stats(); st.CopiedBytes != 0 {
			t.Errorf("%s copied %d bytes", name, st.CopiedBytes)
		}
	}
}

// wantStages checks that so many writes and reads were followed from their arrival to their
// answer's departure, as over TCP.
func (f *fabric) wantStages(t *testing.T, n uint64) {
	t.Helper()
	timing := f.nodes[f.leader(1)].stores[0].Timing()
	for kind, stage := range map[copyset.Kind]copyset.Stage{
		copyset.KindWrite: copyset.StageCommit, copyset.KindRead: copyset.StageReply} {
		for _, s := range []copyset.Stage{copyset.StageQueue, stage, copyset.StageReply} {
			if got := timing.Of(kind, s).N; got < n {
				t.Errorf("%v: %d went through stage %v, want %d", kind, got, s, n)
			}
		}
	}
}

func TestPayloadIsWrittenReplicatedAndReadThroughCardsWithoutACopy(t *testing.T) {
	f := startFabricWith(t, 1, "", dial.RDMA) // no card that is late is passed over
	f.leader(1)
	const size, writes = 64 << 10, 16
	want := make([]byte, size)
	for i := range uint32(writes) {
		for k := range want {
			want[k] = byte(uint32(k)*31 + i)
		}
		f.write(1, 0, i*size/2, want)
		if got := f.read(1, 0, i*size/2, size); string(got) != string(want) {
			t.Fatalf("write %d reads back as something else", i)
		}
	}
	f.wantNoCopies(t, size*writes)
	f.wantStages(t, writes)
	if st := f.own.Device().Stats(); st.CopiedBytes != 0 {
		t.Errorf("the client copied %d bytes", st.CopiedBytes)
	}
}

func TestRandomOperationsThroughCardsReadBackWhatWasWritten(t *testing.T) {
	f := startFabric(t, 3, "")
	m := newModel(f.cluster, 11)
	for range 200 {
		m.step()
	}
	m.checkAll()
	f.stopNode(f.leader(1))
	for range 100 {
		m.step()
	}
	m.checkAll()
}

func TestQueuePairsThatBreakCostNoOperation(t *testing.T) {
	f := startFabric(t, 2, "")
	m := newModel(f.cluster, 12)
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for {
			select {
			case <-stop:
				return
			case <-time.After(150 * time.Millisecond):
				f.net.BreakAll()
			}
		}
	}()
	// On a fast machine 250 steps may be over before the first break.
	end := time.Now().Add(20 * time.Second)
	for i := 0; i < 250 || f.own.Stats().Breaks == 0 && time.Now().Before(end); i++ {
		m.step()
	}
	close(stop)
	<-done
	m.checkAll()
	if f.own.Stats().Breaks == 0 {
		t.Error("nothing broke")
	}
}

func TestNodeWithoutACardIsReachedOverTCP(t *testing.T) {
	f := startFabric(t, 3, "n2")
	m := newModel(f.cluster, 13)
	for range 150 {
		m.step()
	}
	m.checkAll()
	tcp, _ := f.traffic(transport.NameTCP)
	rdma, _ := f.traffic(transport.NameRDMA)
	if tcp.Received.Bytes == 0 || rdma.Received.Bytes == 0 {
		t.Errorf("received over TCP %+v, over RDMA %+v", tcp.Received, rdma.Received)
	}
}
