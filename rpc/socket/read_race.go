//go:build race

package socket

import (
	"errors"
	"syscall"
)

// read goes through package syscall, which tells the race detector that what was done before bytes
// were written happened before they were read.
func read(fd uintptr, p []byte) (int, syscall.Errno) {
	n, err := syscall.Read(int(fd), p)
	var errno syscall.Errno
	errors.As(err, &errno)
	return n, errno
}
