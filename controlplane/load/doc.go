// Package load measures what a large cluster costs its control plane: a real one, in a process of
// its own on one processor, with its handlers, its lock, its schedulers and its metadata on disk,
// and simulated nodes, that send it their heartbeats over Kitex on the loopback interface, each on
// a connection of its own, at the interval that it asks for.
//
//	make control-load
//	go run ./cmd/control-load -nodes 300 -replicas 300 -phase 10s
//
// # What is measured
//
// In each phase: the processor time of the control plane's process, the time from a call of the
// command line's to its answer (status, a page of volumes, a new volume), how long the lock of the
// control plane's state was held at most, and its memory at the most. The phases are: a takeover,
// in which nothing is known of any replica and all nodes tell of all of theirs in turn; rest;
// change, in which every second some per cent of the copysets have a follower that falls behind and
// one that catches up; and the same after a node has died for good, which is waited for 10 s and
// not 15 minutes, so that its replicas are made anew while the clock runs.
//
// # What is simulated
//
// Nodes obey at once: they take over what they shall hold, lead what they are told to, and a new
// replica is full fill after it was heard of. They keep what they told as real ones do, by the same
// sums. Nothing of the data plane runs, and no client but the one that measures.
//
// # How it fails
//
// Main returns an error when a phase does not come to what it should: when the cluster is not well
// after the takeover, a heartbeat fails, or the dead node's replicas are not being made anew.
package load
