package copyset

import (
	"encoding/binary"
	"fmt"
	"slices"

	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"
	"go.etcd.io/raft/v3/tracker"

	"github.com/ashlar-storage/ashlar/io/wal"
	"github.com/ashlar-storage/ashlar/rpc/wire"
)

// The kinds of log records. Part of the log format; the numbers must not change.
const (
	// RecordEntry is a raft entry with its payload: meta is the command, empty for the entry with
	// which a leader begins its term.
	RecordEntry wal.Kind = 1
	// RecordHard is raft's term, vote (meta, u64) and commit index (the record's index).
	RecordHard wal.Kind = 2
	// RecordState is a State, in the payload: everything up to its applied index is in the chunk
	// files.
	RecordState wal.Kind = 3
	// RecordConf is a raft entry that changes the membership: meta is raft's ConfChangeV2.
	RecordConf wal.Kind = 4
	// RecordPlaced is a RecordEntry whose payload stands in a slot file (place.go).
	RecordPlaced wal.Kind = 5
)

// Message takes a raft message from another replica and gives its payload references back.
func (r *Replica) Message(m *Message, now int64, fx *Effects) {
	r.now = now
	defer m.Release()
	if r.err != nil || r.unheard(m) {
		return
	}
	switch m.Type {
	case raftpb.MsgVote, raftpb.MsgPreVote:
		if !r.mayElect() {
			return
		}
		if r.bound(m) {
			r.hearRest(m) // somebody misses the leader
			return
		}
		r.doubt()
	case raftpb.MsgTimeoutNow:
		if r.retiring {
			return
		}
	case raftpb.MsgHeartbeat:
		if r.forgot(m) {
			return
		}
	case raftpb.MsgSnap:
		r.offerSnapshot(m, fx)
		return
	case raftpb.MsgApp:
		r.stageEntries(m)
	}
	r.hearRest(m)
	r.ignore(r.node.Step(m.Message))
	r.noteStamp(m, now)
}

// noteStamp keeps the leader's clock to echo it, and takes echoes as answers for the lease.
func (r *Replica) noteStamp(m *Message, now int64) {
	switch m.Type {
	case raftpb.MsgApp, raftpb.MsgHeartbeat:
		if s := r.node.BasicStatus(); s.Term == m.Term && s.Lead == m.From {
			if r.stampTerm != m.Term {
				r.stampTerm, r.leaderStamp = m.Term, 0
			}
			r.leaderStamp = max(r.leaderStamp, m.Stamp)
			r.leaderHeard, r.leaderFrom = now, m.From
		}
	case raftpb.MsgAppResp, raftpb.MsgHeartbeatResp:
		if m.Type == raftpb.MsgHeartbeatResp {
			r.heard = append(r.heard, m.From)
		}
		if r.leading() && m.Term == r.status.Term && m.Stamp != 0 {
			r.lease.answer(m.From, m.Stamp)
		}
	}
}

// stageEntries holds the payloads until raft says which entries it took.
func (r *Replica) stageEntries(m *Message) {
	for i := range m.Entries {
		if i < len(m.Payloads) && m.Payloads[i].Len > 0 {
			e := &m.Entries[i]
			r.staged = append(r.staged, stagedEntry{e.Index, e.Term, m.Payloads[i].Retain()})
		}
	}
}

func (r *Replica) unstage(index, term uint64) Payload {
	for i := range r.staged {
		if s := &r.staged[i]; s.index == index && s.term == term {
			p := s.payload
			s.payload = Payload{}
			s.index = 0
			return p
		}
	}
	return Payload{}
}

// dropStaged lets the payloads go that raft did not take.
func (r *Replica) dropStaged() {
	for i := range r.staged {
		r.staged[i].payload.Release()
	}
	r.staged = r.staged[:0]
	r.heard = r.heard[:0]
}

// propose hands everything that waits to raft in one message. While the leadership is handed over
// raft would drop it; what waits is answered when another leads, or proposed when nobody does.
func (r *Replica) propose(fx *Effects) {
	if len(r.proposals) == 0 || r.handingOver() {
		return
	}
	reqs := r.proposals
	r.proposals = r.proposed[:0] // a refusal can let another in
	defer func() { clear(reqs); r.proposed = reqs }()
	r.batch = r.batch[:0]
	for _, q := range reqs {
		r.batch = append(r.batch, raftpb.Entry{Data: q.cmd})
	}
	err := r.node.Step(raftpb.Message{Type: raftpb.MsgProp, From: r.self, Entries: r.batch})
	if err != nil {
		status := wire.StatusOverloaded
		if !r.leading() {
			status = wire.StatusRetry
		}
		for _, q := range reqs {
			r.refuse(q, status, fx)
		}
		return
	}
	for i, q := range reqs {
		e := &r.batch[i] // raft filled in term and index
		q.at.goes(StageCommit, r.now)
		q.term, q.index = e.Term, e.Index
		r.waiting[e.Index] = q
		if q.entry.Len > 0 {
			r.staged = append(r.staged, stagedEntry{e.Index, e.Term, q.entry.Retain()})
		}
	}
	clear(r.batch)
}

// Ready ends a batch of calls: raft's decisions become effects.
func (r *Replica) Ready(now int64, fx *Effects) {
	r.now = now
	if r.err != nil {
		return
	}
	r.propose(fx)
	r.proveLeadership()
	for r.node.HasReady() && r.err == nil {
		rd := r.node.Ready()
		r.proven(rd.ReadStates)
		for i := range rd.Messages {
			if rd.Messages[i].To == raft.LocalAppendThread {
				r.persist(&rd.Messages[i], fx)
			}
		}
		for i := range rd.Messages {
			r.dispatch(&rd.Messages[i], fx)
		}
		r.noteRole(fx)
		r.proveLeadership()
	}
	r.dropStaged()
	r.serveProven(fx)
	r.trimCache()
	r.maybeFlush(fx)
	r.goToRest(fx)
}

// noteRole reacts to a change of leader or term.
func (r *Replica) noteRole(fx *Effects) {
	was := r.status
	r.status = r.node.BasicStatus()
	if was.Term == r.status.Term && was.RaftState == r.status.RaftState {
		return
	}
	r.lease.reset(r.status.Term)
	// The entry with which a leader begins its term told the voters what it had applied before.
	r.settling, r.farewell = settling{}, farewell{}
	if was.RaftState == raft.StateLeader {
		r.refuseAll(fx)
	}
	if r.status.RaftState != was.RaftState {
		r.log.Info("role", "is", r.status.RaftState.String(), "term", r.status.Term,
			"leader", r.status.Lead)
	}
}

func (r *Replica) dispatch(m *raftpb.Message, fx *Effects) {
	switch m.To {
	case raft.LocalAppendThread:
	case raft.LocalApplyThread:
		for i := range m.Entries {
			r.apply(&m.Entries[i], fx)
		}
		for _, resp := range m.Responses {
			r.ignore(r.node.Step(resp))
		}
	default:
		r.send(*m, fx)
	}
}

// send adds a message to another replica, with the payloads of its entries by reference.
func (r *Replica) send(m raftpb.Message, fx *Effects) {
	if m.To == r.self {
		r.ignore(r.node.Step(m))
		return
	}
	if r.onlyCommit(&m) {
		return
	}
	if !travels(m.Type) {
		return // deposed in this turn, raft passes on what only a leader can do
	}
	out := Message{Copyset: r.id, Message: m}
	switch m.Type {
	case raftpb.MsgApp, raftpb.MsgHeartbeat:
		out.Stamp = r.now
	case raftpb.MsgAppResp, raftpb.MsgHeartbeatResp:
		if m.Term == r.stampTerm {
			out.Stamp = r.leaderStamp
		}
	}
	if m.Type == raftpb.MsgApp && !r.attach(&out) {
		out.Release()
		r.node.ReportUnreachable(m.To)
		return
	}
	fx.Messages = append(fx.Messages, out)
}

// onlyCommit reports whether a message tells a follower that keeps up nothing but the new commit
// index. Raft sends one to every follower for every commit, as many as there are messages with
// entries, and each costs a system call and a turn on both sides and an answer. To raft it is a
// lost message: the next entries carry the index, or the next heartbeat. Two look alike and must
// go, because their answer is what is waited for: the message to a follower that is being probed,
// and the one that raft sends when a heartbeat is answered, by which lost entries are noticed.
func (r *Replica) onlyCommit(m *raftpb.Message) bool {
	if m.Type != raftpb.MsgApp || len(m.Entries) > 0 || m.Index != r.entries.last() ||
		slices.Contains(r.heard, m.To) {
		return false
	}
	r.asked.id, r.asked.replicating = m.To, false
	r.node.WithProgress(r.asked.visit)
	return r.asked.replicating
}

// progressQuery asks raft about one follower, without an allocation for each question.
type progressQuery struct {
	id          uint64
	replicating bool
	visit       func(uint64, raft.ProgressType, tracker.Progress)
}

func (q *progressQuery) init() {
	q.visit = func(id uint64, _ raft.ProgressType, p tracker.Progress) {
		if id == q.id {
			q.replicating = p.State == tracker.StateReplicate
		}
	}
}

// attach finds the payload of every entry of an append message.
func (r *Replica) attach(m *Message) bool {
	if len(m.Entries) == 0 {
		return true
	}
	m.Payloads = r.references.take(len(m.Entries), payloadPiece)
	for i := range m.Entries {
		le := r.entries.get(m.Entries[i].Index)
		if le == nil || le.entry.Term != m.Entries[i].Term {
			return false
		}
		if le.payload.Len > 0 {
			m.Payloads[i] = le.payload.Retain()
		}
	}
	return true
}

// persist turns raft's local append into records for the store's log. An append that only moves
// the commit index is not written: the next one carries it, and a restart finds it again by asking
// the others.
func (r *Replica) persist(m *raftpb.Message, fx *Effects) {
	hard := raftpb.HardState{Term: m.Term, Vote: m.Vote, Commit: m.Commit}
	if raft.IsEmptyHardState(hard) {
		hard = r.entries.hard
	}
	mustSync := len(m.Entries) > 0 || m.Snapshot != nil ||
		hard.Term != r.saved.Term || hard.Vote != r.saved.Vote
	r.entries.hard = hard
	a := r.newAppend()
	if m.Snapshot != nil {
		r.install(m.Snapshot, a)
	}
	a = r.persistEntries(m.Entries, a, fx)
	if r.err != nil {
		a.letGo()
		return
	}
	a.responses = m.Responses
	if mustSync && hard != r.saved {
		a.addHard(r.id, hard)
		r.saved = hard
	}
	r.queue(a, fx)
	r.deliver(fx)
}

// queue hands an append to the log; one without records needs only what was queued before it.
func (r *Replica) queue(a *Append, fx *Effects) {
	r.appends = append(r.appends, a)
	if a.done = len(a.Records) == 0; !a.done {
		fx.Appends = append(fx.Appends, a)
	}
}

// The bounds of one append to the log; more entries make several.
const (
	appendRecords = 512
	appendBytes   = 2 << 20
	appendMeta    = 128 << 10
	// spareAppends is how many are kept for the next.
	spareAppends = 16
)

// persistEntries adds entries to the in-memory log and as records to a, or to further appends when
// they are too many for one. It returns the last append, not yet queued.
func (r *Replica) persistEntries(entries []raftpb.Entry, a *Append, fx *Effects) *Append {
	payload, meta := 0, 0
	for i := range entries {
		e := &entries[i]
		p := r.unstage(e.Index, e.Term)
		payload, meta = payload+p.Len, meta+len(e.Data)
		err := r.entries.append(*e, p)
		if err == nil {
			err = r.addEntry(a, e, p)
		}
		if err != nil {
			r.fail(fmt.Errorf("copyset %d: append of entry %d: %w", r.id, e.Index, err))
			return a
		}
		if len(a.Records) >= appendRecords || payload >= appendBytes || meta >= appendMeta {
			r.queue(a, fx)
			a, payload, meta = r.newAppend(), 0, 0
		}
	}
	return a
}

// addEntry adds the record of an entry.
func (r *Replica) addEntry(a *Append, e *raftpb.Entry, p Payload) error {
	rec := wal.Record{Group: r.id, Kind: RecordEntry, Term: e.Term, Index: e.Index, Meta: e.Data,
		Payload: p.B}
	switch {
	case e.Type != raftpb.EntryNormal:
		rec.Kind = RecordConf
	case len(e.Data) > 0:
		if err := r.cmd.Decode(e.Data); err != nil {
			return err
		}
		if want := r.cmd.PayloadBlocks() * BlockSize; p.Len != want {
			return fmt.Errorf("copyset: payload of %d bytes, the command has %d", p.Len, want)
		}
		rec.CRCs = commandCRCs(e.Data)
	}
	if a.count == 0 {
		a.first, a.firstAt = e.Index, len(a.Records)
	}
	a.count++
	a.Records = append(a.Records, rec)
	if p.Buf != nil {
		a.held = append(a.held, p.Retain())
	}
	return nil
}

func (a *Append) addHard(copyset uint64, h raftpb.HardState) {
	meta := binary.LittleEndian.AppendUint64(nil, h.Vote)
	a.Records = append(a.Records, wal.Record{Group: copyset, Kind: RecordHard, Term: h.Term,
		Index: h.Commit, Meta: meta})
}

// AppendDone takes a durable append back. Appends end in order; raft hears of each only after all
// earlier ones, because its answers speak for everything before them.
func (r *Replica) AppendDone(a *Append, now int64, fx *Effects) {
	r.now = now
	a.letGo()
	if r.err != nil {
		return
	}
	if a.Err != nil {
		r.fail(fmt.Errorf("copyset %d: log: %w", r.id, a.Err))
		return
	}
	a.done = true
	for i := range a.count {
		rec := &a.Records[a.firstAt+i]
		le := r.entries.get(a.first + uint64(i))
		if le == nil || le.entry.Term != rec.Term {
			continue // overwritten by a newer leader's entry meanwhile
		}
		le.at, le.payload.At = rec.At, payloadAt(rec)
	}
	if a.state.Len > 0 {
		r.noteState(a)
	}
	r.deliver(fx)
}

func (r *Replica) deliver(fx *Effects) {
	for len(r.appends) > 0 && r.appends[0].done {
		a := r.appends[0]
		r.appends = slices.Delete(r.appends, 0, 1)
		for _, m := range a.responses {
			r.send(m, fx)
		}
		r.recycle(a)
	}
}

// letGo gives the payloads back. While they are written, the log may be truncated by a new leader
// or stripped, and the overlay may have newer bytes: nothing else would keep them.
func (a *Append) letGo() {
	for i := range a.held {
		a.held[i].Release()
	}
	clear(a.held)
	a.held = a.held[:0]
}

// newAppend takes an append from those that are done.
func (r *Replica) newAppend() *Append {
	if n := len(r.spare); n > 0 {
		a := r.spare[n-1]
		r.spare = r.spare[:n-1]
		return a
	}
	return &Append{Replica: r}
}

// recycle keeps an append for its memory and for the callback that its owner tied to it.
func (r *Replica) recycle(a *Append) {
	if len(r.spare) >= spareAppends {
		return
	}
	clear(a.Records)
	a.Records = a.Records[:0]
	a.Err, a.responses, a.first, a.count, a.done = nil, nil, 0, 0, false
	a.state, a.stateIndex, a.placed = Payload{}, 0, 0
	r.spare = append(r.spare, a)
}

// fail ends the replica because its state or its store cannot be trusted any more. The next call
// of Stop by the owner, who looks at Err, refuses what is held.
func (r *Replica) fail(err error) {
	r.log.Error("replica stops", "err", err)
	r.err = err
}
