package socket

import (
	"io"
	"os"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	// rawMax is how many bytes a raw call moves at most: some 50 us of copying.
	rawMax = 256 << 10
	// MaxVec is the most slices of one vectored write (IOV_MAX).
	MaxVec = 1024
)

// reader reads by a descriptor. One goroutine at a time.
type reader struct {
	raw syscall.RawConn
	try func(fd uintptr) bool
	p   []byte
	n   int
	err error
}

// Reader gives the way to read a connection, or whatever else has a descriptor that does not block:
// for one goroutine at a time.
func Reader(from io.Reader) io.Reader {
	sc, ok := from.(syscall.Conn)
	if !ok {
		return from
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return from
	}
	r := &reader{raw: raw}
	r.try = r.once
	return r
}

// Read gives what is there, and waits when there is nothing.
func (r *reader) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	r.p, r.n, r.err = p[:min(len(p), rawMax)], 0, nil
	err := r.raw.Read(r.try)
	r.p = nil
	if err == nil {
		err = r.err
	}
	return r.n, err
}

// once is called by the runtime with the descriptor, again when there is something to read as long
// as it returns false.
func (r *reader) once(fd uintptr) bool {
	for {
		n, errno := read(fd, r.p)
		switch {
		case errno == unix.EINTR:
			continue
		case errno == unix.EAGAIN:
			return false
		case errno != 0:
			r.err = os.NewSyscallError("read", errno)
		case n == 0:
			r.err = io.EOF
		default:
			r.n = n
		}
		return true
	}
}

// Advance drops the first n bytes of vec, and lets the slices go that they end.
func Advance(vec [][]byte, n int) [][]byte {
	for len(vec) > 0 && n >= len(vec[0]) {
		n -= len(vec[0])
		vec[0] = nil
		vec = vec[1:]
	}
	if n > 0 {
		vec[0] = vec[0][n:]
	}
	return vec
}

// Vector is the memory of vectored writes, for one at a time.
type Vector struct{ iov []unix.Iovec }

// Write writes the first MaxVec slices of vec, or as much of them as the socket takes: with
// unix.EAGAIN nothing. The descriptor must not block.
func (v *Vector) Write(fd uintptr, vec [][]byte) (int, syscall.Errno) {
	iov, size := v.iov[:0], 0
	for _, b := range vec[:min(len(vec), MaxVec)] {
		one := unix.Iovec{Base: unsafe.SliceData(b)}
		one.SetLen(len(b))
		iov, size = append(iov, one), size+len(b)
	}
	v.iov = iov
	var n uintptr
	var errno syscall.Errno
	if size <= rawMax {
		n, _, errno = unix.RawSyscall(unix.SYS_WRITEV, fd,
			uintptr(unsafe.Pointer(unsafe.SliceData(iov))), uintptr(len(iov)))
	} else {
		n, _, errno = unix.Syscall(unix.SYS_WRITEV, fd,
			uintptr(unsafe.Pointer(unsafe.SliceData(iov))), uintptr(len(iov)))
	}
	clear(iov)
	if errno != 0 {
		return 0, errno
	}
	return int(n), 0
}
