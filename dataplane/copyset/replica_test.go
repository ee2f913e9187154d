package copyset

import (
	"errors"
	"log/slog"
	"slices"
	"testing"
	"time"

	"go.etcd.io/raft/v3/raftpb"

	"github.com/ashlar-storage/ashlar/dataplane/lane"
	"github.com/ashlar-storage/ashlar/io/buf"
	"github.com/ashlar-storage/ashlar/rpc/wire"
)

// solo is one replica whose effects the test does by hand.
type solo struct {
	t       *testing.T
	r       *Replica
	pool    *buf.Pool
	fx      Effects
	now     int64
	appends []*Append
	reads   []*ReadJob
	replies []Reply
	sent    []raftpb.Message
}

const soloBlocks = 1024

var discard = slog.New(slog.DiscardHandler)

// newSolo makes a replica of a copyset of the given size; alone, it leads when this returns.
func newSolo(t *testing.T, replicas int) *solo {
	pool, err := buf.NewPool(buf.Config{Bytes: 64 << 20})
	if err != nil {
		t.Fatal(err)
	}
	peers := make([]Peer, replicas)
	for i := range peers {
		peers[i].ReplicaID = uint64(i + 1)
	}
	h := &solo{t: t, pool: pool, now: 1}
	h.r, err = New(Config{State: NewState(1, 1, 1, peers), ChunkBlocks: soloBlocks, Pool: pool,
		Now: h.now, Logger: discard})
	if err != nil {
		t.Fatal(err)
	}
	if replicas == 1 {
		h.r.Campaign()
		h.settle()
		if !h.r.Serving() {
			t.Fatal("a copyset of one does not lead itself")
		}
	}
	t.Cleanup(h.close)
	return h
}

// turn ends a batch of calls and takes the effects.
func (h *solo) turn() {
	h.now += int64(time.Millisecond)
	h.r.Ready(h.now, &h.fx)
	h.appends = append(h.appends, h.fx.Appends...)
	h.reads = append(h.reads, h.fx.Reads...)
	h.replies = append(h.replies, h.fx.Replies...)
	for i := range h.fx.Messages {
		h.sent = append(h.sent, h.fx.Messages[i].Message)
		h.fx.Messages[i].Release()
	}
	h.fx.Reset()
}

// settle ends a batch and makes everything durable that it wants written.
func (h *solo) settle() {
	h.turn()
	for len(h.appends) > 0 {
		a := h.appends[0]
		h.appends = h.appends[1:]
		for i := range a.Records {
			a.Records[i].At = 4096
		}
		h.r.AppendDone(a, h.now, &h.fx)
		h.turn()
	}
}

func (h *solo) close() {
	h.r.Stop(errors.New("test over"), &h.fx)
	for len(h.appends)+len(h.reads) > 0 {
		for _, a := range h.appends {
			a.Err = errPower
			h.r.AppendDone(a, h.now, &h.fx)
		}
		for _, job := range h.reads {
			job.Err = errPower
			h.r.ReadDone(job, h.now, &h.fx)
		}
		h.appends, h.reads = nil, nil
		h.turn()
	}
	h.turn()
	for i := range h.replies {
		h.replies[i].Free()
	}
	h.r.Free()
	if err := h.pool.Close(); err != nil {
		h.t.Error(err)
	}
}

func (h *solo) request(kind Kind, off, length uint32, op uint64) *Request {
	q := &Request{Kind: kind, Chunk: Chunk{Volume: 1}, Offset: off, Length: length, Session: 5,
		Epoch: 1, OpID: op, LowWater: 1}
	if kind == KindWrite {
		b, err := h.pool.Get(int(length))
		if err != nil {
			h.t.Fatal(err)
		}
		for i := range b.Bytes() {
			b.Bytes()[i] = byte(op)
		}
		q.Payload = NewPayload(b)
		q.CRCs = wire.ChecksumPieces(nil, off, b.Bytes())
	}
	return q
}

func (h *solo) submit(q *Request) { h.r.Submit(q, h.now, &h.fx) }

// answer is the status of the only answer since the last call.
func (h *solo) answer() wire.Status {
	h.t.Helper()
	if len(h.replies) != 1 {
		h.t.Fatalf("%d answers, want 1", len(h.replies))
	}
	rep := h.replies[0]
	rep.Free()
	h.replies = nil
	return rep.Status
}

func TestFailedAppendRefusesWhatIsHeld(t *testing.T) {
	h := newSolo(t, 1)
	h.submit(h.request(KindWrite, 0, BlockSize, 1))
	h.submit(h.request(KindWrite, 100, 100, 2)) // waits in the lane
	h.turn()
	if len(h.appends) != 1 || len(h.replies) != 0 {
		t.Fatalf("%d appends, %d answers", len(h.appends), len(h.replies))
	}
	a := h.appends[0]
	h.appends = nil
	a.Err = errors.New("device lost")
	h.r.AppendDone(a, h.now, &h.fx)
	h.turn()
	h.r.Stop(h.r.Err(), &h.fx)
	h.turn()
	if len(h.replies) != 2 {
		t.Fatalf("%d of 2 requests answered after the log failed", len(h.replies))
	}
	for _, rep := range h.replies {
		if rep.Status == wire.StatusOK {
			t.Error("a write was acknowledged that is not in the log")
		}
	}
	h.replies = nil
	h.submit(h.request(KindWrite, 0, BlockSize, 3))
	h.turn()
	if s := h.answer(); s != wire.StatusUnavailable {
		t.Errorf("a write after the failure is answered %v", s)
	}
}

func TestStopWhileBlocksAreReadRefusesTheMerge(t *testing.T) {
	h := newSolo(t, 1)
	h.submit(h.request(KindWrite, 100, 100, 1))
	h.turn()
	if len(h.reads) != 1 {
		t.Fatalf("%d reads for a partial write", len(h.reads))
	}
	h.r.Stop(errors.New("stopped"), &h.fx)
	job := h.reads[0]
	h.reads = nil
	h.r.ReadDone(job, h.now, &h.fx)
	h.turn()
	if s := h.answer(); s == wire.StatusOK {
		t.Error("acknowledged by a stopped replica")
	}
}

func TestReadThatLosesItsLeaseWhileStoppedIsAnswered(t *testing.T) {
	h := newSolo(t, 1)
	h.submit(h.request(KindRead, 0, BlockSize, 0))
	h.turn()
	h.r.lease.given = true // as a hand-over does
	h.r.Stop(errors.New("stopped"), &h.fx)
	job := h.reads[0]
	h.reads = nil
	h.r.ReadDone(job, h.now, &h.fx)
	h.turn()
	h.answer()
}

func TestRequestsAreCheckedBeforeTheyAreTaken(t *testing.T) {
	h := newSolo(t, 1)
	for name, c := range map[string]struct {
		change func(q *Request)
		want   wire.Status
	}{
		"empty": {func(q *Request) { q.Length, q.Kind = 0, KindRead }, wire.StatusBadRequest},
		"past the end": {func(q *Request) {
			q.Offset = soloBlocks * BlockSize
		}, wire.StatusOutOfRange},
		"wraps around":  {func(q *Request) { q.Offset = 1<<32 - 100 }, wire.StatusOutOfRange},
		"no session":    {func(q *Request) { q.Session = 0 }, wire.StatusBadRequest},
		"short payload": {func(q *Request) { q.Length = 100 }, wire.StatusBadRequest},
		"too long a read": {func(q *Request) {
			q.Kind, q.Length = KindRead, MaxOpBytes+1
		}, wire.StatusBadRequest},
		"one block too many": {func(q *Request) {
			q.Kind, q.Offset, q.Length = KindRead, 1, MaxOpBytes
		}, wire.StatusBadRequest},
	} {
		q := h.request(KindWrite, 0, BlockSize, 1)
		c.change(q)
		h.submit(q)
		h.turn()
		if s := h.answer(); s != c.want {
			t.Errorf("%s: answered %v, want %v", name, s, c.want)
		}
	}
	if n := h.r.lanes.Len(); n != 0 {
		t.Errorf("%d operations are in the lanes", n)
	}
}

func TestFollowerRefusesAndNamesTheLeader(t *testing.T) {
	h := newSolo(t, 3)
	h.submit(h.request(KindWrite, 0, BlockSize, 1))
	h.turn()
	if s := h.answer(); s != wire.StatusNotLeader {
		t.Errorf("answered %v", s)
	}
	h.heartbeat(2, 1)
	h.submit(h.request(KindWrite, 0, BlockSize, 1))
	h.turn()
	if l := h.replies[0].Leader; l == nil || l.ReplicaID != 2 {
		t.Errorf("leader %v, want replica 2", l)
	}
	h.answer()
}

func (h *solo) heartbeat(from, term uint64) {
	m := &Message{Copyset: 1, Stamp: 77, Message: raftpb.Message{Type: raftpb.MsgHeartbeat,
		From: from, To: 1, Term: term}}
	h.r.Message(m, h.now, &h.fx)
	h.settle()
}

func TestPendingRequestsAreBounded(t *testing.T) {
	h := newSolo(t, 1)
	for i := range MaxPending {
		h.submit(h.request(KindZero, 0, BlockSize, uint64(i+1)))
	}
	h.submit(h.request(KindZero, 0, BlockSize, MaxPending+1))
	h.turn()
	if s := h.replies[0].Status; s != wire.StatusOverloaded {
		t.Errorf("answered %v, want overloaded", s)
	}
	h.settle()
	if len(h.replies) != MaxPending+1 {
		t.Errorf("%d of %d answered", len(h.replies), MaxPending+1)
	}
}

// TestFollowerKeepsItsPromiseLongerThanTheLease counts how long a follower that took a leader's
// message refuses others, with ticks as early as they can come.
func TestFollowerKeepsItsPromiseLongerThanTheLease(t *testing.T) {
	h := newSolo(t, 3)
	h.heartbeat(2, 1)
	taken := h.now
	at := taken // the tick that waited while the turn was late
	for tick := 1; ; tick++ {
		if tick > 2 { // the second comes at once too, as it is due
			at += int64(TickInterval)
		}
		h.r.Tick(at)
		h.r.Message(&Message{Copyset: 1, Message: raftpb.Message{Type: raftpb.MsgPreVote, From: 3,
			To: 1, Term: 2, Index: 100, LogTerm: 9}}, at, &h.fx)
		granted := false
		h.r.Ready(at, &h.fx)
		for i := range h.fx.Messages {
			m := &h.fx.Messages[i]
			granted = granted || m.Type == raftpb.MsgPreVoteResp && !m.Reject
		}
		h.fx.Reset()
		if granted {
			break
		}
		if tick > 3*electionTicks {
			t.Fatal("never votes again")
		}
	}
	const drift = 10 // in a hundred
	promise := time.Duration(at-taken) * (100 - drift) / 100
	if lease := time.Duration((&lease{acked: map[uint64]int64{2: 1}}).until(1,
		&raftpb.ConfState{Voters: []uint64{1, 2, 3}}, 1) - 1); lease > promise {
		t.Errorf("the lease is %v, the promise on a slow clock %v", lease, promise)
	}
}

// receive hands over a raft message from another member and settles what follows.
func (h *solo) receive(m raftpb.Message) {
	m.To = 1
	h.r.Message(&Message{Copyset: 1, Message: m}, h.now, &h.fx)
	h.settle()
}

// elect makes replica 1 of three the leader, by the votes of replica 2.
func (h *solo) elect() {
	h.t.Helper()
	h.now += int64(promiseDuration) // made to who led before
	h.r.now = h.now
	h.r.Campaign()
	h.settle()
	term := h.r.Status().Term + 1
	h.receive(raftpb.Message{Type: raftpb.MsgPreVoteResp, From: 2, Term: term})
	h.receive(raftpb.Message{Type: raftpb.MsgVoteResp, From: 2, Term: term})
	h.receive(raftpb.Message{Type: raftpb.MsgAppResp, From: 2, Term: term,
		Index: h.r.entries.last()})
	if !h.r.Serving() {
		h.t.Fatalf("not elected: %+v", h.r.Status())
	}
}

func TestMergeIsNotMadeFromBlocksOfAnEarlierTerm(t *testing.T) {
	h := newSolo(t, 3)
	h.elect()
	h.submit(h.request(KindWrite, 100, 100, 1))
	h.submit(h.request(KindZero, 2*BlockSize+100, 100, 2))
	h.turn()
	jobs := h.reads
	h.reads = nil
	h.heartbeat(2, h.r.status.Term+1) // another leads, and may write
	h.elect()
	last := h.r.entries.last()
	for _, job := range jobs {
		h.r.ReadDone(job, h.now, &h.fx)
	}
	h.settle()
	if h.r.entries.last() != last || len(h.replies) != 2 {
		t.Errorf("%d entries proposed, %d answers", h.r.entries.last()-last, len(h.replies))
	}
	for _, rep := range h.replies {
		if rep.Status != wire.StatusNotLeader {
			t.Errorf("answered %v", rep.Status)
		}
	}
	h.replies = nil
}

// entryFrom is an append message with one write of one block.
func (h *solo) entryFrom(leader, term, index uint64) *Message {
	h.t.Helper()
	q := h.request(KindWrite, 0, BlockSize, term)
	c := Command{Kind: CmdWrite, Session: 1, OpID: term, Volume: 1, Count: 1, CRCs: q.CRCs}
	return &Message{Copyset: 1, Payloads: []Payload{q.Payload}, Message: raftpb.Message{
		Type: raftpb.MsgApp, From: leader, To: 1, Term: term, Index: index - 1,
		Entries: []raftpb.Entry{{Term: term, Index: index, Data: c.AppendTo(nil)}}}}
}

func TestPayloadOutlivesItsEntryWhileItIsWritten(t *testing.T) {
	h := newSolo(t, 3)
	h.r.Message(h.entryFrom(2, 1, 1), h.now, &h.fx)
	h.turn()
	h.r.Message(h.entryFrom(3, 2, 1), h.now, &h.fx) // takes the place of the first
	h.turn()
	if n := h.pool.Stats().InUseBufs; n != 2 {
		t.Errorf("%d buffers in use while two are being written", n)
	}
	h.settle()
	if n := h.pool.Stats().InUseBufs; n != 1 {
		t.Errorf("%d buffers in use after both are written, want that of the entry", n)
	}
}

// newFollower is one of three replicas that has applied one write, which waits in the overlay.
func newFollower(t *testing.T) *solo {
	t.Helper()
	h := newSolo(t, 3)
	h.r.Message(h.entryFrom(2, 1, 1), h.now, &h.fx)
	h.settle()
	h.receive(raftpb.Message{Type: raftpb.MsgHeartbeat, From: 2, Term: 1, Commit: 1})
	return h
}

func TestFetchWaitsForFlushesUnderWay(t *testing.T) {
	h := newFollower(t)
	h.r.SetMemory(MemoryShort)
	h.r.Ready(h.now, &h.fx)
	if len(h.fx.Flushes) != 1 {
		t.Fatalf("%d flushes under pressure", len(h.fx.Flushes))
	}
	flush := h.fx.Flushes[0]
	h.turn()
	h.offer(50)
	if len(h.fx.Snapshots) != 0 {
		t.Error("the fetch begins beside a flush, which may write older bytes over fetched ones")
	}
	h.r.FlushDone(flush, h.now, &h.fx)
	h.r.Ready(h.now, &h.fx)
	if len(h.fx.Snapshots) != 1 {
		t.Fatalf("%d fetches after the flush", len(h.fx.Snapshots))
	}
	h.r.SnapshotDone(h.fx.Snapshots[0], h.now, &h.fx)
	h.settle()
	if h.r.Applied() != 50 || h.r.entries.base != 50 {
		t.Errorf("applied %d, log from %d", h.r.Applied(), h.r.entries.base+1)
	}
}

// What is nowhere but in the log keeps the store's log from there on, for as long as a fetch takes.
func TestFetchBeginsWhenTheOverlayIsFlushed(t *testing.T) {
	h := newFollower(t)
	h.turn()
	h.offer(50)
	if len(h.fx.Snapshots) != 0 || len(h.fx.Flushes) != 1 {
		t.Fatalf("%d fetches, %d flushes", len(h.fx.Snapshots), len(h.fx.Flushes))
	}
	flush := h.fx.Flushes[0]
	h.turn()
	h.r.FlushDone(flush, h.now, &h.fx)
	h.r.Ready(h.now, &h.fx)
	if len(h.fx.Snapshots) != 1 {
		t.Fatalf("%d fetches after the flush", len(h.fx.Snapshots))
	}
	fetch := h.fx.Snapshots[0]
	h.turn()
	h.r.BeginCheckpoint()
	if !h.r.Drained() {
		t.Error("a checkpoint cannot be taken while chunks are fetched")
	}
	h.r.EndCheckpoint(&h.fx)
	h.settle()
	if index, _ := h.r.CheckpointIndex(); index != 0 || h.r.stateIndex != 1 || h.r.CheckpointDue() {
		t.Errorf("recorded up to %d", h.r.stateIndex)
	}
	if at := h.r.stateAt; h.r.CheckpointHelps(at) || !h.r.CheckpointHelps(at+1) {
		t.Errorf("another would record the state at %d again for the log before it alone", at)
	}
	h.r.SnapshotDone(fetch, h.now, &h.fx)
	h.settle()
	if h.r.Applied() != 50 {
		t.Errorf("applied %d", h.r.Applied())
	}
}

func TestFetchDoesNotWaitForWhatCannotBeFlushed(t *testing.T) {
	h := newFollower(t)
	h.turn()
	h.offer(50)
	for began := h.now; len(h.fx.Snapshots) == 0; h.now += flushRetry {
		if h.now-began > int64(fillDrain)+2*flushRetry {
			t.Fatal("the fetch does not begin")
		}
		flushes := slices.Clone(h.fx.Flushes)
		h.fx.Reset()
		for _, job := range flushes {
			job.Err = errPower
			h.r.FlushDone(job, h.now, &h.fx)
		}
		h.r.Ready(h.now, &h.fx)
	}
	fetch := h.fx.Snapshots[0]
	h.turn()
	h.r.SnapshotDone(fetch, h.now, &h.fx)
	h.settle()
	if h.r.Applied() != 50 || h.r.overlay.blocks != 0 {
		t.Errorf("applied %d, %d blocks wait", h.r.Applied(), h.r.overlay.blocks)
	}
}

// offer hands over the marker of replica 2, which leads in term 1, at an index.
func (h *solo) offer(index uint64) {
	st := NewState(1, 1, 2, h.r.Peers())
	st.Applied, st.AppliedTerm = index, 1
	meta := raftpb.SnapshotMetadata{Index: index, Term: 1,
		ConfState: raftpb.ConfState{Voters: []uint64{1, 2, 3}}}
	m := raftpb.Message{Type: raftpb.MsgSnap, From: 2, To: 1, Term: 1,
		Snapshot: &raftpb.Snapshot{Data: st.AppendTo(nil), Metadata: meta}}
	h.r.Message(&Message{Copyset: 1, Message: m}, h.now, &h.fx)
	h.r.Ready(h.now, &h.fx)
}

// A replica that is beyond the leader's log again right after it was filled, or could not be
// filled, would go on so for ever at the pace of the clients.
func TestSecondFetchInARowIsUrgent(t *testing.T) {
	h := newSolo(t, 3)
	h.heartbeat(2, 1)
	fill := func(index uint64, err error) bool {
		h.offer(index)
		if len(h.fx.Snapshots) != 1 {
			t.Fatalf("%d fetches", len(h.fx.Snapshots))
		}
		job := h.fx.Snapshots[0]
		h.fx.Reset()
		job.Err = err
		h.r.SnapshotDone(job, h.now, &h.fx)
		h.settle()
		return job.Urgent
	}
	if fill(50, nil) {
		t.Error("the first one is urgent")
	}
	h.now += int64(time.Second)
	if !fill(60, errPower) {
		t.Error("the second one is not")
	}
	if !fill(60, nil) {
		t.Error("after one that failed, it is not")
	}
	h.now += int64(fillAgain)
	if fill(70, nil) {
		t.Error("a long time after the last, it is")
	}
}

func TestReadWithoutALeaseWaitsForProof(t *testing.T) {
	h := newSolo(t, 3)
	h.elect()
	h.r.overlay.zeroChunk(Chunk{Volume: 1}, 1) // so that no disk is asked
	read := func() []byte {
		h.sent = nil
		h.submit(h.request(KindRead, 0, BlockSize, 0))
		h.turn()
		if len(h.replies) != 0 {
			t.Fatalf("answered %v without lease or proof", h.replies[0].Status)
		}
		for _, m := range h.sent {
			if m.Type == raftpb.MsgHeartbeat && len(m.Context) > 0 {
				return m.Context
			}
		}
		t.Fatal("no proof is asked for")
		return nil
	}
	term := h.r.status.Term
	proof := raftpb.Message{Type: raftpb.MsgHeartbeatResp, From: 2, Term: term, Context: read()}
	h.receive(raftpb.Message{Type: raftpb.MsgHeartbeatResp, From: 2, Term: term})
	if len(h.replies) != 0 {
		t.Error("an answer to another heartbeat counts as proof")
	}
	h.receive(proof)
	if s := h.answer(); s != wire.StatusOK {
		t.Errorf("proven, and answered %v", s)
	}
	read()
	h.heartbeat(2, term+1)
	if s := h.answer(); s != wire.StatusNotLeader {
		t.Errorf("deposed, and answered %v", s)
	}
}

func TestReadUnderTheLeaseIsAnsweredAtOnce(t *testing.T) {
	h := newSolo(t, 3)
	h.elect()
	h.r.overlay.zeroChunk(Chunk{Volume: 1}, 1)
	h.r.lease.answer(2, h.now)
	h.submit(h.request(KindRead, 0, BlockSize, 0))
	h.turn()
	if s := h.answer(); s != wire.StatusOK {
		t.Errorf("answered %v", s)
	}
	h.now += int64(leaseDuration)
	h.submit(h.request(KindRead, 0, BlockSize, 0))
	h.turn()
	if len(h.replies) != 0 {
		t.Error("answered under a lease that has run out")
	}
	h.r.lease.answer(2, h.now)
	h.r.Transfer(2)
	h.submit(h.request(KindRead, 0, BlockSize, 0))
	h.turn()
	if len(h.replies) != 0 {
		t.Error("answered under a lease that was given away")
	}
}

func TestReadIndexModeTrustsNoLease(t *testing.T) {
	h := newSolo(t, 3)
	h.r.readIndex = true
	h.elect()
	h.r.overlay.zeroChunk(Chunk{Volume: 1}, 1)
	h.r.lease.answer(2, h.now)
	h.sent = nil
	h.submit(h.request(KindRead, 0, BlockSize, 0))
	h.turn()
	if len(h.replies) != 0 {
		t.Fatal("answered without asking anybody")
	}
	for _, m := range h.sent {
		if m.Type == raftpb.MsgHeartbeat && m.To == 2 {
			h.receive(raftpb.Message{Type: raftpb.MsgHeartbeatResp, From: 2, Term: m.Term,
				Context: m.Context})
		}
	}
	if s := h.answer(); s != wire.StatusOK {
		t.Errorf("proven, and answered %v", s)
	}
}

func TestFenceEndsOlderSessions(t *testing.T) {
	h := newSolo(t, 1)
	ask := func(kind Kind, epoch, op uint64) wire.Status {
		q := h.request(kind, 0, BlockSize, op)
		q.Epoch, q.Session = epoch, epoch
		if kind == KindFence {
			q.Length = 0
		}
		h.submit(q)
		h.settle()
		return h.replies[len(h.replies)-1].Status
	}
	for _, c := range []struct {
		kind  Kind
		epoch uint64
		want  wire.Status
	}{
		{KindWrite, 1, wire.StatusOK},
		{KindFence, 3, wire.StatusOK},
		{KindWrite, 1, wire.StatusStaleEpoch},
		{KindZero, 2, wire.StatusStaleEpoch},
		{KindFence, 2, wire.StatusStaleEpoch},
		{KindFence, 3, wire.StatusOK}, // sent again
		{KindWrite, 3, wire.StatusOK},
		{KindFence, 0, wire.StatusBadRequest},
	} {
		if got := ask(c.kind, c.epoch, 1); got != c.want {
			t.Errorf("kind %d of epoch %d: %v, want %v", c.kind, c.epoch, got, c.want)
		}
	}
}

// A write that was proposed before a fence and commits after it has no effect.
func TestFenceCatchesWhatIsUnderWay(t *testing.T) {
	h := newSolo(t, 3)
	h.elect()
	h.submit(h.request(KindFence, 0, 0, 0))
	h.submit(h.request(KindWrite, 0, BlockSize, 1)) // admitted: the fence has not come by
	fence := h.r.proposals[0]
	fence.cmd = (&Command{Kind: CmdFence, Epoch: 2, Volume: 1}).AppendTo(nil)
	h.settle()
	h.receive(raftpb.Message{Type: raftpb.MsgAppResp, From: 2, Term: h.r.status.Term,
		Index: h.r.entries.last()})
	if len(h.replies) != 2 || h.replies[1].Status != wire.StatusStaleEpoch {
		t.Errorf("%+v", h.replies)
	}
	if h.r.overlay.blocks != 0 {
		t.Error("the write took effect")
	}
}

// TestReadsOfClientsAllocateNothing: once there are jobs to use again.
func TestReadsOfClientsAllocateNothing(t *testing.T) {
	h := newSolo(t, 1)
	q := new(Request)
	cycle := func() {
		*q = Request{Kind: KindRead, Chunk: Chunk{Volume: 1}, Length: 2 * BlockSize}
		h.r.Submit(q, h.now, &h.fx)
		h.r.Ready(h.now, &h.fx)
		job := h.fx.Reads[0]
		h.fx.Reset()
		h.r.ReadDone(job, h.now, &h.fx)
		if rep := &h.fx.Replies[0]; rep.Status != wire.StatusOK || len(rep.Body) == 0 {
			t.Fatalf("answered %v", rep.Status)
		}
		h.fx.Replies[0].Free()
		h.fx.Reset()
	}
	if n := testing.AllocsPerRun(200, cycle); n != 0 && !raceEnabled {
		t.Errorf("%v allocations for each read", n)
	}
}

// A newer write of a block takes its place in the overlay, after which no checkpoint waits for the
// older one; but somebody reads it still.
func TestLogIsKeptWhileAJobReadsIt(t *testing.T) {
	h := newSolo(t, 1)
	h.r.stateAt, h.r.stateIndex = 1<<20, h.r.applied
	if at := h.r.Needs(); at != 1<<20 {
		t.Fatalf("needs the log from %d", at)
	}
	job := &ReadJob{Replica: h.r, abandoned: true, Parts: []ReadPart{{}, {At: 12288}, {At: 8192}},
		op: lane.Op{Chunk: Chunk{Volume: 1}, Count: 1, Mode: lane.Read}}
	if !h.r.lanes.Enter(&job.op) {
		t.Fatal("somebody else is in the lane")
	}
	h.r.ask(job, &h.fx)
	h.fx.Reset()
	if at := h.r.Needs(); at != 8192 {
		t.Errorf("needs the log from %d while a job reads at 8192", at)
	}
	h.r.ReadDone(job, h.now, &h.fx)
	if at := h.r.Needs(); at != 1<<20 {
		t.Errorf("needs the log from %d when the job has ended", at)
	}
}
