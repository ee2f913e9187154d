package faultfs

const (
	// sectorBytes is what the disk writes whole or not at all.
	sectorBytes = 512
	pageBytes   = 4096
	pageSectors = pageBytes / sectorBytes

	// DefaultCacheBytes bounds the unsynced data in memory; the file whose write passes it is
	// written back.
	DefaultCacheBytes = 64 << 20
	// journalMax bounds the changes of names that are not durable; the next one commits them.
	journalMax = 1024
	// rulesMax bounds the rules that hold at one time; more are refused with ErrInvalid.
	rulesMax = 4096
	// writeMax is the largest write or read the kernel sends in one piece.
	writeMax = 1 << 20
	// requestsMax bounds the requests that the kernel has under way here.
	requestsMax = 128
)
