package peer

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.etcd.io/raft/v3/raftpb"
	"go.uber.org/goleak"

	"github.com/ashlar-storage/ashlar/dataplane/copyset"
	"github.com/ashlar-storage/ashlar/io/buf"
	"github.com/ashlar-storage/ashlar/io/wal"
	"github.com/ashlar-storage/ashlar/rpc/transport"
	"github.com/ashlar-storage/ashlar/rpc/wire"
)

// TestMain looks for goroutines left behind, but for those that a dependency starts at init.
func TestMain(m *testing.M) { goleak.VerifyTestMain(m, goleak.IgnoreCurrent()) }

const block = copyset.BlockSize

// far is another node: it keeps the raft messages and answers what the test tells it to.
type far struct {
	t      *testing.T
	server *transport.Server
	got    chan *copyset.Message
	mu     sync.Mutex
	answer func(c transport.ServerConn, m *transport.Message)
}

// onRequest sets what answers requests, under mu.
func (f *far) onRequest(answer func(c transport.ServerConn, m *transport.Message)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.answer = answer
}

func (f *far) OnOpen(transport.ServerConn)         {}
func (f *far) OnClose(transport.ServerConn, error) {}
func (f *far) OnBatchEnd(transport.ServerConn)     {}
func (f *far) OnMessage(c transport.ServerConn, m *transport.Message) {
	if m.Header.Op != wire.OpRaft {
		f.mu.Lock()
		defer f.mu.Unlock()
		if f.answer != nil {
			f.answer(c, m)
		}
		return
	}
	got := new(copyset.Message)
	if err := got.Decode(m.Meta, m.Payload); err != nil {
		f.t.Error(err)
	}
	if m.Payload != nil {
		m.Payload.Release()
	}
	f.got <- got
}

// store is where payloads come from that are only in the log.
type store struct {
	mu          sync.Mutex
	log         map[wal.LSN][]byte
	pins        int
	pinned      int
	unreachable []uint64
	reading     func() // called by every read of the log
}

var errLog = errors.New("not in the log")

func (s *store) ReadLog(_ uint64, p *copyset.Payload, crcs []uint32, dst []byte) error {
	if s.reading != nil {
		s.reading()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	b, ok := s.log[p.At]
	if !ok {
		return errLog
	}
	copy(dst, b)
	for k, want := range crcs {
		if wire.CRC32C(dst[k*block:][:block]) != want {
			return errLog
		}
	}
	if len(crcs) != len(dst)/block {
		return errLog
	}
	return nil
}

func (s *store) PinLog(*copyset.Payload) func() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.pins++
	s.pinned++
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.pinned--
	}
}

func (s *store) Unreachable(_, replica uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.unreachable = append(s.unreachable, replica)
}

func (s *store) lost() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.unreachable)
}

// rig is a far node, links to it, and a store that sends.
type rig struct {
	*far
	pool  *buf.Pool
	links *Links
	store *store
	to    copyset.Peer
	gone  chan string // addresses that refused a connection
}

func newRig(t *testing.T) *rig {
	pool, err := buf.NewPool(buf.Config{Bytes: 64 << 20})
	if err != nil {
		t.Fatal(err)
	}
	r := &rig{far: &far{t: t, got: make(chan *copyset.Message, 1<<16)}, pool: pool,
		store: &store{log: map[wal.LSN][]byte{}}, gone: make(chan string, 100)}
	hello := wire.Hello{ClusterID: "c", Role: "node"}
	quiet := slog.New(slog.DiscardHandler)
	r.server, err = transport.Listen("127.0.0.1:0", r.far, transport.ServerConfig{Pool: pool,
		Hello: hello, Logger: quiet, Loops: 1})
	if err != nil {
		t.Fatal(err)
	}
	r.links = NewLinks(Config{Pool: pool, Hello: hello, Logger: quiet,
		Gone: func(addr string) { r.gone <- addr }})
	r.to = copyset.Peer{ReplicaID: 2, Addr: r.server.Addr()}
	t.Cleanup(func() {
		r.links.Close()
		r.server.Close()
		close(r.got)
		for m := range r.got {
			m.Release()
		}
		if r.store.pinned != 0 {
			t.Errorf("%d parts of the log are still pinned", r.store.pinned)
		}
		if err := pool.Close(); err != nil {
			t.Error(err)
		}
	})
	return r
}

// connect waits until the link to the far node is up.
func (r *rig) connect() {
	r.t.Helper()
	w := r.links.to(r.to.Addr)
	eventually(r.t, "the links are up", func() bool {
		for _, l := range []*link{w.control, w.data} {
			l.mu.Lock()
			up := l.conn != nil
			l.mu.Unlock()
			if !up {
				return false
			}
		}
		return true
	})
}

func eventually(t *testing.T, what string, cond func() bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); !cond(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("never: %s", what)
		}
	}
}

func heartbeat(commit uint64) copyset.Message {
	return copyset.Message{Copyset: 1, Message: raftpb.Message{Type: raftpb.MsgHeartbeat, From: 1,
		To: 2, Commit: commit}}
}

func blocks(seed byte, n int) ([]byte, []uint32) {
	p := make([]byte, n*block)
	var crcs []uint32
	for i := range p {
		p[i] = seed + byte(i%251)
	}
	for i := range n {
		crcs = append(crcs, wire.CRC32C(p[i*block:(i+1)*block]))
	}
	return p, crcs
}

// data is an append of one entry with a payload from the pool, or from the log at a place.
func (r *rig) data(index uint64, n int, at wal.LSN) copyset.Message {
	r.t.Helper()
	p, crcs := blocks(byte(index), n)
	c := copyset.Command{Kind: copyset.CmdWrite, Session: 1, Count: uint32(n), CRCs: crcs}
	m := copyset.Message{Copyset: 1, Message: raftpb.Message{Type: raftpb.MsgApp, From: 1, To: 2,
		Index: index - 1, Entries: []raftpb.Entry{{Index: index, Data: c.AppendTo(nil)}}}}
	if at != 0 {
		r.store.mu.Lock()
		r.store.log[at] = p
		r.store.mu.Unlock()
		m.Payloads = []copyset.Payload{{At: at, Len: len(p)}}
		return m
	}
	b, err := r.pool.Get(len(p))
	if err != nil {
		r.t.Fatal(err)
	}
	copy(b.Bytes(), p)
	m.Payloads = []copyset.Payload{copyset.NewPayload(b)}
	return m
}

func (r *rig) send(m copyset.Message) { r.links.Send(r.store, r.to, m) }

func (r *rig) next() *copyset.Message {
	r.t.Helper()
	select {
	case m := <-r.got:
		return m
	case <-time.After(10 * time.Second):
		r.t.Fatal("no message arrives")
		return nil
	}
}

func TestMessagesArriveInOrderWithTheirPayloads(t *testing.T) {
	r := newRig(t)
	r.connect()
	for i := range uint64(300) {
		r.send(r.data(i+1, 1+int(i%3), 0))
		if i%7 == 0 {
			r.links.Flush(r.to.Addr)
		}
	}
	r.links.Flush(r.to.Addr)
	for i := range uint64(300) {
		m := r.next()
		want, _ := blocks(byte(i+1), 1+int(i%3))
		if m.Index != i || !bytes.Equal(m.Payloads[0].B, want) {
			t.Fatalf("message %d is that behind entry %d, right bytes %v", i, m.Index,
				bytes.Equal(m.Payloads[0].B, want))
		}
		m.Release()
	}
}

func TestControlMessagesDoNotWaitForAConnectionBusyWithData(t *testing.T) {
	r := newRig(t)
	r.connect()
	l := r.links.to(r.to.Addr).data
	l.mu.Lock()
	l.sending = true // a write that does not end
	l.mu.Unlock()
	r.send(r.data(1, 16, 0))
	r.send(heartbeat(7))
	r.links.Flush(r.to.Addr)
	if m := r.next(); m.Type != raftpb.MsgHeartbeat {
		t.Errorf("%v of entry %d comes before the heartbeat", m.Type, m.Index+1)
		m.Release()
	}
	l.release()
	r.links.Flush(r.to.Addr)
	r.next().Release()
}

func TestAppendsWithoutEntriesStayBehindThoseWithSome(t *testing.T) {
	r := newRig(t)
	r.connect()
	for i := range uint64(50) {
		r.send(r.data(i+1, 4, 0))
		r.send(copyset.Message{Copyset: 1, Message: raftpb.Message{Type: raftpb.MsgApp, To: 2,
			Index: i + 1}})
	}
	r.links.Flush(r.to.Addr)
	for i := range uint64(100) {
		m := r.next()
		if want := (i + 1) / 2; m.Index != want {
			t.Fatalf("message %d stands behind entry %d, want %d", i, m.Index, want)
		}
		m.Release()
	}
}

func TestPayloadsThatAreOnlyInTheLogAreLoaded(t *testing.T) {
	r := newRig(t)
	r.connect()
	r.send(r.data(1, 1, 0))
	r.send(r.data(2, 3, 9000))
	r.send(r.data(3, 1, 0))
	r.links.Flush(r.to.Addr)
	for i := range uint64(3) {
		m := r.next()
		want, _ := blocks(byte(i+1), m.Payloads[0].Len/block)
		if m.Index != i || !bytes.Equal(m.Payloads[0].B, want) {
			t.Errorf("message %d: behind entry %d, right bytes %v", i, m.Index,
				bytes.Equal(m.Payloads[0].B, want))
		}
		m.Release()
	}
	if r.store.pins != 1 {
		t.Errorf("%d parts of the log were pinned, want 1", r.store.pins)
	}
}

func TestControlMessagesDoNotWaitForTheLog(t *testing.T) {
	r := newRig(t)
	r.connect()
	heard := make(chan struct{})
	r.store.reading = func() { <-heard }
	r.send(r.data(1, 1, 9000))
	r.send(heartbeat(7))
	r.links.Flush(r.to.Addr)
	if m := r.next(); m.Type != raftpb.MsgHeartbeat {
		t.Errorf("%v comes before the heartbeat", m.Type)
	}
	close(heard)
	if m := r.next(); m.Type != raftpb.MsgApp {
		t.Errorf("%v, not what was read", m.Type)
	} else {
		m.Release()
	}
}

// holdingConn is a connection whose TrySend waits until the test lets it go on.
type holdingConn struct {
	transport.Conn
	trying func()
}

func (c *holdingConn) TrySend(msgs []transport.Message) (transport.Sent, error) {
	c.trying()
	return c.Conn.TrySend(msgs)
}

// While an owner sends in its turn another queues what must be read from the log.
func TestFlushDoesNotWaitForTheLogOfAnotherOwner(t *testing.T) {
	r := newRig(t)
	sends, goOn, heard := make(chan struct{}), make(chan struct{}), make(chan struct{})
	var first sync.Once
	r.links.cfg.Dial = func(ctx context.Context, addr string, cfg transport.Config) (transport.Conn,
		error) {
		conn, err := transport.Dial(ctx, addr, cfg)
		if err != nil {
			return nil, err
		}
		return &holdingConn{Conn: conn, trying: func() {
			first.Do(func() { close(sends); <-goOn })
		}}, nil
	}
	r.connect()
	r.store.reading = func() { <-heard }
	flushed := make(chan struct{})
	r.send(r.data(1, 1, 0))
	go func() { r.links.Flush(r.to.Addr); close(flushed) }()
	<-sends
	r.send(r.data(2, 1, 9000))
	r.links.Flush(r.to.Addr)
	close(goOn)
	select {
	case <-flushed:
	case <-time.After(10 * time.Second):
		t.Error("Flush waits for the log")
	}
	close(heard)
	for i := range uint64(2) {
		m := r.next()
		if m.Index != i {
			t.Errorf("message %d is that behind entry %d", i, m.Index)
		}
		m.Release()
	}
}

func TestAddressThatRefusesIsToldOf(t *testing.T) {
	r := newRig(t)
	r.connect()
	if len(r.gone) != 0 {
		t.Fatalf("%s is gone while it serves", <-r.gone)
	}
	r.server.Close()
	for range 2 { // who did not follow the node yet hears it again
		select {
		case addr := <-r.gone:
			if addr != r.to.Addr {
				t.Errorf("%s is gone, want %s", addr, r.to.Addr)
			}
		case <-time.After(10 * time.Second):
			t.Fatal("nobody was told that the address refuses connections")
		}
	}
}

// Each read waits until others are under way: one at a time would wait for ever.
func TestPayloadsAreReadFromTheLogSeveralAtATime(t *testing.T) {
	r := newRig(t)
	r.connect()
	var under sync.WaitGroup
	under.Add(loadParallel)
	var begun atomic.Int64
	r.store.reading = func() {
		if begun.Add(1) <= loadParallel {
			under.Done()
			under.Wait()
		}
	}
	for i := range uint64(2 * loadParallel) {
		r.send(r.data(i+1, 1, wal.LSN(9000+i)))
	}
	r.links.Flush(r.to.Addr)
	for i := range uint64(2 * loadParallel) {
		m := r.next()
		if m.Index != i {
			t.Fatalf("message %d is that behind entry %d", i, m.Index)
		}
		m.Release()
	}
}

func TestPayloadThatTheLogHasNoMoreIsReportedLost(t *testing.T) {
	r := newRig(t)
	r.connect()
	m := r.data(1, 1, 9000)
	delete(r.store.log, 9000)
	r.send(m)
	r.send(r.data(2, 1, 0))
	r.links.Flush(r.to.Addr)
	got := r.next()
	if got.Index != 1 {
		t.Errorf("message behind entry %d arrives, want the second only", got.Index)
	}
	got.Release()
	eventually(t, "the loss is reported", func() bool { return r.store.lost() > 0 })
}

func TestPayloadThatIsBadInTheLogIsNeverSent(t *testing.T) {
	r := newRig(t)
	r.connect()
	m := r.data(1, 2, 9000)
	r.store.log[9000][block+77] ^= 4
	r.send(m)
	r.send(r.data(2, 1, 0))
	r.links.Flush(r.to.Addr)
	got := r.next()
	if got.Index != 1 {
		t.Errorf("message behind entry %d arrives, want the second only", got.Index)
	}
	got.Release()
	eventually(t, "the loss is reported", func() bool { return r.store.lost() > 0 })
}

func TestMessagesToAnUnreachableNodeAreDroppedAndReported(t *testing.T) {
	r := newRig(t)
	r.to.Addr = "127.0.0.1:1"
	r.send(heartbeat(1))
	if r.store.lost() != 0 {
		t.Error("a heartbeat is reported lost, for which nobody waits")
	}
	r.send(r.data(1, 1, 0))
	r.send(r.data(1, 1, 500))
	snap := heartbeat(1)
	snap.Type, snap.Snapshot = raftpb.MsgSnap, &raftpb.Snapshot{}
	r.send(snap)
	if r.store.lost() != 3 {
		t.Errorf("%d of 3 losses reported", r.store.lost())
	}
	if _, err := r.links.Chunks(r.to, 1, 0); !errors.Is(err, ErrUnreachable) {
		t.Errorf("a request to it: %v", err)
	}
}

func TestFullQueueDropsTheNewMessageAndReportsIt(t *testing.T) {
	r := newRig(t)
	r.connect()
	b, err := r.pool.Get(1 << 20)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Release()
	m := copyset.Message{Copyset: 1, Message: raftpb.Message{Type: raftpb.MsgApp, To: 2,
		Entries: make([]raftpb.Entry, 1)}}
	w := r.links.to(r.to.Addr)
	fill := func(what string, bound int, m copyset.Message) {
		t.Helper()
		for range bound {
			c := m
			if m.Payloads != nil {
				c.Payloads = []copyset.Payload{copyset.NewPayload(b.Retain())}
			}
			r.send(c)
		}
		if r.store.lost() != 0 {
			t.Errorf("%s: %d lost below the bound", what, r.store.lost())
		}
	}
	// Nothing is sent before Flush, so the queue holds what it was given.
	m.Payloads = []copyset.Payload{{}}
	fill("bytes", maxBytes>>20, m)
	c := m
	c.Payloads = []copyset.Payload{copyset.NewPayload(b.Retain())}
	r.send(c)
	if r.store.lost() != 1 {
		t.Errorf("bytes: %d lost above the bound, want 1", r.store.lost())
	}
	r.store.unreachable = nil
	m.Payloads = nil
	fill("messages", maxWaiting-maxBytes>>20, m)
	r.send(m)
	if r.store.lost() != 1 {
		t.Errorf("messages: %d lost above the bound, want 1", r.store.lost())
	}
	for range maxWaiting + 5 {
		r.send(heartbeat(1))
	}
	for _, l := range []*link{w.control, w.data} {
		l.mu.Lock()
		if len(l.waiting) != maxWaiting {
			t.Errorf("%d messages wait", len(l.waiting))
		}
		l.mu.Unlock()
	}
}

func TestBrokenConnectionFailsCallsAndReportsWhatWaits(t *testing.T) {
	r := newRig(t)
	r.connect()
	asked := make(chan transport.ServerConn, 1)
	r.onRequest(func(c transport.ServerConn, _ *transport.Message) { asked <- c })
	failed := make(chan error, 1)
	go func() {
		_, err := r.links.Chunks(r.to, 1, 0)
		failed <- err
	}()
	conn := <-asked
	r.send(r.data(1, 1, 0)) // waits for a Flush that comes too late
	conn.Close(errors.New("test"))
	select {
	case err := <-failed:
		if !errors.Is(err, ErrUnreachable) {
			t.Error(err)
		}
	case <-time.After(CallTime / 2):
		t.Fatal("the call goes on without a connection")
	}
	eventually(t, "the loss is reported", func() bool { return r.store.lost() == 1 })
	r.connect() // and it comes back
	r.send(r.data(2, 1, 0))
	r.links.Flush(r.to.Addr)
	r.next().Release()
}

func TestRequestsBringWhatTheOtherHas(t *testing.T) {
	r := newRig(t)
	r.connect()
	p, crcs := blocks(3, 2)
	flip := false
	short := false
	status := wire.StatusOK
	r.onRequest(func(c transport.ServerConn, m *transport.Message) {
		h := wire.Header{Op: m.Header.Op, Flags: wire.FlagResponse, ID: m.Header.ID, Status: status}
		out := transport.Message{Header: h}
		switch {
		case status != wire.StatusOK:
		case m.Header.Op == wire.OpSnapList:
			out.Body = [][]byte{AppendChunks(nil, sampleChunks)}
		default:
			var q BlocksRequest
			if err := q.Decode(m.Meta); err != nil || q.Copyset != 9 || q.Replica != 2 ||
				q.First != 8 {
				t.Errorf("request %+v, %v", q, err)
			}
			if q.Volume == 0 {
				break // all zero
			}
			resp := wire.IOResponse{CRCs: crcs}
			out.Meta, out.Body = resp.AppendTo(nil), [][]byte{bytes.Clone(p)}
			if flip {
				out.Body[0][5000] ^= 1
			}
			if short {
				out.Body[0] = out.Body[0][:block]
			}
		}
		c.Reply([]transport.Message{out})
	})
	set := func(f func()) {
		r.mu.Lock()
		defer r.mu.Unlock()
		f()
	}
	list, err := r.links.Chunks(r.to, 9, 0)
	if err != nil || !slices.Equal(list, sampleChunks) {
		t.Error(list, err)
	}
	read := copyset.PeerRead{First: 8, Count: 2}
	if got, sums, err := r.links.Blocks(r.to, 9, read); got.Len != 0 || sums != nil || err != nil {
		t.Errorf("all zero: %+v %v %v", got, sums, err)
	}
	read.Chunk.Volume = 1
	got, sums, err := r.links.Blocks(r.to, 9, read)
	if err != nil || !bytes.Equal(got.B, p) || len(sums) != 2 || sums[1] != crcs[1] {
		t.Errorf("%v, right bytes %v, checksums %x", err, bytes.Equal(got.B, p), sums)
	}
	got.Release()
	set(func() { flip = true })
	if _, _, err = r.links.Blocks(r.to, 9, read); !errors.Is(err, wire.ErrChecksum) {
		t.Errorf("a byte flipped on the way: %v", err)
	}
	set(func() { flip, short = false, true })
	if _, _, err = r.links.Blocks(r.to, 9, read); !errors.Is(err, wire.ErrBadRequest) {
		t.Errorf("a block missing: %v", err)
	}
	set(func() { status = wire.StatusRetry })
	if _, _, err = r.links.Blocks(r.to, 9, read); !errors.Is(err, wire.StatusRetry.Err()) {
		t.Errorf("refused: %v", err)
	}
}

func TestChecksumsOnRecordComeWithoutBytes(t *testing.T) {
	r := newRig(t)
	r.connect()
	want := []uint32{7, 8}
	r.onRequest(func(c transport.ServerConn, m *transport.Message) {
		var q BlocksRequest
		if err := q.Decode(m.Meta); err != nil || m.Header.Op != wire.OpSnapSums || q.First != 8 ||
			q.Applied != 5 {
			t.Errorf("%v: %+v, %v", m.Header.Op, q, err)
		}
		resp := wire.IOResponse{CRCs: want}
		c.Reply([]transport.Message{{Header: wire.Header{Op: m.Header.Op, Flags: wire.FlagResponse,
			ID: m.Header.ID}, Meta: resp.AppendTo(nil)}})
	})
	read := copyset.PeerRead{First: 8, Count: 2, Applied: 5}
	if sums, err := r.links.Sums(r.to, 9, read); err != nil || !slices.Equal(sums, want) {
		t.Error(sums, err)
	}
	read.Count = 3
	if _, err := r.links.Sums(r.to, 9, read); !errors.Is(err, wire.ErrBadRequest) {
		t.Error("two checksums for three blocks: ", err)
	}
}

func TestClosedLinksDropWithoutAWord(t *testing.T) {
	r := newRig(t)
	r.connect()
	r.links.Close()
	r.send(r.data(1, 1, 0))
	r.links.Flush(r.to.Addr)
	if _, err := r.links.Chunks(r.to, 1, 0); !errors.Is(err, ErrUnreachable) {
		t.Error(err)
	}
}

// TestManySendersAndBreaksLeaveNothingBehind has several owners send while the connection breaks
// again and again.
func TestManySendersAndBreaksLeaveNothingBehind(t *testing.T) {
	r := newRig(t)
	r.connect()
	stop := make(chan struct{})
	var senders sync.WaitGroup
	for i := range 3 {
		senders.Add(1)
		go func() {
			defer senders.Done()
			for k := uint64(1); ; k++ {
				select {
				case <-stop:
					return
				default:
				}
				at := wal.LSN(0)
				if k%5 == 0 {
					at = wal.LSN(k*10 + uint64(i))
				}
				r.send(r.data(k, 1+int(k%4), at))
				r.send(heartbeat(k))
				r.links.Flush(r.to.Addr)
				if r.pool.Stats().InUseBufs > 500 {
					time.Sleep(time.Millisecond)
				}
			}
		}()
	}
	drained := make(chan struct{})
	go func() {
		defer close(drained)
		for {
			select {
			case m := <-r.got:
				m.Release()
			case <-stop:
				return
			}
		}
	}()
	w := r.links.to(r.to.Addr)
	for i := range 20 {
		time.Sleep(20 * time.Millisecond)
		l := []*link{w.control, w.data}[i%2]
		l.mu.Lock()
		if l.conn != nil {
			l.conn.Close()
		}
		l.mu.Unlock()
	}
	close(stop)
	senders.Wait()
	<-drained
}
