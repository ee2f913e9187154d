package copyset

import (
	"time"

	"github.com/ashlar-storage/ashlar/rpc/wire"
)

// BlockSize is the unit of checksums, of the overlay and of the linearizability promise, in bytes.
const BlockSize = 4096

const (
	// TickInterval is how often the owner calls Tick.
	TickInterval = 50 * time.Millisecond
	// heartbeatTicks and electionTicks are raft's, in ticks: a follower that has not heard from a
	// leader for electionTicks to 2*electionTicks campaigns.
	heartbeatTicks = 2
	electionTicks  = 8
	// transferTicks is how long a leader waits for another to take the leadership over. Until then
	// it takes no writes, so it is far shorter than an election time-out, which raft would wait.
	transferTicks = 2
	// offerTicks is after how many ticks a leader offers a snapshot again to a follower that has
	// not taken it: the offer, or the fetch that it began, may be lost.
	offerTicks = 20
	// promiseDuration is how long after it took a message of its leader a follower gives its vote
	// to nobody else, though it believe the leader's process to have ended. Without such belief it
	// refuses for electionTicks ticks, which is longer, also when the first two of them come at
	// once: a late turn takes the message, then the tick that waited, and the next one is due.
	promiseDuration = 150 * time.Millisecond
	// leaseDuration is how long after the send time of a message that a quorum answered the leader
	// may serve reads alone: shorter than the promise, as clocks of two machines are taken to run
	// apart by less than a tenth, and longer than the time between two heartbeats.
	leaseDuration = promiseDuration * 9 / 10
	// fillDrain is how long a fetch of chunks waits for the overlay to be flushed before it begins.
	fillDrain = 20 * time.Second
	// fillAgain is how soon after the end of a fetch of chunks the next one is urgent.
	fillAgain = time.Minute
	// proofTime is how long a replica that was recovered waits to hear that its disk is what it
	// was. The control plane may be away for longer, and clients shall not wait for it.
	proofTime = 2 * time.Second
	// restTicks is for how many ticks nothing has happened in a copyset when it is laid to rest.
	// pokeTicks is how long a follower at rest that a client asked waits for its leader.
	restTicks = 100
	pokeTicks = 3
	// standMargin is how much longer a follower waits before it stands for election in the place
	// of a leader that is believed to have ended: by then the others' promises are over too.
	// standApart is the time between the turns of two followers, enough for an election.
	standMargin = 5 * time.Millisecond
	standApart  = 40 * time.Millisecond

	// maxSizePerMsg bounds the command bytes of one append message to a follower, and
	// maxPayloadPerMsg its payload, where it has more than one entry.
	maxSizePerMsg    = 64 << 10
	maxPayloadPerMsg = 256 << 10
	// commandSlab is the piece of memory in which the commands of some forty entries are made.
	commandSlab = 4 << 10
	// entryPiece is how many entries of messages are made at a time, payloadPiece how many of their
	// references.
	entryPiece   = 32
	payloadPiece = 32
	// maxInflightMsgs bounds the append messages under way to one follower: 4 MiB of payload when
	// it catches up from the log, a fraction of a node's pool.
	maxInflightMsgs = 16
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
	// maxTableBytes bounds the exactly-once table, encoded: a snapshot travels in one frame, with
	// room for the rest of it. A volume with one client takes 48 bytes and 8 for each operation
	// that is not finished, a deleted one 20 until a run takes its place; beyond the bound those
	// of volumes that wrote nothing here yet are refused with overloaded.
	maxTableBytes = wire.MaxPayload * 3 / 4
	// maxSessionOps bounds the finished operations remembered above a session's low-water mark. A
	// client keeps fewer in flight, so only a broken one meets it, and is refused.
	maxSessionOps = 16384
)
