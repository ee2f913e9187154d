package netlab

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"runtime"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

const (
	slowDevice = "slow0"
	namespaces = "/run/netns/"
	packetMax  = 1500
	// queueMax bounds the packets that are late at one time; more are lost, as in a router.
	queueMax = 8192
)

// Wire is what a bad way does to each packet.
type Wire struct {
	Delay  time.Duration
	Jitter time.Duration // up to so much later still; packets keep their order
	Loss   float64       // share of packets that never arrive
}

// way is one direction of a bad wire.
type way struct {
	Wire
	to *os.File
}

// packet is one that is late.
type packet struct {
	data []byte
	to   *os.File
	due  time.Time
}

// port is a member's end of all its bad wires: a device of its own that packets leave by, and come
// in by. Not every kernel can delay or lose packets itself; every one has such devices.
type port struct {
	dev   *os.File
	ended chan struct{}

	mu   sync.Mutex
	ways map[[4]byte]way // by where a packet goes
}

// openPort makes the device in the member's namespace.
func openPort(name string) (*port, error) {
	type opened struct {
		fd  int
		err error
	}
	result := make(chan opened, 1)
	go func() {
		// A thread that has been in another namespace is not given back.
		runtime.LockOSThread()
		fd, err := openIn(name)
		result <- opened{fd, err}
	}()
	r := <-result
	if r.err != nil {
		return nil, fmt.Errorf("netlab: a slow device for %s: %w", name, r.err)
	}
	p := &port{dev: os.NewFile(uintptr(r.fd), slowDevice), ended: make(chan struct{}),
		ways: map[[4]byte]way{}}
	if err := ip("-n " + name + " link set " + slowDevice + " txqueuelen " +
		strconv.Itoa(queueMax) + " up"); err != nil {
		return nil, errors.Join(err, p.dev.Close())
	}
	go p.run()
	return p, nil
}

// openIn enters the namespace for good and opens a device of packets there.
func openIn(name string) (int, error) {
	ns, err := unix.Open(namespaces+name, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return 0, err
	}
	defer unix.Close(ns)
	if err := unix.Setns(ns, unix.CLONE_NEWNET); err != nil {
		return 0, err
	}
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return 0, err
	}
	req, err := unix.NewIfreq(slowDevice)
	if err == nil {
		req.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI)
		err = unix.IoctlIfreq(fd, unix.TUNSETIFF, req)
	}
	if err != nil {
		return 0, errors.Join(err, unix.Close(fd))
	}
	return fd, nil
}

// run takes the packets that leave by the device until it is closed.
func (p *port) run() {
	late := make(chan packet, queueMax)
	delivered := make(chan struct{})
	go func() {
		defer close(delivered)
		for q := range late {
			time.Sleep(time.Until(q.due))
			_, _ = q.to.Write(q.data) // a member that has left gets nothing
		}
	}()
	data := make([]byte, packetMax)
	var last time.Time
	for {
		n, err := p.dev.Read(data)
		if err != nil {
			break
		}
		now := time.Now()
		if q, ok := p.judge(data[:n], now); ok {
			if q.due.Before(last) {
				q.due = last
			}
			last = q.due
			select {
			case late <- q:
			default:
			}
		}
	}
	close(late)
	<-delivered
	close(p.ended)
}

// judge says when a packet arrives; ok is false for one that does not.
func (p *port) judge(data []byte, now time.Time) (q packet, ok bool) {
	if len(data) < 20 || data[0]>>4 != 4 {
		return q, false
	}
	p.mu.Lock()
	w, ok := p.ways[[4]byte(data[16:20])]
	p.mu.Unlock()
	if !ok || rand.Float64() < w.Loss {
		return q, false
	}
	due := now.Add(w.Delay)
	if w.Jitter > 0 {
		due = due.Add(rand.N(w.Jitter))
	}
	return packet{data: append([]byte(nil), data...), to: w.to, due: due}, true
}

// set changes what the device does with packets to an address.
func (p *port) set(to [4]byte, w way) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.ways[to] = w
}

func (p *port) close() error {
	err := p.dev.Close()
	<-p.ended
	return err
}

// Slow has what one member sends to another go by a bad wire, until Mend. Packets of a connection
// that are on their way when it begins or ends may overtake each other.
func (l *Lab) Slow(from, to string, w Wire) error {
	if l.hosts[from] == 0 || l.hosts[to] == 0 {
		return fmt.Errorf("netlab: slow %s to %s: no such members", from, to)
	}
	for _, name := range []string{from, to} {
		if l.ports[name] != nil {
			continue
		}
		p, err := openPort(name)
		if err != nil {
			return err
		}
		l.ports[name] = p
	}
	l.ports[from].set(l.ipv4(to), way{Wire: w, to: l.ports[to].dev})
	if l.slow[[2]string{from, to}] {
		return nil
	}
	err := ip("-n " + from + " route add " + address(l.hosts[to]) + "/32 dev " + slowDevice +
		" src " + address(l.hosts[from]) + " metric 1")
	if err == nil {
		l.slow[[2]string{from, to}] = true
	}
	return err
}

func (l *Lab) ipv4(name string) [4]byte { return [4]byte{10, 77, 0, byte(l.hosts[name])} }

// mendSlow has every member's packets go by the good wires again. What is late still arrives.
func (l *Lab) mendSlow() error {
	var errs []error
	for w := range l.slow {
		errs = append(errs, ip("-n "+w[0]+" route del "+address(l.hosts[w[1]])+"/32 dev "+
			slowDevice))
	}
	clear(l.slow)
	return errors.Join(errs...)
}
