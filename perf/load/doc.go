// Package load drives an engine with a closed loop of random reads or writes and measures each
// operation from submission to completion.
//
// An Engine takes operations and completes them later; the native client, an NBD connection or a
// file can all be one. At depth 1 a goroutine submits and waits, as a program that calls ReadAt
// does; deeper, each completion submits the next operation from the engine's own goroutine, so that
// the generator costs as little as it can.
//
// Limits: a run holds Depth buffers of Block bytes and as many histograms. It ends after Duration,
// when the last operation has completed, or at the first failed operation. An engine that never
// completes an operation makes Run wait for ever: engines have deadlines of their own.
//
//	res, err := load.Run(ctx, engine, load.Job{Write: true, Block: 4096, Depth: 32,
//		Size: engine.Size(), Duration: 5 * time.Second})
package load
