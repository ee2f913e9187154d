package fake

import (
	"fmt"
	"net/netip"
	"sync"
	"time"

	"github.com/ashlar-storage/ashlar/rpc/rdma/verbs"
)

// work is a request in the send queue.
type work struct {
	verbs.Send
	seq     uint64
	key     uint32 // of a bind
	moved   int    // bytes of a transfer so far
	blocked time.Time
}

// qp implements verbs.QP.
type qp struct {
	x       *context
	num     uint32
	cfg     verbs.QPConfig
	local   netip.AddrPort
	remote  netip.AddrPort
	peer    *qp
	stands  bool // both sides have agreed: work is done
	broken  bool
	closed  bool
	stuck   bool // by StickAll
	active  bool // in the network's list
	sendq   []work
	recvs   []verbs.Recv
	windows map[*window]*window
	posted  uint64
	freed   uint64 // places up to here are free again
	gone    chan struct{}
	left    sync.Once
}

func (x *context) newQP(cfg verbs.QPConfig, local, remote netip.AddrPort) (*qp, error) {
	c := x.card.Caps
	if cfg.Sends <= 0 || cfg.Sends > c.Depth || cfg.Recvs > c.Depth || cfg.SGEs > c.SGEs ||
		cfg.Reads > c.Reads || len(x.qps) >= c.QPs || cfg.CQ == nil {
		return nil, fmt.Errorf("fake: the card cannot make the queue pair %+v", cfg)
	}
	x.net.nextQP++
	q := &qp{x: x, num: x.net.nextQP, cfg: cfg, local: local, remote: remote,
		gone: make(chan struct{}), windows: map[*window]*window{}}
	x.qps[q.num] = q
	x.net.counts.QPs++
	return q, nil
}

func (q *qp) Num() uint32            { return q.num }
func (q *qp) Remote() netip.AddrPort { return q.remote }
func (q *qp) Gone() <-chan struct{}  { return q.gone }
func (q *qp) completions() *cq       { return q.cfg.CQ.(*cq) }
func (q *qp) activate() {
	if !q.active && len(q.sendq) > 0 {
		q.active = true
		q.x.net.active = append(q.x.net.active, q)
	}
	q.x.net.work.Broadcast()
}

func (q *qp) Post(reqs []verbs.Send) error {
	q.x.net.mu.Lock()
	defer q.x.net.mu.Unlock()
	if q.closed {
		return verbs.ErrClosed
	}
	if q.posted-q.freed+uint64(len(reqs)) > uint64(q.cfg.Sends) {
		return verbs.ErrFull
	}
	for i := range reqs {
		if len(reqs[i].Pieces) > max(q.cfg.SGEs, 1) {
			return fmt.Errorf("fake: %d pieces, the queue pair takes %d", len(reqs[i].Pieces),
				q.cfg.SGEs)
		}
	}
	for i := range reqs {
		q.sendq = append(q.sendq, q.newWork(&reqs[i]))
	}
	q.activate()
	return nil
}

func (q *qp) newWork(r *verbs.Send) work {
	q.posted++
	w := work{Send: *r, seq: q.posted}
	w.Pieces = append([]verbs.Piece(nil), r.Pieces...)
	if r.Inlined {
		var all []byte
		for _, p := range r.Pieces {
			all = append(all, p.Mem...)
		}
		w.Pieces = []verbs.Piece{{Mem: all}}
	}
	if r.Op == verbs.OpBind {
		win := r.Window.(*window)
		win.posted, win.next = win.next, win.next&^0xff|(win.next+1)&0xff
		w.key = win.posted
	}
	return w
}

func (q *qp) PostRecv(recvs []verbs.Recv) error {
	q.x.net.mu.Lock()
	defer q.x.net.mu.Unlock()
	if q.closed {
		return verbs.ErrClosed
	}
	if q.cfg.SRQ != nil {
		return fmt.Errorf("fake: the queue pair has a shared receive queue")
	}
	if len(q.recvs)+len(recvs) > q.cfg.Recvs {
		return verbs.ErrFull
	}
	q.recvs = append(q.recvs, cloneRecvs(recvs)...)
	if q.broken {
		q.flushRecvs()
	}
	q.x.net.work.Broadcast()
	return nil
}

func (q *qp) Disconnect() {
	q.x.net.mu.Lock()
	defer q.x.net.mu.Unlock()
	q.breakLocked()
}

// breakLocked flushes what is left. The peer learns of it a while later.
func (q *qp) breakLocked() {
	if q.broken {
		return
	}
	q.broken = true
	q.left.Do(func() { close(q.gone) })
	q.flushRecvs()
	if q.peer != nil && !q.x.host.silent && !q.peer.x.host.silent {
		q.x.net.dying = append(q.x.net.dying, q.peer)
	}
	q.activate()
}

func (q *qp) flushRecvs() {
	for _, r := range q.recvs {
		q.completions().add(done{q: q, Completion: verbs.Completion{ID: r.ID, QP: q.num,
			Status: verbs.Flushed}})
	}
	q.recvs = nil
	q.x.net.work.Broadcast()
}

func (q *qp) Close() error {
	n := q.x.net
	n.mu.Lock()
	defer n.mu.Unlock()
	if q.closed {
		return verbs.ErrClosed
	}
	q.breakLocked()
	q.closed = true
	q.completions().forget(q)
	for w := range q.windows {
		w.drop()
	}
	q.sendq, q.recvs = nil, nil
	delete(q.x.qps, q.num)
	n.counts.QPs--
	return nil
}

// window implements verbs.Window.
type window struct {
	q            *qp
	posted, next uint32
	bound        bool
	key          uint32
	addr, size   uint64
	access       verbs.Access
}

func (q *qp) NewWindow() (verbs.Window, error) {
	q.x.net.mu.Lock()
	defer q.x.net.mu.Unlock()
	if q.closed {
		return nil, verbs.ErrClosed
	}
	if len(q.x.windows) >= q.x.card.Caps.Windows {
		return nil, fmt.Errorf("fake: no more windows than %d", q.x.card.Caps.Windows)
	}
	w := &window{q: q, next: q.x.net.newKey() + 1}
	q.windows[w] = w
	q.x.windows[w.next>>8] = w
	q.x.net.counts.Windows++
	return w, nil
}

func (w *window) Key() uint32 {
	w.q.x.net.mu.Lock()
	defer w.q.x.net.mu.Unlock()
	return w.posted
}

func (w *window) NextKey() uint32 {
	w.q.x.net.mu.Lock()
	defer w.q.x.net.mu.Unlock()
	return w.next
}

func (w *window) Close() error {
	w.q.x.net.mu.Lock()
	defer w.q.x.net.mu.Unlock()
	if w.q.windows[w] == nil {
		return verbs.ErrClosed
	}
	w.drop()
	return nil
}

func (w *window) drop() {
	delete(w.q.windows, w)
	delete(w.q.x.windows, w.next>>8)
	w.bound = false
	w.q.x.net.counts.Windows--
}

// find is the window that is bound with the key on this queue pair.
func (q *qp) find(key uint32) *window {
	w := q.x.windows[key>>8]
	if w == nil || !w.bound || w.key != key || w.q != q {
		return nil
	}
	return w
}
