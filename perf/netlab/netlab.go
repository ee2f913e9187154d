package netlab

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"os/exec"
	"strconv"
	"strings"
)

const (
	bridge    = "lab0"
	prefix    = "10.77.0."
	ownHost   = 1 // the last number of the caller's address; members follow
	maxHosts  = 200
	portFirst = 7000
)

// ErrShared: the network namespace is that of the whole machine.
var ErrShared = errors.New("netlab: not in a network namespace of its own: see Run")

// Private says whether the caller is in a network namespace of its own, which leads nowhere: none
// of its interfaces but the loopback is up.
func Private() error {
	all, err := net.Interfaces()
	if err != nil {
		return fmt.Errorf("netlab: %w", err)
	}
	for i := range all {
		if all[i].Flags&net.FlagUp != 0 && all[i].Flags&net.FlagLoopback == 0 {
			return fmt.Errorf("%w: %s is up", ErrShared, all[i].Name)
		}
	}
	return nil
}

// Lab is the network. Its methods are not safe for concurrent use.
type Lab struct {
	hosts map[string]int // member -> the last number of its address
	cuts  map[[2]string]bool
	slow  map[[2]string]bool
	ports map[string]*port
}

// New makes a network without members, and the caller's place in it.
func New() (*Lab, error) {
	if err := Private(); err != nil {
		return nil, err
	}
	l := &Lab{hosts: map[string]int{}, cuts: map[[2]string]bool{},
		slow: map[[2]string]bool{}, ports: map[string]*port{}}
	return l, ip(
		"link add "+bridge+" type bridge",
		"addr add "+address(ownHost)+"/24 dev "+bridge,
		"link set "+bridge+" up")
}

func address(host int) string { return prefix + strconv.Itoa(host) }

// ip runs commands of ip(8), one after the other, to the first that fails.
func ip(commands ...string) error {
	for _, c := range commands {
		out, err := exec.Command("ip", strings.Fields(c)...).CombinedOutput()
		if err != nil {
			return fmt.Errorf("netlab: ip %s: %w: %s", c, err, bytes.TrimSpace(out))
		}
	}
	return nil
}

// Addrs are n addresses, host:port, for a member to listen on. The first call for a name makes it a
// member.
func (l *Lab) Addrs(name string, n int) ([]string, error) {
	if err := l.join(name); err != nil {
		return nil, err
	}
	addrs := make([]string, n)
	for i := range addrs {
		addrs[i] = net.JoinHostPort(address(l.hosts[name]), strconv.Itoa(portFirst+i))
	}
	return addrs, nil
}

// wire is the bridge's end of a member's link. Such names have at most 15 bytes.
func wire(host int) string { return "lab" + strconv.Itoa(host) }

// join makes a namespace with one link to the bridge.
func (l *Lab) join(name string) error {
	if l.hosts[name] != 0 {
		return nil
	}
	host := ownHost + 1 + len(l.hosts)
	if host > maxHosts {
		return fmt.Errorf("netlab: %s: more than %d members", name, maxHosts-ownHost)
	}
	in := "-n " + name + " "
	err := ip(
		"netns add "+name,
		"link add "+wire(host)+" type veth peer name eth0 netns "+name,
		"link set "+wire(host)+" master "+bridge+" up",
		in+"link set lo up",
		in+"addr add "+address(host)+"/24 dev eth0",
		in+"link set eth0 up")
	if err == nil {
		l.hosts[name] = host
	}
	return err
}

// Wrap is the command that runs another one as a member. The process keeps its number.
func (l *Lab) Wrap(name string, argv []string) []string {
	return append([]string{"ip", "netns", "exec", name}, argv...)
}

// Cut drops what one member sends to another, until Mend.
func (l *Lab) Cut(from, to string) error {
	if l.hosts[from] == 0 || l.hosts[to] == 0 {
		return fmt.Errorf("netlab: cut %s to %s: no such members", from, to)
	}
	if l.cuts[[2]string{from, to}] {
		return nil
	}
	err := ip("-n " + from + " route add blackhole " + address(l.hosts[to]) + "/32")
	if err == nil {
		l.cuts[[2]string{from, to}] = true
	}
	return err
}

// Mend undoes every cut, and ends what Slow began.
func (l *Lab) Mend() error {
	errs := []error{l.mendSlow()}
	for way := range l.cuts {
		errs = append(errs, ip("-n "+way[0]+" route del blackhole "+address(l.hosts[way[1]])+"/32"))
	}
	clear(l.cuts)
	return errors.Join(errs...)
}

// Close takes the members' namespaces away; their processes must have ended.
func (l *Lab) Close() error {
	var errs []error
	for _, p := range l.ports {
		errs = append(errs, p.close())
	}
	for name, host := range l.hosts {
		// The kernel takes its time over a namespace; a wire goes at once.
		errs = append(errs, ip("link del "+wire(host)), ip("netns del "+name))
	}
	return errors.Join(append(errs, ip("link del "+bridge))...)
}
