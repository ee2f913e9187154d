package store

import "time"

const (
	// DefaultOwners is the number of goroutines that step the copysets of one store.
	DefaultOwners = 2
	// DefaultLogBytes is how much log may stand between a write and its checkpoint. Checkpoints
	// begin at half of it; writes are refused with overloaded beyond it.
	DefaultLogBytes = 512 << 20
	// DefaultInflightBytes bounds the bytes of client requests that one owner holds; beyond it
	// they are refused with overloaded.
	DefaultInflightBytes = 64 << 20
	// requestCost is what a request counts for in bytes beside its payload.
	requestCost = 512

	// runTurns is how many turns an event loop takes for an owner before it goes back to its
	// sockets.
	runTurns = 2

	// pressureHigh and pressureLow are the shares of the buffer pool, in percent, at which the
	// overlays begin and cease to be flushed as fast as the device takes it; at refuseShare
	// writes are refused.
	pressureHigh = 50
	pressureLow  = 35
	refuseShare  = 80

	// maxFlushJobs bounds the flush jobs of a store that write at one time.
	maxFlushJobs = 8
	// maxLogReads bounds the goroutines that read blocks back from the log.
	maxLogReads = 8
	// fetchParallel bounds the reads under way of one chunk fetch.
	fetchParallel = 4
	// fetchBlocks is how many blocks one read of a chunk fetch asks for.
	fetchBlocks = 256

	// checkpointEvery is how long changes wait for a checkpoint when the log does not press.
	checkpointEvery = 30 * time.Second
	// checkpointPoll is how often the checkpointer looks.
	checkpointPoll = 50 * time.Millisecond
	// drainTime is how long a checkpoint waits for one copyset that cannot drain, because it is
	// fetching chunks, before it goes on without it.
	drainTime = 20 * time.Second
	// handOffPoll is how often a store that stops looks whether its leaders have gone.
	handOffPoll = 5 * time.Millisecond
	// chunkSyncs bounds the chunk checkpoints under way.
	chunkSyncs = 32
)
