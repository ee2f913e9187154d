package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/ashlar-storage/ashlar/dataplane/copyset"
	"github.com/ashlar-storage/ashlar/io/buf"
	"github.com/ashlar-storage/ashlar/io/disk"
	"github.com/ashlar-storage/ashlar/rpc/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	block     = buf.BlockSize
	testChunk = 1 << 20
	copysets  = 2 // ids 1..2, on every store
	listPage  = 4 // chunks of one answer
)

// rig is stores that know each other, without a network.
type rig struct {
	t      testing.TB
	pool   *buf.Pool
	disks  []*disk.Sim
	mu     sync.Mutex
	sums   func(crcs []uint32) // sees what PeerSums answers, and may change it
	stores []*Store            // nil: down
	mute   *Store              // its messages are lost
	opID   uint64
	limit  int64          // of the chunk files
	asked  map[uint64]int // reads of more than one block, by chunk
	adapt  func(i int, cfg *Config)
	lost   func(to copyset.Peer) bool
	// filling, if set, is called before each read of more than one block.
	filling func()
	// restarted: the disks have the replicas already.
	restarted bool
	// patience is how long the last checkpoint of a stop may take.
	patience time.Duration
}

// newRig makes n stores on simulated disks, with every copyset on all of them.
func newRig(t testing.TB, n int, change func(r *rig)) *rig {
	pool, err := buf.NewPool(buf.Config{Bytes: 64 << 20})
	if err != nil {
		t.Fatal(err)
	}
	r := &rig{t: t, pool: pool, stores: make([]*Store, n), asked: map[uint64]int{},
		patience: 5 * time.Second}
	for i := range n {
		r.disks = append(r.disks, disk.NewSim(disk.SimConfig{Seed: uint64(i)}))
	}
	if change != nil {
		change(r)
	}
	for i := range n {
		r.open(i)
	}
	t.Cleanup(func() {
		for i := range r.stores {
			r.close(i)
		}
		if err := pool.Close(); err != nil {
			t.Error(err)
		}
	})
	if !r.restarted {
		r.ensure()
	}
	return r
}

func (r *rig) config(i int) Config {
	logger := slog.New(slog.DiscardHandler)
	if testing.Verbose() && os.Getenv("ASHLAR_LOG") != "" {
		logger = slog.New(slog.NewTextHandler(os.Stderr, nil))
	}
	cfg := Config{Disk: r.disks[i], Path: fmt.Sprintf("disk%d", i), Pool: r.pool, Host: r,
		ChunkSize: testChunk, SegmentSize: 1 << 20, LogBytes: 8 << 20, ReserveChunks: 1,
		LimitBytes: r.limit, Logger: logger, ScrubBytes: -1}
	if r.adapt != nil {
		r.adapt(i, &cfg)
	}
	return cfg
}

func (r *rig) open(i int) {
	r.t.Helper()
	s, err := Open(r.config(i))
	if err != nil {
		r.t.Fatal(err)
	}
	r.mu.Lock()
	r.stores[i] = s
	r.mu.Unlock()
	s.Run()
}

// closeOther closes a store that does not lead copyset 1, other than the one given.
func (r *rig) closeOther(keep int) {
	r.t.Helper()
	lead := r.leader(1)
	for i, s := range r.stores {
		if s != nil && i != keep && i != lead {
			r.close(i)
			return
		}
	}
}

// ensure tells every store what replicas it has.
func (r *rig) ensure() {
	r.t.Helper()
	for id := uint64(1); id <= copysets; id++ {
		var peers []copyset.Peer
		for i := range r.stores {
			peers = append(peers, copyset.Peer{ReplicaID: uint64(i + 1), StoreID: uint64(i)})
		}
		for i, s := range r.stores {
			if s == nil {
				continue
			}
			st := copyset.NewState(id, 1, uint64(i+1), peers)
			if err := s.Ensure(st, i == 0); err != nil {
				r.t.Fatal(err)
			}
		}
	}
}

func (r *rig) store(i uint64) *Store {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.stores[i]
}

func (r *rig) close(i int) {
	r.t.Helper()
	s := r.store(uint64(i))
	if s == nil {
		return
	}
	r.mu.Lock()
	r.stores[i] = nil
	r.mu.Unlock()
	ctx, cancel := context.WithTimeout(context.Background(), r.patience)
	defer cancel()
	if err := s.Close(ctx); err != nil && s.Failed() == nil {
		r.t.Error(err)
	}
}

// reopen starts a store again that was closed in good order.
func (r *rig) reopen(i int) {
	r.t.Helper()
	r.disks[i] = r.disks[i].Crash(disk.CrashPlan{Keep: disk.KeepNothing})
	r.open(i)
}

// cutPower stops a store and gives its disk what a power cut leaves. From the cut on nothing leaves
// the store: what it says later rests on writes that the disk does not have.
func (r *rig) cutPower(i int, plan disk.CrashPlan) {
	s := r.store(uint64(i))
	r.setMute(s)
	after := r.disks[i].Crash(plan)
	r.close(i)
	r.setMute(nil)
	r.disks[i] = after
}

func (r *rig) setMute(s *Store) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.mute = s
}

func (r *rig) isMute(s *Store) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.mute == s
}

// Send implements Host: the message is encoded and decoded, as on a wire.
func (r *rig) Send(_ *Owner, s *Store, to copyset.Peer, m copyset.Message) {
	defer m.Release()
	dst := r.store(to.StoreID)
	if dst == nil || r.isMute(s) || r.lost != nil && r.lost(to) {
		return
	}
	for i := range m.Payloads {
		p := &m.Payloads[i]
		if p.Len == 0 || p.B != nil {
			continue
		}
		b, err := r.pool.Get(p.Len)
		if err != nil {
			return
		}
		p.B, p.Buf = b.Bytes(), b
		if err := s.ReadLog(m.Copyset, p, m.PayloadCRCs(i), p.B); err != nil {
			return
		}
	}
	for _, part := range m.Split(nil) {
		r.deliver(dst, &part)
	}
}

func (r *rig) deliver(dst *Store, m *copyset.Message) {
	meta, err := m.AppendTo(nil)
	if err != nil {
		r.t.Error(err)
		return
	}
	pieces, err := m.Body(nil)
	if err != nil {
		r.t.Error(err)
		return
	}
	body := slices.Concat(pieces...)
	var b *buf.Buf
	if len(body) > 0 {
		if b, err = r.pool.Get(len(body)); err != nil {
			return
		}
		copy(b.Bytes(), body)
		defer b.Release()
	}
	got := new(copyset.Message)
	if err := got.Decode(meta, b); err != nil {
		r.t.Error(err)
		return
	}
	owner := dst.Owner(got.Copyset)
	owner.Message(got)
	go owner.Run() // this is a turn of the sender's owner
}

type result struct {
	status wire.Status
	body   []byte
}

// Reply implements Host.
func (r *rig) Reply(_ *Owner, rep *copyset.Reply) {
	res := result{status: rep.Status}
	for _, p := range rep.Body {
		res.body = append(res.body, p...)
	}
	if rep.Status == wire.StatusOK && rep.Request.Kind == copyset.KindRead {
		if err := wire.VerifyPieces(rep.CRCs, rep.Request.Offset, res.body); err != nil {
			r.t.Error(err)
		}
	}
	rep.Free()
	rep.Request.Tag.(chan result) <- res
}

// FlushMessages implements Host.
func (r *rig) FlushMessages(*Owner) {}

// FlushReplies implements Host.
func (r *rig) FlushReplies(*Owner) {}

var errDown = errors.New("store is down")

// PeerChunks implements Host.
func (r *rig) PeerChunks(to copyset.Peer, id, applied uint64) ([]copyset.ListedChunk, error) {
	s := r.store(to.StoreID)
	if s == nil {
		return nil, errDown
	}
	var all []copyset.ListedChunk
	for from := (copyset.Chunk{}); len(all) < 1000; from.Index++ {
		page, status := s.Chunks(id, applied, from, listPage)
		all = append(all, page...)
		if status != wire.StatusOK || len(page) < listPage {
			return all, status.Err()
		}
		from = page[listPage-1].Chunk
	}
	return nil, errors.New("the pages do not end")
}

// PeerBlocks implements Host. Blocks that are all zero come without bytes, as from a node.
func (r *rig) PeerBlocks(to copyset.Peer, id uint64, p copyset.PeerRead) (copyset.Payload,
	[]uint32, error) {
	s := r.store(to.StoreID)
	if s == nil {
		return copyset.Payload{}, nil, errDown
	}
	if p.Count > 1 {
		r.mu.Lock()
		r.asked[p.Chunk.Index]++
		filling := r.filling
		r.mu.Unlock()
		if filling != nil {
			filling()
		}
	}
	type answer struct {
		data []byte
		crcs []uint32
		err  error
	}
	ch := make(chan answer, 1)
	p.Mend = p.Count > 1 // as a node takes it
	p.Done = func(st wire.Status, body [][]byte, crcs []uint32, hold []copyset.Payload) {
		a := answer{crcs: crcs, err: st.Err()}
		for _, b := range body {
			a.data = append(a.data, b...)
		}
		for i := range hold {
			hold[i].Release()
		}
		ch <- a
	}
	if p.Count > 1 {
		s.Owner(id).Fill(id, &p)
	} else {
		s.Owner(id).PeerRead(id, &p)
	}
	select {
	case a := <-ch:
		if a.err != nil || bytes.Count(a.data, []byte{0}) == len(a.data) {
			return copyset.Payload{}, nil, a.err
		}
		b, err := r.pool.Get(len(a.data))
		if err != nil {
			return copyset.Payload{}, nil, err
		}
		copy(b.Bytes(), a.data)
		return copyset.NewPayload(b), a.crcs, nil
	case <-time.After(5 * time.Second):
		return copyset.Payload{}, nil, errDown
	}
}

// PeerSums implements Host.
func (r *rig) PeerSums(to copyset.Peer, id uint64, p copyset.PeerRead) ([]uint32, error) {
	s := r.store(to.StoreID)
	if s == nil {
		return nil, errDown
	}
	got, st := s.ask(id, &copyset.PeerRead{Chunk: p.Chunk, First: p.First, Count: p.Count,
		Applied: p.Applied, Sums: true})
	if r.sums != nil {
		r.sums(got)
	}
	return got, st.Err()
}

// op does one operation on one store and gives its answer.
func (r *rig) op(i int, id uint64, q copyset.Request, data []byte) result {
	r.t.Helper()
	r.mu.Lock()
	r.opID++
	q.Session, q.Epoch, q.OpID, q.LowWater = 1, 1, r.opID, r.opID
	r.mu.Unlock()
	return r.send(i, id, q, data)
}

func (r *rig) send(i int, id uint64, q copyset.Request, data []byte) result {
	r.t.Helper()
	ch := make(chan result, 1)
	q.Tag = ch
	if data != nil {
		b, err := r.pool.Get(len(data))
		if err != nil {
			r.t.Fatal(err)
		}
		copy(b.Bytes(), data)
		q.Payload, q.Length = copyset.NewPayload(b), uint32(len(data))
		q.CRCs = wire.ChecksumPieces(nil, q.Offset, data)
	}
	owner := r.store(uint64(i)).Owner(id)
	if !owner.Submit(id, &q) {
		q.Payload.Release()
		return result{status: wire.StatusUnavailable}
	}
	owner.Run()
	select {
	case res := <-ch:
		return res
	case <-time.After(20 * time.Second):
		r.t.Fatalf("%+v is not answered", q)
		return result{}
	}
}

// onLeader repeats an operation until a replica that leads takes it.
func (r *rig) onLeader(id uint64, q copyset.Request, data []byte) result {
	r.t.Helper()
	end := time.Now().Add(20 * time.Second)
	for try := 0; ; try++ {
		i := try % len(r.stores)
		if r.store(uint64(i)) == nil {
			continue
		}
		res := r.op(i, id, q, data)
		switch res.status {
		case wire.StatusNotLeader, wire.StatusRetry, wire.StatusOverloaded, wire.StatusUnavailable,
			wire.StatusWrongCopyset:
			if time.Now().After(end) {
				r.t.Fatalf("no leader took the operation: %v", res.status)
			}
			time.Sleep(2 * time.Millisecond)
			continue
		}
		return res
	}
}

func (r *rig) write(id, chunk uint64, off uint32, data []byte) wire.Status {
	r.t.Helper()
	return r.onLeader(id, copyset.Request{Kind: copyset.KindWrite, Offset: off,
		Chunk: copyset.Chunk{Volume: 1, Index: chunk}}, data).status
}

func (r *rig) mustWrite(id, chunk uint64, off uint32, data []byte) {
	r.t.Helper()
	if s := r.write(id, chunk, off, data); s != wire.StatusOK {
		r.t.Fatalf("write: %v", s)
	}
}

func (r *rig) read(id, chunk uint64, off, length uint32) result {
	r.t.Helper()
	return r.onLeader(id, copyset.Request{Kind: copyset.KindRead, Offset: off, Length: length,
		Chunk: copyset.Chunk{Volume: 1, Index: chunk}}, nil)
}

func (r *rig) wantRead(id, chunk uint64, off uint32, want []byte) {
	r.t.Helper()
	res := r.read(id, chunk, off, uint32(len(want)))
	if res.status != wire.StatusOK || !bytes.Equal(res.body, want) {
		r.t.Fatalf("read of copyset %d chunk %d at %d: %v, right bytes %v", id, chunk, off,
			res.status, bytes.Equal(res.body, want))
	}
}

// checkpoint takes one on a store.
func (r *rig) checkpoint(i int) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	r.store(uint64(i)).Checkpoint(ctx)
}

// comesBack opens a store again and waits until it has what the leader of copyset 1 has.
func (r *rig) comesBack(i int) {
	r.t.Helper()
	r.reopen(i)
	eventually(r.t, "the replica catches up", func() bool {
		a, b := r.status(i, 1), r.status(r.leader(1), 1)
		return a.Applied == b.Applied && !a.Restoring
	})
}

// recycle takes two checkpoints on every store but one, after which their logs have let go of what
// they do not need.
func (r *rig) recycle(but int) {
	for i := range r.stores {
		if i != but {
			r.checkpoint(i)
			r.checkpoint(i)
		}
	}
}

// pattern is n blocks of bytes that tell where they belong.
func pattern(seed byte, n int) []byte {
	p := make([]byte, n*block)
	for i := range p {
		p[i] = seed + byte(i/block)*7 + byte(i)*13 | 1
	}
	return p
}

// eventually waits for a condition.
func eventually(t testing.TB, what string, cond func() bool) {
	t.Helper()
	for end := time.Now().Add(15 * time.Second); !cond(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("never: %s", what)
		}
	}
}
