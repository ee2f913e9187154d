package supervise

import "time"

// Defaults of Config and bounds of the shell.
const (
	DefaultRestartDelay = time.Second
	// RestartDelayMax is where the doubling of the delay ends.
	RestartDelayMax = 30 * time.Second
	// StableAfter is how long a child must live for its earlier deaths to be forgotten.
	StableAfter = 30 * time.Second
	// StartAttempts is how often a child may die before the cluster was ready.
	StartAttempts = 4
	// DefaultStartWait bounds the way to ready.
	DefaultStartWait = 90 * time.Second
	// DefaultStopWait bounds the orderly end of one stage; then it is killed.
	DefaultStopWait = 25 * time.Second

	tickEvery  = 50 * time.Millisecond
	probeEvery = 50 * time.Millisecond
	eventQueue = 64 // senders block when it is full; the loop always drains it
)
