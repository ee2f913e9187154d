package peer

import "time"

const (
	// maxControl and maxData bound the messages that wait for one node, without and with entries.
	// A full queue drops the new message and reports the peer unreachable.
	maxControl = 16 << 10
	maxData    = 16 << 10
	// maxDataBytes bounds the payload bytes that wait for one node.
	maxDataBytes = 64 << 20
	// batchBytes is how much payload goes out in one write at most.
	batchBytes = 2 << 20
	// bareBytes is the same for payload that must be read from the log first, and loadParallel how
	// many of its payloads are read at one time.
	bareBytes    = 512 << 10
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
