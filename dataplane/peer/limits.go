package peer

import "time"

const (
	// maxWaiting and maxBytes bound the messages that wait for one connection, and their payload. A
	// full queue drops the new message and reports the peer unreachable.
	maxWaiting = 16 << 10
	maxBytes   = 64 << 20
	// batchBytes is how much payload goes out in one write at most, and loadParallel how many
	// payloads are read from the log for it at one time.
	batchBytes   = 2 << 20
	loadParallel = 16
	// batchMessages bounds the frames of one write.
	batchMessages = 256
	// maxCalls bounds the requests under way to one node; more fail at once.
	maxCalls = 1024

	// redialFirst and redialMax bound the pause before a node is dialled again.
	redialFirst = 20 * time.Millisecond
	redialMax   = time.Second
	dialTime    = 2 * time.Second
	writeTime   = 5 * time.Second
	// CallTime is how long a request may take.
	CallTime = 10 * time.Second
)
