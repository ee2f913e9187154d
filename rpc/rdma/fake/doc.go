// Package fake is a network of cards in this process: rpc/rdma/verbs without hardware, for tests.
//
// It obeys what package verbs promises and can be told to misbehave where a real card may: requests
// fail at random, queue pairs break between two bytes of a transfer, a host falls silent,
// completions come late, work of different queue pairs is done in any order. All chances come from
// one seed. Memory is really moved, in pieces, while other queue pairs work; keys, rights, ranges
// and the queue pair of a window are checked as a card checks them. A queue has room again when its
// completions were polled, not before, and completions that were not polled when their queue pair
// closes are lost.
//
// What a caller must never do panics here: a completion queue that overflows, a key of nothing, a
// context closed with objects left.
//
// Counts tells what is open; Uses whether memory is named by unfinished work or lies under a
// window, which is how tests prove that nothing is given back too early.
package fake
