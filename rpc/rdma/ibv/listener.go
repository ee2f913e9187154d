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
	"unsafe"

	"github.com/ashlar-storage/ashlar/rpc/rdma/verbs"
)

// listener takes connection requests: verbs.Listener.
type listener struct {
	card    *card
	id      *C.struct_rdma_cm_id
	handle  uintptr
	addr    netip.AddrPort
	pending chan *request
	once    sync.Once
	closed  chan struct{}
}

// Listen implements verbs.Context.
func (c *card) Listen(addr netip.AddrPort, backlog int) (verbs.Listener, error) {
	l := &listener{card: c, pending: make(chan *request, min(max(backlog, 1), pendingMax)),
		closed: make(chan struct{})}
	l.handle = c.enrol(l)
	err := failed(C.card_create_id(c.channel, C.uintptr_t(l.handle), &l.id), "listen on %v", addr)
	if err != nil {
		c.dismiss(l.handle)
		return nil, err
	}
	err = noCard(failed(C.card_bind(l.id, address(addr)), "listen on %v", addr), addr)
	if err == nil {
		err = c.owns(l.id, addr)
	}
	if err == nil {
		err = failed(C.card_listen(l.id, C.int(cap(l.pending))), "listen on %v", addr)
	}
	if err != nil {
		return nil, errors.Join(err, l.Close())
	}
	l.addr = netip.AddrPortFrom(addr.Addr().Unmap(), swap(uint16(C.rdma_get_src_port(l.id))))
	return l, nil
}

// swap makes a number of network order one of this machine, whose order is the other.
func swap(port uint16) uint16 {
	b := *(*[2]byte)(unsafe.Pointer(&port))
	return uint16(b[0])<<8 | uint16(b[1])
}

func (l *listener) Addr() netip.AddrPort { return l.addr }

// event implements receiver: it runs where events are taken, so that the link of a new connection
// is known before the connection's next event.
func (l *listener) event(e *C.struct_card_event) {
	if e.event != C.RDMA_CM_EVENT_CONNECT_REQUEST {
		return
	}
	r := &request{listener: l, private: C.GoBytes(unsafe.Pointer(&e.private), C.int(e.length)),
		readsIn: int(e.reads_in), readsOut: int(e.reads_out),
		link: &link{card: l.card, id: e.id, steps: make(chan C.struct_card_event, stepsMax)}}
	r.link.handle = l.card.enrol(r.link)
	C.card_set_handle(e.id, C.uintptr_t(r.link.handle))
	select {
	case l.pending <- r:
	default:
		_ = r.Reject(nil) // more than a backlog of them wait: the peer tries again
	}
}

// Next implements verbs.Listener.
func (l *listener) Next() (verbs.Request, error) {
	select {
	case r := <-l.pending:
		return r, nil
	case <-l.closed:
		return nil, fmt.Errorf("%w: listener on %v", verbs.ErrClosed, l.addr)
	}
}

// Close implements verbs.Listener.
func (l *listener) Close() error {
	l.once.Do(func() {
		l.card.dismiss(l.handle)
		close(l.closed)
		C.rdma_destroy_id(l.id)
		for {
			select {
			case r := <-l.pending:
				_ = r.Reject(nil)
				continue
			default:
			}
			return
		}
	})
	return nil
}

// request is a peer that asks for a connection: verbs.Request.
type request struct {
	listener          *listener
	link              *link
	private           []byte
	readsIn, readsOut int
}

func (r *request) Remote() netip.AddrPort { return r.link.peer() }
func (r *request) Private() []byte        { return r.private }

// Accept implements verbs.Request.
func (r *request) Accept(cfg verbs.QPConfig, private []byte,
	ready func(verbs.QP) error) (verbs.QP, error) {
	if err := r.accept(cfg, private, ready); err != nil {
		return nil, errors.Join(err, r.link.abandon())
	}
	return r.link.pair, nil
}

func (r *request) accept(cfg verbs.QPConfig, private []byte, ready func(verbs.QP) error) error {
	l := r.link
	if len(private) > verbs.MaxPrivateReply {
		return fmt.Errorf("ibv: accept: %d bytes of private data, at most %d", len(private),
			verbs.MaxPrivateReply)
	}
	if err := l.card.owns(l.id, r.listener.addr); err != nil {
		return err
	}
	if err := l.makePair(cfg, ready); err != nil {
		return err
	}
	if err := l.connect(cfg, private, r.readsIn, r.readsOut, true); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), answerTime)
	defer cancel()
	if _, err := l.step(ctx, l.pair.remote, C.RDMA_CM_EVENT_ESTABLISHED); err != nil {
		return err
	}
	return l.check()
}

// Reject implements verbs.Request.
func (r *request) Reject(private []byte) error {
	if len(private) > verbs.MaxPrivateReply {
		return fmt.Errorf("ibv: reject: %d bytes of private data, at most %d", len(private),
			verbs.MaxPrivateReply)
	}
	var text [verbs.MaxPrivateReply]byte
	copy(text[:], private)
	code, err := C.rdma_reject(r.link.id, unsafe.Pointer(&text[0]), C.uint8_t(len(private)))
	r.link.end()
	if code != 0 {
		return failedBy(err, "reject")
	}
	return nil
}
