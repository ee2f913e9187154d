package loopback

import (
	"net"
	"os"
	"strconv"
	"strings"
	"testing"
)

// A port that the kernel may give to an outgoing connection is not kept for a server's start.
func TestPortsLieBelowThoseOfOutgoingConnections(t *testing.T) {
	text, err := os.ReadFile("/proc/sys/net/ipv4/ip_local_port_range")
	if err != nil {
		t.Fatal(err)
	}
	first, err := strconv.Atoi(strings.Fields(string(text))[0])
	if err != nil {
		t.Fatal(err)
	}
	addrs, err := Addrs(50)
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range addrs {
		addr, err := net.ResolveTCPAddr("tcp", a)
		if err != nil {
			t.Fatal(err)
		}
		if addr.Port >= first || !addr.IP.IsLoopback() {
			t.Errorf("%s: outgoing connections take ports from %d", a, first)
		}
	}
}

func TestAddressesAreDistinctAndFree(t *testing.T) {
	addrs, err := Addrs(200)
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range addrs {
		l, err := net.Listen("tcp", a) // fails on one that is listed twice
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
	}
}

func TestMorePortsThanThereAreIsAnError(t *testing.T) {
	const first, last = 19_000, 19_004 // beside those that others pick from
	if addrs, err := pick(last-first+1, first, last); err == nil {
		t.Fatalf("%v", addrs)
	}
}
