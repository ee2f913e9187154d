// Package peer carries messages between the nodes of a cluster: raft messages with their payloads
// by reference, one way, and requests for chunks and blocks, with answers.
//
// A node dials each other node and sends on its own connection; what the other node sends comes in
// through the server. Messages without entries, elections and heartbeats among them, have a queue
// of their own that goes first, so that data never makes a leader look dead.
//
// Nothing here is reliable, because raft does not need it: a queue that is full drops (limits.go),
// a broken connection drops what it carried, and the replicas concerned are told that the peer is
// unreachable. Requests fail with the connection.
package peer
