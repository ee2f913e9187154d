package runbook

import "time"

const (
	// blockTime bounds one run of a block on one machine; retryPause lies between two runs of one
	// that has time to succeed.
	blockTime  = 2 * time.Minute
	retryPause = 500 * time.Millisecond
	// readyTime bounds the start of a unit, stopTime its end before it is killed.
	readyTime = 60 * time.Second
	stopTime  = 30 * time.Second
	// startsMax bounds how often a unit is started again within startsSpan.
	startsMax  = 20
	startsSpan = time.Minute
	// outputMax bounds what is kept of a block's output, in bytes; the end of it is.
	outputMax = 64 << 10
)
