package client

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"log/slog"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/ashlar-storage/ashlar/internal/loopback"
	"github.com/ashlar-storage/ashlar/io/buf"
	"github.com/ashlar-storage/ashlar/rpc/admin"
	v1 "github.com/ashlar-storage/ashlar/rpc/admin/kitex_gen/ashlar/v1"
	"github.com/ashlar-storage/ashlar/rpc/transport"
	"github.com/ashlar-storage/ashlar/rpc/wire"
)

// The network library starts two goroutines for good when it is imported.
func TestMain(m *testing.M) { goleak.VerifyTestMain(m, goleak.IgnoreCurrent()) }

// fake is a cluster whose nodes are real servers in this process and share one state: replication
// is perfect, and everything else is scripted. It checks what the client promises to servers and
// collects breaches.
type fake struct {
	t          testing.TB
	pool       *buf.Pool
	chunkBytes int64
	segBytes   int64
	size       int64        // at the time of an opening
	grown      atomic.Int64 // size since; 0: as before
	copysets   []uint64
	nodes      []*fakeNode

	mu       sync.Mutex
	leader   map[uint64]int // copyset -> index of its leader, none for no leader
	hints    bool           // whether followers name the leader
	chunks   map[uint64][]byte
	shapes   map[opKey]opShape
	applied  map[opKey]bool // as far as the low-water mark has not trimmed it
	effects  int
	low      map[uint64]uint64 // session -> highest low-water mark
	epoch    uint64
	sessions uint64
	breaches []string
	opening  int64             // requests that open sent
	fenced   map[uint64]uint64 // copyset -> newest epoch that a fence named
	replaced map[int]int       // member index -> index of the node in its place

	controlDown atomic.Bool
	void        atomic.Pointer[string] // reason for which renewals are refused
	lookups     atomic.Int64
	renewals    atomic.Int64
	closed      atomic.Int64

	fabric *fabric        // nil: TCP alone
	late   sync.WaitGroup // answers that a script holds back
}

type opKey struct{ session, op uint64 }

type opShape struct {
	kind           wire.Op
	copyset, chunk uint64
	offset, length uint32
	sum            uint64
}

// reaction is what a script makes of a request; its zero value serves it.
type reaction struct {
	status     wire.Status // answered without serving, unless ok
	retryAfter uint32
	swallow    bool // neither served nor answered
	mute       bool // served, not answered
	kill       bool // the connection is closed instead of an answer
	flip       bool // a bit of the data read is wrong
	delay      time.Duration
}

type script func(n *fakeNode, op wire.Op, r *wire.IORequest) reaction

type fakeNode struct {
	f      *fake
	index  int
	addr   atomic.Pointer[string]
	srv    *transport.Server
	card   transport.Listener // nil: none
	script atomic.Pointer[script]
	frozen atomic.Bool // answers nothing at all, not even pings
	served atomic.Int64
	asked  atomic.Int64
}

const testMembers = 3

func newFake(t testing.TB, nodes int) *fake {
	t.Helper()
	pool, err := buf.NewPool(buf.Config{Bytes: 64 << 20})
	if err != nil {
		t.Fatal(err)
	}
	f := &fake{
		t: t, pool: pool, chunkBytes: 64 << 10, segBytes: 256 << 10, size: 1<<20 + 8192,
		copysets: []uint64{101, 102, 103}, leader: map[uint64]int{}, hints: true,
		chunks: map[uint64][]byte{}, shapes: map[opKey]opShape{}, applied: map[opKey]bool{},
		low: map[uint64]uint64{}, replaced: map[int]int{}, fenced: map[uint64]uint64{},
	}
	for i, cs := range f.copysets {
		f.leader[cs] = i % testMembers
	}
	f.addNodes(nodes)
	t.Cleanup(f.end)
	return f
}

func (f *fake) addNodes(n int) {
	f.t.Helper()
	addrs, err := loopback.Addrs(n) // a node comes back at its own
	if err != nil {
		f.t.Fatal(err)
	}
	for i := range n {
		x := newFakeNode(f, i, addrs[i])
		f.nodes = append(f.nodes, x)
		x.start()
	}
}

func (f *fake) stopNodes() {
	for _, n := range f.nodes {
		n.stop()
	}
}

func (f *fake) end() {
	f.stopNodes()
	if f.fabric != nil {
		if err := f.fabric.nodes.Close(); err != nil {
			f.t.Error(err)
		}
	}
	f.late.Wait()
	if err := f.pool.Close(); err != nil {
		f.t.Error(err)
	}
	for _, b := range f.breaches {
		f.t.Error("breach: " + b)
	}
}

func (f *fake) breach(format string, args ...any) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.breaches) < 10 {
		f.breaches = append(f.breaches, fmt.Sprintf(format, args...))
	}
}

func (f *fake) sizeNow() int64 { return max(f.size, f.grown.Load()) }

func (f *fake) setLeader(index int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, cs := range f.copysets {
		f.leader[cs] = index
	}
}

func (f *fake) setHints(on bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.hints = on
}

func (f *fake) react(s script) {
	for _, n := range f.nodes {
		n.react(s)
	}
}

func (n *fakeNode) react(s script) {
	if s == nil {
		n.script.Store(nil)
		return
	}
	n.script.Store(&s)
}

func newFakeNode(f *fake, index int, addr string) *fakeNode {
	n := &fakeNode{f: f, index: index}
	n.addr.Store(&addr)
	return n
}

func (n *fakeNode) start() {
	n.f.t.Helper()
	cfg := transport.ServerConfig{
		Pool: n.f.pool, Logger: quiet(), Loops: 1,
		Hello: wire.Hello{ClusterID: "fake", NodeID: uint64(n.index + 1), Role: "node"},
	}
	n.startCard(*n.addr.Load(), cfg)
	var err error
	for range 100 {
		n.srv, err = transport.Listen(*n.addr.Load(), n, cfg)
		if err == nil {
			addr := n.srv.Addr()
			n.addr.Store(&addr)
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	n.f.t.Fatal(err)
}

func (n *fakeNode) stop() {
	n.stopCard()
	if n.srv != nil {
		if err := n.srv.Close(); err != nil {
			n.f.t.Error(err)
		}
		n.srv = nil
	}
}

// eventually waits until something is so.
func eventually(t *testing.T, what string, so func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !so(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not in time: %s", what)
		}
	}
}

func quiet() *slog.Logger { return slog.New(slog.NewTextHandler(io.Discard, nil)) }

func (n *fakeNode) OnOpen(transport.ServerConn)         {}
func (n *fakeNode) OnBatchEnd(transport.ServerConn)     {}
func (n *fakeNode) OnClose(transport.ServerConn, error) {}

func (n *fakeNode) OnMessage(c transport.ServerConn, m *transport.Message) {
	if m.Payload != nil {
		defer m.Payload.Release()
	}
	if n.frozen.Load() {
		return
	}
	h := wire.Header{Op: m.Header.Op, Flags: wire.FlagResponse, ID: m.Header.ID}
	if h.Op == wire.OpPing {
		c.Reply([]transport.Message{{Header: h}})
		return
	}
	n.asked.Add(1)
	var r wire.IORequest
	if err := r.Decode(m.Meta); err != nil {
		n.f.breach("bad metadata: %v", err)
		return
	}
	if err := r.Check(h.Op, m.Header.PayloadLen); err != nil {
		n.f.breach("bad request: %v", err)
		return
	}
	var data []byte
	if m.Payload != nil {
		data = m.Payload.Bytes()
	}
	n.handle(c, h, &r, data)
}

func (n *fakeNode) handle(c transport.ServerConn, h wire.Header, r *wire.IORequest, data []byte) {
	if n.f.fabric != nil && h.Op == wire.OpWrite &&
		wire.VerifyPieces(r.CRCs, r.Offset, data) != nil {
		// A card fetched the data of an attempt that was given up: the caller has it back by then.
		h.Status = wire.StatusChecksum
		c.Reply([]transport.Message{{Header: h}})
		return
	}
	n.f.inspect(h.Op, r, data)
	var do reaction
	if s := n.script.Load(); s != nil {
		do = (*s)(n, h.Op, r)
	}
	if do.swallow {
		if do.kill {
			c.Close(errors.New("scripted"))
		}
		return
	}
	reply := transport.Message{Header: h}
	var resp wire.IOResponse
	if do.status != wire.StatusOK {
		reply.Header.Status = do.status
		resp.RetryAfterMS = do.retryAfter
	} else {
		reply.Header.Status, reply.Payload = n.serve(h.Op, r, data, &resp)
	}
	if do.flip && reply.Payload != nil {
		reply.Payload.Bytes()[int(r.Length)/2] ^= 0x10
	}
	reply.Meta = resp.AppendTo(nil)
	switch {
	case do.mute || do.kill:
		if reply.Payload != nil {
			reply.Payload.Release()
		}
		if do.kill {
			c.Close(errors.New("scripted"))
		}
	case do.delay > 0:
		n.f.late.Go(func() {
			time.Sleep(do.delay)
			c.Reply([]transport.Message{reply})
		})
	default:
		c.Reply([]transport.Message{reply})
	}
}

// inspect checks what holds for every request that ever arrives anywhere: an op id always means
// the same operation, lies at or above the low-water mark, and carries intact data.
func (f *fake) inspect(op wire.Op, r *wire.IORequest, data []byte) {
	if op == wire.OpFence {
		return
	}
	if want := f.copysetOf(r.Chunk); r.Copyset != want {
		f.breach("chunk %d sent to copyset %d, lives in %d", r.Chunk, r.Copyset, want)
	}
	if int64(r.Offset)+int64(r.Length) > f.chunkBytes {
		f.breach("range %d+%d passes the chunk", r.Offset, r.Length)
	}
	if op == wire.OpRead {
		return
	}
	if op == wire.OpWrite {
		if err := wire.VerifyPieces(r.CRCs, r.Offset, data); err != nil {
			f.breach("data changed before Done: %v", err)
		}
	}
	if r.OpID == 0 || r.OpID < r.LowWater {
		f.breach("op id %d with low water %d", r.OpID, r.LowWater)
	}
	hash := fnv.New64a()
	_, _ = hash.Write(data)
	shape := opShape{op, r.Copyset, r.Chunk, r.Offset, r.Length, hash.Sum64()}
	f.mu.Lock()
	old, known := f.shapes[opKey{r.Session, r.OpID}]
	f.shapes[opKey{r.Session, r.OpID}] = shape
	f.mu.Unlock()
	if known && old != shape {
		f.breach("op id %d was %+v, is %+v", r.OpID, old, shape)
	}
}

func (f *fake) copysetOf(chunk uint64) uint64 {
	perSegment := uint64(f.segBytes / f.chunkBytes)
	ids := f.segmentCopysets(chunk / perSegment)
	return ids[(chunk%perSegment)%uint64(len(ids))]
}

func (f *fake) segmentCopysets(seg uint64) []uint64 {
	// Neither all of them nor in one order, so that a wrong mapping shows.
	n := uint64(len(f.copysets))
	return []uint64{f.copysets[seg%n], f.copysets[(seg+1)%n]}
}

// serve is what a correct node does.
func (n *fakeNode) serve(op wire.Op, r *wire.IORequest, data []byte, resp *wire.IOResponse,
) (wire.Status, *buf.Buf) {
	f := n.f
	f.mu.Lock()
	defer f.mu.Unlock()
	if l := f.leader[r.Copyset]; l != n.index {
		if f.hints && l != none {
			resp.LeaderReplica, resp.LeaderNode = uint64(l+11), uint64(l+1)
			resp.LeaderAddr = *f.nodes[l].addr.Load()
		}
		return wire.StatusNotLeader, nil
	}
	if r.Epoch < f.epoch {
		return wire.StatusStaleEpoch, nil
	}
	if op == wire.OpFence {
		f.fenced[r.Copyset] = max(f.fenced[r.Copyset], r.Epoch)
		return wire.StatusOK, nil
	}
	n.served.Add(1)
	chunk := f.chunks[r.Chunk]
	if chunk == nil {
		chunk = make([]byte, f.chunkBytes)
		f.chunks[r.Chunk] = chunk
	}
	part := chunk[r.Offset : r.Offset+r.Length]
	if op == wire.OpRead {
		b, err := f.pool.Get(int(r.Length))
		if err != nil {
			return wire.StatusOverloaded, nil
		}
		copy(b.Bytes(), part)
		resp.CRCs = wire.ChecksumPieces(nil, r.Offset, part)
		return wire.StatusOK, b
	}
	key := opKey{r.Session, r.OpID}
	for low := f.low[r.Session]; low < r.LowWater; low++ {
		delete(f.applied, opKey{r.Session, low})
	}
	f.low[r.Session] = max(f.low[r.Session], r.LowWater)
	if f.applied[key] || r.OpID < f.low[r.Session] {
		return wire.StatusOK, nil // a repetition
	}
	f.applied[key] = true
	f.effects++
	if op == wire.OpZero {
		clear(part)
	} else {
		copy(part, data)
	}
	return wire.StatusOK, nil
}

func (f *fake) OpenVolume(ctx context.Context, q *v1.OpenVolumeRequest,
) (*v1.OpenVolumeResponse, error) {
	if f.controlDown.Load() {
		return nil, admin.Errorf(admin.ErrUnavailable, "fake control plane is down")
	}
	if q.Name != "vol" {
		return nil, admin.Errorf(admin.ErrNotFound, "volume %q does not exist", q.Name)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.sessions++
	if !q.ReadOnly {
		f.epoch++
	}
	return &v1.OpenVolumeResponse{
		Volume: &v1.Volume{VolumeId: 7, Name: q.Name, SizeBytes: uint64(f.size),
			SegmentBytes: uint64(f.segBytes), ChunkBytes: uint64(f.chunkBytes)},
		SessionId: f.sessions, Epoch: f.epoch, LeaseMs: 300, ClusterId: "fake",
	}, nil
}

func (f *fake) RenewSession(context.Context, *v1.RenewSessionRequest,
) (*v1.RenewSessionResponse, error) {
	f.renewals.Add(1)
	if f.controlDown.Load() {
		return nil, admin.Errorf(admin.ErrUnavailable, "fake control plane is down")
	}
	if reason := f.void.Load(); reason != nil {
		return &v1.RenewSessionResponse{Reason: *reason}, nil
	}
	return &v1.RenewSessionResponse{Valid: true,
		Volume: &v1.Volume{VolumeId: 7, SizeBytes: uint64(f.sizeNow())}}, nil
}

func (f *fake) CloseSession(context.Context, *v1.CloseSessionRequest,
) (*v1.CloseSessionResponse, error) {
	f.closed.Add(1)
	return &v1.CloseSessionResponse{}, nil
}

func (f *fake) LookupSegments(_ context.Context, q *v1.LookupSegmentsRequest,
) (*v1.LookupSegmentsResponse, error) {
	f.lookups.Add(1)
	if f.controlDown.Load() {
		return nil, admin.Errorf(admin.ErrUnavailable, "fake control plane is down")
	}
	resp := &v1.LookupSegmentsResponse{}
	for seg := q.First; seg < q.First+q.Count && int64(seg)*f.segBytes < f.sizeNow(); seg++ {
		resp.Segments = append(resp.Segments,
			&v1.Segment{Index: seg, CopysetIds: f.segmentCopysets(seg)})
	}
	for _, id := range f.copysets {
		resp.Copysets = append(resp.Copysets, f.copyset(id))
	}
	return resp, nil
}

func (f *fake) LookupCopysets(_ context.Context, q *v1.LookupCopysetsRequest,
) (*v1.LookupCopysetsResponse, error) {
	f.lookups.Add(1)
	if f.controlDown.Load() {
		return nil, admin.Errorf(admin.ErrUnavailable, "fake control plane is down")
	}
	resp := &v1.LookupCopysetsResponse{}
	for _, id := range q.CopysetIds {
		resp.Copysets = append(resp.Copysets, f.copyset(id))
	}
	return resp, nil
}

func (f *fake) Close() error { return nil }

func (f *fake) copyset(id uint64) *v1.Copyset {
	f.mu.Lock()
	defer f.mu.Unlock()
	cs := &v1.Copyset{CopysetId: id, Epoch: uint64(1 + len(f.replaced))}
	for i := range min(testMembers, len(f.nodes)) {
		if other, ok := f.replaced[i]; ok {
			i = other
		}
		cs.Replicas = append(cs.Replicas, &v1.Replica{
			ReplicaId: uint64(i + 11), NodeId: uint64(i + 1), Addr: *f.nodes[i].addr.Load(),
		})
	}
	if l := f.leader[id]; l != none {
		cs.LeaderReplicaId = uint64(l + 11)
	}
	return cs
}

// connect makes a client of f.
func (f *fake) connect(change func(*Config)) *Client {
	f.t.Helper()
	cfg := Config{Control: f, Name: "test", Logger: quiet(), Timeout: 10 * time.Second, Seed: 1}
	if change != nil {
		change(&cfg)
	}
	c, err := Connect(context.Background(), cfg)
	if err != nil {
		f.t.Fatal(err)
	}
	f.t.Cleanup(func() {
		if err := c.Close(); err != nil {
			f.t.Error(err)
		}
	})
	return c
}

// open connects to f and attaches its volume.
func (f *fake) open(change func(*Config), opts ...OpenOption) *Volume {
	f.t.Helper()
	c := f.connect(change)
	v, err := c.OpenVolume(context.Background(), "vol", opts...)
	if err != nil {
		f.t.Fatal(err)
	}
	f.opening = v.Stats().Requests
	return v
}

// hasten bounds the operations that follow: the volume was opened, and the leader found, within the
// default.
func hasten(v *Volume, d time.Duration) { v.c.cfg.Timeout = d }

func (f *fake) appliedCount() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.effects
}
