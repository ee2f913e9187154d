//go:build rdma && cgo && linux

package ibv

// #include "card.h"
import "C"

import (
	"errors"
	"fmt"
	"sync"
	"unsafe"

	"github.com/ashlar-storage/ashlar/rpc/rdma/verbs"
)

// scratch is requests as C takes them. It lies in Go's heap and has no pointers into it; C reads it
// during one call only.
type scratch struct {
	sends   [postBatch]C.struct_card_send
	recvs   [postBatch]C.struct_card_recv
	pieces  [postPieces]C.struct_card_piece
	inlined [postInline]byte

	n, npieces, ninlined int
}

var scratches = sync.Pool{New: func() any { return new(scratch) }}

func (s *scratch) reset() { s.n, s.npieces, s.ninlined = 0, 0, 0 }

// fits says whether a request finds room beside what is there.
func (s *scratch) fits(pieces, inlined int) bool {
	return s.n < postBatch && s.npieces+pieces <= postPieces && s.ninlined+inlined <= postInline
}

// add takes pieces; those that are to be copied with the request are copied here, so that no
// address in Go's heap leaves it.
func (s *scratch) add(pieces []verbs.Piece, inline bool) (first, count C.uint32_t) {
	first = C.uint32_t(s.npieces)
	for _, p := range pieces {
		if len(p.Mem) == 0 {
			continue
		}
		at := unsafe.Pointer(&p.Mem[0])
		if inline {
			at = unsafe.Pointer(&s.inlined[s.ninlined])
			s.ninlined += copy(s.inlined[s.ninlined:], p.Mem)
		}
		s.pieces[s.npieces] = C.struct_card_piece{addr: C.uint64_t(uintptr(at)),
			length: C.uint32_t(len(p.Mem)), key: C.uint32_t(p.Key)}
		s.npieces++
	}
	return first, C.uint32_t(s.npieces) - first
}

// Post implements verbs.QP.
func (p *pair) Post(reqs []verbs.Send) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return fmt.Errorf("%w: queue pair %d", verbs.ErrClosed, p.number)
	}
	for i := range reqs {
		if err := p.valid(&reqs[i]); err != nil {
			return err
		}
	}
	if len(reqs) > p.sends.room() {
		return full("send", len(reqs), len(p.sends.slots))
	}
	s := scratches.Get().(*scratch)
	defer scratches.Put(s)
	s.reset()
	taken := 0
	for i := range reqs {
		r := &reqs[i]
		if !s.fits(len(r.Pieces), inlineBytes(r)) {
			if err := p.flush(s, &taken); err != nil {
				return err
			}
		}
		p.translate(s, r)
	}
	return p.flush(s, &taken)
}

// valid refuses what a card would refuse, or misunderstand.
func (p *pair) valid(r *verbs.Send) error {
	if len(r.Pieces) > p.pieces {
		return fmt.Errorf("ibv: a request of %d pieces, the queue pair was made for %d",
			len(r.Pieces), p.pieces)
	}
	if n := inlineBytes(r); n > p.inline {
		return fmt.Errorf("ibv: %d bytes inlined, the queue pair was made for %d", n, p.inline)
	}
	switch r.Op {
	case verbs.OpSend, verbs.OpSendInv, verbs.OpWrite, verbs.OpWriteImm, verbs.OpRead,
		verbs.OpInvalidate:
		return nil
	case verbs.OpBind:
		w, ok := r.Window.(*window)
		if !ok || w.pair != p || len(r.Pieces) != 1 || len(r.Pieces[0].Mem) == 0 {
			return errors.New("ibv: bind: want a window of this queue pair and one piece of memory")
		}
		if (*p.card.regions.Load())[r.Pieces[0].Key] == nil {
			return fmt.Errorf("ibv: bind: no region has the key %#x", r.Pieces[0].Key)
		}
		return nil
	}
	return fmt.Errorf("ibv: operation %d cannot be posted", r.Op)
}

func inlineBytes(r *verbs.Send) int {
	if !r.Inlined {
		return 0
	}
	return total(r.Pieces)
}

func total(pieces []verbs.Piece) (n int) {
	for _, p := range pieces {
		n += len(p.Mem)
	}
	return n
}

var opcodes = [...]C.uint32_t{verbs.OpSend: C.IBV_WR_SEND, verbs.OpSendInv: C.IBV_WR_SEND_WITH_INV,
	verbs.OpWrite: C.IBV_WR_RDMA_WRITE, verbs.OpWriteImm: C.IBV_WR_RDMA_WRITE_WITH_IMM,
	verbs.OpRead: C.IBV_WR_RDMA_READ, verbs.OpBind: C.IBV_WR_BIND_MW,
	verbs.OpInvalidate: C.IBV_WR_LOCAL_INV}

// translate adds a request to s.
func (p *pair) translate(s *scratch, r *verbs.Send) {
	first, count := s.add(r.Pieces, r.Inlined)
	to := &s.sends[s.n]
	s.n++
	*to = C.struct_card_send{op: opcodes[r.Op], first: first, count: count,
		remote: C.uint64_t(r.Remote.Addr), key: C.uint32_t(r.Remote.Key), imm: C.uint32_t(r.Imm),
		id: C.uint64_t(p.sends.put(sendSlot{id: r.ID, op: r.Op, bytes: total(r.Pieces)}))}
	if r.Signalled {
		to.flags |= C.IBV_SEND_SIGNALED
	}
	if r.Fenced {
		to.flags |= C.IBV_SEND_FENCE
	}
	if r.Inlined {
		to.flags |= C.IBV_SEND_INLINE
	}
	if r.Op != verbs.OpBind {
		return
	}
	w := r.Window.(*window)
	to.window, to.region = w.mw, (*p.card.regions.Load())[r.Pieces[0].Key].mr
	to.key = C.uint32_t(w.advance())
	if r.Access&verbs.PeerReads != 0 {
		to.access |= C.IBV_ACCESS_REMOTE_READ
	}
	if r.Access&verbs.PeerWrites != 0 {
		to.access |= C.IBV_ACCESS_REMOTE_WRITE
	}
}

// flush gives the requests in s to the card. When the card refuses in the middle, the queue pair is
// broken, so that those before it do nothing more, and their completions are kept from the caller,
// who is told that none was taken.
func (p *pair) flush(s *scratch, taken *int) error {
	if s.n == 0 {
		return nil
	}
	var n C.int
	code := C.card_post(p.qp, &s.sends[0], C.int(s.n), &s.pieces[0], &n)
	*taken += int(n)
	if code != 0 {
		p.sends.unput(s.n - int(n))
		p.sends.hide(*taken)
		p.lost()
		C.card_break(p.qp)
		return failed(code, "post to queue pair %d", p.number)
	}
	s.reset()
	return nil
}

// receive posts receives to a queue pair or a shared queue.
func receive(qp *C.struct_ibv_qp, srq *C.struct_ibv_srq, table *recvTable, pieces int,
	recvs []verbs.Recv) error {
	for i := range recvs {
		if len(recvs[i].Pieces) > pieces {
			return fmt.Errorf("ibv: a receive of %d pieces, at most %d", len(recvs[i].Pieces),
				pieces)
		}
	}
	table.mu.Lock()
	defer table.mu.Unlock()
	if len(recvs) > len(table.free) {
		return full("receive", len(recvs), len(table.ids))
	}
	s := scratches.Get().(*scratch)
	defer scratches.Put(s)
	s.reset()
	for i := range recvs {
		r := &recvs[i]
		if !s.fits(len(r.Pieces), 0) {
			if err := flushReceives(qp, srq, table, s); err != nil {
				return err
			}
		}
		first, count := s.add(r.Pieces, false)
		s.recvs[s.n] = C.struct_card_recv{id: C.uint64_t(table.put(r.ID)), first: first,
			count: count}
		s.n++
	}
	return flushReceives(qp, srq, table, s)
}

func flushReceives(qp *C.struct_ibv_qp, srq *C.struct_ibv_srq, table *recvTable, s *scratch) error {
	if s.n == 0 {
		return nil
	}
	var n C.int
	code := C.card_receive(qp, srq, &s.recvs[0], C.int(s.n), &s.pieces[0], &n)
	for i := int(n); i < s.n; i++ {
		table.free = append(table.free, uint32(s.recvs[i].id))
	}
	s.reset()
	return failed(code, "post receives")
}
