// Package transport moves frames of rpc/wire between processes. It is the seam
// under the native protocol: TCP and unix sockets here, network cards in
// rpc/rdma, which is another implementation of Conn and ServerConn, because
// payloads land in registered pool memory and leave by reference. rpc/dial
// chooses between them. A Meter counts what passes and what is copied.
//
// # What it promises
//
// A received payload is copied once in user space, from the event loop's read
// buffer (or a client connection's) into a 4 KiB-aligned pool buffer; of a
// payload that arrives in several reads, a client connection reads the rest
// straight into it. A sent payload is not copied at all. The metadata of a
// received message is not copied when it arrived in one piece.
//
// Frames of one connection arrive in the order of Send, Reply and Queue. The
// release of a sent message happens exactly once whatever becomes of the
// connection. In steady state neither side allocates per message, and many
// replies to one connection share one write.
//
// With ZeroCopy the kernel does not copy large payloads either (zerocopy.go, zcring.go). A batch is
// then released when the kernel has let go of it, which may be after Send has returned; a batch
// with a Body without Release, whose owner has it back at once, is written plainly. A server closed
// by Close waits for the memory, and resets after zcLinger a connection whose peer does not take
// what it was sent.
//
// # Limits
//
// limits.go states each bound and what happens at it. A payload that finds no
// free buffer is discarded and its request answered with StatusOverloaded
// without asking the handler; a one-way frame is then lost (and counted). The
// handler bounds the requests in flight; MaxOutbound must lie above what it
// lets one connection have.
//
// # How it fails
//
// A connection that sends garbage, does not greet, stalls in the middle of a
// frame or does not read its answers is closed with one log line; the others of
// its loop go on. Shortage of file descriptors pauses accepting and is logged;
// established connections go on. Close of a server closes every connection and
// returns when no callback will run any more.
//
// # How to drive it
//
//	srv, err := transport.Listen("127.0.0.1:0", handler, transport.ServerConfig{Pool: pool})
//	conn, err := transport.Dial(ctx, srv.Addr(), transport.Config{Pool: pool})
//	err = conn.Send([]transport.Message{{Header: h, Meta: meta, Body: blocks}})
//	m, err := conn.Recv()
//
// Addresses are "host:port" or "unix:/path".
//
// # Why gnet's loops but not its listener and its writes
//
// The event loops are gnet's. Its listener is not used: it shuts the whole
// engine down when accept fails for want of descriptors, and it removes
// whatever lies at a unix socket's path. The server accepts by itself and gives
// the connections to the loops. Its writes are not used: they cost a loop's
// wake-up each, and copy what a socket does not take into a buffer without
// bound. Batches are written with writev from memory that stays by reference
// (writer.go, writable.go).
package transport
