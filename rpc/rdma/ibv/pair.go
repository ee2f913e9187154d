//go:build rdma && cgo && linux

package ibv

// #include "card.h"
import "C"

import (
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ashlar-storage/ashlar/rpc/rdma/verbs"
)

// pair is a queue pair: verbs.QP.
type pair struct {
	card   *card
	link   *link
	cq     *queue
	srq    *shared
	qp     *C.struct_ibv_qp
	number uint32
	remote netip.AddrPort
	pieces int
	inline int
	sends  *sendRing
	recvs  *recvTable // that of the shared queue, if there is one

	goneOnce sync.Once
	gone     chan struct{}
	lastOnce sync.Once
	last     chan struct{} // closed when the card takes no more from a shared queue

	mu      sync.Mutex // guards posting
	windows map[*window]bool
	closed  bool
}

// makes serialises the making and the ending of queue pairs: a number is free again when the queue
// pair is destroyed and must not be a new one's before the old one is forgotten.
var makes sync.Mutex

// newPair makes the queue pair of a link.
func newPair(l *link, cfg verbs.QPConfig) (*pair, error) {
	cq, ok := cfg.CQ.(*queue)
	if !ok {
		return nil, errors.New("ibv: queue pair: a completion queue of this card is needed")
	}
	p := &pair{card: l.card, link: l, cq: cq, remote: l.peer(), pieces: max(cfg.SGEs, 1),
		inline: cfg.Inline, sends: newSendRing(max(cfg.Sends, 1)), gone: make(chan struct{}),
		last: make(chan struct{}), windows: map[*window]bool{}}
	if cfg.Inline > postInline || p.pieces > postPieces {
		return nil, fmt.Errorf("ibv: queue pair: %d bytes inlined and %d pieces, at most %d and %d",
			cfg.Inline, p.pieces, postInline, postPieces)
	}
	var srq *C.struct_ibv_srq
	if cfg.SRQ != nil {
		if p.srq, ok = cfg.SRQ.(*shared); !ok {
			return nil, errors.New("ibv: queue pair: a shared queue of this card is needed")
		}
		srq, p.recvs = p.srq.srq, p.srq.table
	} else {
		p.recvs = newRecvTable(max(cfg.Recvs, 1))
	}
	return p, p.create(cfg, srq)
}

// create makes it and has its completions and faults find it.
func (p *pair) create(cfg verbs.QPConfig, srq *C.struct_ibv_srq) error {
	makes.Lock()
	defer makes.Unlock()
	if err := failed(C.card_create_qp(p.link.id, p.card.pd, p.cq.cq, srq,
		C.int(len(p.sends.slots)), C.int(max(cfg.Recvs, 1)), C.int(p.pieces), C.int(p.inline)),
		"queue pair of %d sends, %d receives, %d pieces, %d bytes inlined", cfg.Sends, cfg.Recvs,
		p.pieces, p.inline); err != nil {
		return err
	}
	p.qp = p.link.id.qp
	p.number = uint32(p.qp.qp_num)
	p.cq.mu.Lock()
	p.cq.pairs[p.number] = p
	p.cq.mu.Unlock()
	p.card.mu.Lock()
	p.card.pairs[p.number] = p
	p.card.mu.Unlock()
	return nil
}

func (p *pair) Num() uint32            { return p.number }
func (p *pair) Remote() netip.AddrPort { return p.remote }
func (p *pair) Gone() <-chan struct{}  { return p.gone }

// lost tells the owner that the queue pair is broken. Any number of times.
func (p *pair) lost() { p.goneOnce.Do(func() { close(p.gone) }) }

// emptied is told by the card: it takes nothing more from the shared queue.
func (p *pair) emptied() { p.lastOnce.Do(func() { close(p.last) }) }

// use keeps the queue pair from being closed until done is called. While a connection is made
// whoever was given the queue pair may close it.
func (p *pair) use() (done func(), err error) {
	p.mu.Lock()
	if p.closed {
		p.mu.Unlock()
		return nil, fmt.Errorf("%w: queue pair %d", verbs.ErrClosed, p.number)
	}
	return p.mu.Unlock, nil
}

// PostRecv implements verbs.QP.
func (p *pair) PostRecv(recvs []verbs.Recv) error {
	if p.srq != nil {
		return errors.New("ibv: receives of this queue pair are posted to its shared queue")
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return fmt.Errorf("%w: queue pair %d", verbs.ErrClosed, p.number)
	}
	return receive(p.qp, nil, p.recvs, p.pieces, recvs)
}

// Disconnect implements verbs.QP.
func (p *pair) Disconnect() {
	p.lost()
	p.link.disconnect()
}

// Close implements verbs.QP.
func (p *pair) Close() error {
	p.mu.Lock()
	again := p.closed
	p.closed = true
	windows := p.windows
	p.windows = nil
	p.mu.Unlock()
	if again {
		return nil
	}
	p.Disconnect()
	if p.srq != nil && !p.card.soft {
		select {
		case <-p.last:
		case <-time.After(lastTime):
		}
	}
	var errs []error
	// Before the queue pair: soft RoCE keeps it while windows are bound on it.
	for w := range windows {
		errs = append(errs, w.free())
	}
	p.destroy(&errs)
	p.link.end()
	return errors.Join(errs...)
}

// destroy returns when the card has forgotten the queue pair, and so has everything here.
func (p *pair) destroy(errs *[]error) {
	makes.Lock()
	defer makes.Unlock()
	p.card.mu.Lock()
	delete(p.card.pairs, p.number)
	p.card.mu.Unlock()
	C.rdma_destroy_qp(p.link.id)
	*errs = append(*errs, p.cq.retire(p))
}

// window is a memory window of type 2: verbs.Window.
type window struct {
	pair *pair
	mw   *C.struct_ibv_mw
	key  atomic.Uint32
}

// NewWindow implements verbs.QP.
func (p *pair) NewWindow() (verbs.Window, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return nil, fmt.Errorf("%w: queue pair %d", verbs.ErrClosed, p.number)
	}
	mw, err := C.ibv_alloc_mw(p.card.pd, C.IBV_MW_TYPE_2)
	if mw == nil {
		return nil, failedBy(err, "memory window of type 2 (the card has %d)",
			p.card.device.Caps.Windows)
	}
	w := &window{pair: p, mw: mw}
	w.key.Store(uint32(mw.rkey))
	p.windows[w] = true
	return w, nil
}

func (w *window) Key() uint32     { return w.key.Load() }
func (w *window) NextKey() uint32 { return nextKey(w.key.Load()) }

// advance takes the next key into use.
func (w *window) advance() uint32 {
	key := w.NextKey()
	w.key.Store(key)
	return key
}

// nextKey counts in the low byte, which is the owner's; the rest is the card's name of the window.
func nextKey(key uint32) uint32 { return key&^0xff | (key+1)&0xff }

// Close implements verbs.Window.
func (w *window) Close() error {
	w.pair.mu.Lock()
	mine := w.pair.windows[w]
	delete(w.pair.windows, w)
	w.pair.mu.Unlock()
	if !mine {
		return nil
	}
	return w.free()
}

func (w *window) free() error { return failed(C.ibv_dealloc_mw(w.mw), "free memory window") }

// shared is a receive queue of many queue pairs: verbs.SRQ.
type shared struct {
	srq    *C.struct_ibv_srq
	table  *recvTable
	pieces int
}

// NewSRQ implements verbs.Context.
func (c *card) NewSRQ(depth int) (verbs.SRQ, error) {
	pieces := min(receivePieces, c.device.Caps.SGEs)
	srq, err := C.card_create_srq(c.pd, C.int(depth), C.int(pieces))
	if srq == nil {
		return nil, failedBy(err, "shared receive queue of %d (the card has at most %d)", depth,
			c.device.Caps.Depth)
	}
	return &shared{srq: srq, table: newRecvTable(depth), pieces: pieces}, nil
}

// PostRecv implements verbs.SRQ.
func (s *shared) PostRecv(recvs []verbs.Recv) error {
	return receive(nil, s.srq, s.table, s.pieces, recvs)
}

// Close implements verbs.SRQ.
func (s *shared) Close() error {
	return failed(C.ibv_destroy_srq(s.srq), "destroy shared receive queue")
}
