package server

import (
	"fmt"
	"net"
	"time"

	"golang.org/x/sys/unix"
)

// listener gives netpoll a socket to accept from. Netpoll would make its own from a
// net.TCPListener, but closes that one's descriptor more than once while it stops, and by then
// the number may belong to a file of the metadata. Here Close does nothing and release, called
// once nobody uses the socket any more, closes it. It has the methods of netpoll.Listener.
type listener struct {
	fd   int
	addr net.Addr
}

func listen(addr string) (*listener, error) {
	ln, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("control: listen on %s: %w", addr, err)
	}
	defer ln.Close()
	raw, err := ln.(*net.TCPListener).SyscallConn()
	if err != nil {
		return nil, fmt.Errorf("control: listen on %s: %w", addr, err)
	}
	fd := -1
	var dupErr error
	err = raw.Control(func(s uintptr) { fd, dupErr = unix.FcntlInt(s, unix.F_DUPFD_CLOEXEC, 3) })
	if err == nil {
		err = dupErr
	}
	if err == nil {
		err = unix.SetNonblock(fd, true)
	}
	if err != nil {
		return nil, fmt.Errorf("control: listen on %s: %w", addr, err)
	}
	return &listener{fd: fd, addr: ln.Addr()}, nil
}

func (l *listener) Fd() int        { return l.fd }
func (l *listener) Addr() net.Addr { return l.addr }
func (l *listener) Close() error   { return nil }
func (l *listener) release() error { return unix.Close(l.fd) }

// Accept returns nothing, without an error, when nobody is waiting: netpoll asks again.
func (l *listener) Accept() (net.Conn, error) {
	fd, sa, err := unix.Accept4(l.fd, unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC)
	switch err {
	case nil:
	case unix.EAGAIN, unix.EINTR, unix.ECONNABORTED:
		return nil, nil
	default:
		return nil, err
	}
	// Answers are small; without this each could wait for the acknowledgement of the last.
	_ = unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1)
	return &accepted{fd: fd, local: l.addr, remote: address(sa)}, nil
}

func address(sa unix.Sockaddr) net.Addr {
	switch a := sa.(type) {
	case *unix.SockaddrInet4:
		return &net.TCPAddr{IP: a.Addr[:], Port: a.Port}
	case *unix.SockaddrInet6:
		return &net.TCPAddr{IP: a.Addr[:], Port: a.Port}
	}
	return &net.TCPAddr{}
}

// accepted carries a descriptor to netpoll, which takes it over; nothing else of it is used.
type accepted struct {
	fd            int
	local, remote net.Addr
}

func (c *accepted) Fd() int                          { return c.fd }
func (c *accepted) LocalAddr() net.Addr              { return c.local }
func (c *accepted) RemoteAddr() net.Addr             { return c.remote }
func (c *accepted) Read([]byte) (int, error)         { return 0, unix.ENOTSUP }
func (c *accepted) Write([]byte) (int, error)        { return 0, unix.ENOTSUP }
func (c *accepted) Close() error                     { return unix.ENOTSUP }
func (c *accepted) SetDeadline(time.Time) error      { return unix.ENOTSUP }
func (c *accepted) SetReadDeadline(time.Time) error  { return unix.ENOTSUP }
func (c *accepted) SetWriteDeadline(time.Time) error { return unix.ENOTSUP }
