package gateway

import "time"

const (
	// openTimeout bounds the questions to the control plane for one connection.
	openTimeout = 10 * time.Second
	// stopTimeout is how long requests under way may take when the gateway stops.
	stopTimeout = 5 * time.Second
	// A gateway that cannot register tries again after registerRetry.
	registerRetry   = 500 * time.Millisecond
	registerTimeout = 2 * time.Second
	// intervalMin guards against a control plane that asks for a storm.
	intervalMin = 100 * time.Millisecond
	intervalMax = 30 * time.Second
)
