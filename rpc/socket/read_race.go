//go:build race

package socket

import "syscall"

// read goes through package syscall, which tells the race detector that what was done before bytes
// were written happened before they were read. Its errors are the numbers themselves.
func read(fd uintptr, p []byte) (int, syscall.Errno) {
	n, err := syscall.Read(int(fd), p)
	errno, _ := err.(syscall.Errno)
	return n, errno
}
