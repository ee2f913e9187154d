// Package client is the block client of Ashlar: it attaches volumes of a cluster and reads and
// writes them at byte offsets.
//
// # What it promises
//
// A write that returned, or whose Done came without error, is durable on a majority of the
// replicas of every block it touched, whatever dies afterwards. It took effect exactly once,
// however often it was sent: every request of a write has one op id in its session for all its
// attempts, and the servers remember which ids took effect. Each block of 4 KiB is a linearizable
// register. Data is covered by crc32c from the caller's memory to the device and back: computed
// once here for a write, checked here for a read before a byte of it reaches the caller.
//
// The size of a volume only rises: when it is resized, operations may use the new part after the
// next renewal of its session (Volume.Size tells), without a pause.
//
// Written data goes from the caller's slice to the socket and must not change until Done. Read data
// is copied from the buffer it arrived in to the caller's slice. A steady stream of operations
// allocates nothing.
//
// Who wants no copy at all uses the client's own buffers, which a network card can reach too:
// Client.Buffer gives one to write from (Op.Buf, Volume.WriteBuf), and OpFetch (Volume.Fetch) hands
// over the buffers in which answers arrived. Over a socket the kernel's copies are left, and one
// from a connection's read buffer for short answers; Client.Traffic and Stats count them.
//
// # How it fails
//
// Redirects, lost connections, silent peers, overload and elections are dealt with inside, until
// the deadline (Config.Timeout): then the operation fails with ErrTimeout, which wraps the last
// cause. A write that failed so may still take effect later; ErrTimeout says until when.
//
// When the leader of a copyset dies, the pause is that of the servers' election plus at most about
// 10 ms: one waiting request at a time asks around, the others follow as soon as one is served. A
// peer that stops answering without closing its connection (frozen, cut off) is noticed after about
// half a second. The control plane is not needed for any of this.
//
// A slow line is not taken for a dead peer, nor is what waits on it sent again: bytes that move are
// a sign of life (silence.go), and the time that a node has for an answer begins when the request
// is known to have reached it (attempt.go). Over a card, where bytes move unseen, frames alone are.
//
// ErrFenced is final for a Volume: a newer session owns it. Other classes are in errors.go.
//
// # Limits
//
// limits.go has every bound. Submit blocks while Config.MaxInflight operations or
// Config.MaxInflightBytes are under way. An operation that spans many chunks has at most 16
// requests under way.
//
// # How to drive it
//
//	c, err := client.Connect(ctx, client.Config{Endpoint: "10.0.0.1:9400", Name: "backup"})
//	defer c.Close()
//	v, err := c.OpenVolume(ctx, "vol1")
//	defer v.Close()
//	_, err = v.WriteAt(data, 1<<20)          // durable
//	_, err = v.ReadAt(data, 1<<20)
//
//	v.Submit(&client.Op{Kind: client.OpRead, Off: 4096, Data: p, Done: func(op *client.Op) {
//		// op.Err; must not block
//	}})
//
//	b, err := c.Buffer(1 << 20)              // the same without a copy
//	fill(b.Bytes())
//	err = v.WriteBuf(b, 0)
//	b.Release()
//	bufs, err := v.Fetch(0, 1<<20)
//	for _, b := range bufs {
//		use(b.Bytes())
//		b.Release()
//	}
//
// # How it is made
//
// opmachine.go decides what becomes of a request; it is a step machine without clock, socket or
// goroutine. drive.go carries its decisions out. The files in the order in which a request passes
// them: submit.go (validate, admit, cut at chunk borders), mapping.go (segment to copyset),
// route.go (copyset to leader, and the requests that wait for one), peer.go and link.go
// (connection, batch, table of requests in flight), drive.go (answers), timers.go (all that is
// late).
//
// Goroutines: one for time and one for mappings per client, two per node, one per volume for its
// session. None is started per operation.
package client
