package buf

// The bounds of a pool. When the arena is used up, Get rejects with ErrExhausted.
const (
	// BlockSize is the unit of direct I/O: every buffer starts on a border of it.
	BlockSize = 4096
	// MaxSize is the size of a slab and of the largest buffer. Get rejects more (ErrTooLarge).
	MaxSize = 2 << 20
	// MaxArena bounds Config.Bytes: a larger figure is a slip of units, not a configuration.
	MaxArena = 1 << 40

	blocksPerSlab = MaxSize / BlockSize
	classCount    = 10 // 4 KiB << 0 .. 4 KiB << 9
)
