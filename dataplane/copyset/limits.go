package copyset

import "time"

// BlockSize is the unit of checksums, of the overlay and of the linearizability promise, in bytes.
const BlockSize = 4096

const (
	// TickInterval is how often the owner calls Tick.
	TickInterval = 50 * time.Millisecond
	// heartbeatTicks and electionTicks are raft's, in ticks: a follower that has not heard from a
	// leader for electionTicks to 2*electionTicks campaigns.
	heartbeatTicks = 2
	electionTicks  = 8
	// offerTicks is after how many ticks a leader offers a snapshot again to a follower that has
	// not taken it: the offer, or the fetch that it began, may be lost.
	offerTicks = 20
	// leaseDuration is how long after the send time of a message that a quorum answered the leader
	// may serve reads alone. A follower that took a message refuses other leaders for
	// electionTicks ticks. The first two of them may come at once, when a late turn takes the
	// message, then the tick that waited, and the next one is due; clocks of two machines are
	// taken to run apart by less than a tenth.
	leaseDuration = (electionTicks - 2) * TickInterval * 9 / 10

	// maxEntriesPerMsg bounds the command bytes (not payload) of one append message to a follower.
	maxSizePerMsg = 64 << 10
	// maxInflightMsgs bounds the append messages under way to one follower.
	maxInflightMsgs = 256
	// maxInflightBytes bounds their command bytes.
	maxInflightBytes = 4 << 20
	// maxUncommitted bounds the command bytes of proposals not yet committed; proposals beyond it
	// are refused with overloaded.
	maxUncommitted = 8 << 20

	// MaxOpBytes is the largest write or read in bytes, as the wire has it.
	MaxOpBytes = 1 << 20
	// MaxPending bounds the client operations one copyset holds, running or waiting; beyond it
	// they are refused with overloaded.
	MaxPending = 4096
	// maxSessions bounds the exactly-once table; the session unused for longest in log order
	// goes first, as every replica decides alike.
	maxSessions = 256
	// maxSessionOps bounds the finished operations remembered above a session's low-water mark. A
	// client keeps fewer in flight, so only a broken one meets it, and is refused.
	maxSessionOps = 16384
)
