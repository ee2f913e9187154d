package chunkfile

import (
	"fmt"

	"github.com/ashlar-storage/ashlar/io/disk"
)

// mover leaves a chunk with one slot: it copies blocks between the two, and the one that then has
// all of them is the chunk's. Reads go on; writes wait, so that none is copied over. A power cut in
// between loses nothing: the durable version names the slot that it named, and the log has what was
// written since.
type mover struct {
	chunk    *Chunk
	twin     *Twin
	from, to *slot
	adopt    bool // the twin becomes the chunk's slot
	list     []run
	single   int // blocks to be copied one by one, as they could not be read together
	buf      []byte
	vec      [1][]byte
	op       disk.Op
	then     func()
	done     int // blocks copied
}

// moveBlocks is how many blocks are copied at a time.
const moveBlocks = 64

// newMover closes the twin and has writes wait from now on. The chunk's lock is held.
func (c *Chunk) newMover() *mover {
	m := &mover{chunk: c, twin: c.twin}
	m.op.Done = func(*disk.Op) { m.then() }
	c.moving = true
	c.moves++
	c.twin.Close()
	return m
}

// plan decides which of its two slots a chunk keeps, when no write is in flight: what one brings is
// to be copied too. The twin is kept when it has more of the chunk, unless it has a write that is
// not turned: a smaller one that comes before it in the log would be written over it. It is not
// kept either while a slot is still to be freed, which is the one that the durable version names.
// The chunk's lock is held.
func (m *mover) plan() {
	c, t := m.chunk, m.twin
	there, here, unturned := 0, 0, false
	for b := range c.Blocks() { // t is closed: its claims do not change
		unturned = unturned || hasBit(t.claimed, b) && !hasBit(c.inTwin, b)
		switch {
		case !c.table.has(b):
		case hasBit(c.inTwin, b):
			there++
		default:
			here++
		}
	}
	m.adopt = there >= here && !unturned && c.old == nil
	m.from, m.to = t.slot, c.slot
	if m.adopt {
		m.from, m.to = c.slot, t.slot
	}
	for b := range c.Blocks() {
		if !c.table.has(b) || hasBit(c.inTwin, b) == m.adopt {
			continue
		}
		if n := len(m.list); n > 0 && m.list[n-1].first+m.list[n-1].count == b {
			m.list[n-1].count++
			continue
		}
		m.list = append(m.list, run{first: b, count: 1})
	}
}

// next copies the next piece. The chunk's lock is not held.
func (m *mover) next() {
	if len(m.list) == 0 {
		m.end(nil)
		return
	}
	if m.buf == nil {
		m.buf = alignedBytes(moveBlocks * BlockSize)
	}
	n := min(m.list[0].count, moveBlocks)
	if m.single > 0 {
		n = 1
	}
	m.submit(disk.Read, m.from, n, m.read)
}

func (m *mover) submit(kind disk.Kind, s *slot, n int, then func()) {
	p := m.chunk.pool
	m.then = then
	m.vec[0] = m.buf[:n*BlockSize]
	m.op.Kind, m.op.Vec, m.op.Off = kind, m.vec[:], p.geometry.dataOffset(m.list[0].first)
	s.file.Submit(&m.op)
	p.disk.Flush()
}

// read writes what was read. A block that cannot be read is copied as zeroes, which do not fit its
// checksum: it is a bad block, to be repaired as any other.
func (m *mover) read() {
	n := len(m.vec[0]) / BlockSize
	if err := m.op.Err; err != nil {
		if n > 1 {
			m.single = n
			m.next()
			return
		}
		m.chunk.pool.log.Warn("chunkfile: a block cannot be read, and is bad in its copy too",
			"disk", m.chunk.pool.cfg.Name, "file", m.from.name, "chunk", m.chunk.id,
			"block", m.list[0].first, "error", err)
		clear(m.vec[0])
	}
	m.submit(disk.Write, m.to, n, m.wrote)
}

func (m *mover) wrote() {
	n := len(m.vec[0]) / BlockSize
	if m.op.Err != nil {
		m.end(fmt.Errorf("chunkfile: move chunk %v: %w", m.chunk.id, m.op.Err))
		return
	}
	m.single = max(0, m.single-n)
	m.done += n
	r := &m.list[0]
	if r.first, r.count = r.first+n, r.count-n; r.count == 0 {
		m.list = m.list[1:]
	}
	m.next()
}

// end lets the writes go that waited, and the checkpoint go on that asked for the move. After an
// error the chunk stays as it is, with both slots: the store stops.
func (m *mover) end(err error) {
	c, p := m.chunk, m.chunk.pool
	p.stats.copied.Add(uint64(m.done))
	adopt := err == nil && m.adopt
	if adopt { // before the twin has settled: Unkeep must not take it for one that nobody has
		p.stats.adopted.Add(1)
		p.mu.Lock()
		delete(p.lent, m.twin.slot.number)
		p.mu.Unlock()
	}
	c.mu.Lock()
	if err == nil {
		if adopt {
			c.old, c.slot = c.slot, m.twin.slot
		}
		c.twin, c.inTwin = nil, nil
		m.twin.settle()
	}
	c.moving = false
	c.moves++
	gated := c.gated
	c.gated = nil
	for _, io := range gated {
		io.plan(c.table)
	}
	c.mu.Unlock()
	for _, io := range gated {
		io.launch()
	}
	if len(gated) > 0 {
		p.disk.Flush()
	}
	c.checkpoint(err)
}

// retireOld frees the slot that an adopted one took the place of. Only then is the checkpoint done:
// the log that could bring back what the new one has may be gone afterwards.
func (j *metaJob) retireOld() {
	c, p := j.chunk, j.chunk.pool
	c.mu.Lock()
	old := c.old
	c.mu.Unlock()
	if old == nil {
		j.finish(nil)
		return
	}
	j.slot = old
	if old.top.state == stateFree && !old.unsure {
		j.freeOld()
		return
	}
	j.header = header{half: old.inactive(), state: stateFree, store: p.cfg.StoreID,
		slot: old.number, version: old.top.version + 1, chunkSize: p.geometry.chunkSize}
	encodeHalf(j.bytes, p.geometry, &j.header, nil)
	old.unsure = true
	j.submitDurable(p.geometry.halfOffset(j.header.half), p.geometry.metaSize, oldFreed)
	p.disk.Flush()
}

// oldFreed seals the version before, as retire does.
func oldFreed(j *metaJob) {
	if j.failed("free the slot before") {
		return
	}
	before := j.slot.top
	j.slot.top, j.slot.unsure = j.header, false
	before.next = j.header.follower()
	encodeHeader(j.bytes, &before)
	j.submitDurable(j.chunk.pool.geometry.halfOffset(before.half), headerPage, oldSealed)
	j.chunk.pool.disk.Flush()
}

func oldSealed(j *metaJob) {
	if !j.failed("seal the slot before") {
		j.freeOld()
	}
}

// freeOld gives the old slot back to the pool.
func (j *metaJob) freeOld() {
	c, p := j.chunk, j.chunk.pool
	c.mu.Lock()
	c.old = nil
	c.mu.Unlock()
	p.mu.Lock()
	p.freeLocked(j.slot)
	p.mu.Unlock()
	p.wake()
	j.finish(nil)
}
