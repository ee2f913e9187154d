package load

import "time"

// Bounds of a run.
const (
	// backlogMax is how many arrivals of an open loop wait for a free slot; beyond it arrivals
	// are dropped, and counted as such.
	backlogMax = 1 << 16
	// verifyBlocksMax bounds the table of what was written: 256 MiB.
	verifyBlocksMax = 1 << 26
	// logMax is how many lines of each log are kept; the log ends there, and says so.
	logMax = 1 << 21
	// sampleEvery is the length of the windows of which bandwidth and rate are sampled, as fio's.
	sampleEvery = 500 * time.Millisecond
	// zetaMax bounds the terms of the sum of a zipf distribution, as fio does.
	zetaMax = 10_000_000
	// tornLookBack is how many earlier writes of a block are tried to name the parts of a torn one.
	tornLookBack = 8
)
