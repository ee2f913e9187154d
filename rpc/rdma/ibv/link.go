//go:build rdma && cgo && linux

package ibv

// #include "card.h"
import "C"

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"syscall"
	"time"
	"unsafe"

	"github.com/ashlar-storage/ashlar/rpc/rdma/verbs"
)

// link is one side of a connection as rdma_cm knows it.
type link struct {
	card   *card
	id     *C.struct_rdma_cm_id
	handle uintptr
	steps  chan C.struct_card_event // of making the connection

	mu   sync.Mutex
	pair *pair
	cut  bool // disconnected
	dead bool // destroyed
}

// stepsMax is more events than the making of a connection has.
const stepsMax = 8

// event implements receiver.
func (l *link) event(e *C.struct_card_event) {
	select {
	case l.steps <- *e:
	default: // nobody makes the connection any more
	}
	// A connection that stands here can still be rejected there: when the peer ends it before it
	// has heard that it stands.
	switch e.event {
	case C.RDMA_CM_EVENT_DISCONNECTED, C.RDMA_CM_EVENT_DEVICE_REMOVAL,
		C.RDMA_CM_EVENT_TIMEWAIT_EXIT, C.RDMA_CM_EVENT_REJECTED, C.RDMA_CM_EVENT_CONNECT_ERROR,
		C.RDMA_CM_EVENT_UNREACHABLE:
		l.mu.Lock()
		p := l.pair
		l.mu.Unlock()
		if p != nil {
			p.lost()
			l.disconnect() // the peer waits for an answer, and what is posted must complete
		}
	}
}

// disconnect breaks the queue pair and tells the peer. Any number of times.
func (l *link) disconnect() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.cut || l.dead {
		return
	}
	l.cut = true
	if C.rdma_disconnect(l.id) != 0 && l.pair != nil {
		C.card_break(l.pair.qp)
	}
}

// end forgets the connection. Its queue pair is destroyed before.
func (l *link) end() {
	l.card.dismiss(l.handle)
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.dead {
		l.dead = true
		C.rdma_destroy_id(l.id)
	}
}

// abandon ends a link that did not become a connection.
func (l *link) abandon() error {
	l.mu.Lock()
	p := l.pair
	l.mu.Unlock()
	if p != nil {
		return p.Close()
	}
	l.end()
	return nil
}

func (l *link) peer() netip.AddrPort {
	var a C.struct_card_address
	C.card_peer(l.id, &a)
	ip := *(*[16]byte)(unsafe.Pointer(&a.ip))
	if a.four != 0 {
		return netip.AddrPortFrom(netip.AddrFrom4([4]byte(ip[:4])), uint16(a.port))
	}
	return netip.AddrPortFrom(netip.AddrFrom16(ip), uint16(a.port))
}

// address is addr as C takes it.
func address(addr netip.AddrPort) *C.struct_card_address {
	a := &C.struct_card_address{port: C.uint16_t(addr.Port())}
	ip := addr.Addr().Unmap()
	to := (*[16]byte)(unsafe.Pointer(&a.ip))
	if ip.Is4() {
		a.four = 1
		four := ip.As4()
		copy(to[:], four[:])
	} else {
		*to = ip.As16()
	}
	return a
}

// Dial implements verbs.Context.
func (c *card) Dial(ctx context.Context, addr netip.AddrPort, cfg verbs.QPConfig,
	private []byte) (verbs.QP, []byte, error) {
	if len(private) > verbs.MaxPrivate {
		return nil, nil, fmt.Errorf("ibv: dial: %d bytes of private data, at most %d", len(private),
			verbs.MaxPrivate)
	}
	l := &link{card: c, steps: make(chan C.struct_card_event, stepsMax)}
	l.handle = c.enrol(l)
	if err := failed(C.card_create_id(c.channel, C.uintptr_t(l.handle), &l.id),
		"dial %v", addr); err != nil {
		c.dismiss(l.handle)
		return nil, nil, err
	}
	answer, err := l.dial(ctx, addr, cfg, private)
	if err != nil {
		return nil, answer, errors.Join(err, l.abandon())
	}
	return l.pair, answer, nil
}

// dial takes the steps of a connection: address, route, queue pair, the peer's answer.
func (l *link) dial(ctx context.Context, addr netip.AddrPort, cfg verbs.QPConfig,
	private []byte) ([]byte, error) {
	if err := l.find(ctx, addr); err != nil {
		return nil, err
	}
	if err := l.makePair(cfg, cfg.Ready); err != nil {
		return nil, err
	}
	most := l.card.device.Caps.Reads
	if err := l.connect(cfg, private, most, most, false); err != nil {
		return nil, err
	}
	answer, err := l.step(ctx, addr, C.RDMA_CM_EVENT_ESTABLISHED)
	if err != nil {
		return answer, err
	}
	return answer, l.check()
}

// find resolves the address and the way to it.
func (l *link) find(ctx context.Context, addr netip.AddrPort) error {
	ms := C.int(resolveTime / time.Millisecond)
	err := failed(C.card_resolve(l.id, address(addr), ms), "dial %v: resolve", addr)
	if err != nil {
		return noCard(err, addr)
	}
	if _, err := l.step(ctx, addr, C.RDMA_CM_EVENT_ADDR_RESOLVED); err != nil {
		return err
	}
	if err := l.card.owns(l.id, addr); err != nil {
		return err
	}
	if err := failed(C.card_route(l.id, ms), "dial %v: route", addr); err != nil {
		return noCard(err, addr)
	}
	_, err = l.step(ctx, addr, C.RDMA_CM_EVENT_ROUTE_RESOLVED)
	return err
}

// owns refuses a connection that rdma_cm would make over another card than the one opened.
func (c *card) owns(id *C.struct_rdma_cm_id, addr netip.AddrPort) error {
	switch {
	case id.verbs == c.handle:
		return nil
	case id.verbs == nil:
		return fmt.Errorf("%w: %v is no address of %s: name one, `ashlar rdma doctor` lists them",
			verbs.ErrNoDevice, addr, c.device.Name)
	}
	return fmt.Errorf("%w: %v is reached by the card %s, and %s is opened", verbs.ErrNoDevice, addr,
		nameOf(id.verbs), c.device.Name)
}

// noCard says what ENODEV means when an address is resolved.
func noCard(err error, addr netip.AddrPort) error {
	if errors.Is(err, syscall.ENODEV) || errors.Is(err, syscall.EADDRNOTAVAIL) {
		return fmt.Errorf("%w: no RDMA card has %v or a route to it: `ashlar rdma doctor` says "+
			"which addresses have one", verbs.ErrNoDevice, addr)
	}
	return err
}

func (l *link) makePair(cfg verbs.QPConfig, ready func(verbs.QP) error) error {
	p, err := newPair(l, cfg)
	if err != nil {
		return err
	}
	l.mu.Lock()
	l.pair = p
	l.mu.Unlock()
	if ready != nil {
		return ready(p)
	}
	return nil
}

// connect sends the request for a connection, or the answer to one. readsIn and readsOut are the
// most that this side, or the peer, can take.
func (l *link) connect(cfg verbs.QPConfig, private []byte, readsIn, readsOut int,
	accept bool) error {
	patience := cfg.RetryTimeout
	if patience == 0 {
		patience = verbs.DefaultRetryTimeout
	}
	if l.card.soft {
		patience = max(patience, softPatience)
	}
	if err := failed(C.card_ack_timeout(l.id, C.uint8_t(timeoutCode(patience))),
		"retry time-out"); err != nil {
		return err
	}
	done, err := l.pair.use()
	if err != nil {
		return err
	}
	defer done()
	reads := max(cfg.Reads, 1)
	var text [verbs.MaxPrivateReply]byte
	copy(text[:], private)
	accepts := C.int(0)
	if accept {
		accepts = 1
	}
	return failed(C.card_connect(l.id, unsafe.Pointer(&text[0]), C.int(len(private)),
		C.int(min(reads, readsIn, 255)), C.int(min(reads, readsOut, 255)), retries, receiverRetries,
		accepts), "connect")
}

// timeoutCode is how verbs count time: 4.096 us times a power of two, for one of the tries.
func timeoutCode(patience time.Duration) int {
	const unit = 4096 * time.Nanosecond
	code := 1
	for code < 31 && unit<<code*(retries+1) < patience {
		code++
	}
	return code
}

// step waits for the next event of making a connection.
func (l *link) step(ctx context.Context, addr netip.AddrPort, want C.int) ([]byte, error) {
	var e C.struct_card_event
	select {
	case e = <-l.steps:
	case <-ctx.Done():
		return nil, fmt.Errorf("ibv: %v: %w", addr, ctx.Err())
	}
	private := C.GoBytes(unsafe.Pointer(&e.private), C.int(e.length))
	if e.event == want {
		return private, nil
	}
	what := C.GoString(C.rdma_event_str(C.enum_rdma_cm_event_type(e.event)))
	switch {
	case e.event == C.RDMA_CM_EVENT_REJECTED:
		return private, fmt.Errorf("%w: by %v (reason %d)", verbs.ErrRefused, addr, int(e.status))
	case e.status < 0:
		return nil, noCard(fmt.Errorf("ibv: %v: %s: %w", addr, what, syscall.Errno(-e.status)),
			addr)
	}
	return nil, fmt.Errorf("ibv: %v: %s (%d)", addr, what, int(e.status))
}

// check compares a connection with the settings and sets what rdma_cm leaves at odd values.
func (l *link) check() error {
	p := l.pair
	done, err := p.use()
	if err != nil {
		return err
	}
	defer done()
	var path C.struct_card_path
	if err := failed(C.card_path(p.qp, &path), "path of queue pair %d", p.number); err != nil {
		return err
	}
	opt, have := l.card.opt, l.card.device.Name
	switch {
	case opt.MTU != 0 && int(path.mtu) != opt.MTU:
		return fmt.Errorf("ibv: packets to %v carry %d bytes, the settings want %d: the MTU of "+
			"both interfaces must be larger by the headers before the card comes up (9000 "+
			"for 4096)", p.remote, int(path.mtu), opt.MTU)
	case opt.Port != 0 && int(path.port) != opt.Port:
		return fmt.Errorf("%w: the way to %v goes by port %d of %s, the settings want %d",
			verbs.ErrNoDevice, p.remote, int(path.port), have, opt.Port)
	case opt.GIDIndex != AnyGID && int(path.gid) != opt.GIDIndex:
		return fmt.Errorf("%w: the way to %v goes by GID %d of %s, the settings want %d: use the "+
			"address of that GID", verbs.ErrNoDevice, p.remote, int(path.gid), have, opt.GIDIndex)
	}
	// Left at 0 it is the longest there is, 655 ms.
	return failed(C.card_receiver_timer(p.qp, receiverTimer), "receiver's timer")
}
