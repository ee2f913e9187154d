package chunkfile

import "github.com/ashlar-storage/ashlar/io/disk"

// Bounds of the format and of the pool, and what happens at them.
const (
	// MinChunkSize and MaxChunkSize bound Config.ChunkSize, in bytes; beyond: ErrInvalid.
	MinChunkSize = BlockSize
	MaxChunkSize = 256 << 20
	// DefaultChunkSize is the chunk of the design: 4096 blocks.
	DefaultChunkSize = 16 << 20

	// DefaultReserve is how many free slots the filler keeps ready. A Create that finds none
	// writes a slot file itself.
	DefaultReserve = 8

	// DefaultCacheChunks bounds clean tables in memory: 8192 x 16.5 KiB = 132 MiB, the
	// tables of 128 GiB of chunks. At the bound the table of a clean idle chunk that was not
	// used lately goes, and its next use costs one more device read. Dirty chunks and those
	// with I/O in flight keep theirs beyond the bound: the caller bounds them, by
	// checkpoints and by the bytes of its log (see Stats.Dirty and Stats.TableBytes).
	DefaultCacheChunks = 8192

	// MaxSlots bounds slot numbers: 256 TiB of 16 MiB chunks. Further slots are ErrNoSpace;
	// files with greater numbers are not slots.
	MaxSlots = 1 << 24

	// sweepSteps bounds the chunks looked at for one eviction, so that a cache full of dirty
	// chunks costs a load little; the cache then grows by one.
	sweepSteps = 64
	// maxSpareTables and maxSpareJobs bound memory kept for the next table and the next
	// metadata transfer; the rest is left to the collector.
	maxSpareTables = 64
	maxSpareJobs   = 64

	// scanBytes bounds the metadata Open has in memory at once, in all batches; scanDepth the
	// slots of a batch. Each of scanLanes goroutines for a processor, and of maxScanLanes in all,
	// has one: while it waits for the device, another opens files.
	scanBytes    = 16 << 20
	scanDepth    = 256
	scanLanes    = 2
	maxScanLanes = 16

	// verifyBlocks is how many blocks an Inspector reads at a time.
	verifyBlocks = 256

	// maxGapReports bounds the entries for missing slot files in Damage.
	maxGapReports = 1024

	// Inline room of an IO. A read with more runs of written blocks, or whose vectors must
	// be cut into more parts, grows its IO, which keeps the room for its next use.
	inlineRuns  = 4
	inlineOps   = 2
	inlineParts = 8
)

// A slot's metadata fits one operation of the disk, and so does all data of a chunk.
const _ = uint(disk.MaxIO - MaxChunkSize)
