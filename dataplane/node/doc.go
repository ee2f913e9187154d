// Package node assembles a data-plane process: event loops that read and answer the native
// protocol, the stores with their owners, the links to the other nodes, and the heartbeat to the
// control plane.
//
// The way of a request: an event loop decodes the frame and checks the payload against its
// checksums (handler.go); the owner of the copyset decides (packages store and copyset); replies
// gather during the owner's turn and leave in one write per connection (reply.go).
//
// A store is a directory, or a block device that `ashlar store format` prepared (package disk has
// both); what it is, its path says. A large file does for a device, which is for trials and tests:
// a file system below costs what a device is meant to save. Nothing is ever formatted by a node.
//
// The node serves from its stores alone: the control plane tells it which copysets to hold and
// where their members are, but while there is no control plane I/O, elections and restarts go on.
//
// A store whose device forgets with the power what it reported as durable is refused at the start
// (writecache.go), unless the settings allow it.
//
// Limits: the buffer pool bounds all payload memory; a request that finds no buffer is answered
// overloaded by the transport; what one owner holds is bounded by the store; a peer that asks for a
// list of chunks while 16 are being made is told to come again. A frame that does not decode closes
// its connection and no other.
package node
