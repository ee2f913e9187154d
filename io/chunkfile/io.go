package chunkfile

import (
	"fmt"
	"hash/crc32"
	"slices"
	"sync/atomic"

	"github.com/ashlar-storage/ashlar/io/disk"
)

// IO is one read or write of whole blocks. The caller owns it before the call and after Done;
// used again it allocates nothing. It must not be copied after its first use.
type IO struct {
	Block int // first block in the chunk
	Count int // blocks, at least 1
	// Vec is the memory of the blocks: Count*4096 bytes in any split at multiples of 4096,
	// each part 4 KiB-aligned. It must stay unchanged until Done.
	Vec [][]byte
	// CRCs holds crc32c per block. Write: given by the caller. Read: filled with what the
	// table has on record; its capacity is used when it suffices.
	CRCs []uint32
	// Written is how many of the blocks have data. Set by Read.
	Written int
	// Tag correlates the operation with device traces.
	Tag uint64
	// Err is the result. After a Read that failed on the device or matches ErrCorrupt, the
	// blocks not in Bad are good.
	Err error
	// Bad lists the blocks of the chunk that could not be read or do not fit their crc.
	Bad []int
	// Done is called exactly once. It must not block. It runs on a goroutine of the disk, or
	// within the call when nothing had to be asked of the disk.
	Done func(*IO)
	User any // the caller's own

	chunk   *Chunk
	write   bool
	sums    bool   // CRCs only
	moves   uint32 // of the chunk, when it was planned
	onOp    func(*disk.Op)
	pending atomic.Int32
	runs    []run
	ops     []disk.Op
	slots   []*slot // of ops
	parts   [][]byte
	runs0   [inlineRuns]run
	ops0    [inlineOps]disk.Op
	slots0  [inlineOps]*slot
	parts0  [inlineParts][]byte
}

// run is a sequence of blocks to transfer, which lie in one slot.
type run struct {
	first, count int
	slot         *slot
}

// Read reads blocks and verifies each against the table. Blocks never written are zeroes.
// The device is asked for written blocks only, in coalesced runs; the caller sends them with
// Disk.Flush. Err: ErrCorrupt, ErrInvalid, ErrDeleted, ErrClosed, or the disk's.
func (c *Chunk) Read(io *IO) { io.sums = false; c.start(io, false) }

// Sums fills CRCs and Written as Read does, and reads no block: what is on record is not held
// against the bytes. Vec is not used.
func (c *Chunk) Sums(io *IO) { io.sums = true; c.start(io, false) }

// Write overwrites blocks, and when the bytes are on the device records their crcs in memory:
// they are durable after a Checkpoint that starts after Done. The crcs are taken as given: a
// wrong one shows when the block is read. The caller sends it with Disk.Flush. Err as for
// Read; after an error of the disk the blocks hold the old or the new bytes or a mix, and
// read as ErrCorrupt unless old.
func (c *Chunk) Write(io *IO) { io.sums = false; c.start(io, true) }

func (c *Chunk) start(io *IO, write bool) {
	io.chunk, io.write, io.Err, io.Bad = c, write, nil, io.Bad[:0]
	if err := io.check(); err != nil {
		io.end(err)
		return
	}
	c.mu.Lock()
	if err := c.usable(); err != nil {
		c.mu.Unlock()
		io.end(err)
		return
	}
	c.pins++
	if c.table == nil {
		start := c.await(io)
		c.mu.Unlock()
		if start {
			c.load()
		}
		return
	}
	c.admit(io)
}

// admit plans an IO and launches it, or has a write wait for the end of a move. The lock is held,
// and given up.
func (c *Chunk) admit(io *IO) {
	if io.write && c.moving {
		c.gated = append(c.gated, io)
		c.mu.Unlock()
		return
	}
	io.plan(c.table)
	c.mu.Unlock()
	io.launch()
}

// tableReady goes on after the table was loaded; whoever loaded it flushes the disk.
func (io *IO) tableReady(err error) {
	c := io.chunk
	c.mu.Lock()
	if err != nil {
		c.unpin()
		c.mu.Unlock()
		io.end(err)
		return
	}
	c.admit(io)
}

// check refuses what the caller got wrong.
func (io *IO) check() error {
	blocks := io.chunk.Blocks()
	if io.Block < 0 || io.Count < 1 || io.Block > blocks-io.Count {
		return fmt.Errorf("%w: blocks %d+%d of a chunk of %d",
			ErrInvalid, io.Block, io.Count, blocks)
	}
	if io.sums {
		return nil
	}
	total := 0
	for i, part := range io.Vec {
		if len(part) == 0 || len(part)%BlockSize != 0 {
			return fmt.Errorf("%w: Vec[%d] has %d bytes, want a multiple of %d",
				ErrInvalid, i, len(part), BlockSize)
		}
		total += len(part)
	}
	if total != io.Count*BlockSize {
		return fmt.Errorf("%w: Vec has %d bytes, want %d for %d blocks",
			ErrInvalid, total, io.Count*BlockSize, io.Count)
	}
	if io.write && len(io.CRCs) != io.Count {
		return fmt.Errorf("%w: %d CRCs for %d blocks", ErrInvalid, len(io.CRCs), io.Count)
	}
	if invariants && io.write {
		io.verify(io.Block, io.Vec, func(block int, want, got uint32) {
			panic(fmt.Sprintf("chunkfile: Write of block %d: crc32c %08x given, %08x computed",
				block, want, got))
		})
	}
	return nil
}

// plan decides which blocks to transfer. The chunk's lock is held.
func (io *IO) plan(t *table) {
	if !io.chunk.recent.Load() {
		io.chunk.recent.Store(true)
	}
	if io.runs == nil {
		io.runs, io.ops, io.parts = io.runs0[:0], io.ops0[:0], io.parts0[:0]
		io.slots = io.slots0[:0]
	}
	c := io.chunk
	io.runs, io.moves = io.runs[:0], c.moves
	if io.write {
		c.writing++
		if c.twin == nil {
			io.runs = append(io.runs, run{io.Block, io.Count, c.slot})
			return
		}
		for i := range io.Count {
			io.addBlock(io.Block + i)
		}
		return
	}
	io.CRCs, io.Written = slices.Grow(io.CRCs[:0], io.Count)[:io.Count], 0
	for i := range io.Count {
		block := io.Block + i
		if !t.has(block) {
			io.CRCs[i] = zeroBlockCRC
			continue
		}
		io.CRCs[i] = t.crcs[block]
		io.Written++
		io.addBlock(block)
	}
}

// addBlock adds a block to the runs.
func (io *IO) addBlock(block int) {
	s := io.chunk.home(block)
	if n := len(io.runs); n > 0 {
		if last := &io.runs[n-1]; last.first+last.count == block && last.slot == s {
			last.count++
			return
		}
	}
	io.runs = append(io.runs, run{block, 1, s})
}

// launch gives the runs to the disk, and zeroes what lies between them.
func (io *IO) launch() {
	io.build()
	if len(io.ops) == 0 {
		io.settle()
		return
	}
	if io.onOp == nil {
		io.onOp = func(*disk.Op) {
			if io.pending.Add(-1) == 0 {
				io.settle()
			}
		}
	}
	stats := &io.chunk.pool.stats
	if io.write {
		stats.writes.Add(uint64(len(io.ops)))
		stats.writeBlocks.Add(uint64(io.Count))
	} else {
		stats.reads.Add(uint64(len(io.ops)))
		stats.readBlocks.Add(uint64(io.Count))
	}
	// The last completion may hand the IO back to its caller before the loop ends.
	ops, slots := io.ops, io.slots
	io.pending.Store(int32(len(ops)))
	for i := range ops {
		ops[i].Done = io.onOp
	}
	for i := range ops {
		slots[i].file.Submit(&ops[i])
	}
}

// build turns runs into operations on the caller's memory.
func (io *IO) build() {
	io.ops, io.slots, io.parts = io.ops[:0], io.slots[:0], io.parts[:0]
	if io.sums {
		return
	}
	if len(io.runs) == 1 && io.runs[0].count == io.Count && len(io.Vec) <= disk.MaxVec {
		io.addOp(io.runs[0].slot, io.Block, io.Vec)
		return
	}
	at := cursor{vec: io.Vec}
	block := io.Block
	for _, r := range io.runs {
		at.zero(r.first - block)
		block = r.first
		from := len(io.parts)
		for block < r.first+r.count {
			part := at.next(r.first + r.count - block)
			if len(io.parts)-from == disk.MaxVec {
				io.addOp(r.slot, block-blocksIn(io.parts[from:]), io.parts[from:])
				from = len(io.parts)
			}
			io.parts = append(io.parts, part)
			block += len(part) / BlockSize
		}
		io.addOp(r.slot, block-blocksIn(io.parts[from:]), io.parts[from:])
	}
	at.zero(io.Block + io.Count - block)
}

func (io *IO) addOp(s *slot, block int, vec [][]byte) {
	io.slots = append(io.slots, s)
	// An op used before keeps what the disk keeps in it.
	if n := len(io.ops); n < cap(io.ops) {
		io.ops = io.ops[:n+1]
	} else {
		io.ops = append(io.ops, disk.Op{})
	}
	op := &io.ops[len(io.ops)-1]
	op.Kind = disk.Read
	if io.write {
		op.Kind = disk.Write
	}
	op.Off = io.chunk.pool.geometry.dataOffset(block)
	op.Vec = vec[:len(vec):len(vec)]
	op.Tag = io.Tag
}

func blocksIn(vec [][]byte) int {
	n := 0
	for _, part := range vec {
		n += len(part) / BlockSize
	}
	return n
}

// cursor walks the caller's vectors.
type cursor struct {
	vec [][]byte
	off int
}

// next returns the next part, of at most so many blocks.
func (k *cursor) next(blocks int) []byte {
	part := k.vec[0][k.off:]
	if len(part) > blocks*BlockSize {
		part = part[:blocks*BlockSize]
	}
	k.off += len(part)
	if k.off == len(k.vec[0]) {
		k.vec, k.off = k.vec[1:], 0
	}
	return part
}

// zero clears the next blocks.
func (k *cursor) zero(blocks int) {
	for blocks > 0 {
		part := k.next(blocks)
		clear(part)
		blocks -= len(part) / BlockSize
	}
}

// settle ends an IO whose operations are all done.
func (io *IO) settle() {
	c := io.chunk
	var err error
	if io.write {
		err = io.failure()
	} else {
		var wrong uint64
		if wrong, err = io.judge(); err != nil && io.again() {
			return
		}
		c.pool.stats.corrupt.Add(wrong)
	}
	c.mu.Lock()
	var m *mover
	if io.write {
		if err == nil {
			for i, crc := range io.CRCs {
				c.table.set(io.Block+i, crc)
			}
			c.changed()
		}
		if c.writing--; c.writing == 0 && c.mover != nil {
			m, c.mover = c.mover, nil
			m.plan()
		}
	}
	c.unpin()
	c.mu.Unlock()
	io.end(err)
	if m != nil {
		m.next()
	}
}

// again repeats a read that failed when the chunk has moved since it was planned: where it read
// there may be something else by now.
func (io *IO) again() bool {
	c := io.chunk
	c.mu.Lock()
	if io.moves == c.moves {
		c.mu.Unlock()
		return false
	}
	io.Bad = io.Bad[:0]
	io.plan(c.table)
	c.mu.Unlock()
	io.launch()
	c.pool.disk.Flush()
	return true
}

// failure returns the first error of the disk.
func (io *IO) failure() error {
	for i := range io.ops {
		if err := io.ops[i].Err; err != nil {
			return fmt.Errorf("chunkfile: chunk %v: %w", io.chunk.id, err)
		}
	}
	return nil
}

// judge verifies what a read brought, and counts the blocks that do not fit their checksum.
func (io *IO) judge() (wrong uint64, err error) {
	p := io.chunk.pool
	err = io.failure()
	for i := range io.ops {
		op := &io.ops[i]
		block := int((op.Off - p.geometry.dataOffset(0)) / BlockSize)
		if op.Err != nil {
			for n := range blocksIn(op.Vec) {
				io.Bad = append(io.Bad, block+n)
			}
			continue
		}
		io.verify(block, op.Vec, func(block int, want, got uint32) {
			io.Bad = append(io.Bad, block)
			wrong++
			if err == nil {
				err = p.corrupt(io.slots[i].name, p.geometry.dataOffset(block), &fault{
					n: BlockSize, want: want, got: got,
					reason: fmt.Sprintf("block %d of chunk %v", block, io.chunk.id)})
			}
		})
	}
	return wrong, err
}

// verify compares blocks, of which the first is given, with CRCs.
func (io *IO) verify(block int, vec [][]byte, bad func(block int, want, got uint32)) {
	for _, part := range vec {
		for ; len(part) > 0; part = part[BlockSize:] {
			want := io.CRCs[block-io.Block]
			if got := crc32.Checksum(part[:BlockSize], castagnoli); got != want {
				bad(block, want, got)
			}
			block++
		}
	}
}

func (io *IO) end(err error) {
	io.Err = err
	io.Done(io)
}
