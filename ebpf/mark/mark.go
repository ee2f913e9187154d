package mark

import "golang.org/x/sys/unix"

// Layout is the version of the records. Probes leave those of another version alone.
const Layout = 2

// Stages is how many stages a request can be in; what they are is the data path's to say.
const Stages = 7

// Prompt, in Been, says that a request is told in the turn that answered it, so that the kernel's
// clock is that of its end.
const Prompt = 1 << 7

// The stages leave a bit for it.
var _ [7 - Stages]struct{}

// Op is a client's request that has been answered.
type Op struct {
	Session uint64 // of the client's attachment
	ID      uint64 // of the operation in the session, or of the frame that asked for it
	Copyset uint64
	Term    uint64
	Index   uint64 // of its entry; 0: it has none
	Volume  uint64
	Offset  uint64 // bytes into the volume
	Length  uint32
	Kind    uint8
	Been    uint8  // a bit for each stage that it was in, and Prompt
	Status  uint16 // rpc/wire's; 0: it was answered well
	Arrived int64
	Spent   [Stages]int64 // ns in each stage
	Node    uint64
	Store   uint64
}

// Took is how long the request was in the leader's hands.
func (o *Op) Took() (sum int64) {
	for _, ns := range o.Spent {
		sum += ns
	}
	return sum
}

// tagBits are what fits into the user data of an io_uring operation beside the ring's own.
const tagBits = 48

// Tag is what a request's operations on an io_uring carry: enough to tell those of one moment
// apart.
func Tag(session, id uint64) uint64 {
	return (id ^ session*0x9e3779b97f4a7c15) & (1<<tagBits - 1)
}

// Append is a part of a copyset's log that a store has made durable.
type Append struct {
	Copyset uint64
	Term    uint64
	First   uint64 // index of the first entry
	Count   uint32 // entries
	Bytes   uint32 // their payload
	Queued  int64  // given to the log
	Began   int64  // its write to the device began
	Durable int64  // and ended
	Taken   int64  // the copyset's owner heard of it
	Node    uint64
	Store   uint64
}

// Ack is a follower's word that it has a copyset's log, as its leader heard it.
type Ack struct {
	Copyset uint64
	Term    uint64
	Index   uint64 // all entries up to it
	At      int64
	From    uint64 // the follower's node
	Node    uint64
	Store   uint64
}

// Batch is how many records a marker is handed at most.
const Batch = 64

// Ops tells of requests that were answered.
func Ops(all []Op) { tell(all, ops) }

// Appends tells of appends that became durable.
func Appends(all []Append) { tell(all, appends) }

// Acks tells of followers that answered.
func Acks(all []Ack) { tell(all, acks) }

// tell hands records to their marker, a batch at a time.
func tell[T any](all []T, marker func(first *T, count, layout int)) {
	for len(all) > 0 {
		n := min(len(all), Batch)
		marker(&all[0], n, Layout)
		all = all[n:]
	}
}

// Now is the clock of all records, and of the probes: CLOCK_MONOTONIC, in ns.
func Now() int64 {
	var t unix.Timespec
	if unix.ClockGettime(unix.CLOCK_MONOTONIC, &t) != nil {
		return 0 // the kernel has had it since 2.6
	}
	return t.Nano()
}
