// Package mark has the points of the data path that a tracer in the kernel can look at while the
// process runs: three functions that do nothing. Each begins with a five-byte NOP, in whose place
// the kernel puts a call when somebody attaches a probe (Linux 6.18 and later; before that it is a
// breakpoint, which costs twenty times as much), and each is handed records that tell what has
// happened, in memory that the probe reads:
//
//	Ops      clients' requests that were answered, with the time that they spent in each stage
//	Appends  appends to a store's log that became durable, with the entries that they held
//	Acks     a follower's word to its leader that it has all entries up to one
//
// An entry of a copyset's log has the same index on all replicas. So a write (Op.Index) is found
// again in the appends of the followers and in their acks, in whatever process they were.
//
// Records come some at a time, up to 60 ms after what they tell of, as a call costs as much as
// thirty records. The kernel's clock goes with the call: for requests that are told in the turn
// that answered them, some of all, it is what their stages can be held against (Prompt).
//
// Nobody makes a record that nobody reads: the kernel counts in Attached's word who has a probe in
// this process. It is the convention of SystemTap's semaphores, but for the note that would tell
// where the word is; it is found by its symbol, `armed`.
//
// Times are nanoseconds of CLOCK_MONOTONIC, the clock of bpf_ktime_get_ns. The records are read by
// another program, perhaps of another version, so that every call says which Layout it has. A
// record that changes its shape needs a new one.
//
// On processors other than amd64 nothing is ever attached.
package mark
