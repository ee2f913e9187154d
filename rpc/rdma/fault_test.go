package rdma

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ashlar-storage/ashlar/rpc/rdma/fake"
	"github.com/ashlar-storage/ashlar/rpc/rdma/verbs"
	"github.com/ashlar-storage/ashlar/rpc/transport"
	"github.com/ashlar-storage/ashlar/rpc/wire"
)

// A client that names memory it has not opened breaks its own connection and no other.
func TestDescriptorsThatAreNotOpenBreakOnlyTheirConnection(t *testing.T) {
	h := &testHandler{onMessage: echo}
	p := newPair(t, h, transport.ServerConfig{})
	good := p.dial(t)
	tried := 0
	for _, tc := range []struct {
		name   string
		bounds bool // is what only the bounds of a window forbid
		change func(d *desc)
	}{
		{"wrong key", false, func(d *desc) { d.key ^= 0x5a00 }},
		{"key of an earlier binding", false, func(d *desc) { d.key-- }},
		{"past the end", true, func(d *desc) { d.addr += 100 }},
		{"before the beginning", true, func(d *desc) { d.addr-- }},
		{"address of this process", true,
			func(d *desc) { d.addr = addressOf(p.server.pool.Arena()) }},
	} {
		if tc.bounds && realCard != nil {
			continue // soft RoCE does not look at them
		}
		tried++
		r := newRogue(t, p.net)
		q := r.greeted(p.srv.Addr())
		d := r.window(q, rogueData, 8192, verbs.PeerReads)
		tc.change(&d)
		r.frame(q, wire.Header{Op: wire.OpWrite, ID: 1, PayloadLen: 8192}, nil,
			func(s *slot) { s.pieces = descs(d) })
		goneSoon(t, q)
		if err := h.whyClosed(t, tried); !errors.Is(err, ErrBroken) ||
			!strings.Contains(err.Error(), verbs.RemoteAccess.String()) {
			t.Errorf("%s: closed with %v", tc.name, err)
		}
		call(t, good, 1, nil, sample(5000, 1))
	}
}

func TestMessagesThatBreakTheProtocolEndTheirConnection(t *testing.T) {
	one := descs(desc{addr: 4096, key: 1, size: 100})
	frame := func(h wire.Header, change func(s *slot)) []byte {
		return encodeFrame(h, []byte("meta"), 0, change)
	}
	ping, write := wire.Header{Op: wire.OpPing}, wire.Header{Op: wire.OpWrite, PayloadLen: 100}
	for name, tc := range map[string]struct {
		bytes []byte
		class error
	}{
		"garbage":      {bytes.Repeat([]byte("garbage "), 10), ErrFormat},
		"newer":        {frame(ping, func(s *slot) { s.kind = 99 }), ErrFormat},
		"crc":          {flip(frame(ping, nil), slotHead+33), wire.ErrChecksum},
		"magic":        {flip(frame(ping, nil), slotHead), wire.ErrMagic},
		"second hello": {frame(wire.Header{Op: wire.OpHello}, nil), transport.ErrHello},
		"no pieces":    {frame(write, nil), ErrFormat},
		"too long":     {frame(write, func(s *slot) { s.pieces = append(one, one...) }), ErrFormat},
		"placed": {frame(write, func(s *slot) { s.flags = flagPlaced }),
			ErrFormat},
		"room of an answer": {frame(wire.Header{Op: wire.OpRead, Flags: wire.FlagResponse},
			func(s *slot) { s.flags, s.room = flagRoom, desc{size: 1} }), ErrFormat},
		"more without a head": {frame(wire.Header{Op: wire.OpPing},
			func(s *slot) { s.kind = kindMore }), ErrFormat},
		"took what was not sent": {encodeFrame(ping, nil, 5, nil), ErrFormat},
		"too many credits": {frame(wire.Header{Op: wire.OpPing},
			func(s *slot) { s.credits = 200 }), ErrFormat},
		"a proof nobody asked for": {frame(wire.Header{Op: wire.OpPing},
			func(s *slot) { s.kind, s.body = kindProof, make([]byte, proofSize) }), ErrFormat},
	} {
		t.Run(name, func(t *testing.T) {
			h := &testHandler{onMessage: echo}
			p := newPair(t, h, transport.ServerConfig{})
			good := p.dial(t)
			r := newRogue(t, p.net)
			q := r.greeted(p.srv.Addr())
			r.message(q, tc.bytes)
			goneSoon(t, q)
			if err := h.whyClosed(t, 1); !errors.Is(err, tc.class) {
				t.Errorf("closed with %v, want class %v", err, tc.class)
			}
			call(t, good, 2, nil, []byte("the others go on"))
		})
	}
}

func goneSoon(t *testing.T, q verbs.QP) {
	t.Helper()
	select {
	case <-q.Gone():
	case <-time.After(10 * time.Second):
		t.Fatal("the connection lives")
	}
}

func flip(b []byte, at int) []byte {
	b[at] ^= 1
	return b
}

func TestMemoryBeforeTheGreetingIsRefused(t *testing.T) {
	h := &testHandler{onMessage: echo}
	p := newPair(t, h, transport.ServerConfig{})
	r := newRogue(t, p.net)
	q := r.dial(p.srv.Addr())
	d := r.window(q, rogueData, 100, verbs.PeerReads)
	r.frame(q, wire.Header{Op: wire.OpHello, PayloadLen: 100}, nil,
		func(s *slot) { s.pieces = descs(d) })
	goneSoon(t, q)
	if len(h.opened) != 0 {
		t.Error("the handler saw it")
	}
	eventually(t, "it is counted", func() bool { return p.srv.Stats().Bad == 1 })
}

// answered is a rogue server that has a request with payload and room, and its answer's place.
type open struct {
	q      verbs.QP
	h      wire.Header
	pieces []desc
	room   desc
}

// request makes a client of the device send a write with room, and takes it at the rogue.
func (r *rogue) request(t *testing.T, e *end, addr string, id uint64, mem []byte,
	release func()) (transport.Conn, open) {
	t.Helper()
	accepted := make(chan verbs.QP, 1)
	go func() { accepted <- r.accept() }()
	c, err := e.dev.Dial(context.Background(), addr, transport.Config{Pool: e.pool})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	q := <-accepted
	if err := c.Send([]transport.Message{{Header: wire.Header{Op: wire.OpWrite, ID: id}, Room: 4096,
		Body: [][]byte{mem}, Release: release}}); err != nil {
		t.Fatal(err)
	}
	s := r.receive()
	for s.kind == kindDone { // credits of the greeting
		s = r.receive()
	}
	h, err := wire.ParseHeader(s.body)
	if err != nil || len(s.pieces) != descSize || s.flags != flagRoom {
		t.Fatalf("received %+v, %v", s, err)
	}
	return c, open{q: q, h: h, pieces: []desc{getDesc(s.pieces)}, room: s.room}
}

func (r *rogue) read(q verbs.QP, d desc) verbs.Status {
	r.t.Helper()
	return r.do(q, verbs.Send{Op: verbs.OpRead, Remote: verbs.Remote{Addr: d.addr, Key: d.key},
		Pieces: r.piece(rogueData, int(d.size))})
}

func (r *rogue) write(q verbs.QP, d desc) verbs.Status {
	r.t.Helper()
	return r.do(q, verbs.Send{Op: verbs.OpWrite, Remote: verbs.Remote{Addr: d.addr, Key: d.key},
		Pieces: r.piece(rogueData, int(d.size))})
}

// answer is the good answer to a request: it closes the room and tells that the payload was taken.
func (r *rogue) answer(o open) verbs.Status {
	r.t.Helper()
	b := encodeFrame(response(o.h), nil, 1, nil)
	copy(r.mem[rogueSlot:], b)
	return r.do(o.q, verbs.Send{Op: verbs.OpSendInv, Remote: verbs.Remote{Key: o.room.key},
		Pieces: r.piece(rogueSlot, len(b))})
}

func TestAKeyIsGoodForOneRequestOnly(t *testing.T) {
	for _, what := range []string{"payload", "room"} {
		t.Run(what, func(t *testing.T) {
			n := newNet(t, 1)
			e, r := newEnd(t, n, addrB, 32<<20, nil), newRogue(t, n)
			b := e.get(t, 8192, 1)
			released := make(chan bool, 1)
			c, o := r.request(t, e, r.serve(), 1, b.Bytes(), func() {
				released <- n.Uses(b.Bytes())
				b.Release()
			})
			if s := r.read(o.q, o.pieces[0]); s != verbs.OK {
				t.Fatalf("while it is open: %v", s)
			}
			if !bytes.Equal(r.mem[rogueData:rogueData+8192], sample(8192, 1)) {
				t.Error("read other bytes")
			}
			if s := r.answer(o); s != verbs.OK {
				t.Fatal(s)
			}
			if m, err := c.Recv(); err != nil || m.Header.ID != 1 {
				t.Fatal(m, err)
			}
			if <-released {
				t.Fatal("released while a window lay over it")
			}
			clear(r.mem[rogueData : rogueData+8192])
			s := verbs.OK
			if what == "payload" {
				s = r.read(o.q, o.pieces[0])
			} else {
				s = r.write(o.q, o.room)
			}
			if s != verbs.RemoteAccess {
				t.Fatalf("the old key: %v", s)
			}
			if !bytes.Equal(r.mem[rogueData:rogueData+8192], make([]byte, 8192)) {
				t.Error("something was read")
			}
			if _, err := c.Recv(); !errors.Is(err, ErrBroken) {
				t.Errorf("the connection ends with %v", err)
			}
		})
	}
}

func TestAKeyIsGoodOnItsOwnConnectionOnly(t *testing.T) {
	n := newNet(t, 1)
	e, r := newEnd(t, n, addrB, 32<<20, nil), newRogue(t, n)
	addr := r.serve()
	b := e.get(t, 8192, 1)
	defer b.Release()
	first, o := r.request(t, e, addr, 1, b.Bytes(), func() {})
	_, other := r.request(t, e, addr, 2, b.Bytes(), func() {})
	if s := r.read(other.q, o.pieces[0]); s != verbs.RemoteAccess {
		t.Errorf("over another connection: %v", s)
	}
	if s := r.answer(o); s != verbs.OK {
		t.Errorf("its own connection: %v", s)
	}
	if m, err := first.Recv(); err != nil || m.Header.ID != 1 {
		t.Error(m, err)
	}
	if err := e.dev.Close(); err != nil { // buffers come back before b is looked at again
		t.Error(err)
	}
}

func TestAnswersThatBreakTheProtocolEndTheConnection(t *testing.T) {
	for name, f := range map[string]func(r *rogue, o open){
		"the room is left open": func(r *rogue, o open) { r.frame(o.q, response(o.h), nil, nil) },
		"placed and left open": func(r *rogue, o open) {
			h := response(o.h)
			h.PayloadLen = 10
			r.frame(o.q, h, nil, func(s *slot) { s.flags = flagPlaced })
		},
		"placed in no room": func(r *rogue, o open) {
			h := response(o.h)
			h.PayloadLen, h.ID = 10, 999
			r.frame(o.q, h, nil, func(s *slot) { s.flags = flagPlaced })
		},
		"more than the room": func(r *rogue, o open) {
			h := response(o.h)
			h.PayloadLen = 5000
			b := encodeFrame(h, nil, 1, func(s *slot) { s.flags = flagPlaced })
			copy(r.mem[rogueSlot:], b)
			r.do(o.q, verbs.Send{Op: verbs.OpSendInv, Remote: verbs.Remote{Key: o.room.key},
				Pieces: r.piece(rogueSlot, len(b))})
		},
	} {
		t.Run(name, func(t *testing.T) {
			n := newNet(t, 1)
			e, r := newEnd(t, n, addrB, 32<<20, nil), newRogue(t, n)
			b := e.get(t, 8192, 1)
			c, o := r.request(t, e, r.serve(), 1, b.Bytes(), b.Release)
			f(r, o)
			if m, err := c.Recv(); !errors.Is(err, ErrFormat) {
				t.Errorf("got %+v, %v", m, err)
			}
		})
	}
}

func TestAPeerThatSendsPastItsCreditsIsClosedAtOnce(t *testing.T) {
	gate := make(chan struct{})
	var seen atomic.Int64
	h := &testHandler{onMessage: func(transport.ServerConn, *transport.Message) {
		if seen.Add(1) == 1 {
			<-gate
		}
	}}
	p := newPair(t, h, transport.ServerConfig{})
	r := newRogue(t, p.net)
	q := r.greeted(p.srv.Addr())
	p.dial(t) // its receives are there too, and not the rogue's to use
	r.frame(q, wire.Header{Op: wire.OpPing}, nil, nil)
	eventually(t, "the handler is busy", func() bool { return seen.Load() == 1 })
	for range DefaultCredits + 4 {
		r.frame(q, wire.Header{Op: wire.OpPing}, nil, nil)
	}
	close(gate)
	goneSoon(t, q)
	if err := h.whyClosed(t, 1); !errors.Is(err, ErrFormat) ||
		!strings.Contains(err.Error(), "credits") {
		t.Errorf("closed with %v", err)
	}
	if seen.Load() > DefaultCredits+1 {
		t.Errorf("%d frames were taken", seen.Load())
	}
}

// A peer that promises more receives than it posts breaks its own connection.
func TestAPeerWithoutTheReceivesItPromisedIsBroken(t *testing.T) {
	n := newNet(t, 1)
	e, r := newEnd(t, n, addrB, 32<<20, nil), newRogue(t, n)
	addr := r.serve()
	accepted := make(chan verbs.QP, 1)
	go func() { accepted <- r.accept() }()
	c, err := e.dev.Dial(context.Background(), addr, transport.Config{Pool: e.pool})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	q := <-accepted
	for err = nil; err == nil; {
		err = c.Send([]transport.Message{{Header: wire.Header{Op: wire.OpPing}}})
		if err == nil {
			r.poll()
		}
		if len(r.in) >= rogueRecvs-8 { // it gives credits for receives that it keeps
			r.message(q, encodeSlot(&slot{kind: kindDone, credits: rogueRecvs - 8}))
			r.in = nil
		}
	}
	if !errors.Is(err, ErrBroken) || !strings.Contains(err.Error(), verbs.NoReceive.String()) {
		t.Errorf("got %v", err)
	}
}

func TestTheDeathOfAPeerInATransferReleasesEverything(t *testing.T) {
	for _, dies := range []string{"client", "server"} {
		t.Run(dies, func(t *testing.T) {
			h := &testHandler{onMessage: echo}
			p := newPair(t, h, transport.ServerConfig{FrameTimeout: 300 * time.Millisecond})
			c := p.dial(t)
			p.net.SetFaults(fake.Faults{Slow: 30 * time.Millisecond})
			var released atomic.Int64
			for id := range uint64(4) {
				b := p.client.get(t, wire.MaxPayload, 1)
				if err := c.Send([]transport.Message{{Header: wire.Header{Op: wire.OpWrite, ID: id},
					Payload: b, Room: wire.MaxPayload,
					Release: func() { released.Add(1) }}}); err != nil {
					t.Fatal(err)
				}
			}
			eventually(t, "a transfer is under way", func() bool {
				return p.server.dev.Stats().PulledBytes > 0
			})
			if dies == "client" {
				p.client.host.Silence()
				if err := h.whyClosed(t, 1); !errors.Is(err, ErrBroken) &&
					!errors.Is(err, transport.ErrTimeout) {
					t.Errorf("the server closed with %v", err)
				}
				eventually(t, "the server's buffers are back", func() bool {
					// What is left are the receives of connections.
					return p.server.pool.Stats().InUseBufs == 1
				})
			} else {
				p.server.host.Silence()
				send := func() error {
					return c.Send([]transport.Message{{Header: wire.Header{Op: wire.OpPing}}})
				}
				if err := send(); err != nil {
					t.Fatal(err) // it is what finds the peer dead
				}
				for {
					m, err := c.Recv()
					if err != nil {
						if !errors.Is(err, ErrBroken) {
							t.Errorf("the client got %v", err)
						}
						break
					}
					if m.Payload != nil { // an answer from before
						m.Payload.Release()
					}
				}
				eventually(t, "the client's messages are released", func() bool {
					return released.Load() == 4
				})
			}
		})
	}
}

// A card that does nothing more and does not say so is noticed by both ends, whatever they sent
// last: a request that asks for no completion, or an answer.
func TestACardThatStopsWithoutAWordBreaksTheConnection(t *testing.T) {
	h := &testHandler{onMessage: echo}
	p := newPair(t, h, transport.ServerConfig{})
	c := p.dial(t)
	call(t, c, 1, []byte("meta"), sample(5000, 1))
	p.net.StickAll()
	ping := transport.Message{Header: wire.Header{Op: wire.OpPing, ID: 2}}
	if err := c.Send([]transport.Message{ping}); err != nil {
		t.Fatal(err)
	}
	h.mu.Lock()
	for _, s := range h.opened {
		s.Reply([]transport.Message{{Header: wire.Header{Op: wire.OpRaft}}})
	}
	h.mu.Unlock()
	if _, err := c.Recv(); !errors.Is(err, ErrBroken) {
		t.Errorf("the client got %v", err)
	}
	if err := h.whyClosed(t, 1); !errors.Is(err, ErrBroken) {
		t.Errorf("the server closed with %v", err)
	}
	call(t, p.dial(t), 3, []byte("meta"), sample(5000, 3))
}

// A connection on which nothing goes wrong is left alone, however long it is idle.
func TestAnIdleConnectionStays(t *testing.T) {
	p := newPair(t, &testHandler{onMessage: echo}, transport.ServerConfig{})
	c := p.dial(t)
	call(t, c, 1, []byte("meta"), sample(5000, 1))
	time.Sleep(2 * stuckShare * 200 * time.Millisecond)
	call(t, c, 2, []byte("meta"), sample(5000, 2))
	if n := p.client.dev.Stats().Dones + p.server.dev.Stats().Dones; n > 8 {
		t.Errorf("%d messages of an idle connection", n)
	}
}

// A queue pair that broke says at once that its requests have ended, and its windows are still
// open: what lies under them is given back only when it is closed.
func TestMemoryComesBackOnlyWhenTheQueuePairIsClosed(t *testing.T) {
	p, letGo := stuck(t)
	c := p.dial(t)
	var released, early atomic.Int64
	for range 10 {
		b := p.client.get(t, 50000, 1)
		if err := c.Send([]transport.Message{{Header: wire.Header{Op: wire.OpRaft},
			Body: [][]byte{b.Bytes()}, Release: func() {
				if p.net.Uses(b.Bytes()) {
					early.Add(1)
				}
				released.Add(1)
				b.Release()
			}}}); err != nil {
			t.Fatal(err)
		}
	}
	p.client.dev.breakAll()
	eventually(t, "every release", func() bool { return released.Load() == 10 })
	if early.Load() != 0 {
		t.Errorf("%d released while the card could use the memory", early.Load())
	}
	letGo()
}

func TestASilentPeerIsClosed(t *testing.T) {
	h := &testHandler{onMessage: echo}
	p := newPair(t, h, transport.ServerConfig{HelloTimeout: 2 * time.Second})
	idle := p.dial(t) // and so older than the one that is closed
	r := newRogue(t, p.net)
	q := r.dial(p.srv.Addr())
	goneSoon(t, q)
	call(t, idle, 1, nil, []byte("an idle connection stays"))
	if len(h.opened) != 1 {
		t.Errorf("the handler saw %d", len(h.opened))
	}
}

func TestAFrameThatMakesNoProgressIsClosed(t *testing.T) {
	h := &testHandler{onMessage: echo}
	p := newPair(t, h, transport.ServerConfig{FrameTimeout: 200 * time.Millisecond})
	r := newRogue(t, p.net)
	q := r.greeted(p.srv.Addr())
	r.frame(q, wire.Header{Op: wire.OpPing}, make([]byte, 8000), func(s *slot) {
		s.body = s.body[:3000] // and the rest never comes
	})
	goneSoon(t, q)
	if err := h.whyClosed(t, 1); !errors.Is(err, transport.ErrTimeout) {
		t.Errorf("closed with %v", err)
	}
}

func TestKeysDecideWhoMayTalk(t *testing.T) {
	right, wrong := bytes.Repeat([]byte{1}, MinKey), bytes.Repeat([]byte{2}, MinKey)
	for name, tc := range map[string]struct {
		server, client []byte
		good           bool
	}{
		"both have it":       {right, right, true},
		"none has one":       {nil, nil, true},
		"another one":        {right, wrong, false},
		"client has none":    {right, nil, false},
		"server has none":    {nil, right, false},
		"a byte more at end": {right, append(bytes.Clone(right), 1), false},
	} {
		t.Run(name, func(t *testing.T) {
			h := &testHandler{onMessage: echo}
			n := newNet(t, 1)
			p := &pair{net: n, h: h}
			p.server = newEnd(t, n, addrA, 32<<20, func(c *Config) { c.Key = tc.server })
			p.client = newEnd(t, n, addrB, 32<<20, func(c *Config) { c.Key = tc.client })
			p.srv = p.server.listen(t, h, transport.ServerConfig{})
			if tc.good {
				call(t, p.dial(t), 1, nil, sample(5000, 1))
				return
			}
			_, err := p.client.dev.Dial(context.Background(), p.srv.Addr(),
				transport.Config{Pool: p.client.pool})
			if !errors.Is(err, ErrKey) {
				t.Errorf("dial: %v", err)
			}
			if len(h.opened) != 0 || p.server.dev.Stats().Frames != 0 {
				t.Error("the server took a frame of it")
			}
		})
	}
}

func TestAPeerWithoutAProofIsClosed(t *testing.T) {
	key := bytes.Repeat([]byte{1}, MinKey)
	h := &testHandler{onMessage: echo}
	n := newNet(t, 1)
	p := &pair{net: n, h: h, server: newEnd(t, n, addrA, 32<<20, func(c *Config) { c.Key = key })}
	p.srv = p.server.listen(t, h, transport.ServerConfig{})
	for name, first := range map[string][]byte{
		"greets at once": encodeFrame(wire.Header{Op: wire.OpHello},
			(&wire.Hello{Version: 1}).AppendTo(nil), 0, nil),
		"guesses": encodeFrame(wire.Header{Op: wire.OpHello}, nil, 0, func(s *slot) {
			s.kind, s.body = kindProof, make([]byte, proofSize)
		}),
	} {
		r := newRogue(t, n)
		i := intro{credits: rogueRecvs, slotSize: SlotSize, flags: introKey}
		q, _, err := r.ctx.Dial(context.Background(), p.srv.ln.Addr(), r.config(), i.appendTo(nil))
		if err != nil {
			t.Fatal(err)
		}
		r.qps = append(r.qps, q)
		r.message(q, first)
		goneSoon(t, q)
		if len(h.opened) != 0 {
			t.Errorf("%s: the handler saw it", name)
		}
	}
	eventually(t, "both are counted", func() bool { return p.srv.Stats().Bad == 2 })
}

func TestAServerThatGreetsWithoutAProofIsNotTrusted(t *testing.T) {
	n := newNet(t, 1)
	e := newEnd(t, n, addrB, 32<<20, func(c *Config) { c.Key = bytes.Repeat([]byte{1}, MinKey) })
	r := newRogue(t, n)
	addr := r.serve()
	var rogues sync.WaitGroup
	rogues.Go(func() {
		req, err := r.ln.Next()
		if err != nil {
			return
		}
		i := intro{credits: rogueRecvs, slotSize: SlotSize, flags: introKey}
		q, err := req.Accept(r.config(), i.appendTo(nil), r.ready)
		if err != nil {
			return
		}
		r.qps = append(r.qps, q)
		hello := wire.Hello{Version: wire.ProtocolVersion}
		r.frame(q, wire.Header{Op: wire.OpHello, Flags: wire.FlagResponse}, hello.AppendTo(nil),
			nil)
	})
	_, err := e.dev.Dial(context.Background(), addr, transport.Config{Pool: e.pool})
	if !errors.Is(err, ErrKey) {
		t.Errorf("got %v", err)
	}
	rogues.Wait()
}

func TestPeersOfAnotherVersionAreRefused(t *testing.T) {
	p := newPair(t, &testHandler{}, transport.ServerConfig{})
	r := newRogue(t, p.net)
	old := r.intro()
	old[4] = 9
	_, why, err := r.ctx.Dial(context.Background(), p.srv.ln.Addr(), r.config(), old)
	i, bad := parseIntro(why)
	if !errors.Is(err, verbs.ErrRefused) || bad != nil || i.reason != reasonVersion {
		t.Errorf("%v, %+v, %v", err, i, bad)
	}
}

func TestMemoryThatTheKernelDoesNotLockIsNamed(t *testing.T) {
	n := newNet(t, 1)
	n.SetFaults(fake.Faults{MaxPinned: 1 << 20})
	host, pool := n.Host(fake.Card{Name: "fake0", Addr: addrA}), testPool(t, 8<<20)
	if _, err := Open(Config{Provider: host, Pool: pool}); !errors.Is(err, verbs.ErrMemlock) {
		t.Errorf("got %v", err)
	}
}

func TestOrderlyCloseIsTheEndOfTheStream(t *testing.T) {
	h := &testHandler{onMessage: func(c transport.ServerConn, m *transport.Message) {
		echo(c, m)
		c.Close(nil)
	}}
	p := newPair(t, h, transport.ServerConfig{})
	c := p.dial(t)
	call(t, c, 1, nil, sample(100000, 1))
	if _, err := c.Recv(); err != io.EOF {
		t.Errorf("got %v", err)
	}
}
