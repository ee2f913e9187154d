package chunkfile

import (
	"fmt"
	"sync"

	"github.com/ashlar-storage/ashlar/io/disk"
)

// A large write is not written twice. Its bytes go to a second slot of the chunk, its twin, at the
// blocks that they are for, durably, before the log has where they are and what their checksums
// are; nothing that was acknowledged lies there, so that a power cut in the middle tears nothing
// that anybody would miss. When the write is committed the chunk turns its blocks to the twin,
// which moves no byte. The next checkpoint leaves the chunk with one slot: when the twin has more
// of it, what only the old slot has is copied over and the twin takes its place; otherwise what the
// twin has is copied back. A chunk that was written from one end to the other copies nothing.

// Twin is a slot lent for the large writes of one chunk. Its methods may be called from any
// goroutine.
type Twin struct {
	pool *Pool
	id   ID
	slot *slot

	mu      sync.Mutex // after a chunk's
	claimed []uint64   // blocks that were given to a write, for good
	closed  bool
	settled bool
	turned  bool // a chunk reads blocks from it
}

// Lend takes a ready slot out of the pool for the chunk of id, which need not exist; nil when none
// is ready. It is not used for another chunk before Unkeep, whatever becomes of this one.
func (p *Pool) Lend(id ID) *Twin {
	p.mu.Lock()
	defer p.mu.Unlock()
	defer p.wake()
	if p.closed.Load() || len(p.free) == 0 {
		return nil
	}
	last := len(p.free) - 1
	s := p.free[last]
	p.free = p.free[:last]
	s.kept = true
	p.lent[s.number] = s
	return &Twin{pool: p, id: id, slot: s, claimed: make([]uint64, (p.geometry.blocks+63)/64)}
}

// Slot is the number by which the log names the twin.
func (t *Twin) Slot() uint64 { return t.slot.number }

// Claim gives blocks to one write. False: the twin is closed, or some of them were given before.
func (t *Twin) Claim(block, count int) bool {
	if block < 0 || count < 1 || block > t.pool.geometry.blocks-count {
		return false
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return false
	}
	for b := block; b < block+count; b++ {
		if hasBit(t.claimed, b) {
			return false
		}
	}
	for b := block; b < block+count; b++ {
		setBit(t.claimed, b)
	}
	return true
}

// Close ends the claims. What was claimed before may still be written, read and turned.
func (t *Twin) Close() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.closed = true
}

// Settled reports whether the twin is closed and no chunk has it beside its own slot: it became
// that, or nothing needs it but the log.
func (t *Twin) Settled() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.closed && !t.turned
}

// turn notes that a chunk reads from the twin; false: it has settled.
func (t *Twin) turn() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.turned = t.turned || !t.settled
	return !t.settled
}

// settle closes the twin, which a chunk has no more.
func (t *Twin) settle() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.closed, t.settled, t.turned = true, true, false
}

// TwinWrite is a write to blocks that were claimed. The caller owns it before the call and after
// Done; it must not be copied after its first use.
type TwinWrite struct {
	Block int
	Vec   [][]byte // whole blocks, aligned, at most disk.MaxVec parts; unchanged until Done
	Tag   uint64   // correlates the operation with device traces
	// Loose: the bytes need not survive a power cut when Done is called, but when a Sync that began
	// after that has ended.
	Loose bool
	Err   error
	// Done is called exactly once, on a goroutine of the disk. It must not block.
	Done func(*TwinWrite)

	op disk.Op
}

// Write writes to claimed blocks. The caller sends it with Disk.Flush.
func (t *Twin) Write(w *TwinWrite) {
	g, stats := t.pool.geometry, &t.pool.stats
	stats.twinWrites.Add(1)
	stats.twinBlocks.Add(uint64(blocksIn(w.Vec)))
	if w.op.Done == nil {
		w.op.Done = func(op *disk.Op) {
			if w.Err = op.Err; w.Err != nil {
				w.Err = fmt.Errorf("chunkfile: write to a twin: %w", op.Err)
			}
			w.Done(w)
		}
	}
	w.op.Kind, w.op.Durable, w.op.Tag = disk.Write, !w.Loose, w.Tag
	w.op.Vec, w.op.Off = w.Vec, g.dataOffset(w.Block)
	t.slot.file.Submit(&w.op)
}

// Sync makes all writes durable whose Done was called before. The caller sends it with Disk.Flush;
// done is called once, on a goroutine of the disk, and must not block.
func (t *Twin) Sync(done func(error)) {
	t.slot.file.Submit(&disk.Op{Kind: disk.Sync, Done: func(op *disk.Op) {
		err := op.Err
		if err != nil {
			err = fmt.Errorf("chunkfile: sync of a twin: %w", err)
		}
		done(err)
	}})
}

// ReadSlot reads blocks as they lie in a slot, whosever it is by now: the caller knows by their
// checksums whether they are what it looks for. ErrNotExist, ErrInvalid, or the disk's.
func (p *Pool) ReadSlot(number uint64, block int, dst []byte) error {
	p.mu.RLock()
	s := p.slots[number]
	p.mu.RUnlock()
	if s == nil || s.file == nil {
		return fmt.Errorf("%w: slot %d", ErrNotExist, number)
	}
	if n := len(dst) / BlockSize; block < 0 || block > p.geometry.blocks-n {
		return fmt.Errorf("%w: blocks %d+%d of a slot of %d", ErrInvalid, block, n,
			p.geometry.blocks)
	}
	if _, err := s.file.ReadAt(dst, p.geometry.dataOffset(block)); err != nil {
		return fmt.Errorf("chunkfile: read slot %d: %w", number, err)
	}
	return nil
}

// Keep has a slot used for no other chunk before Unkeep: a log names bytes in it. It may have a
// chunk already. A number that no slot has is left alone.
func (p *Pool) Keep(number uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := p.slots[number]
	if s == nil {
		return
	}
	s.kept = true
	for i, f := range p.free {
		if f == s {
			p.free = append(p.free[:i], p.free[i+1:]...)
			p.lent[number] = s
			return
		}
	}
}

// Unkeep lets a slot be used again that no log names any more; its twin, if there is one, has
// settled.
func (p *Pool) Unkeep(number uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := p.slots[number]
	if s == nil {
		return
	}
	s.kept = false
	if p.lent[number] != nil {
		delete(p.lent, number)
		p.free = append(p.free, s)
	}
}

// freeLocked takes back a slot that has no chunk any more.
func (p *Pool) freeLocked(s *slot) {
	if s.kept {
		p.lent[s.number] = s
		return
	}
	p.free = append(p.free, s)
}

// Turn has blocks read from a twin, where they were written under those checksums; in memory, as
// Write has them. False: the twin has settled, or is about to, or another is beside the chunk, and
// the caller writes the blocks as others. It blocks to read the table where that is not in memory.
// Err as for Write.
func (c *Chunk) Turn(t *Twin, block int, crcs []uint32) (bool, error) {
	if n := len(crcs); block < 0 || n < 1 || block > c.Blocks()-n {
		return false, fmt.Errorf("%w: blocks %d+%d of a chunk of %d",
			ErrInvalid, block, n, c.Blocks())
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.usable(); err != nil {
		return false, err
	}
	c.pins++
	defer c.unpin()
	if err := c.resident(); err != nil {
		return false, err
	}
	if c.moving || t.id != c.id || c.twin != nil && c.twin != t || !t.turn() {
		return false, nil
	}
	if c.twin == nil {
		c.twin, c.inTwin = t, make([]uint64, (c.Blocks()+63)/64)
	}
	for i, crc := range crcs {
		setBit(c.inTwin, block+i)
		c.table.set(block+i, crc)
	}
	c.changed()
	c.pool.stats.turned.Add(uint64(len(crcs)))
	return true, nil
}

// home is the slot where a block of the chunk is.
func (c *Chunk) home(block int) *slot {
	if c.twin != nil && hasBit(c.inTwin, block) {
		return c.twin.slot
	}
	return c.slot
}

func hasBit(bits []uint64, i int) bool { return bits[i/64]&(1<<(i%64)) != 0 }

func setBit(bits []uint64, i int) { bits[i/64] |= 1 << (i % 64) }
