package loopback

import (
	"fmt"
	"math/rand/v2"
	"net"
	"strconv"
)

const (
	portFirst = 20000
	portLast  = 32000
	portTries = 1000
)

// Addrs returns n distinct addresses, 127.0.0.1:port, on which nobody listens now.
func Addrs(n int) ([]string, error) { return pick(n, portFirst, portLast) }

// pick is Addrs among the ports from first on, before last.
func pick(n, first, last int) ([]string, error) {
	var held []net.Listener
	defer func() {
		for _, l := range held {
			l.Close()
		}
	}()
	var addrs []string
	for try := 0; try < portTries+n && len(addrs) < n; try++ {
		port := first + rand.IntN(last-first)
		addr := net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
		if l, err := net.Listen("tcp", addr); err == nil {
			held = append(held, l)
			addrs = append(addrs, addr)
		}
	}
	if len(addrs) < n {
		return nil, fmt.Errorf("loopback: no %d free ports on 127.0.0.1 between %d and %d", n,
			first, last)
	}
	return addrs, nil
}
