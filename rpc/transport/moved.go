package transport

import (
	"io"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// Mover is a connection that can tell how far the bytes of frames have come, where only whole
// frames show otherwise: those over sockets. A card moves payloads without a word.
type Mover interface{ Moved() Moved }

// Moved counts bytes since the connection was made.
type Moved struct {
	In  int64 // came in
	Out int64 // were handed to this machine's kernel
	// Taken is how many of Out the peer's kernel has acknowledged, or somewhat fewer; over a unix
	// socket, how many the peer has read. A process that stands still takes as many bytes as its
	// socket holds.
	Taken int64
}

// Moved implements Mover.
func (c *clientConn) Moved() Moved {
	m := Moved{In: c.in.n.Load(), Out: c.gone.Load()}
	m.Taken = m.Out
	if c.raw == nil {
		return m
	}
	_ = c.raw.Control(func(fd uintptr) {
		if n, err := unix.IoctlGetInt(int(fd), unix.SIOCOUTQ); err == nil {
			m.Taken = max(0, m.Out-int64(n))
		}
	})
	return m
}

// counted reads and counts. One goroutine at a time may read.
type counted struct {
	r io.Reader
	n atomic.Int64
}

func (c *counted) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n.Add(int64(n))
	return n, err
}
