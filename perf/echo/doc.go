// Package echo measures what a frame of the native protocol costs without a store behind it: a
// server of rpc/transport that sends every frame back, and a client that waits for each.
//
// It is the network part of the floor that a write or read can reach. The server is to run in a
// process of its own, as a node does; Serve ends with its context.
package echo
