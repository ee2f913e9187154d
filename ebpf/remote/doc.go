// Package remote carries what probes tell from the machine of a node to whoever traces it from
// elsewhere. A node's admin listener has a Handler, which attaches probes to the node's own process
// for as long as somebody listens; Dial listens.
//
// # Promises
//
//   - Nothing is attached while nobody listens, and what was attached goes away within two polls of
//     the end of the connection, however it ended.
//   - Events arrive in their order, or are counted as lost.
//   - Times that a Stream tells are by the clock of the machine that listens.
//   - A token is sent in the clear to this machine only, unless Options say otherwise.
//
// # Clocks
//
// The clock of events, CLOCK_MONOTONIC, begins anew at each boot of each machine. A Stream asks a
// few times for the other one, takes the answer that came quickest, and knows the difference then
// to half of its round trip. While events come the difference is corrected by how the quickest of
// the frames of each few seconds has moved. Durations are not touched, and package trace does not
// believe a follower that seems to have worked before it was asked.
//
// # How it fails
//
// A tracer that does not read for stallTime loses its connection; until then events wait in the
// kernel's ring, and those that find it full are lost and counted. More than maxTracers at a time,
// and requests that make no sense, are refused by name. A node whose probes are of other sources
// than those of the tracer is refused with ErrVersion: their events lie otherwise in memory.
//
// # Limits
//
// The node's process needs what package probe needs: BTF, and root or CAP_BPF, CAP_PERFMON and
// CAP_SYS_PTRACE. Who is allowed to ask is decided before a Handler is called.
package remote
