package copyset

import (
	"fmt"
	"slices"

	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"
	"go.etcd.io/raft/v3/tracker"

	"github.com/ashlar-storage/ashlar/dataplane/lane"
	"github.com/ashlar-storage/ashlar/rpc/wire"
)

// A follower that lags behind the leader's log is brought up from the leader's chunk files. Raft
// carries only the marker: the state at the leader's applied index S. The follower fetches the
// chunks, each block as it is when it is read, so what it gets is at S or newer; then it takes the
// marker, and replaying the log from S+1 brings every block to its last version, because entries
// are whole blocks. Until it has replayed what the leader had applied it can neither lead nor
// answer, as all of that is committed and a new leader has it in its log. A fetch that fails
// half-way leaves blocks newer than the follower's applied index, which the same argument covers;
// the overlay is untouched until the fetch is complete.

// makeSnapshot is raft's request for a marker.
func (r *Replica) makeSnapshot() (raftpb.Snapshot, error) {
	st := State{Copyset: r.id, Epoch: r.epoch, Applied: r.applied, AppliedTerm: r.appliedTerm,
		Conf: r.entries.conf, Peers: r.peers, Erased: r.sessions.erased,
		Sessions: r.sessions.appendTo(nil)}
	return raftpb.Snapshot{Data: st.AppendTo(nil), Metadata: raftpb.SnapshotMetadata{
		ConfState: st.Conf, Index: st.Applied, Term: st.AppliedTerm}}, nil
}

// offerAgain has raft send a new marker to the followers that it waits for. It would wait for ever
// for one that was lost. A follower that is fetching ignores it.
func (r *Replica) offerAgain() {
	var waiting []uint64
	r.node.WithProgress(func(id uint64, _ raft.ProgressType, p tracker.Progress) {
		if p.State == tracker.StateSnapshot {
			waiting = append(waiting, id)
		}
	})
	for _, id := range waiting {
		r.node.ReportSnapshot(id, raft.SnapshotFailure)
	}
}

// offerSnapshot takes a leader's marker: the chunks come first.
func (r *Replica) offerSnapshot(m *Message, fx *Effects) {
	if r.restore != nil || m.Snapshot == nil || m.Snapshot.Metadata.Index <= r.applied {
		if r.restore == nil {
			r.ignore(r.node.Step(m.Message))
		}
		return
	}
	leader := r.Peer(m.From)
	if leader == nil || m.Term < r.status.Term {
		return
	}
	r.restore = &SnapshotJob{Replica: r, Leader: *leader, Index: m.Snapshot.Metadata.Index,
		message: m.Message, ended: make(chan struct{}), offered: r.now}
	r.CancelCheckpoint()
	r.log.Info("behind the leader's log: fetching chunks", "leader", leader.ReplicaID,
		"applied", r.applied, "to", r.restore.Index)
	r.maybeFlush(fx)
}

// flushFirst reports whether a fetch that was offered waits for the overlay to go to the chunk
// files. A fetch may take hours, and stops all flushes: a replica that began it with blocks which
// are nowhere but in the log would keep all of the store's log from there on, until the store had
// to refuse the writes of every copyset that it leads. What cannot be flushed is not waited for:
// the fetch makes up for it. Nor is a replica that redoes what its log has, which must not flush.
func (r *Replica) flushFirst(job *SnapshotJob) bool {
	return !job.started && len(r.overlay.chunks) > 0 && !r.redoing() &&
		r.now-job.offered < int64(fillDrain)
}

// startRestore begins the fetch once no flush can write older blocks over fetched ones.
func (r *Replica) startRestore(fx *Effects) {
	if job := r.restore; job != nil && !job.started && r.flushes == 0 && !r.deleting {
		job.started, job.base = true, r.stateIndex
		job.Urgent = r.lastFill != 0 && r.now-r.lastFill < int64(fillAgain)
		fx.Snapshots = append(fx.Snapshots, job)
	}
}

// SnapshotDone takes a finished fetch: the chunk files are durable at the marker's state or newer.
func (r *Replica) SnapshotDone(job *SnapshotJob, now int64, fx *Effects) {
	r.now, r.lastFill = now, now
	r.restore = nil
	if r.err != nil {
		return
	}
	if job.Err != nil {
		r.log.Warn("fetching chunks failed; the leader will offer again", "err", job.Err)
		return
	}
	r.ignore(r.node.Step(job.message))
}

// install takes over a marker that raft accepted.
func (r *Replica) install(s *raftpb.Snapshot, a *Append) {
	var st State
	err := st.Decode(s.Data)
	if err == nil && st.Copyset != r.id {
		err = fmt.Errorf("copyset %d: snapshot of copyset %d", r.id, st.Copyset)
	}
	if err == nil {
		err = r.sessions.load(&st)
	}
	if err != nil {
		r.fail(err)
		return
	}
	r.overlay.clear()
	r.outdateAll()
	r.deletes = nil
	r.checkpoint = nil
	r.applied, r.appliedTerm = s.Metadata.Index, s.Metadata.Term
	r.born = r.applied
	clear(r.touched)
	r.entries.reset(r.applied, r.appliedTerm)
	r.entries.conf = s.Metadata.ConfState
	st.Replica, st.Applied, st.AppliedTerm = r.self, r.applied, r.appliedTerm
	st.Epoch, st.Peers = r.epoch, r.peers
	st.Hard, st.Conf = r.entries.hard, r.entries.conf
	a.addState(r, &st)
}

// PeerRead is another replica's request for blocks as they are here: to fetch a chunk, or to
// repair a block.
type PeerRead struct {
	Chunk        Chunk
	First, Count uint32
	Applied      uint64 // refuse while this replica has applied less
	Done         func(status wire.Status, body [][]byte, crcs []uint32, hold []Payload)
	// Urgent is set by who fills a replica and was too slow: its reads wait for no clients.
	Urgent bool
	// Sums asks for the checksums on record alone. Nothing is read from the chunk file's blocks.
	Sums bool
	// Mend has blocks that are bad here replaced by what another replica has, before Done. It must
	// not be set for a read that is itself such a repair: two bad copies would ask each other for
	// ever.
	Mend bool
	// Bad are the blocks that were bad here, Lost those of them that stay so, and Checked is how
	// many were read from the device at all; set before Done.
	Bad, Lost []uint32
	Checked   uint32
	// At is the applied index that Sums were taken at, set before Done.
	At uint64
}

// Fetch reads blocks for another replica.
func (r *Replica) Fetch(p *PeerRead, now int64, fx *Effects) {
	r.now = now
	status := r.Has(p.Applied)
	if status == wire.StatusOK && p.Sums && len(r.deletes) > 0 {
		status = wire.StatusRetry
	}
	switch {
	case status != wire.StatusOK:
		p.Done(status, nil, nil, nil)
		return
	case p.Count == 0 || p.Count > MaxOpBytes/BlockSize ||
		uint64(p.First)+uint64(p.Count) > uint64(r.chunkBlocks):
		p.Done(wire.StatusBadRequest, nil, nil, nil)
		return
	}
	job := &ReadJob{Replica: r, Chunk: p.Chunk, First: p.First, Count: p.Count, fetch: p}
	if !p.Sums && !r.allocate(job) {
		p.Done(wire.StatusOverloaded, nil, nil, nil)
		return
	}
	// Ahead of flushes that wait: they may wait for a write that cannot be committed before the one
	// who asks has caught up.
	job.op = lane.Op{Chunk: p.Chunk, First: p.First, Count: p.Count, Mode: lane.Read,
		Ahead: !p.Sums, User: job}
	if r.lanes.Enter(&job.op) {
		r.fetchGranted(job, fx)
	}
}

func (r *Replica) fetchGranted(job *ReadJob, fx *Effects) {
	if r.err != nil { // stopped: nothing begins any more
		r.leave(&job.op, fx)
		job.release()
		job.fetch.Done(wire.StatusUnavailable, nil, nil, nil)
		return
	}
	if job.fetch.Sums {
		r.planSums(job)
	} else {
		r.plan(job)
	}
	r.ask(job, fx)
}

// planSums takes the overlay's checksums, and lists the rest as parts without room for bytes.
func (r *Replica) planSums(job *ReadJob) {
	job.fetch.At = r.applied
	job.CRCs = make([]uint32, job.Count)
	for i := range job.Count {
		b, ok := r.overlay.lookup(job.Chunk, job.First+i)
		switch n := len(job.Parts); {
		case ok && b.zero:
			job.CRCs[i] = wire.ZeroCRC
		case ok:
			job.CRCs[i] = b.crc
		case n > 0 && job.Parts[n-1].First+job.Parts[n-1].Count == job.First+i:
			p := &job.Parts[n-1]
			p.Count++
			p.CRCs = p.CRCs[:p.Count]
		default:
			job.Parts = append(job.Parts, ReadPart{First: job.First + i, Count: 1,
				CRCs: job.CRCs[i : i+1]})
		}
	}
}

func (r *Replica) finishFetch(job *ReadJob, fx *Effects) {
	r.leave(&job.op, fx)
	checked := uint32(0)
	for i := range job.Parts {
		checked += job.Parts[i].Written
	}
	job.fetch.Checked = max(job.fetch.Checked, checked)
	if job.Err != nil {
		r.repairFetch(job, fx)
		return
	}
	job.fetch.Lost = nil
	if job.fetch.Sums {
		job.fetch.Done(wire.StatusOK, nil, job.CRCs, nil)
		return
	}
	job.bytes(0, job.Count*BlockSize)
	job.fetch.Done(wire.StatusOK, job.body, job.CRCs, job.hold)
}

// repairFetch asks the other replicas for the blocks that are bad here, once, as for a client: who
// fills a new replica from this one could not go on otherwise.
func (r *Replica) repairFetch(job *ReadJob, fx *Effects) {
	p := job.fetch
	r.counters.CorruptBlocks += uint64(len(job.Bad))
	tried := p.Bad != nil
	p.Lost = job.Bad
	for _, b := range job.Bad {
		if !slices.Contains(p.Bad, b) {
			p.Bad = append(p.Bad, b)
		}
	}
	if len(job.Bad) == 0 || tried || !p.Mend || r.err != nil {
		job.release()
		p.Done(wire.StatusCorrupt, nil, nil, nil)
		return
	}
	r.repair(&RepairJob{Chunk: job.Chunk, Blocks: job.Bad, read: job}, fx)
}

// UpToDate reports whether a chunk that is here has all that the leader's has: nothing touched it
// since this replica's last recorded state, and that says of every earlier write that it is in the
// chunk files. The chunk may have been touched since by a fetch that failed, which leaves blocks
// that are newer.
func (job *SnapshotJob) UpToDate(c ListedChunk) bool { return c.LastWrite <= job.base }

// Held is what this replica has of a block with a checksum outside its chunk file, with its own
// reference: in the overlay, or in an entry of its log that it does not know to be committed yet.
// While chunks are fetched that is all that may be left of a block which the leader has lost: the
// snapshot takes the place of both. B is nil for a block that is only in the log, at At, and for
// one of zeroes.
func (r *Replica) Held(c Chunk, block, crc uint32) (Payload, bool) {
	if b, ok := r.overlay.lookup(c, block); ok && b.crc == crc {
		if b.zero {
			return Payload{}, true
		}
		return b.data.Retain(), true
	}
	for cmd, payload := range r.unapplied() {
		if !cmd.OnBlocks() || !cmd.changes(c, block) {
			continue
		}
		if at := cmd.blockAt(block); at >= 0 && cmd.CRCs[at] == crc {
			return payload.only(at).Retain(), true
		}
	}
	return Payload{}, false
}

// ListedChunk is a chunk that a replica has. No entry after LastWrite touched it: who has all up to
// there needs it not.
type ListedChunk struct {
	Chunk
	LastWrite uint64
}

// LastWrite is the index of the last entry that may have touched a chunk.
func (r *Replica) LastWrite(c Chunk) uint64 {
	if last, ok := r.touched[c]; ok {
		return last
	}
	return r.born
}

// Chunks lists the chunks that the overlay knows; with those of the chunk files they are all that
// the copyset has.
func (r *Replica) Chunks() []Chunk {
	out := make([]Chunk, 0, len(r.overlay.chunks))
	for c := range r.overlay.chunks {
		out = append(out, c)
	}
	return out
}

// Has says whether the replica can tell another what it has after an index: OK, or why not.
func (r *Replica) Has(applied uint64) wire.Status {
	switch {
	case r.err != nil:
		return wire.StatusUnavailable
	case r.applied < applied || r.restore != nil:
		return wire.StatusRetry
	}
	return wire.StatusOK
}

// Lists says whether the replica can tell another which chunks it has after an index: OK, or why
// not. While a volume is being dropped it cannot: the files go one by one, and who is filled by a
// list with those that are still there replays no entry that would have them go.
func (r *Replica) Lists(applied uint64) wire.Status {
	status := r.Has(applied)
	if status == wire.StatusOK && len(r.deletes) > 0 {
		return wire.StatusRetry
	}
	return status
}

// Applied is the index of the newest entry that took effect here.
func (r *Replica) Applied() uint64 { return r.applied }
