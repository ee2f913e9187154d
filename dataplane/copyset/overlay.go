package copyset

import (
	"math"

	"github.com/ashlar-storage/ashlar/dataplane/lane"
)

// Chunk names a chunk inside the copyset.
type Chunk = lane.Chunk

// overlay holds the newest committed bytes that the chunk files do not have yet. A write is
// answered when it is committed and stands here; the chunk file gets it later, together with its
// neighbours, and not at all when it was overwritten before.
type overlay struct {
	chunks map[Chunk]*chunkOverlay
	blocks int   // with bytes or zero marks
	pages  int   // in which they stand
	bytes  int64 // of memory, the log-only ones not counted
}

type chunkOverlay struct {
	pages []*overlayPage // by block number; nil: nothing of those blocks
	count int            // blocks in all pages
	// zeroed is the index of the entry that zeroed the whole chunk: blocks in no page read as
	// zero. 0: no such entry, the chunk file has them.
	zeroed   uint64
	oldest   uint64 // no block here, nor zeroed, is from an entry before this
	flushing bool
	retry    int64 // ns; not flushed before, as the last time failed
}

type overlayBlock struct {
	index uint64 // log index of the write
	crc   uint32
	zero  bool
	data  Payload // one block; B nil: only in the log, at data.At
}

func newOverlay() overlay { return overlay{chunks: map[Chunk]*chunkOverlay{}} }

func (o *overlay) chunk(c Chunk) *chunkOverlay {
	co := o.chunks[c]
	if co == nil {
		co = &chunkOverlay{oldest: math.MaxUint64}
		o.chunks[c] = co
	}
	return co
}

// put makes b the newest content of a block and takes over b.data's reference.
func (o *overlay) put(c Chunk, block uint32, b overlayBlock) {
	co := o.chunk(c)
	o.set(co, block, b)
	co.oldest = min(co.oldest, b.index)
	o.blocks++
	if b.data.B != nil {
		o.bytes += BlockSize
	}
}

func (o *overlay) forget(b overlayBlock) {
	if b.data.B != nil {
		o.bytes -= BlockSize
	}
	b.data.Release()
	o.blocks--
}

// zeroChunk makes the whole chunk read as zero.
func (o *overlay) zeroChunk(c Chunk, index uint64) {
	co := o.chunk(c)
	o.empty(co)
	co.zeroed = index
	if !co.flushing { // a flush under way may still read older blocks from the log
		co.oldest = index
	}
}

// lookup gives the overlay's content of a block, without a reference.
func (o *overlay) lookup(c Chunk, block uint32) (overlayBlock, bool) {
	co := o.chunks[c]
	if co == nil {
		return overlayBlock{}, false
	}
	if b := co.get(block); b != nil {
		return *b, true
	}
	return overlayBlock{index: co.zeroed, zero: true}, co.zeroed != 0
}

// hasBytes reports whether a chunk has blocks here that need a chunk file: others than zeros.
func (co *chunkOverlay) hasBytes() bool {
	for _, b := range co.upTo(math.MaxUint64) {
		if !b.zero {
			return true
		}
	}
	return false
}

// drop forgets everything about a chunk.
func (o *overlay) drop(c Chunk) {
	if co := o.chunks[c]; co != nil {
		o.empty(co)
		delete(o.chunks, c)
	}
}

// empty forgets all blocks of a chunk.
func (o *overlay) empty(co *chunkOverlay) {
	for n := range co.upTo(math.MaxUint64) {
		o.remove(co, n)
	}
}

func (o *overlay) clear() {
	for c := range o.chunks {
		o.drop(c)
	}
}

// FlushRun is adjacent blocks on their way to the chunk file: bytes, or zero marks.
type FlushRun struct {
	First uint32
	Zero  bool
	Data  []Payload // one block each, references held; B nil: only in the log. Empty for Zero
	CRCs  []uint32
	Count uint32
	index []uint64
	lane  lane.Op
}

// fullest is the chunk with the most blocks to flush that is not being flushed already, did not
// fail just now, and has something from an entry up to limit.
func (o *overlay) fullest(limit uint64, now int64) (Chunk, *chunkOverlay) {
	var best *chunkOverlay
	var at Chunk
	for c, co := range o.chunks {
		if co.flushing || co.oldest > limit || co.retry > now {
			continue
		}
		if best == nil || co.count > best.count ||
			co.count == best.count && c.Before(at) { // so that equal histories make equal choices
			best, at = co, c
		}
	}
	return at, best
}

// runs cuts the lowest count blocks from entries up to limit into runs of adjacent ones of one
// sort. All runs of a job share their memory.
func (co *chunkOverlay) runs(count int, limit uint64) []*FlushRun {
	count = min(count, co.count)
	mem := runMemory{runs: make([]FlushRun, 0, count), data: make([]Payload, 0, count),
		crcs: make([]uint32, 0, count), index: make([]uint64, 0, count)}
	for n, b := range co.upTo(limit) {
		if len(mem.index) == count {
			break
		}
		mem.add(n, b)
	}
	out := make([]*FlushRun, len(mem.runs))
	for i := range mem.runs {
		out[i] = &mem.runs[i]
	}
	return out
}

// runMemory is the memory of a job's runs, large enough from the start so that nothing moves.
type runMemory struct {
	runs  []FlushRun
	data  []Payload
	crcs  []uint32
	index []uint64
}

func (m *runMemory) add(n uint32, b *overlayBlock) {
	k := len(m.runs)
	if k == 0 || m.runs[k-1].First+m.runs[k-1].Count != n || m.runs[k-1].Zero != b.zero {
		d, i := len(m.data), len(m.index)
		m.runs = append(m.runs, FlushRun{First: n, Zero: b.zero, Data: m.data[d:d],
			CRCs: m.crcs[d:d], index: m.index[i:i]})
		k++
	}
	last := &m.runs[k-1]
	last.Count++
	m.index = append(m.index, b.index)
	last.index = last.index[:last.Count]
	if !b.zero {
		m.data, m.crcs = append(m.data, b.data.Retain()), append(m.crcs, b.crc)
		last.Data, last.CRCs = last.Data[:last.Count], last.CRCs[:last.Count]
	}
}

// settle removes from the overlay what a finished flush made redundant: the blocks that were not
// written again meanwhile.
func (o *overlay) settle(c Chunk, zeroed uint64, runs []*FlushRun) {
	co := o.chunks[c]
	if co == nil {
		return
	}
	if co.zeroed == zeroed {
		co.zeroed = 0
	}
	for _, r := range runs {
		for i, index := range r.index {
			n := r.First + uint32(i)
			if b := co.get(n); b != nil && b.index == index {
				o.remove(co, n)
			}
		}
	}
	if co.count == 0 && co.zeroed == 0 {
		delete(o.chunks, c)
		return
	}
	co.findOldest()
}

// clean reports whether nothing from an entry up to limit is left.
func (o *overlay) clean(limit uint64) bool {
	for _, co := range o.chunks {
		if co.oldest <= limit {
			return false
		}
	}
	return true
}
