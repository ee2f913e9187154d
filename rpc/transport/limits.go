package transport

import (
	"runtime"
	"time"

	"github.com/ashlar-storage/ashlar/rpc/socket"
)

// Bounds of a server and what happens at each.
const (
	// MaxLoops bounds the default number of event loops, which is half the number of CPUs and at
	// least 1. On two, one loop makes larger batches than two, and wakes fewer threads.
	MaxLoops = 4
	// ReadBuffer is each event loop's read buffer in bytes: the most that one
	// readable event takes from a socket, so that one fast sender cannot keep
	// the others of its loop waiting.
	ReadBuffer = 256 << 10
	// DefaultMaxConns bounds connections per server: a further one is closed
	// after accept, with a log line.
	DefaultMaxConns = 4096
	// DefaultMaxOutbound bounds the unsent bytes of a connection, held by
	// reference; past it the connection is closed with ErrSlowReader.
	DefaultMaxOutbound = 64 << 20
	// DefaultHelloTimeout closes a connection that has not greeted.
	DefaultHelloTimeout = 5 * time.Second
	// DefaultFrameTimeout closes a connection in which a begun frame makes no
	// progress, because a begun frame may hold a buffer of MaxPayload bytes.
	DefaultFrameTimeout = 30 * time.Second
	// sweepShare is how often in a time-out the connections are looked at, sweepMax how long they
	// are not at most.
	sweepShare = 10
	sweepMax   = 500 * time.Millisecond
	// OverloadedRetryMS is the hint, in milliseconds, in the answer to a
	// request whose payload found no free buffer. Its payload is discarded.
	OverloadedRetryMS = 5
)

// Bounds of a client connection.
const (
	// DefaultWriteTimeout bounds how long a Send waits while the peer takes no byte.
	DefaultWriteTimeout = 10 * time.Second
	// DefaultDialTimeout bounds connecting and greeting.
	DefaultDialTimeout = 5 * time.Second
	// recvBuffer holds at least one whole header and metadata.
	recvBuffer = 128 << 10
	// largePayload is a payload after which another one is expected, and then no more than headRead
	// bytes are read with the head: the rest goes straight to where it belongs.
	largePayload = 32 << 10
	headRead     = 2 << 10
)

// Writing: see writer.go.
const (
	// maxIov is the most pieces of one vectored write (IOV_MAX).
	maxIov = socket.MaxVec
	// directLimit is the largest batch in bytes that Reply and Flush write from
	// their caller's goroutine; larger ones go to the event loop, because the copy
	// into the socket would keep the caller from its work for too long.
	directLimit = 64 << 10
	// directRounds is how often a caller goes on to write what others queued
	// meanwhile before it leaves the rest to the event loop.
	directRounds = 4
	// keepScratch is the most scratch memory in bytes that an idle connection
	// keeps for encoding headers.
	keepScratch = 64 << 10
)

// Zero-copy sends: see zcring.go.
const (
	// zcSlots bounds the sends of a server, or of the connections a process made, whose memory the
	// kernel holds; what comes further is written plainly.
	zcSlots = 256
	// zcLinger is how long the bytes of a closed connection may still go out while the kernel holds
	// memory for them; then the connection is reset.
	zcLinger = time.Second
	// zcPatience is how long Close of a server waits for that memory.
	zcPatience = 10 * time.Second
)

func defaultLoops() int { return max(1, min(runtime.NumCPU()/2, MaxLoops)) }
