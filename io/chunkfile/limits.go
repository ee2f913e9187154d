package chunkfile

// Bounds of the format and of the pool.
const (
	// MinChunkSize and MaxChunkSize bound Config.ChunkSize, in bytes.
	MinChunkSize = BlockSize
	MaxChunkSize = 256 << 20
	// DefaultChunkSize is the chunk of DESIGN: 16 MiB.
	DefaultChunkSize = 16 << 20

	// DefaultReserve is how many free slots are kept ready.
	DefaultReserve = 8

	// DefaultCacheChunks bounds clean tables in memory: 8192 x 16.5 KiB = 132 MiB, the
	// tables of 128 GiB of data at 16 MiB chunks.
	DefaultCacheChunks = 8192
)
