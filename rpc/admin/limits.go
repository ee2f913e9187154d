package admin

import "time"

const (
	// DefaultConnectTimeout bounds one TCP connection attempt.
	DefaultConnectTimeout = time.Second
	// DefaultCallTimeout bounds a call whose context has no deadline.
	DefaultCallTimeout = 3 * time.Second

	// MaxFrameBytes bounds one request or answer, on both sides; the receiver closes a connection
	// that announces more. A status of 65,536 copysets has about 20 MiB.
	MaxFrameBytes = 64 << 20

	// maxIdleConns is how many idle connections one Clients value keeps; a connection that
	// comes back to a full pool is closed. The number of calls in flight is not limited here.
	maxIdleConns = 8
	// idleConnTimeout is how long an idle connection is kept.
	idleConnTimeout = time.Minute

	// maxEndpoints bounds the list given to Dial.
	maxEndpoints = 16
	// searchPause is between two rounds of a call through all endpoints while none of them serves.
	searchPause = 50 * time.Millisecond

	// maxErrorText bounds the text of an error on the wire; what is longer is cut. The frame's
	// header, which carries it, holds 64 KiB.
	maxErrorText = 4096
	// maxEndpointText bounds the endpoint that comes with ErrNotActive.
	maxEndpointText = 256
)
