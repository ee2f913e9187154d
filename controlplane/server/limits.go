package server

import "time"

// What is over a limit is refused with an error that names it.
const (
	maxNodes         = 4096
	maxStoresPerNode = 256
	maxVolumes       = 1 << 16
	maxSessions      = 1 << 16 // over it, the one that lapsed first is forgotten
	maxProcesses     = 1024    // over it, the one silent for longest is forgotten
	maxNameBytes     = 128     // names of nodes, zones, volumes, directories, processes
	maxPathNames     = 16      // in the path of a volume or directory
	maxPathBytes     = 1024    // of such a path, slashes included
	maxDirectories   = 1 << 16 // without the root
	maxPage          = 1000    // items in one answer of a listing that has pages
	maxTextBytes     = 1024    // paths, versions, details; longer ones are cut
	maxFindings      = 20      // of a store's scrubber; the rest is cut
	maxLookup        = 1024    // segments or copysets in one lookup
	maxReplicas      = 7
	maxCopysets      = 1 << 16
	// copysetsEach is how many copysets there are for each store where nobody says so, which is how
	// many a store leads: one for each of its owners (store.DefaultOwners), and when it dies the
	// two others take over one each. Every copyset makes batches of its own: with more of them
	// the same writes go in smaller ones.
	copysetsEach = 2

	// MaxVolumeBytes bounds a volume: its mapping is written in one transaction.
	MaxVolumeBytes = 64 << 40
	// segmentCopysets is how many copysets the chunks of one segment interleave over.
	segmentCopysets = 16

	maxEvents          = 10_000 // kept; the oldest go
	maxPendingEvents   = 1024   // not written down yet; more are counted and not kept
	maxEventsPerCommit = 256    // of those, in one transaction

	// maxPurges is how many volumes of the trash are given up in one tick; the rest follows.
	maxPurges = 16
	// maxDeletions is how many volume ids one heartbeat answer carries; the rest follows when
	// those are done.
	maxDeletions = 256
	// maxLeftShown is how many volumes are named whose chunks are dropped late.
	maxLeftShown = 8
	// maxErased is how many runs of erased volumes are looked at for one answer.
	maxErased = 256
	// maxTransfers is how many leader transfers wait for one node's next heartbeat.
	maxTransfers = 64

	// maxRetire is how many replicas one heartbeat answer names that the node shall destroy; the
	// rest follows when those are gone.
	maxRetire = 256
	// maxTouched is how many copysets are looked at in one holding of the lock: to judge them, to
	// take them over for the schedulers, to list them.
	maxTouched = 1024
	// maxNoted is how many nodes that come or go have their copysets touched in one.
	maxNoted = 8
	// maxTelling is how many nodes tell of all their replicas at a time after a takeover, each
	// within tellWithin, which is when they give a call up.
	maxTelling = 4
	tellWithin = 3 * time.Second
	// maxLate is how many copysets one tick writes down that may be written late, and maxFinish how
	// many replacements one takes over; the rest follows.
	maxLate   = 2048
	maxFinish = 32
	// maxSettle is how many copysets are taken over in one tick after a restore, in one
	// transaction; the rest follows. maxUnsettledShown is how many a status names that wait.
	maxSettle         = 1024
	maxUnsettledShown = 4
	// maxLackingShown is how many nodes are named that lack a feature.
	maxLackingShown = 8
	// maxWaitsShown is how many of the replacements that wait are listed.
	maxWaitsShown = 200

	// maxReadings is how many snapshots of the metadata are read at a time, each for readingMost at
	// most and readingIdle after its last page; readingPage is about the bytes of a page.
	maxReadings = 4
	readingMost = 10 * time.Minute
	readingIdle = 30 * time.Second
	readingPage = 1 << 20

	// maxSurveyAsk is how many copysets a heartbeat asks a node for, maxSurveyChunks how many
	// chunks one survey takes (256 TiB of data), maxRecover how many volumes one writes down.
	maxSurveyAsk    = 16
	maxSurveyChunks = 1 << 24
	maxRecover      = 256

	// maxProblems bounds the list in a status; the last line says how many more there are.
	maxProblems = 24

	// maxRebuildAfter bounds how late a rebuild may be taken to begin, in the arithmetic of
	// durability.
	maxRebuildAfter = 10 * 365 * 24 * time.Hour

	// forgetSession is how long a session whose lease ran out may still come back.
	forgetSession = 24 * time.Hour
	// restoredKeep is how long a volume stays in the trash at least that was there when the
	// metadata were restored.
	restoredKeep = 24 * time.Hour
	// forgetProcess is how long a silent process stays in the list.
	forgetProcess = 10 * time.Minute
	// newKitexSettle is how long Kitex may take from Run to being able to stop.
	newKitexSettle = 50 * time.Millisecond

	poolID    = 1
	blockSize = 4096

	// electionPause is before a control plane that could not be active stands again,
	// lookInterval between looks for who is, and announceInterval between two times that it tells
	// that one, each of announceTimeout at most.
	electionPause    = time.Second
	lookInterval     = 200 * time.Millisecond
	announceInterval = time.Second
	announceTimeout  = 500 * time.Millisecond

	maxConnections = 4096             // more are refused by closing them
	readTimeout    = 10 * time.Second // for a request that has begun to arrive
	idleTimeout    = 5 * time.Minute  // for a connection without requests
	exitWait       = 3 * time.Second  // for calls in flight when stopping
)
