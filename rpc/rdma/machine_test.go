package rdma

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/ashlar-storage/ashlar/io/buf"
	"github.com/ashlar-storage/ashlar/rpc/rdma/verbs"
	"github.com/ashlar-storage/ashlar/rpc/transport"
	"github.com/ashlar-storage/ashlar/rpc/wire"
)

// model is two machines and the simplest card between them: it does one request at a time, of the
// side that chance picks, and looks at everything that must hold after each.
type model struct {
	t     *testing.T
	rng   *rand.Rand
	pool  *buf.Pool
	sides [2]*modelSide
}

type modelSide struct {
	m       *machine
	recvs   []byte
	free    []uint64 // receives that are posted
	work    []verbs.Send
	windows map[uint32][]byte
	seen    []uint64
	freed   int
	pushed  int
}

// modelWindow is a window whose keys count up.
type modelWindow struct{ key uint32 }

func (w *modelWindow) Key() uint32     { return w.key }
func (w *modelWindow) NextKey() uint32 { return w.key + 1 }
func (w *modelWindow) Close() error    { return nil }

func newModel(t *testing.T, seed uint64, own, peer, windows int) *model {
	md := &model{t: t, rng: rand.New(rand.NewPCG(seed, 3)), pool: testPool(t, 64<<20)}
	credits := [2]int{own, peer}
	for i := range md.sides {
		s := &modelSide{windows: map[uint32][]byte{}, recvs: make([]byte, credits[i]*SlotSize)}
		for r := range credits[i] {
			s.free = append(s.free, uint64(r))
		}
		keys := uint32(1+i) << 30
		s.m = newMachine(machineConfig{own: credits[i], peer: credits[1-i], windows: windows,
			slots: make([]byte, credits[i]*SlotSize), key: 1, sges: 4, trusted: true,
			get: md.pool.Get, count: new(counters),
			newWindow: func() (verbs.Window, error) {
				keys += 1 << 12
				return &modelWindow{key: keys}, nil
			}})
		md.sides[i] = s
	}
	return md
}

// step lets the card do the next request of a side; false when there is none.
func (md *model) step(i int) bool {
	s, far := md.sides[i], md.sides[1-i]
	s.m.repost, s.free = s.m.repost[:0], append(s.free, s.m.repost...)
	s.work = append(s.work, s.m.pump()...)
	md.check()
	if len(s.work) == 0 {
		return false
	}
	w := s.work[0]
	s.work = s.work[1:]
	switch w.Op {
	case verbs.OpBind:
		win := w.Window.(*modelWindow)
		win.key++
		s.windows[win.key] = w.Pieces[0].Mem
	case verbs.OpInvalidate:
		md.invalidate(s, w.Remote.Key)
	case verbs.OpRead, verbs.OpWrite:
		mem, at := far.windows[w.Remote.Key], 0
		if mem == nil {
			md.t.Fatalf("%d touches key %#x, which is not bound", i, w.Remote.Key)
		}
		at = int(w.Remote.Addr - addressOf(mem))
		for _, p := range w.Pieces {
			if w.Op == verbs.OpRead {
				at += copy(p.Mem, mem[at:])
			} else {
				at += copy(mem[at:], p.Mem)
			}
		}
	case verbs.OpSend, verbs.OpSendInv:
		md.send(far, &w)
	}
	if w.Signalled {
		s.m.completed(w.ID, false)
	}
	md.take(i)
	md.take(1 - i)
	return true
}

func (md *model) invalidate(s *modelSide, key uint32) {
	if s.windows[key] == nil {
		md.t.Fatalf("key %#x is invalidated and not bound", key)
	}
	delete(s.windows, key)
}

func (md *model) send(far *modelSide, w *verbs.Send) {
	if len(far.free) == 0 {
		md.t.Fatal("a message finds no receive: credits are wrong")
	}
	id := far.free[0]
	far.free = far.free[1:]
	mem := far.recvs[id*SlotSize : (id+1)*SlotSize]
	n := copy(mem, w.Pieces[0].Mem)
	var inv uint32
	if w.Op == verbs.OpSendInv {
		inv = w.Remote.Key
		md.invalidate(far, inv)
	}
	if err := errors.Join(far.m.arrived(id, mem[:n], inv), far.m.err); err != nil {
		md.t.Fatal(err)
	}
}

// take is what a shell does with what a machine gives out.
func (md *model) take(i int) {
	s := md.sides[i]
	for _, f := range s.m.ready {
		md.delivered(i, f)
		s.m.consumed(f)
	}
	s.m.ready = s.m.ready[:0]
	for _, f := range s.m.freed {
		for key, mem := range s.windows {
			for _, p := range f.pieces {
				if addressOf(mem) == addressOf(p.Mem) {
					md.t.Fatalf("freed under key %#x", key)
				}
			}
		}
		for _, b := range []*buf.Buf{f.payload, f.copied, f.room} {
			if b != nil {
				b.Release()
			}
		}
		s.freed++
		s.m.recycle(f)
	}
	s.m.freed = s.m.freed[:0]
	for _, b := range s.m.unused {
		b.Release()
	}
	s.m.unused = s.m.unused[:0]
}

// delivered checks a frame and answers it, if it is a request.
func (md *model) delivered(i int, f *inFrame) {
	s := md.sides[i]
	seq := binary.LittleEndian.Uint64(f.meta)
	if want := uint64(len(s.seen)); seq != want {
		md.t.Fatalf("frame %d came where %d was due", seq, want)
	}
	s.seen = append(s.seen, seq)
	var payload []byte
	if f.payload != nil {
		payload = f.payload.Bytes()
		defer f.payload.Release()
	}
	if !f.noBuffer && !bytes.Equal(payload, sample(int(f.h.PayloadLen), byte(seq))) {
		md.t.Fatalf("frame %d has other bytes", seq)
	}
	if !f.h.Response() && !f.h.Op.OneWay() {
		size := md.rng.IntN(20000)
		if room := s.m.open[f.h.ID].room.size; room > 0 {
			size %= int(room) + 1
		}
		md.push(i, wire.Header{Op: f.h.Op, Flags: wire.FlagResponse, ID: f.h.ID}, size, 0, 0)
	}
}

// push queues a frame with so much payload, in two pieces, metadata and room.
func (md *model) push(i int, h wire.Header, size, meta, room int) {
	s := md.sides[i]
	seq := uint64(s.pushed)
	s.pushed++
	f := s.m.newOut()
	f.h, f.size = h, size
	f.h.PayloadLen = uint32(size)
	text := binary.LittleEndian.AppendUint64(nil, seq)
	text = append(text, make([]byte, meta)...)
	f.head = append(make([]byte, wire.HeaderSize), text...)
	wire.PutHeader(f.head, f.h, text)
	if size > 0 {
		f.payload = md.buffer(size)
		copy(f.payload.Bytes(), sample(size, byte(seq)))
		at := md.rng.IntN(size)
		for _, p := range [][]byte{f.payload.Bytes()[:at], f.payload.Bytes()[at:]} {
			if len(p) > 0 {
				f.pieces = append(f.pieces, verbs.Piece{Mem: p, Key: 1})
			}
		}
	}
	if room > 0 {
		f.room = md.buffer(room)
	}
	s.m.push(f)
}

func (md *model) buffer(n int) *buf.Buf {
	b, err := md.pool.Get(n)
	if err != nil {
		md.t.Fatal(err)
	}
	return b
}

// check is what holds between any two steps.
func (md *model) check() {
	md.t.Helper()
	for i, s := range md.sides {
		far := md.sides[1-i]
		under := 0
		for _, w := range s.work {
			if w.Op == verbs.OpSend || w.Op == verbs.OpSendInv {
				under++
			}
		}
		given := 0 // credits on their way back
		for _, w := range far.work {
			if w.Op == verbs.OpSend || w.Op == verbs.OpSendInv {
				got, err := parseSlot(w.Pieces[0].Mem)
				if err != nil {
					md.t.Fatal(err)
				}
				given += int(got.credits)
			}
		}
		if sum := s.m.credits + under + far.m.have + given; sum != s.m.cfg.peer {
			md.t.Fatalf("side %d: %d credits + %d under way + %d held + %d on their way back = %d "+
				"of %d", i, s.m.credits, under, far.m.have, given, sum, s.m.cfg.peer)
		}
		if n := int(s.m.tail - s.m.head); n >= len(s.m.ring) {
			md.t.Fatalf("side %d: %d requests under way", i, n)
		}
		if s.m.made > s.m.cfg.windows {
			md.t.Fatalf("side %d: %d windows", i, s.m.made)
		}
	}
}

func TestMachinesDeliverInOrderAndFreeEverything(t *testing.T) {
	for seed := range uint64(60) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			credits := []int{MinCredits, 7, DefaultCredits}
			md := newModel(t, seed, credits[seed%3], credits[seed/3%3], MaxPieces+1+int(seed%5)*20)
			ops := []wire.Op{wire.OpWrite, wire.OpRead, wire.OpRaft}
			for n := 0; n < 300; {
				if md.rng.IntN(4) == 0 {
					i := md.rng.IntN(2)
					op := ops[md.rng.IntN(3)]
					room := md.rng.IntN(2) * (1 + md.rng.IntN(20000))
					if op.OneWay() {
						room = 0
					}
					n++
					md.push(i, wire.Header{Op: op, ID: uint64(n)}, md.rng.IntN(3)*md.rng.IntN(9000),
						md.rng.IntN(2)*md.rng.IntN(9000), room)
				}
				md.step(md.rng.IntN(2))
			}
			md.drain()
		})
	}
}

// close closes the queue pair of a side: no window is left.
func (md *model) close(i int) {
	clear(md.sides[i].windows)
	md.sides[i].m.abandon()
	md.take(i)
}

// drain goes on until both sides have nothing to do, and then nothing may be left.
func (md *model) drain() {
	md.t.Helper()
	for idle := 0; idle < 3; {
		if a, b := md.step(0), md.step(1); a || b {
			idle = 0
		} else {
			idle++
		}
	}
	for i, s := range md.sides {
		far := md.sides[1-i]
		if len(far.seen) != s.pushed {
			md.t.Errorf("side %d: %d frames of %d arrived", i, len(far.seen), s.pushed)
		}
		// What waits to be told may keep frames of requests: their answers told of all but the
		// last.
		if left := s.pushed - s.freed; left >= ackAfter || len(s.windows) != s.m.bound {
			md.t.Errorf("side %d: %d frames not freed, %d windows bound, %d known", i, left,
				len(s.windows), s.m.bound)
		}
		md.close(i)
		if s.freed != s.pushed || s.m.live != nil || s.m.cfg.count.bound.Load() != 0 {
			md.t.Errorf("side %d: %d of %d freed, %d windows counted", i, s.freed, s.pushed,
				s.m.cfg.count.bound.Load())
		}
	}
}

func TestAFrameThatIsBeingReadHoldsBackThoseAfterIt(t *testing.T) {
	md := newModel(t, 1, 8, 8, 64)
	md.push(0, wire.Header{Op: wire.OpRaft}, 9000, 0, 0)
	md.push(0, wire.Header{Op: wire.OpRaft}, 0, 0, 0)
	for md.step(0) { // everything of the first side; the second has not read yet
	}
	if s := md.sides[1]; len(s.seen) != 0 || s.m.in.len() != 2 {
		t.Fatalf("%d delivered, %d wait", len(s.seen), s.m.in.len())
	}
	md.drain()
}

func TestAbandonedFramesAreFreedOnceWhereverTheyAre(t *testing.T) {
	for steps := range 120 {
		md := newModel(t, uint64(steps), 5, 5, 40)
		for id := range uint64(12) {
			md.push(0, wire.Header{Op: wire.OpWrite, ID: id}, 5000, int(id)*700, 4096)
		}
		for range steps {
			md.step(md.rng.IntN(2))
		}
		for i, s := range md.sides {
			md.close(i)
			if s.freed != s.pushed {
				t.Errorf("after %d steps side %d has freed %d of %d", steps, i, s.freed, s.pushed)
			}
		}
		if n := md.pool.Stats().InUseBufs; n != 0 {
			t.Errorf("after %d steps: %d buffers in use", steps, n)
		}
	}
}

func TestAFrameWithoutABufferIsTakenAndNotRead(t *testing.T) {
	md := newModel(t, 1, 8, 8, 64)
	far := md.sides[1]
	far.m.cfg.get = func(int) (*buf.Buf, error) { return nil, buf.ErrExhausted }
	md.push(0, wire.Header{Op: wire.OpRaft}, 9000, 0, 0)
	for md.step(0) {
	}
	if len(far.seen) != 1 || md.sides[0].freed != 0 {
		t.Fatalf("%d delivered", len(far.seen))
	}
	md.drain()
	if md.sides[0].freed != 1 {
		t.Error("the sender still waits for it to be read")
	}
}

func TestMemoryIsNamedOnlyToATrustedPeer(t *testing.T) {
	md := newModel(t, 1, 8, 8, 64)
	m := md.sides[0].m
	m.cfg.trusted = false
	b := encodeFrame(wire.Header{Op: wire.OpWrite, PayloadLen: 10}, nil, 0, func(s *slot) {
		s.pieces = descs(desc{addr: 1, key: 2, size: 10})
	})
	if err := m.arrived(0, b, 0); !errors.Is(err, transport.ErrHello) {
		t.Errorf("got %v", err)
	}
}

// FuzzArrivals gives a machine that has a request open what a peer may send: messages with their
// length before them. It may refuse; it must not panic, take more than its bounds, or lose memory.
func FuzzArrivals(f *testing.F) {
	pool, err := buf.NewPool(buf.Config{Bytes: 64 << 20})
	if err != nil {
		f.Fatal(err)
	}
	var all []byte
	for _, s := range sampleSlots() {
		b := encodeSlot(s)
		all = append(append(all, byte(len(b)), byte(len(b)>>8), 0), b...)
		f.Add(append([]byte{byte(len(b)), byte(len(b) >> 8), 1}, b...))
	}
	f.Add(all)
	f.Fuzz(func(t *testing.T, in []byte) {
		m := newMachine(machineConfig{own: 8, peer: 8, windows: frameWindows * 3, key: 1, sges: 4,
			slots: make([]byte, 8*SlotSize), trusted: true, get: pool.Get, count: new(counters),
			newWindow: func() (verbs.Window, error) { return new(modelWindow), nil }})
		out := m.newOut()
		out.h = wire.Header{Op: wire.OpWrite, ID: 7, PayloadLen: 100}
		out.head = make([]byte, wire.HeaderSize)
		wire.PutHeader(out.head, out.h, nil)
		out.payload, _ = pool.Get(100)
		out.room, _ = pool.Get(4096)
		out.size, out.pieces = 100, []verbs.Piece{{Mem: out.payload.Bytes(), Key: 1}}
		m.push(out)
		posts := len(m.pump())
		for id := uint64(0); len(in) > 3; id++ {
			n := min(int(in[0])|int(in[1])<<8, SlotSize, len(in)-3)
			var inv uint32
			if in[2]&1 != 0 {
				inv = 1 // of the first window that was bound
			}
			if errors.Join(m.arrived(id%8, in[3:3+n], inv), m.err) != nil {
				break
			}
			in = in[3+n:]
			posts += len(m.pump())
			take(m)
		}
		if posts > sendDepth || len(m.repost) > 8*sendDepth {
			t.Fatalf("%d requests posted", posts)
		}
		m.abandon()
		take(m)
		if n := pool.Stats().InUseBufs; n != 0 {
			t.Fatalf("%d buffers lost", n)
		}
	})
}

// take is what a shell does that looks at nothing.
func take(m *machine) {
	for _, f := range m.ready {
		f.drop()
		m.consumed(f)
	}
	for _, f := range m.freed {
		for _, b := range []*buf.Buf{f.payload, f.copied, f.room} {
			if b != nil {
				b.Release()
			}
		}
		m.recycle(f)
	}
	for _, b := range m.unused {
		b.Release()
	}
	m.ready, m.freed, m.unused = m.ready[:0], m.freed[:0], m.unused[:0]
}
