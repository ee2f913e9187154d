// Package store is one disk of a node: its log, its chunk files and the copysets that live on it.
//
// # What it promises
//
// What a replica reported durable survives a power cut. After a restart every replica comes back
// at its newest checkpoint and the log behind it. One that may have lost something it promised,
// because its part of the log or a chunk's metadata is damaged, never runs again: it is on a list
// (LOST), and only a new member, with a higher number and nothing of the old one's, can take its
// place. One that is no member any more, since another store has its place, is destroyed when the
// control plane says so (Retire); the list remembers it for as long as the log has anything of it.
//
// A disk that was put back to an earlier state is found out by whoever remembers LogMark, and costs
// the store its replicas (Regressed). With Config.Unproven they wait for that word, two seconds at
// most, before they take part in an election.
//
// A failed durable write stops the store for good: nothing is retried, every replica on it refuses
// with unavailable and the other stores of the process go on. A full disk refuses new chunks and
// keeps serving what it has. Its log is then as large as the segments that exist: it is given back
// earlier, a write that finds too little of it left is answered overloaded, and a follower takes
// what it has no log for when it has some again.
//
// # How it runs
//
// Copysets are spread over the store's owners, one goroutine each, that alone call the step
// machines of package copyset. An owner sleeps on its queue; a turn takes everything that waits,
// reads the clock once after that, steps the replicas, and then does what they decided: messages
// to followers leave before the log is written, so that both take place at once; the device is
// asked once per turn, when its answers have left. Completions come back through the queue, and
// whoever brought them takes the turn: the log's goroutine when it has nothing more to write, the
// disk's after each batch. At depth one nobody is woken at all: the event loop that read the
// request does the device's read or write itself (disk.FlushHere, wal.Write).
//
//	Post ->  queue -> turn: step, Ready -> messages | log append | replies | device reads
//	           ^                                            |            |
//	           +---------------- completions ---------------+------------+
//
// A checkpoint goes over all copysets of the store: fix a state, drain the overlays to the chunk
// files, make those durable, record the states in the log, recycle the log before them.
//
// With Config.PlaceBytes large writes that follow one another are not written twice: place.go.
//
// # How it tells how it is
//
// Health is what the device does, Waiting what has waited longest, which no counter of answers
// shows. Who asks for Replicas, Stats, Report or Timing is not kept waiting by an owner that takes
// no turns: it gets what was known, and that the owner takes none.
//
// # Limits
//
// limits.go has every bound; at each the client is answered overloaded with a time to try again,
// before anything of its request is kept.
package store
