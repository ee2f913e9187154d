// Package engine opens what a load can be put on, so that the same job runs against all of it:
//
//	ashlar  a volume of a cluster, through the native client
//	nbd     an export of an NBD server, through our own client, one connection for each job
//	uring   a file or block device, through our own io_uring
//	net     frames of the native protocol to an echo and back: what the network costs
//	null    nothing: what the generator costs
//
// What a job asks and an engine cannot do is an error of class ErrUnfit that says what to write
// instead. A write of ashlar is durable when it ends, with and without sync; the other engines do
// what sync says (nbd: FUA, uring: O_DSYNC or O_SYNC), net and null store nothing. At depth 1 uring
// reads and writes with plain system calls: a ring that nobody shares only adds a hop.
//
// Limits: an Opener has one attachment of each volume, which all its jobs share, for another one
// would fence it. A block device that is mounted is not opened for writing.
//
//	o := engine.NewOpener()
//	defer o.Close()
//	t, err := o.Open(ctx, engine.Spec{Kind: "uring", File: "raw", Direct: true, Depth: 32})
package engine
