package rdma

import "time"

// Name is how this transport is called where there are several.
const Name = "rdma"

// Bounds and what happens at each.
const (
	// SlotSize is the size in bytes of the memory that one message of the card fills: a frame's
	// header and metadata, or the rest of one that is longer.
	SlotSize = 4096
	// DefaultCredits is the messages that a peer may have under way on one connection: at the bound
	// it waits. MinCredits is what the protocol needs to go on, MaxCredits what one pool buffer
	// holds.
	DefaultCredits = 32
	MinCredits     = 4
	MaxCredits     = 512
	// DefaultReceives is the receives that all connections of a server share. A connection that
	// would not get its credits from them is refused.
	DefaultReceives = 16384
	// MaxPieces is the most pieces of memory that a payload is read from by reference; one of more
	// is copied together, and counted.
	MaxPieces = 32
	// DefaultWindows is the windows that a connection has at most: a frame that finds none waits
	// until an earlier one is done with its own.
	DefaultWindows = 256
	// frameWindows is the most windows that one frame needs: so many are never given to rooms.
	frameWindows = MaxPieces + 1
	// MaxRooms is the requests with room for an answer that a peer may have open on a connection;
	// one more closes it.
	MaxRooms = 4096
	// MaxUnread is the frames that a client has received and Recv has not been asked for, before
	// its server must wait: a caller may send that many requests before it looks at an answer.
	MaxUnread = 256
	// sendDepth is the requests to the card that a connection has under way: more wait.
	sendDepth = 128
	// maxSGEs is the most pieces of one request to the card.
	maxSGEs = 16
	// maxReads is the RDMA reads that a queue pair has under way.
	maxReads = 16
	// pollBatch is the completions taken in one turn.
	pollBatch = 64
	// ackAfter is the untold payloads of requests after which they are told without waiting for an
	// answer that would carry it.
	ackAfter = 16
	// backlog is the connection requests that wait to be looked at, accepting those looked at
	// at once: a peer that is slow to connect keeps nobody else from it.
	backlog, accepting = 128, 32
	// DefaultSpin is how long a loop without work goes on asking before it sleeps.
	DefaultSpin = 20 * time.Microsecond
	// linger bounds how long a closed connection goes on sending what it had taken, drainTime how
	// long a broken one waits for the card's last word before it is taken down anyway.
	linger    = time.Second
	drainTime = time.Second
	// stuckShare times its retry time-out a card may take to end a request: it breaks the queue
	// pair before, unless it has stopped without a word. InfiniBand lets it take four times.
	stuckShare = 8
	// sweepShare and sweepMax: as in rpc/transport.
	sweepShare = 10
	sweepMax   = 500 * time.Millisecond
	// copyWait is the pause of a Send that needs pool memory for a copy and finds none.
	copyWait = time.Millisecond
	// keepScratch is the most scratch memory in bytes that an idle frame keeps.
	keepScratch = 8 << 10
	// MinKey is the least bytes of a pre-shared key.
	MinKey = 32
)
