package store

import "time"

const (
	// MaxFindings bounds the findings that a check keeps; more are counted.
	MaxFindings = 10_000
	// DefaultOwners is the number of goroutines that step the copysets of one store.
	DefaultOwners = 2
	// DefaultLogBytes is how much log may stand between a write and its checkpoint, which comes
	// when half to two thirds of it do; writes are refused with overloaded beyond it. On a device
	// without room for another segment the log is what the segments that exist hold, if that is
	// less: checkpoints come from half of it on, and refusals when half a segment (1/logKeptPart)
	// is left, which their states and elections may use.
	DefaultLogBytes = 512 << 20
	logKeptPart     = 2
	// DefaultInflightBytes bounds the bytes of client requests that one owner holds; beyond it
	// they are refused with overloaded.
	DefaultInflightBytes = 64 << 20
	// placeNear is how many blocks behind or before the end of the last large write of its chunk
	// one may begin to belong to a sequence, and placeSeen of how many chunks such ends are known.
	// At most placeOpen twins take writes at one time, and placeSlots of a store's slots are twins
	// or kept for the log; a write that finds none goes into the log as others do.
	placeNear  = 512
	placeSeen  = 256
	placeOpen  = 16
	placeSlots = 48
	// placeCalm is how long a checkpoint waits for writes to twins to be committed.
	placeCalm = 200 * time.Millisecond
	// requestCost is what a request counts for in bytes beside its payload.
	requestCost = 512

	// marksHeld is how many requests, appends or acks an owner holds back before it tells a tracer
	// of them all, and marksTime how old they grow before the next turn does; a beat brings one at
	// the latest. Of the turns that answer requests one in marksPrompt tells at once.
	marksHeld   = 32
	marksTime   = 10 * time.Millisecond
	marksPrompt = 16

	// runTurns is how many turns an event loop takes for an owner before it goes back to its
	// sockets.
	runTurns = 2

	// logParts is in how many parts the log is written that a copyset needs until its checkpoint.
	logParts = 8
	// turnShare is the share of the buffer pool, in percent, at which the copyset whose turn is
	// next has it, if the overlays of those that do have turnBytes. Up to there blocks gather.
	turnShare = 42
	turnBytes = 2 << 20
	// gatherHigh and gatherLow are the shares at which all overlays begin and cease to be flushed,
	// because turns give memory back too slowly.
	gatherHigh = 48
	gatherLow  = 40
	// pressureHigh and pressureLow are the shares of the buffer pool, in percent, at which the
	// overlays begin and cease to be flushed as fast as the device takes it; at refuseShare
	// writes are refused.
	pressureHigh = 56
	pressureLow  = 48
	refuseShare  = 80

	// maxFlushJobs bounds the flush jobs of a store that write at one time because memory or log
	// run short, calmFlushJobs those that do when neither does.
	maxFlushJobs  = 8
	calmFlushJobs = 2
	// flushPiece is how many writes of a flush job are under way at one time, unless memory runs
	// short: between them the device does what a client waits for.
	flushPiece = 16
	// maxLogReads bounds the goroutines that read blocks back from the log.
	maxLogReads = 8
	// maxFetches bounds the replicas of a store that are filled at one time. The chunks of one are
	// safe before the next begins, so that little is fetched again after a restart.
	maxFetches = 2
	// fetchParallel bounds the reads under way of one chunk fetch.
	fetchParallel = 4
	// fetchBlocks is how many blocks one read of a chunk fetch asks for: little enough that a
	// client's request is not long behind it. At 256 KiB the p99 of a client beside it was 2.2 and
	// 2.3 times that of one alone, at 64 KiB 1.4 and 1.9.
	fetchBlocks = 16
	// DefaultFillBytes is how many bytes in a second a store gives to replicas that are filled from
	// it, while it has clients; fillCalm is how long after a request it takes a client to be there
	// still. At most fillQueue of that waits; who asks for more is told to come again, after
	// fetchPause, and gives up after fetchTries.
	DefaultFillBytes = 16 << 20
	fillCalm         = 100 * time.Millisecond
	fillQueue        = 2 * time.Second
	fetchPause       = 200 * time.Millisecond
	fetchTries       = 150

	// checkpointEvery is how long changes wait for a checkpoint when the log does not press.
	checkpointEvery = 30 * time.Second
	// checkpointAgain is when it is asked again whether there are any.
	checkpointAgain = time.Second
	// lookTicks is after how many ticks all replicas are looked at, not those alone that are awake.
	lookTicks = 20
	// drainPoll is how often it looks whether the replicas have drained.
	drainPoll = 5 * time.Millisecond
	// drainTime is how long a checkpoint waits for one copyset that cannot drain, because it is
	// fetching chunks, before it goes on without it.
	drainTime = 20 * time.Second
	// handOffPoll is how often a store that stops looks whether its leaders have gone.
	handOffPoll = 5 * time.Millisecond
	// DefaultStallBound is the age of a read or a durable write at which leaderships are given
	// away. Group commit and flushes of caches keep healthy devices far below it.
	DefaultStallBound = time.Second
	// DefaultLateBound is the age of a client's request at which the store is late. A device that
	// hangs is given up after a second and an election takes less than another, so that whatever
	// waits for longer than this has met something that nothing here mends.
	DefaultLateBound = 5 * time.Second
	// ownerSilent is for how long an owner ticks not at all until it counts as one that takes no
	// turns. A turn takes microseconds; a host that does not run its guest takes longer.
	ownerSilent = time.Second
	// askTime is how long those who ask an owner how it is wait for it.
	askTime = time.Second
	// stallCalm is for how long a device that stalled must answer well to be trusted again.
	stallCalm = 10 * time.Second
	// countEvery is how often the watchdog counts the room left.
	countEvery = time.Second
	// scarceChunks is at how many chunks that can still be made admission begins to count, and
	// keepChunks how many stay for what other replicas' leaders admitted. Beyond it a write that
	// needs a new chunk is answered no space.
	scarceChunks = 64
	keepChunks   = 1
	// spareSegments is for how many segments of the log chunk files leave room.
	spareSegments = 2
	// giveRest is how long a store that handed a leadership over for want of room keeps it if it
	// comes back: where all stores are full it would go to and fro.
	giveRest = 30 * time.Second
	// promiseTime is how long an admitted write keeps its room when its chunk does not come.
	promiseTime = time.Minute
	// noSpaceTime is how long a device that refused space is not asked for more.
	noSpaceTime = 10 * time.Second
	// DefaultScrubBytes is how many bytes in a second the scrubber reads: 4 TiB in six days.
	DefaultScrubBytes = 8 << 20
	// scrubBlocks is how many blocks it reads at a time.
	scrubBlocks = 16
	// scrubCalm is how long after a client's request it takes the client to be there still. It then
	// leaves scrubMost between two pieces, so that of 400 requests in a second one in a hundred
	// meets one, or as little as scrubLeast, 8 MiB in a second, lest the cycle takes too long.
	scrubCalm  = 20 * time.Millisecond
	scrubMost  = 250 * time.Millisecond
	scrubLeast = 8 * time.Millisecond
	// scrubNap is the shortest time that it sleeps, scrubBurst what it may be late and make up for.
	scrubNap   = time.Millisecond
	scrubBurst = 20 * time.Millisecond
	// DefaultScrubPeriod is from the beginning of one cycle to that of the next, scrubRest how
	// often a scrubber that is done looks whether it is time.
	DefaultScrubPeriod = 7 * 24 * time.Hour
	scrubRest          = time.Second
	// scrubTries is how often a piece that is refused is tried before its chunk is left out,
	// scrubRetry how long after the last time.
	scrubTries = 128
	scrubRetry = 10 * time.Millisecond
	// crossBlocks is how many blocks the replicas are compared in at once; crossLooks how often
	// blocks that differ are looked at, about crossPause apart, before they count; and crossRest
	// how long after a replica did not answer the next is asked.
	crossBlocks = 256
	crossLooks  = 8
	crossPause  = 20 * time.Millisecond
	crossRest   = 10 * time.Second
	// scrubAhead is how many chunks the scrubber learns of at a time.
	scrubAhead = 1024
	// scrubSave is how often its place is kept.
	scrubSave = 30 * time.Second
	// maxFindings is how many findings are kept, findingBlocks how many blocks one names, and
	// maxStanding how many blocks are known to stay bad; more are counted anew in each cycle.
	maxFindings   = 20
	findingBlocks = 16
	maxStanding   = 1024
	// chunkSyncs bounds the chunk checkpoints under way.
	chunkSyncs = 32
)
