// Package wire is the byte format of Ashlar's native protocol: frames, the
// metadata of block requests and answers, the greeting, and the checksums of a
// payload's blocks.
//
// # What it promises
//
// A frame is a 32-byte header, then metadata, then payload (see header.go for
// the drawing). Integers are little-endian. The header carries a crc32c over
// itself and the metadata; the payload is covered block by block by the
// checksums in the metadata, so that the same checksums follow the bytes to
// the disk and back to the client and are never computed twice by one party.
//
// Every decoder is bounded: it refuses lengths above the constants in
// limits.go before anything is allocated for them, refuses set reserved bits,
// never panics, and names the field in its error. Decoding a request reuses
// the receiver's slices, so a steady stream of requests allocates nothing.
//
// # How it fails
//
// Errors are of the classes ErrMagic, ErrVersion, ErrHeader, ErrMeta and
// ErrChecksum, testable with errors.Is. After any of them from ParseHeader or
// VerifyMeta the stream has lost its framing and the connection must be closed.
// The outcome of a request travels as a Status; Status.Err gives the class the
// receiver tests for (ErrNotLeader, ErrOverloaded, ...), StatusOf goes the
// other way.
//
// # How to drive it
//
//	meta = request.AppendTo(meta[:0])
//	wire.PutHeader(head, wire.Header{Op: wire.OpWrite, ID: id, PayloadLen: n}, meta)
//	// send head, meta, payload
//
//	h, err := wire.ParseHeader(head)       // 32 bytes
//	err = wire.VerifyMeta(head, meta)      // after h.MetaLen more bytes
//	err = request.Decode(meta)
//	err = request.Check(h.Op, h.PayloadLen)
//
// The package does no input or output; rpc/transport moves the frames.
package wire
