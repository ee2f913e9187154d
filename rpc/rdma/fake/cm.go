package fake

import (
	stdcontext "context"
	"fmt"
	"net/netip"

	"github.com/ashlar-storage/ashlar/rpc/rdma/verbs"
)

// listener implements verbs.Listener.
type listener struct {
	x       *context
	addr    netip.AddrPort
	backlog chan *request
	stop    chan struct{}
	closed  bool
}

func (x *context) Listen(addr netip.AddrPort, backlog int) (verbs.Listener, error) {
	n := x.net
	n.mu.Lock()
	defer n.mu.Unlock()
	if addr.Addr() != x.card.Addr && !addr.Addr().IsUnspecified() {
		return nil, fmt.Errorf("%w: no card has %v", verbs.ErrNoDevice, addr.Addr())
	}
	if addr.Port() == 0 {
		n.nextPort++
		addr = netip.AddrPortFrom(addr.Addr(), n.nextPort)
	}
	addr = netip.AddrPortFrom(x.card.Addr, addr.Port())
	if n.listeners[addr] != nil {
		return nil, fmt.Errorf("fake: %v is in use", addr)
	}
	l := &listener{x: x, addr: addr, backlog: make(chan *request, max(backlog, 1)),
		stop: make(chan struct{})}
	n.listeners[addr] = l
	x.objects++
	return l, nil
}

func (l *listener) Addr() netip.AddrPort { return l.addr }

func (l *listener) Next() (verbs.Request, error) {
	select {
	case <-l.stop:
		return nil, verbs.ErrClosed
	default:
	}
	select {
	case r := <-l.backlog:
		return r, nil
	case <-l.stop:
		return nil, verbs.ErrClosed
	}
}

func (l *listener) Close() error {
	l.x.net.mu.Lock()
	defer l.x.net.mu.Unlock()
	if l.closed {
		return verbs.ErrClosed
	}
	l.closed = true
	delete(l.x.net.listeners, l.addr)
	l.x.objects--
	close(l.stop)
	return nil
}

// answer is what a connection request got.
type answer struct {
	accepted bool
	private  []byte
}

// request implements verbs.Request.
type request struct {
	l        *listener
	from     *qp
	private  []byte
	answered chan answer
	dead     bool // the dialling side gave up; guarded by the network's lock
	used     bool
}

func (r *request) Remote() netip.AddrPort { return r.from.local }
func (r *request) Private() []byte        { return r.private }

// Accept makes the other queue pair; from then on both work.
func (r *request) Accept(cfg verbs.QPConfig, private []byte, ready func(verbs.QP) error) (verbs.QP,
	error) {
	n := r.l.x.net
	n.mu.Lock()
	if r.used {
		n.mu.Unlock()
		return nil, verbs.ErrClosed
	}
	r.used = true
	q, err := r.l.x.newQP(cfg, r.l.addr, r.from.local)
	n.mu.Unlock()
	if err != nil {
		r.answered <- answer{}
		return nil, err
	}
	if ready != nil {
		if err := ready(q); err != nil {
			_ = q.Close()
			r.answered <- answer{}
			return nil, err
		}
	}
	n.mu.Lock()
	if r.dead || r.from.closed {
		n.mu.Unlock()
		_ = q.Close()
		return nil, fmt.Errorf("fake: the peer gave up")
	}
	q.peer, r.from.peer = r.from, q
	q.stands, r.from.stands = true, true
	n.mu.Unlock()
	r.answered <- answer{accepted: true, private: append([]byte(nil), private...)}
	return q, nil
}

func (r *request) Reject(private []byte) error {
	n := r.l.x.net
	n.mu.Lock()
	used := r.used
	r.used = true
	n.mu.Unlock()
	if used {
		return verbs.ErrClosed
	}
	r.answered <- answer{private: append([]byte(nil), private...)}
	return nil
}

// Dial implements verbs.Context.
func (x *context) Dial(ctx stdcontext.Context, addr netip.AddrPort, cfg verbs.QPConfig,
	private []byte) (verbs.QP, []byte, error) {
	if len(private) > verbs.MaxPrivate {
		return nil, nil, fmt.Errorf("fake: %d bytes of private data", len(private))
	}
	n := x.net
	n.mu.Lock()
	l := n.listeners[addr]
	if l != nil && (l.x.host.silent || x.host.silent) {
		n.mu.Unlock()
		<-ctx.Done()
		return nil, nil, ctx.Err()
	}
	if l == nil {
		n.mu.Unlock()
		return nil, nil, fmt.Errorf("%w: nobody listens at %v", verbs.ErrRefused, addr)
	}
	n.nextPort++
	q, err := x.newQP(cfg, netip.AddrPortFrom(x.card.Addr, n.nextPort), addr)
	n.mu.Unlock()
	if err != nil {
		return nil, nil, err
	}
	r := &request{l: l, from: q, private: append([]byte(nil), private...),
		answered: make(chan answer, 1)}
	reply, err := r.ask(ctx)
	if err != nil {
		n.mu.Lock()
		r.dead = true
		n.mu.Unlock()
		_ = q.Close()
		return nil, reply, err
	}
	return q, reply, nil
}

// ask sends the request and waits for its answer.
func (r *request) ask(ctx stdcontext.Context) ([]byte, error) {
	if r.from.cfg.Ready != nil {
		if err := r.from.cfg.Ready(r.from); err != nil {
			return nil, err
		}
	}
	select {
	case r.l.backlog <- r:
	default:
		return nil, fmt.Errorf("%w: the backlog of %v is full", verbs.ErrRefused, r.l.addr)
	}
	select {
	case a := <-r.answered:
		if !a.accepted {
			return a.private, fmt.Errorf("%w by %v", verbs.ErrRefused, r.l.addr)
		}
		return a.private, nil
	case <-r.l.stop:
		return nil, fmt.Errorf("%w: %v stopped listening", verbs.ErrRefused, r.l.addr)
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}
