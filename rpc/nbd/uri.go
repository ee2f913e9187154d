package nbd

import (
	"fmt"
	"net"
	"net/url"
	"strings"
)

// defaultPort is the port of nbd:// addresses without one.
const defaultPort = "10809"

// endpoint is where a server is and which export is meant.
type endpoint struct{ network, address, export string }

// parseEndpoint understands "host:port", "unix:/path", "nbd://host[:port]/export" and
// "nbd+unix:///export?socket=/path".
func parseEndpoint(s string) (endpoint, error) {
	if !strings.Contains(s, "://") {
		network, address := splitAddr(s)
		if address == "" {
			return endpoint{}, fmt.Errorf("nbd: address %q: give host:port or unix:/path", s)
		}
		return endpoint{network: network, address: address}, nil
	}
	u, err := url.Parse(s)
	if err != nil {
		return endpoint{}, fmt.Errorf("nbd: address %q: %w", s, err)
	}
	e := endpoint{export: strings.TrimPrefix(u.Path, "/")}
	switch u.Scheme {
	case "nbd":
		host, port := u.Hostname(), u.Port()
		if port == "" {
			port = defaultPort
		}
		e.network, e.address = "tcp", net.JoinHostPort(host, port)
	case "nbd+unix":
		e.network, e.address = "unix", u.Query().Get("socket")
		if e.address == "" {
			return e, fmt.Errorf("nbd: address %q names no socket: add ?socket=/path", s)
		}
	default:
		return e, fmt.Errorf("nbd: address %q: scheme %q is not nbd or nbd+unix", s, u.Scheme)
	}
	return e, nil
}

// URI returns the address of an export for clients, from an address as given to Listen.
func URI(addr, export string) string {
	network, address := splitAddr(addr)
	path := "/" + export
	if network == "unix" {
		q := url.Values{"socket": {address}}
		return (&url.URL{Scheme: "nbd+unix", Path: path, RawQuery: q.Encode(), Host: ""}).String()
	}
	return (&url.URL{Scheme: "nbd", Host: address, Path: path}).String()
}
