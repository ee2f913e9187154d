package main

import "time"

const (
	// imageBytes is the disk that is replayed; logBytes the disk that records it, whose file only
	// takes the room that was written.
	imageBytes = 64 << 20
	logBytes   = 4 << 30

	copysets  = 2 // numbers 1..2
	chunks    = 3 // of each
	chunkSize = 1 << 20
	blockSize = 4096
	blocks    = copysets * chunks * chunkSize / blockSize

	segmentSize = 1 << 20
	storeLog    = 6 << 20
	poolBytes   = 48 << 20
	opBlocksMax = 160 // the longest write of the workload
	batchMax    = 6   // operations under way at one time
	opsDefault  = 100 // operations of each phase
	phases      = 4   // a checkpoint, a clean and an unclean restart lie between them
	// Block operations are counted over windowsWanted windows of windowWrites lone writes.
	windowWrites  = 50
	windowsWanted = 4
	windowTries   = 24
	// windowTime is how long a window may take: ext4 writes its journal every 5 s by itself.
	windowTime = 4 * time.Second

	// opTime bounds one operation, recoverTime one recovery, guestTime the virtual machine.
	opTime      = 30 * time.Second
	recoverTime = 60 * time.Second
	guestTime   = 4 * time.Minute
	// replayers bounds the recoveries under way: each waits for most of its time, because a
	// replica that starts again keeps its election time.
	replayers = 12
	// memoryBytes is the room that a folder in memory must have to be used for the disks that
	// states are recovered on, and for the virtual machine; otherwise they go to -dir.
	memoryBytes = replayers*imageBytes + 512<<20
	// guestLines bounds what is kept of the virtual machine's console for a failure.
	guestLines = 1000
	// canaryAge points before every canaryEvery-th the disk is kept, to be judged when canaryAcks
	// more operations are acknowledged: so many that they cannot all have been trims of nothing.
	canaryEvery = 50
	canaryAge   = 8
	canaryAcks  = 8
	// violationsShown bounds what is printed of what went wrong.
	violationsShown = 20
)

// A whole operation is one request.
const _ = uint(chunkSize/blockSize - opBlocksMax)

const (
	// storeDir is the node's directory within the file system that is recorded.
	storeDir = "store"
	// windowPhase is after which phase the block operations are counted: chunks, segments and
	// reserve are there by then.
	windowPhase = 2
)
