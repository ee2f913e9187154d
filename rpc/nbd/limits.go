package nbd

import "time"

// Bounds of the protocol as this server speaks it.
const (
	// MaxPayload is the largest read or write of a client in bytes. A longer read is answered
	// with an error; the payload of a longer write is read and dropped first, up to maxDiscard.
	MaxPayload = 32 << 20
	// MaxRequest is the largest read or write an Export sees in bytes.
	MaxRequest = 1 << 20
	// MaxZeroRequest is the largest trim or write-zeroes an Export sees in bytes.
	MaxZeroRequest = 16 << 20
	// MaxName is the longest export name or description in bytes; a longer name is refused.
	MaxName = 4096

	// maxOption is the longest option payload that is looked at; a longer one is skipped and
	// answered with "too big".
	maxOption = 32 << 10
	// maxOptionSkip is the longest option payload that is skipped; beyond it the connection is
	// closed.
	maxOptionSkip = 1 << 20
	// maxQueries bounds the metadata queries of one option; more are "too big".
	maxQueries = 256
	// maxDiscard is the longest write payload that is read and dropped to keep the framing;
	// beyond it the connection is closed.
	maxDiscard = 2 * MaxPayload
	// gatherMax is the largest read whose simple reply waits for all its pieces, so that an
	// error can still be told. A longer one is streamed, and an error in its middle closes the
	// connection, as the protocol demands.
	gatherMax = 4 << 20
	// dontFragmentMax is the largest read served with FlagDF; a longer one is EOVERFLOW.
	dontFragmentMax = gatherMax
	// maxExtents bounds the extents of one block-status reply; the reply is cut there.
	maxExtents = 4096
	// maxErrorText bounds the message of an error reply; longer text is cut.
	maxErrorText = 512

	defaultPreferredBlock = 4096
	// readBuffer is the size of a connection's input buffer in bytes: an option and its header
	// fit, and a burst of small requests costs one read.
	readBuffer = 64 << 10
	// directRead is the rest of a payload from which it is read straight to its place instead
	// of through the input buffer.
	directRead = 16 << 10
	// maxBatch is the number of replies that one vectored write carries at most.
	maxBatch = 256
	// acceptPause is the pause after a failed accept.
	acceptPause = 50 * time.Millisecond
	// flushRounds is how often a completing goroutine goes on writing what others queued
	// meanwhile, before it leaves the rest to the connection's writer.
	flushRounds = 4
)

// Defaults of Config.
const (
	// DefaultMaxConns connections are served; a further one is closed at once.
	DefaultMaxConns = 256
	// DefaultMaxConnRequests requests of one connection are in progress or unanswered; then its
	// socket is not read.
	DefaultMaxConnRequests = 256
	// DefaultMaxConnBytes of payload belong to one connection at a time; then its socket is
	// not read.
	DefaultMaxConnBytes = 16 << 20
	// DefaultMemory is the payload memory of a server in bytes; when it is used up, sockets
	// are not read, first come first served.
	DefaultMemory = 256 << 20
	// DefaultHandshakeTimeout is how long a client may take to choose an export.
	DefaultHandshakeTimeout = 30 * time.Second
	// DefaultWriteTimeout is how long a client may take no byte of a waiting reply before its
	// connection is closed.
	DefaultWriteTimeout = 60 * time.Second
)
