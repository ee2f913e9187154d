package main

import "time"

const (
	// laneTime bounds the lane, the fetching of the kernel included.
	laneTime = 6 * time.Minute
	// machineMemory is the MiB of a machine: it holds the programs, and a cluster.
	machineMemory = 3072
	// machineCPUs lets what runs in it meet at one time.
	machineCPUs = 2
	// cableTick is how often the second machine looks for the first one's cable.
	cableTick = 50 * time.Millisecond
	// doctorTime bounds `ashlar rdma doctor`.
	doctorTime = 30 * time.Second
	// linesKept bounds what is shown of the machine's words for a failure.
	linesKept = 2000
)
