package datadir

import (
	"fmt"
	"net"
)

// anyPort says whether an address leaves the port open.
func anyPort(addr string) bool {
	_, port, err := net.SplitHostPort(addr)
	return err == nil && port == "0"
}

// CheckFree returns an error that names the fix when something listens on the address already.
func CheckFree(what, addr, fix string) error {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return fmt.Errorf("datadir: %s address %s: %w: %s", what, addr, err, fix)
	}
	return l.Close()
}
