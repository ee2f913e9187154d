// Package floor measures what a machine can do at best for an operation of a block store: a direct
// read and a durable write of a file, the round trip of a frame over the loopback, and what its CPU
// needs for the work that nobody is spared.
//
// A read cannot be faster than the device's read and a round trip, a durable write on a majority
// not than the device's durable write and two (client to leader, leader to followers). What a job
// took over that is its efficiency; deeper, where latencies queue, it is its rate over that of the
// raw file at the same kind of load.
//
// Everything is measured in turns, and the turn with the lowest median counts: it is to be the best
// that the machine can do.
//
// The file is written once before, so that no write of the measurement changes its metadata, and is
// removed afterwards. The echo is a process of its own. It needs a file system with direct I/O: not
// a tmpfs.
package floor
