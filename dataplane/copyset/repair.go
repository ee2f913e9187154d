package copyset

import (
	"iter"
	"slices"

	"go.etcd.io/raft/v3/raftpb"

	"github.com/ashlar-storage/ashlar/rpc/wire"
)

// A block that is bad here is asked of the other replicas, and what they have goes to the overlay.
// Meanwhile the log goes on: the block may be written, and flushed, before the answer is here. The
// answer may then be older than what is in the chunk file, though its checksum is right, and must
// not replace it. A lane would keep writes away only where this replica leads: every entry that
// is applied says what it makes outdated.
//
// The answer may also be newer than what this replica has applied: a follower that heard of two
// commits has both, while the leader waits for its own log to take in the first. A client that
// reads the block here now would see the second write, and then the first. So the answer is not
// used while the log has an entry for the block that is not applied; soon the block is in the
// overlay. A leader's log has everything that anybody has applied; who does not lead answers no
// client, and before it leads it has applied all of that.

// repair begins a repair of the job's blocks.
func (r *Replica) repair(job *RepairJob, fx *Effects) {
	job.Replica, job.Applied = r, r.applied
	r.repairs = append(r.repairs, job)
	fx.Repairs = append(fx.Repairs, job)
}

// outdate tells the repairs under way what a command changes.
func (r *Replica) outdate(c *Command) {
	for _, job := range r.repairs {
		for _, n := range job.Blocks {
			if c.changes(job.Chunk, n) {
				job.outdate(n)
			}
		}
	}
}

// outdateAll is for a snapshot, which changes everything.
func (r *Replica) outdateAll() {
	for _, job := range r.repairs {
		for _, n := range job.Blocks {
			job.outdate(n)
		}
	}
}

func (job *RepairJob) outdate(block uint32) {
	if job.outdated == nil {
		job.outdated = map[uint32]bool{}
	}
	job.outdated[block] = true
}

// pending reports whether an entry that is not applied yet changes a block.
func (r *Replica) pending(c Chunk, block uint32) bool {
	for cmd := range r.unapplied() {
		if cmd.changes(c, block) {
			return true
		}
	}
	return false
}

// unapplied gives the commands in the log that are not applied yet, with their payloads. A command
// is valid until the next.
func (r *Replica) unapplied() iter.Seq2[*Command, Payload] {
	return func(yield func(*Command, Payload) bool) {
		var cmd Command
		for i := r.applied + 1; i <= r.entries.last(); i++ {
			e := r.entries.get(i)
			if e.entry.Type == raftpb.EntryNormal && len(e.entry.Data) > 0 &&
				cmd.Decode(e.entry.Data) == nil && !yield(&cmd, e.payload) {
				return
			}
		}
	}
}

// RepairDone takes the blocks that other replicas had, and reads again. The good bytes go to the
// overlay, whose flush rewrites block and checksum.
func (r *Replica) RepairDone(job *RepairJob, now int64, fx *Effects) {
	r.now = now
	r.rouse() // what is good now goes to the chunk files
	r.repairs = slices.DeleteFunc(r.repairs, func(j *RepairJob) bool { return j == job })
	early := false
	for n, p := range job.Good {
		if r.pending(job.Chunk, n) {
			p.Release()
			early = true
			continue
		}
		b, ok := r.overlay.lookup(job.Chunk, n)
		if job.outdated[n] || ok && (b.zero || b.data.B != nil) {
			p.Release() // newer; a block that is only in the log is the bad one
			continue
		}
		r.counters.Repaired++
		good := overlayBlock{index: r.applied, crc: job.CRCs[n], data: p}
		if p.Len == 0 {
			good.crc, good.zero = wire.ZeroCRC, true
		}
		r.overlay.put(job.Chunk, n, good)
	}
	read := job.read
	if read == nil {
		return // for a flush, which is tried again by itself
	}
	switch {
	case early:
		r.readAgain(read, fx)
		return
	case len(job.Good) > 0:
	case read.fetch != nil: // it has left its lane
		read.release()
		read.fetch.Done(wire.StatusCorrupt, nil, nil, nil)
		return
	default:
		r.ReadDone(read, now, fx)
		return
	}
	read.release()
	if q := read.req; q != nil {
		r.begin(q, fx)
		return
	}
	r.Fetch(read.fetch, now, fx)
}

// readAgain has who asked for a read ask again in a while.
func (r *Replica) readAgain(read *ReadJob, fx *Effects) {
	read.release()
	if q := read.req; q != nil {
		r.refuse(q, wire.StatusRetry, fx)
		return
	}
	read.fetch.Done(wire.StatusRetry, nil, nil, nil)
}
