// Package nbd serves block devices to standard clients (qemu, libnbd, fio, the Linux kernel) over
// the NBD protocol, and is a client of it.
//
// # Server
//
// Fixed newstyle handshake with EXPORT_NAME, ABORT, LIST, INFO, GO, STRUCTURED_REPLY and, where an
// export implements Mapper, base:allocation. STARTTLS is refused: there is no TLS. Every other
// option is answered "unsupported" and the handshake goes on. Commands: READ, WRITE, DISC, FLUSH,
// TRIM, WRITE_ZEROES, CACHE, BLOCK_STATUS; simple and structured replies; any alignment.
//
// Promises:
//   - A client sees exactly what its export promises in ExportInfo, nothing is emulated.
//   - A request is answered when all of it is done; FUA and FLUSH are passed on to the export. A
//     write that is not answered may be stored in part.
//   - A reply to a lone request leaves from the goroutine that ended it; replies that are ready
//     together leave in one system call.
//   - Payload is read into its final memory, which the export gets and may keep until Done. Only
//     what arrives together with its header is copied (once).
//   - A client that breaks the protocol, hangs up in the middle of something or stops reading loses
//     its connection. No other connection notices.
//   - Memory, requests and goroutines are bounded by the constants in limits.go; a bound that is
//     reached stops the reading of a socket, never the answering.
//
// Failure: an error of the export becomes an error number (Errno, else EIO) and, with structured
// replies, its text. A read over 4 MiB with simple replies is streamed: an error in its middle can
// only close the connection.
//
//	srv, err := nbd.NewServer(nbd.Config{Backend: backend})
//	addr, err := srv.Listen("127.0.0.1:10809") // and srv.Listen("unix:/run/ashlar.sock")
//	...
//	err = srv.Shutdown(ctx)
//
// The deciding parts are pure and have no goroutine, clock or socket: handshake (bytes in, replies
// and questions out), parseRequest, and session.check (what becomes of a request). conn is the
// shell around them: its reader goroutine takes requests in and submits them, an outbox sends what
// is done.
//
// # Client
//
//	c, err := nbd.Dial(ctx, "nbd://127.0.0.1:10809/vol", "")
//	_, err = c.WriteAt(p, 0)
//	err = c.Flush()
//	c.Submit(&nbd.Request{Cmd: nbd.CmdRead, Off: 0, Len: 4096, Data: p, Done: done})
//	err = c.Close()
//
// A Client is an Export itself. When its connection breaks, everything in flight and everything
// after ends with the reason; it does not reconnect.
package nbd
