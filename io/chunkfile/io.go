package chunkfile

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
	// Err is the result. After a Read that matches ErrCorrupt the blocks not in Bad are good.
	Err error
	// Bad lists the blocks of the chunk whose bytes do not fit their crc.
	Bad []int
	// Done is called exactly once. It must not block. It runs on a goroutine of the disk, or
	// within the call when nothing had to be asked of the disk.
	Done func(*IO)
	User any // the caller's own
}

// Read reads blocks and verifies each against the table. Blocks never written are zeroes.
// The device is asked for written blocks only, in coalesced runs; the caller sends them with
// Disk.Flush. Err: ErrCorrupt, ErrInvalid, ErrDeleted, ErrClosed, or the disk's.
func (c *Chunk) Read(io *IO) { panic("chunkfile: not built yet") }

// Write overwrites blocks, and when the bytes are on the device records their crcs in memory:
// they are durable after a Checkpoint that starts after Done. The caller sends it with
// Disk.Flush. Err as for Read.
func (c *Chunk) Write(io *IO) { panic("chunkfile: not built yet") }
