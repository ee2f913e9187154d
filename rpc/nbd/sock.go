package nbd

import (
	"errors"
	"io"
	"net"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ashlar-storage/ashlar/rpc/socket"
)

// sock writes slices to a connection, with or without waiting. Its methods are for one goroutine
// at a time; the outbox sees to that.
type sock struct {
	conn    net.Conn
	raw     syscall.RawConn // nil when the connection has no descriptor: then every write waits
	timeout time.Duration

	vec     [][]byte // not yet written
	vector  socket.Vector
	block   bool
	err     error
	attempt func(fd uintptr) bool
	writes  int64 // system calls made
}

func newSock(conn net.Conn, timeout time.Duration) *sock {
	s := &sock{conn: conn, timeout: timeout}
	if sc, ok := conn.(syscall.Conn); ok {
		if raw, err := sc.SyscallConn(); err == nil {
			s.raw = raw
		}
	}
	s.attempt = s.try
	return s
}

// write sends what it can of vec. Without block it stops where the socket would make it wait;
// s.vec holds the rest. With block it returns when all is sent, and fails when the peer takes
// nothing for the time-out.
func (s *sock) write(vec [][]byte, block bool) error {
	s.vec = vec
	if s.raw == nil {
		if !block {
			return nil
		}
		return s.writeStream()
	}
	s.block, s.err = false, nil
	err := s.raw.Write(s.attempt)
	if err == nil {
		err = s.err
	}
	if err != nil || !block || len(s.vec) == 0 {
		return err
	}
	return s.writeWaiting()
}

// writeWaiting renews the deadline after each progress.
func (s *sock) writeWaiting() error {
	defer func() { _ = s.conn.SetWriteDeadline(time.Time{}) }()
	s.block = true
	for len(s.vec) > 0 {
		if err := s.conn.SetWriteDeadline(time.Now().Add(s.timeout)); err != nil {
			return err
		}
		if err := s.raw.Write(s.attempt); err != nil {
			return err
		}
		if s.err != nil {
			return s.err
		}
	}
	return nil
}

func (s *sock) writeStream() error {
	defer func() { _ = s.conn.SetWriteDeadline(time.Time{}) }()
	if err := s.conn.SetWriteDeadline(time.Now().Add(s.timeout)); err != nil {
		return err
	}
	bufs := net.Buffers(s.vec)
	_, err := bufs.WriteTo(s.conn)
	s.vec = nil
	return err
}

// try is called by the runtime with the descriptor. It returns true to be done with it and false
// to be called again when the socket takes bytes.
func (s *sock) try(fd uintptr) bool {
	for len(s.vec) > 0 {
		s.writes++
		n, errno := s.vector.Write(fd, s.vec)
		switch {
		case errno == unix.EINTR:
		case errno == unix.EAGAIN:
			return !s.block
		case errno != 0:
			s.err = errno
			return true
		case n == 0:
			s.err = io.ErrShortWrite
			return true
		default:
			s.vec = socket.Advance(s.vec, n)
			if s.block && len(s.vec) > 0 {
				return true // progress: the caller renews the deadline
			}
		}
	}
	return true
}

// isTimeout reports whether err is a deadline that passed.
func isTimeout(err error) bool {
	var ne net.Error
	return errors.As(err, &ne) && ne.Timeout()
}
