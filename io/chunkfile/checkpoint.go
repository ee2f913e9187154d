package chunkfile

import (
	"fmt"

	"github.com/ashlar-storage/ashlar/io/disk"
)

// checkpointRequest is one call of Checkpoint.
type checkpointRequest struct {
	applied uint64
	done    func(error)
}

// Checkpoint makes the chunk durable as it is now: syncs its data, then writes table and
// applied index as the next metadata version. Writes whose Done comes later stay dirty for
// the next one. applied must not name a change that is not in the chunk yet. A clean chunk
// has nothing to write, applied included, and done is called within the call; else on a
// goroutine of the disk, and it must not block. Calls while one is running share the next.
// Unlike Read and Write it flushes the disk itself.
func (c *Chunk) Checkpoint(applied uint64, done func(error)) {
	c.mu.Lock()
	err := c.usable()
	if err != nil || (!c.checkpointing && !c.dirty()) {
		c.mu.Unlock()
		done(err)
		return
	}
	c.waiting = append(c.waiting, checkpointRequest{applied, done})
	if c.checkpointing {
		c.mu.Unlock()
		return
	}
	c.checkpointing = true
	c.pins++
	c.mu.Unlock()
	c.checkpoint(nil)
}

// checkpoint takes all waiting requests and starts on them; err is that of loading the
// table. The chunk is pinned and checkpointing, its lock is not held.
func (c *Chunk) checkpoint(err error) {
	p := c.pool
	j := p.jobs.take(c)
	c.mu.Lock()
	if err == nil && c.table == nil { // only zeroed: the table must be there to be changed
		start := c.await((*tableCheckpoint)(c))
		c.mu.Unlock()
		p.jobs.put(j)
		if start {
			c.load()
		}
		p.disk.Flush()
		return
	}
	if err == nil && c.twin != nil {
		m := c.newMover()
		wait := c.writing > 0
		if wait {
			c.mover = m
		} else {
			m.plan()
		}
		c.mu.Unlock()
		p.jobs.put(j)
		if !wait {
			m.next()
		}
		return
	}
	j.requests = append(j.requests, c.waiting...)
	clear(c.waiting)
	c.waiting = c.waiting[:0]
	if err != nil || !c.dirty() {
		c.mu.Unlock()
		j.finish(err)
		return
	}
	j.changes = c.changes
	j.header = header{half: c.slot.inactive(), state: stateUsed, store: p.cfg.StoreID,
		slot: c.slot.number, version: c.slot.top.version + 1, chunkSize: p.geometry.chunkSize,
		id: c.id}
	if c.old != nil && c.old.top.state == stateUsed {
		j.header.from = origin{c.old.top.version, c.old.number}
	}
	j.slot = c.slot
	for _, r := range j.requests {
		j.header.applied = max(j.header.applied, r.applied)
	}
	encodeHalf(j.bytes, p.geometry, &j.header, c.table)
	c.mu.Unlock()
	j.submit(disk.Sync, 0, 0, synced)
	p.disk.Flush()
}

// tableCheckpoint is a checkpoint waiting for the table.
type tableCheckpoint Chunk

func (t *tableCheckpoint) tableReady(err error) { (*Chunk)(t).checkpoint(err) }

// synced goes on when every block of the table is durable: now the table may be.
func synced(j *metaJob) {
	c, g := j.chunk, j.chunk.pool.geometry
	if j.failed("sync data") {
		return
	}
	c.mu.Lock()
	c.slot.unsure = true
	c.mu.Unlock()
	j.submitDurable(g.halfOffset(j.header.half), g.metaSize, versioned)
	c.pool.disk.Flush()
}

// versioned goes on when the new version is durable: the old one is sealed, so that it is
// never taken for the truth again. The seal is durable before anybody is told of the checkpoint:
// the log that could redo it may be gone afterwards, and without the seal a newest half that rots
// looks like one whose write a power cut interrupted.
func versioned(j *metaJob) {
	c, g := j.chunk, j.chunk.pool.geometry
	if j.failed("write table") {
		return
	}
	c.mu.Lock()
	old := c.slot.top
	c.slot.top, c.slot.unsure = j.header, false
	c.save(j.changes)
	c.mu.Unlock()
	c.pool.stats.checkpoints.Add(1)
	old.next = j.header.follower()
	encodeHeader(j.bytes, &old)
	j.submitDurable(g.halfOffset(old.half), headerPage, sealed)
	c.pool.disk.Flush()
}

func sealed(j *metaJob) {
	if !j.failed("seal the version before") {
		j.retireOld()
	}
}

// failed ends the checkpoint when its last operation failed.
func (j *metaJob) failed(what string) bool {
	if j.op.Err == nil {
		return false
	}
	j.finish(fmt.Errorf("chunkfile: checkpoint of chunk %v: %s: %w",
		j.chunk.id, what, j.op.Err))
	return true
}

// finish answers the requests, and starts on those that came meanwhile.
func (j *metaJob) finish(err error) {
	c, p := j.chunk, j.chunk.pool
	p.cache.shrink()
	c.mu.Lock()
	more := len(c.waiting) > 0
	if !more {
		c.checkpointing = false
		c.unpin()
	}
	c.mu.Unlock()
	for _, r := range j.requests {
		r.done(err)
	}
	p.jobs.put(j)
	if more {
		c.checkpoint(nil)
	}
}
