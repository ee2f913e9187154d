package verbstest

import (
	"bytes"
	"context"
	"errors"
	"net/netip"
	"testing"
	"time"

	"github.com/ashlar-storage/ashlar/rpc/rdma/verbs"
)

// bed makes ends on one card.
type bed struct {
	p    verbs.Provider
	addr netip.Addr
	soft bool
}

// Run runs all tests, each as a subtest. Soft says that the card is the kernel's soft RoCE, which
// as of Linux 6.1 looks at the bounds of the region beneath a window only, and takes the kernel
// down when a window is invalidated that is not bound. It is not to be used with peers that one
// does not trust, and these two things are not tried on it. Nor is a binding behind a message that
// is sent again: soft RoCE goes back in its queue to send it and then binds again what is bound
// already (rxe_requester does local requests without a look at their state), finds that it may not,
// and the queue pair is broken, often without that any completion says so.
func Run(t *testing.T, p verbs.Provider, addr netip.Addr, soft bool) {
	b := &bed{p: p, addr: addr, soft: soft}
	for _, c := range []struct {
		name string
		f    func(*testing.T)
	}{
		{"CardsSayWhatTheyAre", b.cards},
		{"MessagesArriveWholeAndInOrder", b.messages},
		{"PiecesAreGatheredAndScattered", b.pieces},
		{"InlinedMemoryIsFreeAtOnce", b.inlined},
		{"UnsignalledRequestsEndWithALaterOne", b.unsignalled},
		{"QueueTakesAllOrNothing", b.full},
		{"PeerReadsAndWritesThroughWindows", b.windows},
		{"WindowsAreEnforced", b.enforced},
		{"WindowIsOfOneQueuePair", b.owned},
		{"InvalidatedKeysAreRefused", b.invalidated},
		{"WindowIsBoundOnceAtATime", b.twice},
		{"ManyWindowsAreBoundAndSpentInOneBatch", b.many},
		{"PeerInvalidatesOnlyWhatIsBound", b.foreign},
		{"MemoryOutsideItsRegionIsRefused", b.local},
		{"MessageWithoutReceiveBreaks", b.noReceive},
		{"BindingBehindAMessageThatIsSentAgainIsDoneOnce", b.again},
		{"MessageLongerThanItsReceiveBreaks", b.tooLong},
		{"SharedQueueServesAllItsQueuePairs", b.shared},
		{"ClosedQueuePairGivesItsSharedReceivesBack", b.sharedClose},
		{"DisconnectFlushesAndBothSidesHear", b.disconnect},
		{"NothingIsWrittenAfterClose", b.closed},
		{"NobodyListensIsRefused", b.nobody},
		{"PrivateDataTravelsBothWays", b.private},
		{"RejectionSaysWhy", b.rejected},
		{"ListenerEndsWhenItIsClosed", b.listener},
		{"WaitEndsByWakeAndByTime", b.wait},
	} {
		switch {
		case soft && c.name == "PeerInvalidatesOnlyWhatIsBound":
		case soft && c.name == "BindingBehindAMessageThatIsSentAgainIsDoneOnce":
		default:
			t.Run(c.name, c.f)
		}
	}
}

// pair is two connected ends.
func (b *bed) pair(t *testing.T) (server, client *end) {
	t.Helper()
	server, client = newEnd(t, b.p, b.addr), newEnd(t, b.p, b.addr)
	join(t, server, client, server.config(), client.config(), b.addr)
	return server, client
}

func (b *bed) cards(t *testing.T) {
	name := nameOf(t, b.p, b.addr)
	c, err := b.p.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	d := c.Device()
	if d.Name != name || d.Caps.Depth <= 0 || d.Caps.CQDepth <= 0 || d.Caps.SGEs <= 0 ||
		!d.Caps.TypeTwo || len(d.Ports) == 0 {
		t.Errorf("%+v", d)
	}
	if _, err := b.p.Open("no such card"); !errors.Is(err, verbs.ErrNoDevice) {
		t.Errorf("a name of nothing: %v", err)
	}
}

func (b *bed) messages(t *testing.T) {
	server, client := b.pair(t)
	for i := range 3 * depth {
		fill(client.mem[:recvSize], byte(i))
		if s := client.send(0, recvSize); s != verbs.OK {
			t.Fatalf("send %d: %v", i, s)
		}
		c := server.message()
		if c.Status != verbs.OK || c.Op != verbs.OpRecv || c.ID != recvMark|uint64(i%depth) ||
			c.Bytes != recvSize || c.QP != server.qp.Num() {
			t.Fatalf("message %d: %+v", i, c)
		}
		same(t, "message", server.received(c), client.mem[:recvSize])
		server.must(server.qp.PostRecv([]verbs.Recv{server.recv(i % depth)}))
	}
}

func (b *bed) pieces(t *testing.T) {
	server, client := b.pair(t)
	fill(client.mem[:900], 5)
	req := verbs.Send{Op: verbs.OpSend}
	req.Pieces = append(req.Pieces, client.piece(0, 300)...)
	req.Pieces = append(req.Pieces, client.piece(300, 1)...)
	req.Pieces = append(req.Pieces, client.piece(301, 599)...)
	if c := client.do(req); c.Status != verbs.OK {
		t.Fatal(c.Status)
	}
	same(t, "gathered", server.received(server.message()), client.mem[:900])
	_, remote := server.window(0, 900, verbs.PeerReads|verbs.PeerWrites)
	req.Op, req.Remote = verbs.OpWrite, remote
	if c := client.do(req); c.Status != verbs.OK {
		t.Fatal(c.Status)
	}
	same(t, "written", server.mem[:900], client.mem[:900])
	read := verbs.Send{Op: verbs.OpRead, Remote: remote}
	read.Pieces = append(client.piece(5000, 400), client.piece(9000, 500)...)
	if c := client.do(read); c.Status != verbs.OK || c.Bytes != 900 {
		t.Fatal(c)
	}
	same(t, "scattered", append(bytes.Clone(client.mem[5000:5400]), client.mem[9000:9500]...),
		client.mem[:900])
}

func (b *bed) inlined(t *testing.T) {
	server, client := b.pair(t)
	text := []byte("neither registered nor kept")
	req := verbs.Send{ID: 1, Op: verbs.OpSend, Inlined: true, Signalled: true,
		Pieces: []verbs.Piece{{Mem: text[:8]}, {Mem: text[8:]}}}
	client.must(client.qp.Post([]verbs.Send{req}))
	clear(text)
	if got := server.received(server.message()); string(got) != "neither registered nor kept" {
		t.Fatalf("received %q", got)
	}
}

func (b *bed) unsignalled(t *testing.T) {
	server, client := b.pair(t)
	for round := range 10 {
		reqs := make([]verbs.Send, depth/2)
		for i := range reqs {
			reqs[i] = verbs.Send{Op: verbs.OpSend, Pieces: client.piece(0, 8)}
		}
		c := client.do(reqs...)
		if c.Status != verbs.OK || c.ID != reqs[len(reqs)-1].ID || len(client.ended) != 0 {
			t.Fatalf("round %d: %+v and %d more", round, c, len(client.ended))
		}
		for range reqs {
			c := server.message()
			server.must(server.qp.PostRecv([]verbs.Recv{server.recv(int(c.ID &^ recvMark))}))
		}
	}
}

func (b *bed) full(t *testing.T) {
	server, client := b.pair(t)
	reqs := make([]verbs.Send, depth+1)
	for i := range reqs {
		reqs[i] = verbs.Send{Op: verbs.OpSend, Pieces: client.piece(0, 1)}
	}
	if err := client.qp.Post(reqs); !errors.Is(err, verbs.ErrFull) {
		t.Fatalf("one too many: %v", err)
	}
	if c := client.do(reqs[:depth]...); c.Status != verbs.OK {
		t.Fatalf("as many as fit: %v", c.Status)
	}
	for range depth {
		server.message()
	}
	server.poll()
	if len(server.came) != 0 {
		t.Error("something of the refused batch was sent")
	}
	if err := client.qp.PostRecv(client.recvs()[:1]); !errors.Is(err, verbs.ErrFull) {
		t.Fatalf("a receive too many: %v", err)
	}
}

func (b *bed) windows(t *testing.T) {
	server, client := b.pair(t)
	const size = 300_000
	fill(server.mem[:size], 9)
	_, readable := server.window(0, size, verbs.PeerReads)
	if s := client.read(readable, 0, size); s != verbs.OK {
		t.Fatalf("read: %v", s)
	}
	same(t, "read", client.mem[:size], server.mem[:size])
	_, writable := server.window(1<<20, size, verbs.PeerWrites)
	fill(client.mem[:size], 77)
	c := client.do(verbs.Send{Op: verbs.OpWrite, Remote: writable, Pieces: client.piece(0, size)},
		verbs.Send{Op: verbs.OpWriteImm, Imm: 0xabcd1234, Remote: writable,
			Pieces: client.piece(0, 10)})
	if c.Status != verbs.OK {
		t.Fatalf("write: %v", c.Status)
	}
	if got := server.message(); got.Op != verbs.OpRecvImm || got.Imm != 0xabcd1234 {
		t.Fatalf("immediate: %+v", got)
	}
	same(t, "written", server.mem[1<<20:1<<20+size], client.mem[:size])
	// A message after a write is there after it.
	for i := range 20 {
		fill(client.mem[:size], byte(i))
		if c := client.do(verbs.Send{Op: verbs.OpWrite, Remote: writable,
			Pieces: client.piece(0, size)}, verbs.Send{Op: verbs.OpSend,
			Pieces: client.piece(0, 1)}); c.Status != verbs.OK {
			t.Fatal(c.Status)
		}
		server.message()
		same(t, "written before the message", server.mem[1<<20:1<<20+size], client.mem[:size])
	}
}

func (b *bed) enforced(t *testing.T) {
	for _, c := range []struct {
		name   string
		access verbs.Access
		op     verbs.Op
		move   uint64 // of the address
		key    uint32 // added to the key
	}{
		{name: "write where reads are allowed", access: verbs.PeerReads, op: verbs.OpWrite},
		{name: "read where writes are allowed", access: verbs.PeerWrites, op: verbs.OpRead},
		{name: "read past the end", access: verbs.PeerReads, op: verbs.OpRead, move: 1},
		{name: "write past the end", access: verbs.PeerWrites, op: verbs.OpWrite, move: 4096},
		{name: "before the beginning", access: verbs.PeerReads, op: verbs.OpRead, move: ^uint64(0)},
		{name: "wrong key", access: verbs.PeerWrites, op: verbs.OpWrite, key: 1},
		{name: "key of nothing", access: verbs.PeerWrites, op: verbs.OpWrite, key: 0x10000},
	} {
		if b.soft && c.move != 0 {
			continue
		}
		t.Run(c.name, func(t *testing.T) {
			server, client := b.pair(t)
			fill(server.mem[:16384], 3)
			before := bytes.Clone(server.mem[:16384])
			_, remote := server.window(4096, 4096, c.access)
			remote.Addr += c.move
			remote.Key += c.key
			got := client.do(verbs.Send{Op: c.op, Remote: remote, Pieces: client.piece(0, 4096)})
			if got.Status != verbs.RemoteAccess {
				t.Fatalf("ended with %v, want %v", got.Status, verbs.RemoteAccess)
			}
			same(t, "memory of the other side", server.mem[:16384], before)
			gone(t, client.qp)
			if s := client.send(0, 64); s != verbs.Flushed {
				t.Fatalf("a request after the break ended with %v", s)
			}
		})
	}
}

func (b *bed) owned(t *testing.T) {
	server, client := b.pair(t)
	_, remote := server.window(0, 4096, verbs.PeerWrites)
	// Another queue pair of the same card opening and memory.
	other := &end{t: t, ctx: server.ctx, cq: server.cq, mem: server.mem, reg: server.reg}
	stranger := newEnd(t, b.p, b.addr)
	join(t, other, stranger, other.config(), stranger.config(), b.addr)
	defer func() { _ = other.qp.Close() }()
	if s := stranger.write(remote, 0, 4096); s != verbs.RemoteAccess {
		t.Fatalf("over another queue pair: %v", s)
	}
	if s := client.write(remote, 0, 4096); s != verbs.OK {
		t.Fatalf("over its own: %v", s)
	}
}

func (b *bed) invalidated(t *testing.T) {
	for _, by := range []string{"its owner", "the peer's answer"} {
		t.Run(by, func(t *testing.T) {
			server, client := b.pair(t)
			w, remote := server.window(0, 4096, verbs.PeerReads)
			if s := client.read(remote, 0, 4096); s != verbs.OK {
				t.Fatalf("before: %v", s)
			}
			if by == "its owner" {
				c := server.do(verbs.Send{Op: verbs.OpInvalidate,
					Remote: verbs.Remote{Key: w.Key()}})
				if c.Status != verbs.OK {
					t.Fatalf("invalidate: %v", c.Status)
				}
			} else {
				c := client.do(verbs.Send{Op: verbs.OpSendInv, Remote: remote,
					Pieces: client.piece(0, 64)})
				if c.Status != verbs.OK {
					t.Fatalf("send with invalidate: %v", c.Status)
				}
				if c := server.message(); c.Op != verbs.OpRecv || c.Invalidated != remote.Key {
					t.Fatalf("received %+v, want the key %#x", c, remote.Key)
				}
			}
			again := server.bind(w, 0, 4096, verbs.PeerReads)
			if again.Key == remote.Key {
				t.Fatal("bound again under the same key")
			}
			if s := client.read(again, 0, 4096); s != verbs.OK {
				t.Fatalf("the new key: %v", s)
			}
			if s := client.read(remote, 0, 4096); s != verbs.RemoteAccess {
				t.Fatalf("the old key: %v", s)
			}
		})
	}
}

func (b *bed) twice(t *testing.T) {
	server, _ := b.pair(t)
	w, _ := server.window(0, 4096, verbs.PeerReads)
	c := server.do(verbs.Send{Op: verbs.OpBind, Window: w, Access: verbs.PeerReads,
		Pieces: server.piece(0, 4096)})
	if c.Status == verbs.OK {
		t.Error("bound a window that is bound")
	}
	gone(t, server.qp)
}

func (b *bed) many(t *testing.T) {
	server, client := b.pair(t)
	var windows []verbs.Window
	for range 8 {
		w, err := server.qp.NewWindow()
		server.must(err)
		windows = append(windows, w)
	}
	for round := range 300 { // the part of a key that changes has one byte
		var reqs []verbs.Send
		for i, w := range windows {
			reqs = append(reqs, verbs.Send{Op: verbs.OpBind, Window: w, Access: verbs.PeerReads,
				Pieces: server.piece(i*4096, 4096)})
		}
		if c := server.do(reqs...); c.Status != verbs.OK {
			t.Fatalf("round %d: bind: %v", round, c.Status)
		}
		i := round % len(windows)
		fill(server.mem[i*4096:(i+1)*4096], byte(round))
		if s := client.read(verbs.Remote{Addr: server.addr(i * 4096), Key: windows[i].Key()}, 0,
			4096); s != verbs.OK {
			t.Fatalf("round %d: read: %v", round, s)
		}
		same(t, "read", client.mem[:4096], server.mem[i*4096:(i+1)*4096])
		reqs = reqs[:0]
		for _, w := range windows {
			reqs = append(reqs, verbs.Send{Op: verbs.OpInvalidate,
				Remote: verbs.Remote{Key: w.Key()}})
		}
		if c := server.do(reqs...); c.Status != verbs.OK {
			t.Fatalf("round %d: invalidate: %v", round, c.Status)
		}
	}
}

func (b *bed) foreign(t *testing.T) {
	server, client := b.pair(t)
	w, remote := server.window(0, 4096, verbs.PeerReads)
	if c := server.do(verbs.Send{Op: verbs.OpInvalidate,
		Remote: verbs.Remote{Key: w.Key()}}); c.Status != verbs.OK {
		t.Fatal(c.Status)
	}
	c := client.do(verbs.Send{Op: verbs.OpSendInv, Remote: remote, Pieces: client.piece(0, 8)})
	if c.Status == verbs.OK && len(server.came) == 0 {
		// Some cards answer before they look: then the receive tells.
		if got := server.message(); got.Status == verbs.OK {
			t.Error("the peer invalidated what was not bound")
		}
	}
	gone(t, client.qp)
}

func (b *bed) local(t *testing.T) {
	_, client := b.pair(t)
	c := client.do(verbs.Send{Op: verbs.OpSend,
		Pieces: []verbs.Piece{{Mem: client.mem[:8], Key: client.reg.Key() ^ 0x5500}}})
	if c.Status == verbs.OK {
		t.Error("sent memory under a key of nothing")
	}
	gone(t, client.qp)
}

func (b *bed) noReceive(t *testing.T) {
	_, client := b.pair(t)
	for range depth {
		if s := client.send(0, 64); s != verbs.OK {
			t.Fatal(s)
		}
	}
	if s := client.send(0, 64); s != verbs.NoReceive {
		t.Fatalf("ended with %v, want %v", s, verbs.NoReceive)
	}
	gone(t, client.qp)
}

// again has a card send a message once more, since the peer has no receive for it yet, when the
// binding behind it is done.
func (b *bed) again(t *testing.T) {
	server, client := b.pair(t)
	for range depth {
		if s := client.send(0, 64); s != verbs.OK {
			t.Fatal(s)
		}
		server.message()
	}
	fill(client.mem[8192:12288], 5)
	w, err := client.qp.NewWindow()
	client.must(err)
	r := verbs.Remote{Addr: client.addr(8192), Key: w.NextKey()}
	client.must(client.qp.Post([]verbs.Send{
		{ID: 1000, Op: verbs.OpSend, Pieces: client.piece(0, 64)},
		{ID: 1001, Op: verbs.OpBind, Window: w, Access: verbs.PeerReads,
			Pieces: client.piece(8192, 4096)},
		{ID: 1002, Op: verbs.OpSend, Signalled: true, Pieces: client.piece(0, 64)}}))
	time.Sleep(resentAfter)
	server.must(server.qp.PostRecv(server.recvs()[:2]))
	if c := client.until("completion", &client.ended); c.ID != 1002 || c.Status != verbs.OK {
		t.Fatalf("request %d ended with %v (card's code %d)", c.ID, c.Status, c.Vendor)
	}
	if s := server.read(r, 0, 4096); s != verbs.OK {
		t.Fatalf("the peer's read: %v", s)
	}
	same(t, "read", server.mem[:4096], client.mem[8192:12288])
}

func (b *bed) tooLong(t *testing.T) {
	server, client := b.pair(t)
	client.must(client.qp.Post([]verbs.Send{{ID: 1, Op: verbs.OpSend, Signalled: true,
		Pieces: client.piece(0, 2*recvSize)}}))
	if c := server.message(); c.Status != verbs.TooLong {
		t.Fatalf("the receive ended with %v", c.Status)
	}
	gone(t, server.qp)
	// The client hears of it by the completion of its request.
	if c := client.until("end of the request", &client.ended); c.Status == verbs.OK {
		t.Error("the request ended well")
	}
	gone(t, client.qp)
}

// sharing makes an end with a shared queue.
func (b *bed) sharing(t *testing.T) (*end, verbs.SRQ, verbs.QPConfig) {
	t.Helper()
	server := newEnd(t, b.p, b.addr)
	srq, err := server.ctx.NewSRQ(depth)
	server.must(err)
	t.Cleanup(func() {
		if server.qp != nil {
			_ = server.qp.Close()
			server.qp = nil
		}
		server.must(srq.Close())
	})
	server.must(srq.PostRecv(server.recvs()))
	cfg := server.config()
	cfg.SRQ = srq
	return server, srq, cfg
}

func (b *bed) shared(t *testing.T) {
	server, srq, cfg := b.sharing(t)
	if err := srq.PostRecv(server.recvs()[:1]); !errors.Is(err, verbs.ErrFull) {
		t.Fatalf("one too many: %v", err)
	}
	var clients []*end
	var qps []verbs.QP
	for range 3 {
		c := newEnd(t, b.p, b.addr)
		join(t, server, c, cfg, c.config(), b.addr)
		clients, qps = append(clients, c), append(qps, server.qp)
	}
	server.qp = nil
	for i := range 4 * depth {
		from := i % len(clients)
		fill(clients[from].mem[:512], byte(i))
		if s := clients[from].send(0, 512); s != verbs.OK {
			t.Fatalf("send %d: %v", i, s)
		}
		c := server.message()
		if c.Status != verbs.OK || c.QP != qps[from].Num() {
			t.Fatalf("message %d: %+v", i, c)
		}
		same(t, "message", server.received(c), clients[from].mem[:512])
		server.must(srq.PostRecv([]verbs.Recv{server.recv(int(c.ID &^ recvMark))}))
	}
	for _, q := range qps {
		server.must(q.Close())
	}
}

func (b *bed) sharedClose(t *testing.T) {
	server, _, cfg := b.sharing(t)
	client := newEnd(t, b.p, b.addr)
	join(t, server, client, cfg, client.config(), b.addr)
	for range 5 {
		if s := client.send(0, 64); s != verbs.OK {
			t.Fatal(s)
		}
	}
	server.must(server.qp.Close())
	server.qp = nil
	seen := map[uint64]bool{}
	for range 5 {
		c := server.message()
		if c.Status != verbs.Flushed || c.QP != 0 || seen[c.ID] {
			t.Fatalf("%+v", c)
		}
		seen[c.ID] = true
	}
}

func (b *bed) disconnect(t *testing.T) {
	server, client := b.pair(t)
	server.qp.Disconnect()
	gone(t, server.qp)
	gone(t, client.qp)
	for _, e := range []*end{server, client} {
		for range depth { // its receives
			if c := e.message(); c.Status != verbs.Flushed {
				t.Fatalf("a receive ended with %v", c.Status)
			}
		}
		// Signalled or not: each ends.
		e.must(e.qp.Post([]verbs.Send{{ID: 1, Op: verbs.OpSend, Pieces: e.piece(0, 64)},
			{ID: 2, Op: verbs.OpSend, Signalled: true, Pieces: e.piece(0, 64)}}))
		for id := range uint64(2) {
			if c := e.until("flush", &e.ended); c.Status != verbs.Flushed || c.ID != id+1 {
				t.Fatalf("a send ended with %+v", c)
			}
		}
	}
}

func (b *bed) closed(t *testing.T) {
	server, client := b.pair(t)
	const size = 1 << 20
	_, remote := server.window(0, size, verbs.PeerWrites)
	fill(client.mem[:size], 1)
	var reqs []verbs.Send
	for i := range depth {
		reqs = append(reqs, verbs.Send{ID: uint64(i + 1), Op: verbs.OpWrite, Remote: remote,
			Pieces: client.piece(0, size)})
	}
	client.must(client.qp.Post(reqs))
	server.must(server.qp.Close())
	server.qp = nil
	fill(server.mem[:size], 200)
	want := bytes.Clone(server.mem[:size])
	gone(t, client.qp)
	time.Sleep(50 * time.Millisecond)
	same(t, "memory of a closed queue pair", server.mem[:size], want)
}

func (b *bed) nobody(t *testing.T) {
	e := newEnd(t, b.p, b.addr)
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	_, _, err := e.ctx.Dial(ctx, netip.AddrPortFrom(b.addr, 4711), e.config(), nil)
	if !errors.Is(err, verbs.ErrRefused) {
		t.Fatalf("dial: %v", err)
	}
}

// meet dials a listener whose request the function deals with.
func (b *bed) meet(t *testing.T, private []byte, f func(server *end, r verbs.Request)) ([]byte,
	error) {
	t.Helper()
	server, client := newEnd(t, b.p, b.addr), newEnd(t, b.p, b.addr)
	l, err := server.ctx.Listen(netip.AddrPortFrom(b.addr, 0), 4)
	server.must(err)
	done := make(chan struct{})
	go func() {
		defer close(done)
		r, err := l.Next()
		if err != nil {
			t.Error(err)
			return
		}
		f(server, r)
	}()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	qp, answer, err := client.ctx.Dial(ctx, l.Addr(), client.config(), private)
	<-done
	if err == nil {
		client.qp = qp
	}
	server.must(l.Close())
	return answer, err
}

func (b *bed) private(t *testing.T) {
	long := bytes.Repeat([]byte{7}, verbs.MaxPrivate)
	back := bytes.Repeat([]byte{8}, verbs.MaxPrivateReply)
	var got []byte
	answer, err := b.meet(t, long, func(server *end, r verbs.Request) {
		got = bytes.Clone(r.Private())
		if !r.Remote().IsValid() {
			t.Error("the peer has no address")
		}
		qp, err := r.Accept(server.config(), back, nil)
		if err != nil {
			t.Error(err)
			return
		}
		server.qp = qp
	})
	// Cards pad what they carry with zeroes.
	if err != nil || !bytes.HasPrefix(got, long) || !bytes.HasPrefix(answer, back) ||
		len(bytes.Trim(got[len(long):], "\x00")) > 0 {
		t.Errorf("%x, %x, %v", got, answer, err)
	}
}

func (b *bed) rejected(t *testing.T) {
	why, err := b.meet(t, nil, func(_ *end, r verbs.Request) {
		if err := r.Reject([]byte("not today")); err != nil {
			t.Error(err)
		}
	})
	if !errors.Is(err, verbs.ErrRefused) || !bytes.HasPrefix(why, []byte("not today")) {
		t.Fatalf("dial: %q, %v", why, err)
	}
}

func (b *bed) listener(t *testing.T) {
	e := newEnd(t, b.p, b.addr)
	l, err := e.ctx.Listen(netip.AddrPortFrom(b.addr, 0), 1)
	e.must(err)
	ended := make(chan error, 1)
	go func() {
		_, err := l.Next()
		ended <- err
	}()
	time.Sleep(10 * time.Millisecond)
	e.must(l.Close())
	select {
	case err := <-ended:
		if !errors.Is(err, verbs.ErrClosed) {
			t.Error(err)
		}
	case <-time.After(patience):
		t.Fatal("Next goes on")
	}
}

func (b *bed) wait(t *testing.T) {
	e := newEnd(t, b.p, b.addr)
	begin := time.Now()
	for time.Since(begin) < 40*time.Millisecond { // it may return early
		e.must(e.cq.Wait(50 * time.Millisecond))
	}
	for range 20 {
		done := make(chan error, 1)
		go func() { done <- e.cq.Wait(0) }()
		time.Sleep(time.Millisecond)
		e.cq.Wake()
		select {
		case err := <-done:
			e.must(err)
		case <-time.After(patience):
			t.Fatal("Wake did not end Wait")
		}
	}
}
