// Package ibv is rpc/rdma/verbs over libibverbs and librdmacm: real cards, and the kernel's soft
// RoCE.
//
// It is there only in programs built with cgo and the tag rdma, as `make build-rdma` does; in all
// others the package has the same names and New says how to get such a program.
//
//	provider, err := ibv.New(ibv.Options{GIDIndex: ibv.AnyGID})
//	card, err := provider.Open("")
//
// # What it promises beyond verbs
//
// Work posted in one call crosses into C once for each 32 requests, and completions once for each
// 64. C keeps no pointer of Go's: what it needs for longer is its own. Nobody holds a thread: the
// files of completions, connections and faults are waited for by Go's poller.
//
// Closing a queue pair takes what it has completed out of its completion queue, so that no later
// one of the same number is taken for it. Receives of a shared queue that it had used up are still
// reported, Flushed and with QP 0, so that whoever posted them has their memory back.
//
// Private data of the peer come padded with zeros: the protocol of connections knows no length.
//
// # How it fails
//
// New and Open say what is missing and how to get it: the program's build, the card, the kernel's
// modules, the limit of locked memory. A queue pair that breaks, whose peer goes or whose card
// fails closes Gone; what was posted on it completes. Of a request of this side that the peer
// refused only its completion tells: Gone is closed when that is polled.
//
// # Limits
//
// limits.go. A message for a shared queue that was half received when its queue pair broke holds
// its place in the queue until the card says so; soft RoCE never does, and loses it.
package ibv
