// Package rdma moves frames of rpc/wire between processes through network cards that read and write
// memory by themselves: rpc/transport's Conn, ServerConn and Handler over rpc/rdma/verbs.
//
// # What it promises
//
// What rpc/transport does, and: no payload is copied by a CPU that lies in the pool of its sender,
// and none that is received. A payload of the sender is opened to the peer by windows, for this one
// frame, and the peer reads it straight into an aligned pool buffer; an answer's payload is written
// by the responder into the room that the request opened for it (transport.Message.Room), or read,
// when there was none. Payloads that are not in the pool, or in more than MaxPieces pieces, are
// copied into it and counted (Stats).
//
// Frames of one connection arrive in the order in which they were sent: one whose payload is still
// being read holds back those after it. Release of a sent message runs exactly once: when no window
// lies over its memory any more, or when the queue pair is closed; that may be after Send returned.
// The bytes of a Body without Release are the caller's again when Send returns, which costs a copy.
//
// Nothing of a process can be reached by a peer but through a window that is bound for one frame on
// one queue pair; servers open their memory for reading only. A peer that breaks a rule loses its
// own connection.
//
// # Limits
//
// limits.go states each bound and what happens at it. A payload that finds no buffer is not read,
// and its request answered with StatusOverloaded, as over TCP. A connection has so many messages
// under way as its peer has receives (Config.Credits), and waits for it beyond; receives of all
// accepted connections are one queue, whose size bounds their number. A client whose Recv is not
// called stops its server, which closes it in the end.
//
// # How it fails
//
// An error of the card, a peer that goes without a word, or a card that does (it ends no request
// for eight times the retry time-out) breaks the connection: ErrBroken from Send and Recv, what was
// sent and not answered is in doubt, and the caller dials again, as over TCP. Other errors are of
// rpc/transport's classes. With a pre-shared key both sides prove, before any memory is opened,
// that they have it; ErrKey says that they do not.
//
// # How to drive it
//
//	dev, err := rdma.Open(rdma.Config{Provider: provider, Pool: pool})
//	srv, err := dev.Listen("10.0.0.1:7000", handler, transport.ServerConfig{Pool: pool})
//	conn, err := dev.Dial(ctx, srv.Addr(), transport.Config{Pool: pool})
//
// # How it is built
//
// The protocol is a machine without goroutines (machine.go, outgoing.go, incoming.go); format.go
// draws its messages. conn.go is its shell. A device has a few loops, each a completion queue and
// the goroutine that polls it: it goes on asking for a while when work has ended, and then sleeps
// until the card has something. Replies from other goroutines are given to the card by their
// callers.
package rdma
