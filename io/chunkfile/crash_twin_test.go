package chunkfile

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
)

// modelTwins is what the test knows of the twins of a chunk.
type modelTwins struct {
	open   *Twin        // that takes writes; nil: none
	beside *Twin        // that the chunk has beside its slot
	turned map[int]bool // blocks of beside that are the chunk's
	staged []stagedWrite
}

// stagedWrite is a write to a twin that the log has, and that is not committed.
type stagedWrite struct {
	twin  *Twin
	block int
	data  []uint64
	crcs  []uint32
}

// close ends the claims, as a store does before a checkpoint.
func (m *modelTwins) close() {
	if m.open != nil {
		m.open.Close()
		m.open = nil
	}
}

// keptSlot is a slot that the log names.
type keptSlot struct {
	id     ID
	twin   *Twin
	blocks map[int]uint64 // that must be there, and their values
	age    int            // checkpoints since
	// settled: a checkpoint of the chunk had it beside the chunk's slot, and left one.
	settled bool
}

// compareKept expects in every slot what the log names there.
func (r *crashRun) compareKept(p *Pool) {
	buf, want := alignedBytes(BlockSize), alignedBytes(BlockSize)
	for slot, k := range r.kept {
		for block, value := range k.blocks {
			if err := p.ReadSlot(slot, block, buf); err != nil {
				r.t.Fatalf("%s: slot %d block %d: %v", r.what, slot, block, err)
			}
			if fill(want, value); !bytes.Equal(buf, want) {
				r.t.Fatalf("%s: slot %d block %d: what the log names there is gone", r.what, slot,
					block)
			}
		}
	}
}

// keepAll keeps what the log names, in a pool that was opened after a crash.
func (r *crashRun) keepAll(p *Pool) {
	for slot := range r.kept {
		p.Keep(slot)
	}
	for tw := p.Lend(ID{}); tw != nil; tw = p.Lend(ID{}) {
		if r.kept[tw.Slot()] != nil {
			r.t.Fatalf("%s: slot %d is lent, and the log names it", r.what, tw.Slot())
		}
	}
}

// unkeep gives the slots of a chunk back that the log does not name any more: it keeps what was
// written before the last two checkpoints, for replicas that lag.
func (r *crashRun) unkeep(id ID) {
	for slot, k := range r.kept {
		if k.id != id {
			continue
		}
		k.age++
		m := r.model[id]
		staged := m != nil && slices.ContainsFunc(m.twins.staged, func(s stagedWrite) bool {
			return s.twin == k.twin
		})
		if k.age >= 3 && !staged && k.twin.Settled() {
			r.pool.Unkeep(slot)
			delete(r.kept, slot)
		}
	}
}

// touch notes that a block is about to be written in place: what was there may be gone.
func (r *crashRun) touch(c *Chunk, m *modelChunk, block int) {
	w, places := &m.twins, []uint64{c.Slot()}
	switch {
	case c.moving: // it waits, and goes to the one that remains
		places = append(places, w.beside.Slot())
	case c.twin != nil && w.turned[block]:
		places[0] = w.beside.Slot()
	}
	for _, slot := range places {
		if k := r.kept[slot]; k != nil {
			delete(k.blocks, block)
		}
		if slot == m.home {
			m.loose[block] = true
		}
	}
	m.looser[block] = true
}

// predictMove is the slot that a checkpoint leaves the chunk in. What is copied back is not intact
// in the version before.
func (r *crashRun) predictMove(c *Chunk, m *modelChunk) uint64 {
	w := &m.twins
	if w.beside == nil {
		return c.Slot()
	}
	if w.open == w.beside {
		w.open = nil
	}
	there, unturned := 0, false
	for b := range crashBlocks {
		if _, has := m.now.blocks[b]; has && w.turned[b] {
			there++
		}
		unturned = unturned || hasBit(w.beside.claimed, b) && !w.turned[b]
	}
	if !unturned && 2*there >= len(m.now.blocks) {
		return w.beside.Slot()
	}
	for b := range w.turned {
		if _, has := m.now.blocks[b]; has {
			m.loose[b] = true
			if k := r.kept[c.Slot()]; k != nil {
				delete(k.blocks, b)
			}
		}
	}
	return c.Slot()
}

// twinStep does one operation with a twin.
func (r *crashRun) twinStep(c *Chunk, m *modelChunk) {
	block := r.rng.IntN(crashBlocks)
	count := 1 + r.rng.IntN(crashBlocks-block)
	switch n := r.rng.IntN(6); {
	case n < 2:
		r.stageAt(c, m, block, count)
		r.commit(c, m)
	case n < 3:
		r.stageAt(c, m, 0, crashBlocks)
		r.commit(c, m)
	case n < 4:
		r.stageAt(c, m, block, count)
	default:
		r.commit(c, m)
	}
}

// stageAt writes to a twin, one that the chunk has or a new one. When the blocks were given before,
// the log has the bytes instead.
func (r *crashRun) stageAt(c *Chunk, m *modelChunk, block, count int) {
	w := &m.twins
	if w.open == nil {
		off := r.off
		r.off = true // to make slots is not what is tried here
		w.open = lend(r.t, r.pool, c.id)
		r.off = off
		r.kept[w.open.Slot()] = &keptSlot{id: c.id, twin: w.open, blocks: map[int]uint64{}}
	}
	if !w.open.Claim(block, count) {
		r.writeAt(c, m, block, count)
		return
	}
	s := stagedWrite{twin: w.open, block: block, data: series(r.serial*10, count)}
	r.what = fmt.Sprintf("write to twin %d of %v: %d.. = %d", w.open.Slot(), c.id, block, s.data)
	var err error
	if s.crcs, err = twinWrite(w.open, block, s.data...); err != nil {
		r.t.Fatal(err)
	}
	k := r.kept[w.open.Slot()]
	for i, value := range s.data {
		k.blocks[block+i] = value
	}
	k.age = 0
	w.staged = append(w.staged, s)
	r.cut()
}

// commit has the chunk do the oldest write that the log has in a twin.
func (r *crashRun) commit(c *Chunk, m *modelChunk) {
	w := &m.twins
	if len(w.staged) == 0 {
		return
	}
	s := w.staged[0]
	w.staged = w.staged[1:]
	r.what = fmt.Sprintf("turn %v to %d block %d.. = %d", c.id, s.twin.Slot(), s.block, s.data)
	ok, err := c.Turn(s.twin, s.block, s.crcs)
	want := !r.kept[s.twin.Slot()].settled && (w.beside == nil || w.beside == s.twin)
	if err != nil || ok != want {
		r.t.Fatalf("%s: %v, want %v, error %v", r.what, ok, want, err)
	}
	if !ok {
		r.compareKept(r.pool)
		r.writeValues(c, m, s.block, s.data...)
		return
	}
	if w.beside == nil {
		w.beside, w.turned = s.twin, map[int]bool{}
	}
	m.dirty = true
	for i, value := range s.data {
		w.turned[s.block+i], m.now.blocks[s.block+i] = true, value
	}
}

// twinOps are the operations with twins, by letter: a large write of half the chunk that is
// committed, one of all of it, and one of a block that is not committed yet.
var twinOps = map[rune]func(r *crashRun, c *Chunk, m *modelChunk){
	'p': func(r *crashRun, c *Chunk, m *modelChunk) {
		r.stageAt(c, m, 1, 2)
		r.commit(c, m)
	},
	'P': func(r *crashRun, c *Chunk, m *modelChunk) {
		r.stageAt(c, m, 0, crashBlocks)
		r.commit(c, m)
	},
	'q': func(r *crashRun, c *Chunk, m *modelChunk) { r.stageAt(c, m, 3, 1) },
}

const twinLetters = "pPq"

// worthTrying says whether a word is tried in every test run. Of the long ones with twins, which
// have many steps, those are where a chunk moves after something else, or something else comes
// after it has moved.
func worthTrying(word string) bool {
	in := func(at int, letters string) bool { return strings.IndexByte(letters, word[at]) >= 0 }
	switch {
	case *crashLevel != "share" || len(word) < 3 || !strings.ContainsAny(word, twinLetters):
		return true
	case word[1] == 'c':
		return in(0, "pP") && in(2, "xP")
	case in(2, "ck") && in(1, twinLetters) && in(0, "wtx"):
		return true
	}
	return word[2] == 'c' && in(0, twinLetters) && in(1, "wt"+twinLetters)
}
