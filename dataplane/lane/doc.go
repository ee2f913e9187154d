// Package lane orders the operations of one chunk where they overlap and lets all others run
// side by side.
//
// Chunks hash to lanes; a lane is the arrival-ordered list of operations that run or wait on its
// chunks. An operation may start when nothing that entered the lane before it, running or waiting,
// conflicts with it: same chunk, overlapping blocks, and two modes that exclude each other.
// Entering behind a waiting operation means waiting too, so no stream of reads can starve a flush.
// The exception are operations that enter ahead: they wait for what runs alone, because what waits
// may depend on them.
//
// What excludes what:
//
//	         Read  Flush  Write  Merge
//	Read      -      x      -      -      a device read must not see half a device write
//	Flush     x      x      -      x      nor may two device writes of one block race
//	Write     -      -      -      x      aligned writes are ordered by the raft log itself
//	Merge     -      x      x      x      a read-modify-write needs its base to stand still
//
// The table is a pure data structure: no goroutine, no lock, no clock. Its owner calls Enter, runs
// what is granted, and calls Leave, which names the operations that may start now. It allocates
// nothing. It is bounded by its callers: whoever admits operations limits how many can be here.
package lane
