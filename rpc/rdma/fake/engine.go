package fake

import (
	"time"
	"unsafe"

	"github.com/ashlar-storage/ashlar/rpc/rdma/verbs"
)

// chunk is the most bytes that one step moves.
const chunk = 64 << 10

// run does one step of some queue pair after another until the network is closed.
func (n *Network) run() {
	defer close(n.done)
	n.mu.Lock()
	defer n.mu.Unlock()
	for !n.stopped {
		if slow := n.faults.Slow; slow > 0 && len(n.active) > 0 {
			n.mu.Unlock()
			time.Sleep(slow)
			n.mu.Lock()
		}
		n.spread()
		moved := n.step()
		if len(n.cqs) > 0 && (!moved || !n.chance(n.faults.Late)) {
			n.letOut()
			moved = true
		}
		if !moved {
			n.pause()
		}
	}
}

func (n *Network) chance(p float64) bool { return p > 0 && n.rng.Float64() < p }

// pause waits for something to do. Work that waits for a peer is looked at again soon.
func (n *Network) pause() {
	if n.stopped {
		return
	}
	if len(n.active) == 0 && len(n.dying) == 0 && len(n.cqs) == 0 {
		n.work.Wait()
		return
	}
	n.mu.Unlock()
	time.Sleep(100 * time.Microsecond)
	n.mu.Lock()
}

// spread tells queue pairs that their peer broke.
func (n *Network) spread() {
	dying := n.dying
	n.dying = nil
	for _, q := range dying {
		q.breakLocked()
	}
}

func (n *Network) letOut() {
	for _, c := range n.cqs {
		c.letOut()
	}
	clear(n.cqs)
	n.cqs = n.cqs[:0]
}

// step does the next piece of work of a queue pair picked at random; false when none could.
func (n *Network) step() bool {
	if len(n.active) == 0 {
		return false
	}
	first := n.rng.IntN(len(n.active))
	for i := range n.active {
		at := (first + i) % len(n.active)
		q := n.active[at]
		moved := q.advance()
		if len(q.sendq) == 0 {
			q.active = false
			last := len(n.active) - 1
			n.active[at] = n.active[last]
			n.active = n.active[:last]
		}
		if moved {
			n.steps++
			return true
		}
		if len(q.sendq) == 0 {
			return false
		}
	}
	return false
}

// advance moves the head of the send queue on; false when it waits for the peer.
func (q *qp) advance() bool {
	if len(q.sendq) == 0 || q.x.host.silent || !q.stands && !q.broken {
		return false
	}
	w := &q.sendq[0]
	n := q.x.net
	switch {
	case q.broken:
		q.finish(verbs.Flushed, verbs.Completion{})
		return true
	case q.stuck:
		return false
	}
	if n.chance(n.faults.Fail) {
		all := []verbs.Status{verbs.RemoteAccess, verbs.LocalAccess, verbs.NoAnswer, verbs.Failed}
		q.finish(all[n.rng.IntN(len(all))], verbs.Completion{})
		return true
	}
	if !w.Inlined && !q.x.coversPieces(w.Pieces) {
		q.finish(verbs.LocalAccess, verbs.Completion{})
		return true
	}
	switch w.Op {
	case verbs.OpBind:
		return q.bind(w)
	case verbs.OpInvalidate:
		return q.invalidate(w)
	}
	if status := q.reach(w); status != verbs.OK {
		if status == verbs.Status(waiting) {
			return false
		}
		q.finish(status, verbs.Completion{})
		return true
	}
	if w.Op == verbs.OpSend || w.Op == verbs.OpSendInv {
		return q.send(w)
	}
	return q.transfer(w)
}

// waiting is no status: the peer does not answer, or is not ready, yet.
const waiting = 255

func (x *context) coversPieces(pieces []verbs.Piece) bool {
	for _, p := range pieces {
		if !x.covers(p.Key, p.Mem) {
			return false
		}
	}
	return true
}

func (q *qp) bind(w *work) bool {
	win := w.Window.(*window)
	ok := q.windows[win] != nil && !win.bound && len(w.Pieces) == 1 && w.Access != 0 &&
		len(w.Pieces[0].Mem) > 0
	if !ok {
		q.finish(verbs.LocalAccess, verbs.Completion{})
		return true
	}
	win.bound, win.key, win.access = true, w.key, w.Access
	win.addr, win.size = address(w.Pieces[0].Mem), uint64(len(w.Pieces[0].Mem))
	q.finish(verbs.OK, verbs.Completion{})
	return true
}

func (q *qp) invalidate(w *work) bool {
	win := q.find(w.Remote.Key)
	if win == nil {
		q.finish(verbs.LocalAccess, verbs.Completion{})
		return true
	}
	win.bound = false
	q.finish(verbs.OK, verbs.Completion{})
	return true
}

// reach tells whether the peer answers.
func (q *qp) reach(w *work) verbs.Status {
	p := q.peer
	if !p.broken && !p.closed && !p.x.host.silent {
		return verbs.OK
	}
	return q.patience(w, verbs.NoAnswer)
}

// patience gives the status once the queue pair's time is over.
func (q *qp) patience(w *work, status verbs.Status) verbs.Status {
	limit := q.cfg.RetryTimeout
	if limit == 0 {
		limit = verbs.DefaultRetryTimeout
	}
	if w.blocked.IsZero() {
		w.blocked = time.Now()
	}
	if time.Since(w.blocked) < limit {
		return waiting
	}
	return status
}

func size(pieces []verbs.Piece) (n int) {
	for _, p := range pieces {
		n += len(p.Mem)
	}
	return n
}

// takeRecv takes the next receive of a queue pair.
func (q *qp) takeRecv() (r verbs.Recv, ok bool) {
	from := &q.recvs
	if q.cfg.SRQ != nil {
		from = &q.cfg.SRQ.(*srq).recvs
	}
	if len(*from) == 0 {
		return r, false
	}
	r = (*from)[0]
	*from = (*from)[1:]
	return r, true
}

// send moves a message into the peer's next receive.
func (q *qp) send(w *work) bool {
	p := q.peer
	r, ok := p.takeRecv()
	if !ok {
		if status := q.patience(w, verbs.NoReceive); status != verbs.Status(waiting) {
			q.finish(status, verbs.Completion{})
			return true
		}
		return false
	}
	d := done{q: p, Completion: verbs.Completion{ID: r.ID, QP: p.num, Op: verbs.OpRecv}}
	var win *window
	if w.Op == verbs.OpSendInv {
		win = p.find(w.Remote.Key)
	}
	switch n := size(w.Pieces); {
	case n > size(r.Pieces):
		d.Status = verbs.TooLong
	case w.Op == verbs.OpSendInv && win == nil:
		d.Status = verbs.RemoteAccess
	case !p.x.coversPieces(r.Pieces):
		d.Status = verbs.LocalAccess
	default:
		d.Bytes = n
	}
	if d.Status != verbs.OK {
		p.completions().add(d)
		p.breakLocked()
		q.finish(verbs.Failed, verbs.Completion{})
		return true
	}
	copyPieces(r.Pieces, 0, w.Pieces, 0, d.Bytes)
	if win != nil {
		win.bound = false
		d.Invalidated = w.Remote.Key
	}
	p.completions().add(d)
	q.finish(verbs.OK, verbs.Completion{})
	return true
}

// transfer moves a chunk of an RDMA read or write.
func (q *qp) transfer(w *work) bool {
	n := size(w.Pieces)
	need := verbs.PeerWrites
	if w.Op == verbs.OpRead {
		need = verbs.PeerReads
	}
	win := q.peer.find(w.Remote.Key)
	if win == nil || win.access&need == 0 || w.Remote.Addr < win.addr ||
		w.Remote.Addr+uint64(n) > win.addr+win.size {
		q.finish(verbs.RemoteAccess, verbs.Completion{})
		return true
	}
	net := q.x.net
	move := min(chunk, n-w.moved)
	breaks := net.chance(net.faults.Break)
	if breaks {
		move = net.rng.IntN(move + 1)
	}
	far := []verbs.Piece{{Mem: at(w.Remote.Addr, n)}}
	if w.Op == verbs.OpRead {
		copyPieces(w.Pieces, w.moved, far, w.moved, move)
	} else {
		copyPieces(far, w.moved, w.Pieces, w.moved, move)
	}
	w.moved += move
	switch {
	case breaks:
		q.finish(verbs.Failed, verbs.Completion{})
	case w.moved == n:
		return q.endTransfer(w, n)
	}
	return true
}

func (q *qp) endTransfer(w *work, n int) bool {
	if w.Op == verbs.OpWriteImm {
		r, ok := q.peer.takeRecv()
		if !ok {
			if status := q.patience(w, verbs.NoReceive); status != verbs.Status(waiting) {
				q.finish(status, verbs.Completion{})
				return true
			}
			return false
		}
		q.peer.completions().add(done{q: q.peer, Completion: verbs.Completion{ID: r.ID,
			QP: q.peer.num, Op: verbs.OpRecvImm, Imm: w.Imm, Bytes: n}})
	}
	q.finish(verbs.OK, verbs.Completion{Bytes: n})
	return true
}

// finish ends the head of the send queue.
func (q *qp) finish(s verbs.Status, c verbs.Completion) {
	w := q.sendq[0]
	c.ID, c.QP, c.Op, c.Status = w.ID, q.num, w.Op, s
	if w.Op != verbs.OpRead {
		c.Bytes = 0
	}
	q.sendq = q.sendq[:copy(q.sendq, q.sendq[1:])]
	if s != verbs.OK || w.Signalled {
		q.completions().add(done{q: q, Completion: c, freed: w.seq})
	}
	if s != verbs.OK {
		q.breakLocked()
	}
}

// at is n bytes of this process's memory that a window's check has allowed.
func at(addr uint64, n int) []byte {
	return unsafe.Slice((*byte)(*(*unsafe.Pointer)(unsafe.Pointer(&addr))), n)
}

// copyPieces copies n bytes from one list of pieces to another, from positions on.
func copyPieces(dst []verbs.Piece, to int, src []verbs.Piece, from, n int) {
	for n > 0 {
		d, s := skip(dst, to), skip(src, from)
		k := copy(d[:min(len(d), n)], s)
		to, from, n = to+k, from+k, n-k
	}
}

// skip is the rest of the piece in which position n lies.
func skip(pieces []verbs.Piece, n int) []byte {
	for _, p := range pieces {
		if n < len(p.Mem) {
			return p.Mem[n:]
		}
		n -= len(p.Mem)
	}
	panic("fake: position past the pieces")
}
