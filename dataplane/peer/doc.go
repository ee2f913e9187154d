// Package peer carries messages between the nodes of a cluster: raft messages with their payloads
// by reference, one way, and requests for chunks and blocks, with answers.
//
// A node dials each other node and sends on its own connections; what the other node sends comes
// in through the server. There are two: appends and chunks go on one, elections, heartbeats and
// answers on the other, so that data, which a slow network may hold in the socket for a second,
// never makes a leader look dead.
//
// Nothing here is reliable, because raft does not need it: a queue that is full drops (limits.go),
// a broken connection drops what it carried, and the replicas concerned are told that the peer is
// unreachable. Requests fail with the connection.
package peer
