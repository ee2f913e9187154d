package datadir

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"strconv"
)

// Ports for the processes of a new cluster come from below the range (32768 and up) from which the
// kernel takes those of outgoing connections: a port kept for a restart is then still free.
const (
	portFirst = 20000
	portLast  = 32000
	portTries = 1000
)

// freePorts returns n distinct loopback addresses on which nobody listens now.
func freePorts(n int) ([]string, error) {
	var held []net.Listener
	defer func() {
		for _, l := range held {
			l.Close()
		}
	}()
	var addrs []string
	for try := 0; try < portTries && len(addrs) < n; try++ {
		port := portFirst + rand.IntN(portLast-portFirst)
		addr := net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
		if l, err := net.Listen("tcp", addr); err == nil {
			held = append(held, l)
			addrs = append(addrs, addr)
		}
	}
	if len(addrs) < n {
		return nil, errors.New("datadir: no free ports on 127.0.0.1 between 20000 and 32000")
	}
	return addrs, nil
}

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
