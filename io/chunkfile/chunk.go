package chunkfile

// Chunk is a slot in use. Methods may be called from any goroutine; the caller keeps Write
// and Zero from overlapping other I/O in flight on the same blocks.
type Chunk struct{}

// ID returns the chunk's name.
func (c *Chunk) ID() ID { panic("chunkfile: not built yet") }

// Blocks returns the size of the chunk in blocks.
func (c *Chunk) Blocks() int { panic("chunkfile: not built yet") }

// Zero makes blocks read as zeroes, in memory: durable after the next Checkpoint. Nothing is
// written to the blocks. Blocks outside the chunk are an invariant break.
func (c *Chunk) Zero(block, count int) { panic("chunkfile: not built yet") }

// Checkpoint makes the chunk durable as it is now: syncs its data, then writes table and
// applied index as the next metadata version. Writes whose Done comes later stay dirty for
// the next one. applied must not name a change that is not in the chunk yet. A clean chunk
// has nothing to write and done is called within the call; else on a goroutine of the disk.
// Unlike Read and Write it flushes the disk itself.
func (c *Chunk) Checkpoint(applied uint64, done func(error)) { panic("chunkfile: not built yet") }

// Dirty says whether a Checkpoint would write.
func (c *Chunk) Dirty() bool { panic("chunkfile: not built yet") }

// Applied returns the applied index of the newest durable metadata version.
func (c *Chunk) Applied() uint64 { panic("chunkfile: not built yet") }

// Version returns the newest durable metadata version; it grows with every Checkpoint of the
// slot and is 0 before the first.
func (c *Chunk) Version() uint64 { panic("chunkfile: not built yet") }

// WrittenBlocks returns how many blocks have data.
func (c *Chunk) WrittenBlocks() int { panic("chunkfile: not built yet") }

// BlockState says whether a block has data, and its crc32c; of zeroes when it has none. It
// reads the table from the disk, blocking, when it is not in memory.
func (c *Chunk) BlockState(block int) (written bool, crc uint32) {
	panic("chunkfile: not built yet")
}
