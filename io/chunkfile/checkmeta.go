package chunkfile

import "fmt"

// A table in memory is not read again for as long as it stays there, so what happens to its copy on
// the device would show at the next start, when the memory is gone: too late. CheckMeta looks while
// the memory can still make good what the device lost.
//
// It is made good by an ordinary checkpoint. That writes over the half that is not the newest, so
// when the newest is lost, a power cut in between leaves no half to use: the slot is damaged, as it
// was before. It never leaves a half that is older than what was durable and looks like the truth.

// CheckMeta reads the chunk's metadata from the device and compares it with what was written last.
// found is what is wrong with it; the metadata has then been written anew, unless err says why it
// was not. It blocks. A chunk whose table is not in memory, or whose metadata is being written, is
// left alone: the read of the table checks it, and the write makes it new.
func (c *Chunk) CheckMeta() (found, err error) {
	c.mu.Lock()
	top := c.slot.top
	if c.usable() != nil || c.table == nil || c.checkpointing || top.state != stateUsed {
		c.mu.Unlock()
		return nil, nil
	}
	c.checkpointing = true // a checkpoint that begins now waits: top stays what it is
	c.pins++
	c.mu.Unlock()
	image := alignedBytes(2 * c.pool.geometry.metaSize)
	if _, readErr := c.slot.file.ReadAt(image, 0); readErr != nil {
		found = fmt.Errorf("chunkfile: read metadata of chunk %v: %w", c.id, readErr)
	} else if off, f := c.pool.compareMeta(image, c.slot.number, top); f != nil {
		found = c.pool.corrupt(c.slot.name, off, f)
	}
	c.mu.Lock()
	if found != nil {
		c.changed()
	}
	more := len(c.waiting) > 0
	if !more {
		c.checkpointing = false
		c.unpin()
	}
	c.mu.Unlock()
	if more {
		c.checkpoint(nil)
	}
	if found == nil {
		return nil, nil
	}
	done := make(chan error, 1)
	c.Checkpoint(top.applied, func(err error) { done <- err })
	return found, <-done
}

// compareMeta says where the metadata of a slot is not what was written last: the newest version,
// and the one before it with a seal that names the newest.
func (p *Pool) compareMeta(image []byte, slot uint64, top header) (off int64, f *fault) {
	g := p.geometry
	at := place{store: p.cfg.StoreID, slot: slot, half: top.half}
	off = g.halfOffset(at.half)
	h, f := verifyHalf(image[off:][:g.metaSize], g, at)
	if f == nil && h != top {
		f = &fault{at: 40, n: 8, reason: fmt.Sprintf("version %d of chunk %v found, version %d of "+
			"%v was written", h.version, h.id, top.version, top.id)}
	}
	if f != nil {
		return off, f
	}
	at.half = 1 - top.half
	off = g.halfOffset(at.half)
	h, f = verifyHeader(image[off:][:g.metaSize], g, at)
	if f == nil && h.next != top.follower() {
		f = &fault{at: 92, n: 36, reason: fmt.Sprintf("version %d is not sealed by version %d",
			h.version, top.version)}
	}
	return off, f
}
