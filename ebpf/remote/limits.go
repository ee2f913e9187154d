package remote

import "time"

const (
	// MaxFrame bounds a frame's payload, in bytes; a larger one ends the stream.
	MaxFrame = 1 << 20
	// maxTracers bounds the streams of one Handler, each of which has a ring of 16 MiB in the
	// kernel.
	maxTracers = 2
	// pollTime is how often a Handler looks for events, stateTime how often it tells of histograms.
	pollTime  = 50 * time.Millisecond
	stateTime = 500 * time.Millisecond
	// stallTime is how long a tracer may not read.
	stallTime = 5 * time.Second
	// backlog is how many frames a Stream keeps for its Poll before it stops reading.
	backlog = 64
	// clockAsks is how often the other clock is asked for at the beginning; clockWindow how many
	// frames its difference is corrected by.
	clockAsks   = 8
	clockWindow = 100
	// textMax bounds an error that a node answers with.
	textMax = 4 << 10
)
