package copyset

import (
	"iter"
	"math"
	"slices"
	"time"
	"unsafe"

	"github.com/ashlar-storage/ashlar/dataplane/lane"
	"github.com/ashlar-storage/ashlar/io/wal"
	"github.com/ashlar-storage/ashlar/rpc/wire"
)

// Memory is how much of the node's buffers is taken, as its owner sees it.
type Memory uint8

// The grades, each worse than the one before.
const (
	// MemoryAmple lets blocks gather in the overlay: more of them come to lie side by side, and
	// some are overwritten before they were ever written to a chunk file.
	MemoryAmple Memory = iota
	// MemoryLess has the chunks with the most of them go, of copysets that have many.
	MemoryLess
	// MemoryShort has all of them go, as fast as the device takes it.
	MemoryShort
)

const (
	// flushStart is how many blocks a copyset has at least that is flushed when there is less
	// memory, flushMost how many gather in any case, and flushPages in how many pages: those of
	// blocks without a neighbour, which are 2.3 MiB beside the buffers.
	flushStart = 512
	flushMost  = 16384
	flushPages = flushMost / 4
	// flushIdle is how long after the last commit a smaller rest goes too.
	flushIdle = int64(time.Second)
	// flushRetry is how long the chunk of a failed job is left before it is tried again.
	flushRetry = int64(200 * time.Millisecond)
	// flushBlocks bounds one job.
	flushBlocks = 256
	// maxFlushes bounds the jobs of one copyset under way.
	maxFlushes = 2
)

// maybeFlush starts jobs while there is reason to.
func (r *Replica) maybeFlush(fx *Effects) {
	if r.restore != nil && !r.flushFirst(r.restore) {
		r.startRestore(fx)
		return
	}
	if r.deleting || r.now < r.flushAfter || r.redoing() {
		return
	}
	if len(r.deletes) > 0 && r.restore == nil {
		r.startDelete(fx)
		return
	}
	for r.flushes < maxFlushes && r.startFlush(fx) {
	}
}

// redoing reports whether a replica that started has entries with placed payloads that it has not
// applied again. Their slot may be the chunk's own by now: an older write would go to the chunk
// file where such a payload stands, which may be the only copy there is.
func (r *Replica) redoing() bool {
	return r.applied < min(r.redoTo, r.entries.last())
}

// flushLimit is the newest entry whose blocks should go now; 0: none.
func (r *Replica) flushLimit() uint64 {
	switch {
	case r.restore != nil, r.overlay.blocks >= flushMost, r.overlay.pages >= flushPages,
		r.memory >= MemoryLess && r.overlay.blocks >= flushStart,
		r.memory == MemoryShort && r.overlay.blocks > 0:
		return math.MaxUint64
	case r.checkpoint != nil && r.checkpoint.record == nil:
		return r.checkpoint.state.Applied
	case len(r.overlay.chunks) > 0 && r.now-r.lastCommit > flushIdle:
		return math.MaxUint64
	}
	return 0
}

func (r *Replica) startFlush(fx *Effects) bool {
	limit := r.flushLimit()
	if limit == 0 {
		return false
	}
	c, co := r.overlay.fullest(limit, r.now)
	if co == nil {
		return false
	}
	job := &FlushJob{Replica: r, Chunk: c, zeroed: co.zeroed, ZeroChunk: co.zeroed != 0}
	job.Runs = co.runs(flushBlocks, limit)
	co.flushing = true
	r.flushes++
	if job.ZeroChunk {
		job.parts = []*lane.Op{{Count: r.chunkBlocks}}
	} else {
		for _, run := range job.Runs {
			run.lane.First, run.lane.Count = run.First, run.Count
			job.parts = append(job.parts, &run.lane)
		}
	}
	for _, op := range job.parts {
		op.Chunk, op.Mode, op.Part, op.User = c, lane.Flush, true, job
	}
	r.lanes.EnterParts(job.parts)
	r.flushGranted(job, fx)
	return true
}

// flushGranted begins a job when all its parts are free at once.
func (r *Replica) flushGranted(job *FlushJob, fx *Effects) {
	if job.begun || slices.ContainsFunc(job.parts, func(op *lane.Op) bool { return !op.Free() }) {
		return
	}
	job.begun = true
	for _, op := range job.parts {
		r.lanes.Begin(op)
	}
	switch {
	case r.err != nil: // stopped: nothing begins any more
		job.Err = r.err
		r.FlushDone(job, r.now, fx)
	default:
		fx.Flushes = append(fx.Flushes, job)
	}
}

func (r *Replica) startDelete(fx *Effects) {
	if r.flushes > 0 {
		return
	}
	r.deleting = true
	fx.Flushes = append(fx.Flushes, &FlushJob{Replica: r, DeleteVolume: r.deletes[0]})
}

// FlushDone takes a job back. A failed one leaves the blocks in the overlay, to be tried again.
func (r *Replica) FlushDone(job *FlushJob, now int64, fx *Effects) {
	r.now = now
	if job.DeleteVolume != 0 {
		r.deleting = false
		if job.Err == nil {
			r.deletes = r.deletes[1:]
		} else {
			r.flushAfter = now + flushRetry
		}
		return
	}
	r.flushes--
	if co := r.overlay.chunks[job.Chunk]; co != nil {
		co.flushing = false
		if job.Err != nil { // the other chunks go on: this one may need space that is not there
			co.retry = now + flushRetry
		}
	}
	if job.Err != nil {
		r.repairFlush(job, fx)
	} else {
		r.overlay.settle(job.Chunk, job.zeroed, job.Runs)
	}
	for _, run := range job.Runs {
		r.counters.FlushedBlocks += uint64(run.Count)
		for i := range run.Data {
			run.Data[i].Release()
		}
	}
	outer := len(r.granted)
	r.granted = r.lanes.LeaveParts(job.parts, r.granted)
	r.beginGranted(outer, fx)
}

// repairFlush asks the other replicas for blocks that a flush could not read back from the log.
func (r *Replica) repairFlush(job *FlushJob, fx *Effects) {
	if len(job.Bad) == 0 || r.err != nil {
		return
	}
	r.counters.CorruptBlocks += uint64(len(job.Bad))
	r.repair(&RepairJob{Chunk: job.Chunk, Blocks: job.Bad}, fx)
}

// HasBytes reports whether there are blocks of the chunk that its file does not have yet and will
// get.
func (r *Replica) HasBytes(c Chunk) bool {
	co := r.overlay.chunks[c]
	return co != nil && co.hasBytes()
}

// ChunksWithBytes are those of which HasBytes is true.
func (r *Replica) ChunksWithBytes() iter.Seq[Chunk] {
	return func(yield func(Chunk) bool) {
		for c, co := range r.overlay.chunks {
			if co.hasBytes() && !yield(c) {
				return
			}
		}
	}
}

// checkpoint is one on its way: everything up to its applied index goes to the chunk files, then a
// record says so, and the log before it may be recycled.
type checkpoint struct {
	state  State
	record *Append
}

// BeginCheckpoint fixes the state that the checkpoint will record. The owner waits for Drained,
// makes the chunk files durable, and calls EndCheckpoint.
func (r *Replica) BeginCheckpoint() {
	if r.err != nil || r.checkpoint != nil {
		return
	}
	// The membership is that of the applied index: a change behind it is replayed.
	r.checkpoint = &checkpoint{state: State{Copyset: r.id, Replica: r.self, Applied: r.applied,
		AppliedTerm: r.appliedTerm, Conf: cloneConf(&r.entries.conf),
		Erased: r.sessions.erased, Sessions: r.sessions.appendTo(nil)}}
}

// Drained reports whether the chunk files have everything up to the checkpoint's state.
func (r *Replica) Drained() bool {
	cp := r.checkpoint
	return cp == nil || !r.deleting && len(r.deletes) == 0 && r.overlay.clean(cp.state.Applied)
}

// EndCheckpoint records the state, once the chunk files are durable. Term and vote are those of
// now: the record must not take back a vote given since.
func (r *Replica) EndCheckpoint(fx *Effects) {
	cp := r.checkpoint
	if r.err != nil || cp == nil || cp.record != nil {
		return
	}
	st := cp.state
	st.Epoch, st.Peers = r.epoch, r.peers
	st.Hard = r.entries.hard
	a := r.newAppend()
	a.addState(r, &st)
	cp.record = a
	r.queue(a, fx)
}

// CancelCheckpoint gives a checkpoint up that cannot be finished now.
func (r *Replica) CancelCheckpoint() {
	if r.checkpoint != nil && r.checkpoint.record == nil {
		r.checkpoint = nil
	}
}

// alignedBytes makes n bytes that begin on a block border. States are rare and must not fail for
// want of a pool buffer.
func alignedBytes(n int) []byte {
	b := make([]byte, n+BlockSize)
	off := -int(uintptr(unsafe.Pointer(&b[0]))) & (BlockSize - 1)
	return b[off : off+n : off+n]
}

// addState adds a RecordState, padded to whole blocks with zeroes.
func (a *Append) addState(r *Replica, st *State) {
	data := st.AppendTo(nil)
	n := (len(data) + BlockSize - 1) / BlockSize * BlockSize
	a.state = Payload{B: alignedBytes(n), Len: n}
	copy(a.state.B, data)
	rec := wal.Record{Group: r.id, Kind: RecordState, Term: st.AppliedTerm, Index: st.Applied,
		Payload: a.state.B}
	for i := range n / BlockSize {
		rec.CRCs = append(rec.CRCs, wire.CRC32C(a.state.block(i)))
	}
	a.Records = append(a.Records, rec)
	a.stateIndex = st.Applied
}

// noteState notes that the log may be recycled up to the state's record.
func (r *Replica) noteState(a *Append) {
	if cp := r.checkpoint; cp != nil && cp.record == a {
		r.checkpoint = nil
	}
	last := &a.Records[0]
	for i := range a.Records {
		if a.Records[i].Kind == RecordState {
			last = &a.Records[i]
		}
	}
	r.stateAt, r.stateIndex = last.At, a.stateIndex
	a.state.Release()
	r.forgetOverwritten()
}

// CheckpointDue reports whether entries were applied since the last recorded state.
func (r *Replica) CheckpointDue() bool { return r.err == nil && r.applied > r.stateIndex }

// CheckpointHelps reports whether a checkpoint would record something new, or again a state that
// lies in the log before a place.
func (r *Replica) CheckpointHelps(before wal.LSN) bool {
	return r.err == nil && (r.applied > r.stateIndex || r.stateAt < before)
}

// Checkpointing reports whether a checkpoint is on its way.
func (r *Replica) Checkpointing() bool { return r.checkpoint != nil }

// Needs is the oldest place in the store's log that a restart of this replica would read, or that
// a job reads.
func (r *Replica) Needs() wal.LSN {
	at := r.stateAt
	if first := r.entries.firstNeeded(r.stateIndex); first != 0 && first < at {
		at = first
	}
	for _, read := range r.logReads {
		at = min(at, read)
	}
	return at
}

// Released tells the replica that the log before lsn is gone.
func (r *Replica) Released(lsn wal.LSN) {
	r.entries.compact(r.entries.below(lsn, r.stateIndex))
}

// CheckpointIndex is the applied index that the checkpoint on its way will record, if there is one.
func (r *Replica) CheckpointIndex() (applied uint64, ok bool) {
	if r.checkpoint == nil {
		return 0, false
	}
	return r.checkpoint.state.Applied, true
}
