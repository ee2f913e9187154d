package uring

// The bounds of a ring. Next returns nil when Entries are queued; the caller keeps the
// operations in flight within CQ, for the kernel does not.
const (
	// MaxEntries is the most the kernel gives; Setup clamps Config.Entries to it.
	MaxEntries = 32768
	// maxBuffer is the largest buffer the kernel registers; larger arenas take several.
	maxBuffer = 1 << 30
)
