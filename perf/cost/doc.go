// Package cost tells what operations cost: the CPU time, system calls and context switches of the
// processes that carry them out, and what nodes wrote and read for them.
//
// CPU time comes from /proc in steps of 10 ms, and what a process does idle is part of it unless
// it is taken off (Less). System calls are counted by a meter.Counter, which makes each of them
// dearer: measure latencies without. Counters of nodes are asked for over HTTP.
package cost
