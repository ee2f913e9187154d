package rdma

import (
	"context"
	"encoding/binary"
	"hash/crc32"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ashlar-storage/ashlar/io/buf"
	"github.com/ashlar-storage/ashlar/rpc/rdma/fake"
	"github.com/ashlar-storage/ashlar/rpc/transport"
	"github.com/ashlar-storage/ashlar/rpc/wire"
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func sum(b []byte) uint32 { return crc32.Checksum(b, castagnoli) }

// ops is how many operations a run under faults does.
func ops(short int) int {
	if testing.Short() {
		return short
	}
	return 100_000
}

// soak is a run of operations against cards that fail. Every operation is answered right or fails
// with its connection.
type soak struct {
	t        *testing.T
	p        *pair
	left     atomic.Int64 // operations to do
	answered atomic.Int64
	failed   atomic.Int64
	oneWay   atomic.Int64 // taken by connections
	arrived  atomic.Int64
	dials    atomic.Int64
	sent     atomic.Int64 // messages given to Send
	released atomic.Int64
	work     chan func()
}

// lane is what the server knows of a connection: one-way frames come in their order.
type lane struct{ next uint64 }

func newSoak(t *testing.T, seed uint64, tune func(*Config)) *soak {
	s := &soak{t: t, work: make(chan func(), 1024)}
	h := &testHandler{onMessage: s.serve,
		onOpen: func(c transport.ServerConn) { c.SetUser(new(lane)) }}
	s.p = &pair{net: newNet(t, seed), h: h}
	s.p.server = newEnd(t, s.p.net, addrA, 128<<20, tune)
	s.p.client = newEnd(t, s.p.net, addrB, 128<<20, tune)
	s.p.srv = s.p.server.listen(t, h, transport.ServerConfig{})
	return s
}

// serve is the handler: half of the answers come from other goroutines.
func (s *soak) serve(c transport.ServerConn, m *transport.Message) {
	var payload []byte
	if m.Payload != nil {
		payload = m.Payload.Bytes()
	}
	if m.Header.Op != wire.OpRead && sum(payload) != binary.LittleEndian.Uint32(m.Meta) {
		s.t.Errorf("%v %d arrived with other bytes", m.Header.Op, m.Header.ID)
	}
	h := m.Header
	if m.Payload != nil {
		defer m.Payload.Release()
	}
	switch h.Op {
	case wire.OpRaft:
		s.arrived.Add(1)
		l := c.User().(*lane)
		if h.ID != l.next {
			s.t.Errorf("one-way frame %d came where %d was due", h.ID, l.next)
		}
		l.next = h.ID + 1
	case wire.OpWrite:
		meta := binary.LittleEndian.AppendUint32(nil, sum(payload))
		s.reply(h, func() { c.Reply([]transport.Message{{Header: response(h), Meta: meta}}) })
	case wire.OpRead:
		size := int(binary.LittleEndian.Uint32(m.Meta))
		s.reply(h, func() { s.read(c, h, size) })
	}
}

func (s *soak) reply(h wire.Header, f func()) {
	if h.ID%2 == 0 {
		f()
	} else {
		s.work <- f
	}
}

func (s *soak) read(c transport.ServerConn, h wire.Header, size int) {
	out := transport.Message{Header: response(h)}
	b, err := s.p.server.pool.Get(max(size, 1))
	if err != nil {
		out.Header.Status = wire.StatusOverloaded
		c.Reply([]transport.Message{out})
		return
	}
	copy(b.Bytes(), sample(size, byte(h.ID)))
	out.Meta = binary.LittleEndian.AppendUint32(nil, sum(b.Bytes()[:size]))
	mem := b.Bytes()[:size]
	out.Body = [][]byte{mem[:size/3], mem[size/3:]}
	s.sent.Add(1)
	out.Release = s.onRelease(h.ID, mem, b)
	c.Reply([]transport.Message{out})
}

// onRelease counts, and looks now and then whether the card is really done with the memory.
func (s *soak) onRelease(id uint64, mem []byte, b *buf.Buf) func() {
	var once atomic.Bool
	return func() {
		if once.Swap(true) {
			s.t.Errorf("message %d was released twice", id)
		}
		if id%8 == 0 && len(mem) > 0 && s.p.net.Uses(mem) {
			s.t.Errorf("message %d was released while the card could use its memory", id)
		}
		s.released.Add(1)
		b.Release()
	}
}

// run does so many operations over so many connections at a time.
func (s *soak) run(total, conns int) {
	s.left.Store(int64(total))
	var workers, clients sync.WaitGroup
	for range 2 {
		workers.Go(func() {
			for f := range s.work {
				f()
			}
		})
	}
	for i := range conns {
		clients.Go(func() { s.client(rand.New(rand.NewPCG(uint64(i), 99))) })
	}
	clients.Wait()
	_ = s.p.srv.Close()
	close(s.work)
	workers.Wait()
}

// client uses one connection after another.
func (s *soak) client(rng *rand.Rand) {
	var next uint64
	for s.left.Load() > 0 {
		c, err := s.p.client.dev.Dial(context.Background(), s.p.srv.Addr(), transport.Config{
			Pool: s.p.client.pool, WriteTimeout: 5 * time.Second})
		if err != nil {
			time.Sleep(time.Millisecond)
			continue
		}
		s.dials.Add(1)
		s.use(c, rng, &next)
		_ = c.Close()
	}
}

// use runs batches until the connection breaks or everything is done.
func (s *soak) use(c transport.Conn, rng *rand.Rand, next *uint64) {
	var oneWay uint64
	for s.left.Load() > 0 {
		n := 1 + rng.IntN(16)
		var msgs []transport.Message
		open := map[uint64]transport.Message{}
		for range n {
			*next++
			m := s.message(rng, *next)
			switch m.Header.Op {
			case wire.OpRaft:
				m.Header.ID = oneWay
				oneWay++
			default:
				open[m.Header.ID] = m
			}
			msgs = append(msgs, m)
		}
		s.left.Add(-int64(n))
		ways := int64(n - len(open))
		err := s.send(c, rng, msgs)
		for err == nil && len(open) > 0 {
			err = s.receive(c, open)
		}
		s.failed.Add(int64(len(open)))
		s.oneWay.Add(ways)
		if err != nil {
			return
		}
	}
}

func (s *soak) send(c transport.Conn, rng *rand.Rand, msgs []transport.Message) error {
	if rng.IntN(2) == 0 {
		return c.Send(msgs)
	}
	outcome, err := c.TrySend(msgs)
	switch outcome {
	case transport.Partial:
		return c.Finish()
	case transport.Busy:
		return c.Send(msgs)
	}
	return err
}

// message makes a random operation.
func (s *soak) message(rng *rand.Rand, id uint64) transport.Message {
	size := []int{0, 1, 512, 4096, 4097, 16384, 65536, 200000}[min(rng.IntN(9), 7)]
	if rng.IntN(200) == 0 {
		size = wire.MaxPayload
	}
	le := binary.LittleEndian
	m := transport.Message{Header: wire.Header{Op: wire.OpWrite, ID: id}}
	switch rng.IntN(3) {
	case 0:
		m.Header.Op = wire.OpRead
		m.Meta = le.AppendUint32(nil, uint32(size))
		m.Room = []int{0, max(size, 1), wire.MaxPayload}[rng.IntN(3)]
		return m
	case 1:
		m.Header.Op = wire.OpRaft
	}
	data := sample(size, byte(id))
	m.Meta = le.AppendUint32(nil, sum(data))
	if rng.IntN(100) == 0 {
		m.Meta = append(m.Meta, make([]byte, 20000)...) // several slots
	}
	b, err := s.p.client.pool.Get(max(size, 1))
	if err != nil || rng.IntN(4) == 0 { // memory of the heap, or lent
		if err == nil {
			b.Release()
		}
		m.Body = [][]byte{data}
		return m
	}
	copy(b.Bytes(), data)
	mem := b.Bytes()[:size]
	s.sent.Add(1)
	m.Release = s.onRelease(id, mem, b)
	m.Body = [][]byte{mem[:size/2], mem[size/2:]}
	return m
}

// receive takes one answer and checks it.
func (s *soak) receive(c transport.Conn, open map[uint64]transport.Message) error {
	m, err := c.Recv()
	if err != nil {
		return err
	}
	req, ok := open[m.Header.ID]
	if !ok || m.Header.Op != req.Header.Op {
		s.t.Errorf("answer %v %d to nothing", m.Header.Op, m.Header.ID)
		return nil
	}
	delete(open, m.Header.ID)
	s.answered.Add(1)
	var payload []byte
	if m.Payload != nil {
		payload = m.Payload.Bytes()
		defer m.Payload.Release()
	}
	if m.Header.Status == wire.StatusOverloaded {
		return nil
	}
	want := binary.LittleEndian.Uint32(req.Meta)
	if req.Header.Op == wire.OpRead {
		want = sum(sample(int(want), byte(m.Header.ID)))
		if sum(payload) != want {
			s.t.Errorf("read %d gave other bytes", m.Header.ID)
		}
	}
	if len(m.Meta) < 4 || binary.LittleEndian.Uint32(m.Meta) != want {
		s.t.Errorf("answer %v %d has other metadata", m.Header.Op, m.Header.ID)
	}
	return nil
}

// check is what must hold when a run has ended, besides what the harness looks at: nothing is left
// on the cards, no window is bound and all pool memory is back.
func (s *soak) check(total, breaks int) {
	s.t.Helper()
	if n := s.answered.Load() + s.failed.Load() + s.oneWay.Load(); n < int64(total) {
		s.t.Errorf("%d operations accounted for, %d done", n, total)
	}
	eventually(s.t, "every message is released", func() bool {
		return s.released.Load() == s.sent.Load()
	})
	if s.dials.Load() < int64(breaks) {
		s.t.Errorf("%d connections only: too few broke for this to prove anything", s.dials.Load())
	}
	if a, w := s.arrived.Load(), s.oneWay.Load(); a > w || a < w/2 {
		s.t.Errorf("%d one-way frames arrived of %d", a, w)
	}
	a, b := s.p.client.dev.Stats(), s.p.server.dev.Stats()
	s.t.Logf("%d answered, %d failed with their connection, %d of %d one-way frames arrived, "+
		"%d connections, %d+%d broken, %d+%d MiB pulled, %d MiB placed, %d copies",
		s.answered.Load(), s.failed.Load(), s.arrived.Load(), s.oneWay.Load(), s.dials.Load(),
		a.Broken, b.Broken, a.PulledBytes>>20, b.PulledBytes>>20, b.PushedBytes>>20, a.Copies)
}

func TestEveryOperationIsAnsweredRightOrFailsWithItsConnection(t *testing.T) {
	s := newSoak(t, 1, nil)
	s.p.net.SetFaults(fake.Faults{Fail: 0.0004, Break: 0.0004, Late: 0.3})
	total := ops(5000)
	s.run(total, 8)
	s.check(total, total/500)
}

func TestFewCreditsAndWindowsOnlySlowThingsDown(t *testing.T) {
	s := newSoak(t, 2, func(c *Config) {
		c.Credits, c.Windows, c.Loops = MinCredits, MaxPieces+1, 1
	})
	s.p.net.SetFaults(fake.Faults{Fail: 0.0002, Break: 0.0002, Late: 0.5})
	total := ops(5000) / 5
	s.run(total, 4)
	s.check(total, 2)
	if s.p.client.dev.Stats().CreditWaits == 0 {
		t.Error("nobody ever waited")
	}
}

func TestNothingIsLostWhenNothingFails(t *testing.T) {
	s := newSoak(t, 3, nil)
	s.p.net.SetFaults(fake.Faults{Late: 0.2})
	total := ops(5000) / 5
	s.run(total, 6)
	s.check(total, 6)
	if s.failed.Load() != 0 || s.dials.Load() != 6 || s.arrived.Load() != s.oneWay.Load() {
		t.Errorf("%d failed, %d connections", s.failed.Load(), s.dials.Load())
	}
}
