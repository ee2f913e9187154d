package client

import "errors"

// Classes of errors, for errors.Is.
var (
	// ErrTimeout: the deadline passed; it wraps the last cause. A write may have taken effect, and
	// may still until the operations submitted before it are finished and a later write was
	// acknowledged by the same copyset: from then on it cannot any more.
	ErrTimeout = errors.New("client: deadline passed")
	// ErrFenced: a newer session owns the volume. Every later operation fails alike.
	ErrFenced = errors.New("client: fenced by a newer session")
	// ErrChecksum: data did not match its checksum on the way, repeatedly.
	ErrChecksum = errors.New("client: checksum mismatch")
	// ErrCorrupt: the cluster has no good copy of a block that was to be read.
	ErrCorrupt = errors.New("client: no good copy of the data")
	// ErrOutOfRange: the range does not lie inside the volume. Nothing was written.
	ErrOutOfRange = errors.New("client: out of range")
	// ErrReadOnly: a write or zero on a volume opened read-only.
	ErrReadOnly = errors.New("client: volume is read-only")
	// ErrNoSpace: the stores behind the range are full.
	ErrNoSpace = errors.New("client: no space")
	// ErrInvalid: the request or the configuration makes no sense; the text names the field.
	ErrInvalid = errors.New("client: invalid")
	// ErrServer: a server failed in a way that retries did not cure.
	ErrServer = errors.New("client: server error")
	// ErrClosed: the volume or the client is closed. A write in flight then may have taken effect.
	ErrClosed = errors.New("client: closed")
)

// Causes inside ErrTimeout, for people.
var (
	errNoAnswer  = errors.New("no answer")
	errNoLeader  = errors.New("no replica is the leader")
	errLost      = errors.New("connection lost")
	errNoMapping = errors.New("mapping not known")
)
