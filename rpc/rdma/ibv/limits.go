//go:build rdma && cgo && linux

package ibv

import "time"

const (
	// postBatch requests and postPieces pieces go to the card in one call; a request may have as
	// many pieces.
	postBatch  = 32
	postPieces = 128
	// postInline is the bytes of a call that are copied with their requests, so the most of one.
	postInline = 8 << 10
	// receivePieces is the most pieces of a receive in a shared queue.
	receivePieces = 4
	// pollBatch completions are taken in one call.
	pollBatch = 64
	// pendingMax connection requests wait for Listener.Next; more are refused.
	pendingMax = 1024

	// resolveTime bounds the search for address and route, each; answerTime is how long a peer may
	// take to say that a connection stands once it was accepted.
	resolveTime = 3 * time.Second
	answerTime  = 10 * time.Second
	// lastTime is how long closing waits for the card to give back the receives of a shared queue.
	lastTime = 200 * time.Millisecond

	// retries is how often an unanswered packet is sent again before the queue pair breaks, and
	// receiverRetries how often one for which there was no receive.
	retries         = 7
	receiverRetries = 6
	// softPatience is the least time-out of all tries on soft RoCE. There each try may break the
	// queue pair, since it binds windows a second time, and answers are late for no other reason
	// than a busy processor.
	softPatience = 4 * time.Second
	// receiverTimer is the code for the 41 ms that a peer waits before it tries such a one again.
	receiverTimer = 24
)
