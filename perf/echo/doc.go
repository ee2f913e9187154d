// Package echo measures what a frame of the native protocol costs without a store behind it: a
// server of rpc/transport that sends every frame back, Measure that waits for each, and a Client
// that has many under way.
//
// It is the network part of the floor that a write or read can reach. The server is to run in a
// process of its own, as a node does (Spawn); Serve ends with its context. Frames that are under
// way together must fit PoolBytes at either end.
package echo
