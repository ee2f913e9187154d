package client

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ashlar-storage/ashlar/rpc/transport"
	"github.com/ashlar-storage/ashlar/rpc/wire"
)

// peer is one node: its address and the connection to it, which one goroutine makes, reads, and
// makes again.
type peer struct {
	c     *Client
	node  uint64
	state atomic.Int32
	link  atomic.Pointer[link]
	why   atomic.Pointer[error] // it was last down; set whenever it is

	mu      sync.Mutex
	addr    string
	waiting pieceList     // sent before the first connection was made
	changed chan struct{} // the address is new: no more waiting before the next attempt
}

const (
	peerNew int32 = iota // first attempt to connect; requests queue
	peerUp
	peerDown // requests are refused at once
)

func newPeer(c *Client, node uint64, addr string) *peer {
	return &peer{c: c, node: node, addr: addr, changed: make(chan struct{}, 1)}
}

func (p *peer) reachable() bool { return p.state.Load() != peerDown }

// send passes a request on to the node; false means that the node cannot be reached and the
// request is the caller's still.
func (p *peer) send(x *piece, direct bool) bool {
	if l := p.link.Load(); l != nil {
		return l.send(x, direct)
	}
	p.mu.Lock()
	if l := p.link.Load(); l != nil {
		p.mu.Unlock()
		return l.send(x, direct)
	}
	defer p.mu.Unlock()
	if p.state.Load() != peerNew {
		return false
	}
	x.peer = p
	p.waiting.push(x)
	return true
}

// hint takes over the address that a replica has for the node, if that cannot be reached.
func (p *peer) hint(addr string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.addr == addr || p.state.Load() == peerUp {
		return
	}
	p.redirect(addr)
}

// move takes over the address that the control plane has for the node. A connection that was made
// elsewhere is given up, for another node may have the old address by now. Only the control plane
// may have that done: replicas know addresses from it, and later.
func (p *peer) move(addr string) {
	p.mu.Lock()
	l := p.link.Load()
	if p.addr != addr {
		p.redirect(addr)
	}
	p.mu.Unlock()
	if l != nil && l.addr != addr {
		l.kill(errMoved)
	}
}

// redirect sets where the next attempt to connect goes, and lets it begin at once. The caller holds
// mu.
func (p *peer) redirect(addr string) {
	p.addr = addr
	select {
	case p.changed <- struct{}{}:
	default:
	}
}

func (p *peer) address() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.addr
}

// run is the peer's goroutine.
func (p *peer) run(ctx context.Context) {
	defer p.c.wg.Done()
	var delay time.Duration
	for p.pause(ctx, delay) {
		addr := p.address()
		conn, err := p.c.cfg.Dial(ctx, addr, transport.Config{
			Pool: p.c.pool, WriteTimeout: writeTimeout, DialTimeout: dialTimeout,
			Meter: &p.c.meter,
			Hello: wire.Hello{ClusterID: p.c.clusterID(), Role: "client", Name: p.c.cfg.Name},
		})
		if err != nil {
			if p.reachable() && ctx.Err() == nil {
				p.c.log.Warn("client: node unreachable", "node", p.node, "addr", addr, "err", err)
			}
			p.lose(p.down(err), err)
			delay = min(max(2*delay, redialMin), redialMax)
			continue
		}
		if p.live(ctx, conn, addr) {
			delay = 0
		} else {
			delay = min(max(2*delay, redialMin), redialMax)
		}
	}
	p.lose(p.down(ErrClosed), ErrClosed)
}

// pause waits before an attempt to connect; false means that the client closes.
func (p *peer) pause(ctx context.Context, delay time.Duration) bool {
	if delay == 0 {
		return ctx.Err() == nil
	}
	timer := time.NewTimer(delay)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-p.changed:
	case <-timer.C:
	}
	return ctx.Err() == nil
}

// becomes changes the state and returns the requests that waited for the first connection.
func (p *peer) becomes(state int32, l *link) pieceList {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.state.Store(state)
	p.link.Store(l)
	return p.waiting.takeAll()
}

// down makes later requests be refused, and keeps why.
func (p *peer) down(why error) pieceList {
	p.why.Store(&why)
	return p.becomes(peerDown, nil)
}

func (p *peer) lose(list pieceList, err error) {
	for x := list.pop(); x != nil; x = list.pop() {
		p.c.drive(x, event{kind: evLost, now: p.c.now(), text: err.Error()}, false)
	}
}

// live serves one connection to its end. It reports whether the node said anything.
func (p *peer) live(ctx context.Context, conn transport.Conn, addr string) bool {
	c := p.c
	l := newLink(p, conn, addr)
	var sender sync.WaitGroup
	sender.Go(l.sender)
	stop := context.AfterFunc(ctx, func() { l.kill(ErrClosed) })
	defer stop()
	c.net.connects.Add(1)
	list := p.becomes(peerUp, l)
	for x := list.pop(); x != nil; x = list.pop() {
		if !l.send(x, false) {
			c.drive(x, event{kind: evLost, now: c.now()}, false)
		}
	}
	c.peerUp(p)
	err := l.receive()
	l.kill(err)
	p.down(l.dead)
	left := l.bury()
	sender.Wait()
	if ctx.Err() == nil {
		c.net.broken.Add(1)
		c.log.Warn("client: connection lost", "node", p.node, "addr", conn.RemoteAddr(),
			"inflight", len(left), "err", l.dead)
	}
	for _, x := range left {
		x.vol.count.lost.Add(1)
		c.drive(x, event{kind: evLost, now: c.now(), text: l.dead.Error()}, false)
	}
	return l.received > 0
}
