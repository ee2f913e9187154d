package client

import "time"

// The bounds of a client. Nothing here grows with what a stuck cluster leaves undone.
const (
	// DefaultMaxInflight bounds the operations of a volume between Submit and Done. Submit blocks
	// at the bound.
	DefaultMaxInflight = 256
	// DefaultMaxInflightBytes bounds the data of those operations. Submit blocks at the bound; an
	// operation larger than the bound is let in alone.
	DefaultMaxInflightBytes = 64 << 20
	// MaxOpBytes bounds the data of one Submit; larger ones fail with ErrInvalid. ReadAt and
	// WriteAt take any length and go in steps of stepBytes.
	MaxOpBytes = 32 << 20
	stepBytes  = 8 << 20

	// piecesPerOp bounds the requests one operation has on the wire at a time; further pieces
	// follow as earlier ones complete.
	piecesPerOp = 16

	// maxUnfinishedSpan bounds the distance from the oldest unfinished write of a session to its
	// newest, and with it the exactly-once tables of the servers, of which each remembers 16384
	// finished ids per session. Submit blocks at the bound; later pieces of operations that were
	// let in may pass it.
	maxUnfinishedSpan = 1 << 13

	// DefaultPoolBytes is the arena for arriving read data and for Client.Buffer when Config.Pool
	// is nil; what is not used is address space only. An answer that finds no room in it is
	// dropped, and asked for again after a pause.
	DefaultPoolBytes = 64 << 20

	// segmentsPerLookup is how many segments one mapping request asks for.
	segmentsPerLookup = 256
	// copysetsPerLookup is how many copysets one request asks for; the protocol takes 1024.
	copysetsPerLookup = 1024

	// A submitter writes to the socket itself while at most directDepth requests, its own among
	// them, are in flight on the connection, for the sake of latency; above it the sender
	// goroutine does, which gathers batches: 16 frames per write instead of 3.5 at 32 in flight
	// on one connection, and 3 us per operation instead of 4 to 5. One of directBytes or more is
	// written at once too: gathering would save it a hundredth, and the node has nothing to do
	// meanwhile. A submitter goes on with what others queued for at most directRounds writes; so
	// does the sender for senderRounds, before it queues up for the processor again.
	directDepth  = 1
	directBytes  = 64 << 10
	directRounds = 2
	senderRounds = 64

	// maxReplicas bounds a copyset as the client sees it; further replicas are ignored.
	maxReplicas = 16
)

// Times. They are bounds of patience, not of the normal path, which uses none of them.
const (
	// DefaultTimeout is the deadline of one operation.
	DefaultTimeout = 30 * time.Second
	// attemptTimeout: a request that a live peer has not answered is sent again. It is the sum of
	// two waits that do not count what the line takes (attempt.go).
	attemptTimeout = arriveWithin + answerWithin
	arriveWithin   = 500 * time.Millisecond
	answerWithin   = 1500 * time.Millisecond
	// tickEvery is the step in which deadlines, attempts and silence are noticed.
	tickEvery = 50 * time.Millisecond
	// pingAfter of silence on a connection that owes an answer, or idlePingAfter on one that
	// owes none, a ping is sent. When silentAfter has passed without a sign of life the peer counts
	// as dead: the connection is closed and what was in flight goes to the other replicas. The
	// event loop answers pings, so a slow disk is not mistaken for a dead peer, nor is a slow line
	// (silence.go).
	pingAfter     = 100 * time.Millisecond
	idlePingAfter = 1 * time.Second
	silentAfter   = 500 * time.Millisecond

	// stuckAfter is how long past its deadline a request may still be in the middle of being
	// written before the connection is closed for it.
	stuckAfter = 2 * tickEvery

	dialTimeout    = 1 * time.Second
	redialMin      = 5 * time.Millisecond
	redialMax      = 500 * time.Millisecond
	writeTimeout   = 2 * time.Second // without a byte that the node's machine takes
	controlTimeout = 5 * time.Second
	// closeTimeout bounds what Close waits for the control plane.
	closeTimeout = 2 * time.Second

	// A session is renewed every third of its lease, within these bounds.
	renewMin = 50 * time.Millisecond
	renewMax = 10 * time.Second

	// Pauses between mapping requests that fail.
	lookupRetryMin = 20 * time.Millisecond
	lookupRetryMax = 1 * time.Second

	// A copyset without a known leader is polled with one request at a time: at once, then after
	// scoutMin, doubling to scoutMax, and after scoutPatience polls in vain to scoutIdle.
	scoutMin      = 1 * time.Millisecond
	scoutMax      = 10 * time.Millisecond
	scoutIdle     = 100 * time.Millisecond
	scoutPatience = 100

	// Waits of one request after an answer that asks for one: retryMin, doubling to retryMax, and
	// after retryPatience of them retryIdle.
	retryMin      = 1 * time.Millisecond
	retryMax      = 8 * time.Millisecond
	retryIdle     = 100 * time.Millisecond
	retryPatience = 60
	// overloadMax caps a server's retry-after, so that one bad answer cannot park a request for
	// ever.
	overloadMax = 1 * time.Second

	// refreshEvery is the least time between two mapping requests for the same copyset.
	refreshEvery = 250 * time.Millisecond
)

// Tries of answers that repeat cannot be expected to cure for ever.
const (
	maxHops          = 4 // redirects followed without a wait
	maxChecksumTries = 4
	maxInternalTries = 6
)
