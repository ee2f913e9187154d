// Package copyset is one replica of a copyset: a raft group that holds many chunks.
//
// # What it promises
//
// Every 4 KiB block is a linearizable register. A write named by (session, op id) takes effect
// exactly once, whatever is sent again to whichever replica, and never once a newer session has
// written to the volume. A write is answered when a majority has it durable. Bytes that do not fit
// their checksum are never answered; they are repaired from another replica.
//
// # How to drive it
//
// A Replica is a step machine: no goroutine, clock, socket or file. Its owner calls one method at a
// time with the time on one monotonic clock, ends every batch of calls with Ready, and does what
// comes out in Effects:
//
//	for {
//	    for each event that waits {
//	        r.Submit | r.Message | r.AppendDone | r.ReadDone | r.FlushDone | r.Tick | ...
//	    }
//	    r.Ready(now, &fx)
//	    send fx.Messages; write fx.Appends; send fx.Replies; begin fx.Reads, fx.Flushes, ...
//	    fx.Reset()
//	}
//
// The clock must be read after the events were taken, because the leader's lease is checked with
// it.
//
// # The way of a write
//
//	Submit    admitted, its lane entered (request.go); a partial block is merged first (merge.go)
//	Ready     proposed with all others that wait, appended to the log and sent (ready.go)
//	          a majority has it durable: committed
//	apply     judged by the exactly-once table (dedup.go), put into the overlay, answered (apply.go)
//	flush     with its neighbours to the chunk file, some time later (flush.go)
//	checkpoint  the chunk files are durable, the log before is recycled (flush.go, state.go)
//
// # The way of a read
//
// Under the lease (lease.go), or after a round of ReadIndex, from the overlay, else from the chunk
// file (read.go).
//
// # Payload
//
// Raft carries commands; payloads stay in reference-counted buffers beside it (payload.go), looked
// up by index and term, so that nothing raft remembers can keep or reach into them. The rule for
// references: whoever is handed a Payload gives it back; looking does not count.
//
// # Limits and failures
//
// limits.go has the bounds; a request that meets one is answered overloaded with nothing kept. A
// failed append stops the replica for good. A log that contradicts itself after a restart is
// ErrDamaged: the replica must not start, since it may have promised what it no longer has.
package copyset
