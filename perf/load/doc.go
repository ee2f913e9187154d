// Package load drives an engine with reads and writes, and measures each from its beginning to its
// completion.
//
// An Engine takes operations and completes them later; the native client, an NBD connection or a
// file can all be one. In a closed loop Depth operations are under way all the time: at depth 1 a
// goroutine submits and waits, as a program that calls ReadAt does; deeper, each completion submits
// the next operation from the engine's own goroutine, so that the generator costs as little as it
// can. In an open loop (Rate) operations arrive by the clock, whatever became of those before: an
// operation's latency counts from the time at which it was to begin, so that a stall of the engine
// shows in every operation that it delayed.
//
// A verifying job knows what it wrote last to each block. What it reads back must be just that: an
// old, a torn or another block's content is ErrLied, and says which.
//
// Limits: a run holds Depth buffers of the largest block, backlogMax arrivals that wait (further
// ones are dropped and counted), 4 bytes for each block of a verifying job (verifyBlocksMax), and
// logMax lines of each log. It ends after Duration, Ops or Bytes, when the last operation has
// completed, or at the first failed operation. An engine that never completes an operation makes
// Run wait for ever: engines have deadlines of their own.
//
//	res, err := load.Run(ctx, engine, load.Job{Sizes: load.Blocks(4096), Random: true, Depth: 32,
//		Size: engine.Size(), Duration: 5 * time.Second})
//
// What decides is pure and has no clock: plan (what comes next), arrivals (when), ledger (what a
// block must hold) and tally (what is counted). run is the shell around them.
package load
