//go:build rdma && cgo && linux

package ibv

// #include "card.h"
import "C"

import (
	"errors"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/ashlar-storage/ashlar/rpc/rdma/verbs"
)

// queue is a completion queue with a channel of its own: verbs.CQ.
type queue struct {
	channel *C.struct_ibv_comp_channel
	cq      *C.struct_ibv_cq
	file    *os.File
	raw     syscall.RawConn
	woken   atomic.Bool

	mu      sync.Mutex
	pairs   map[uint32]*pair
	backlog []verbs.Completion // taken from the card before they were asked for
	into    [pollBatch]C.struct_card_done
}

// NewCQ implements verbs.Context.
func (c *card) NewCQ(depth int) (verbs.CQ, error) {
	q := &queue{pairs: map[uint32]*pair{}}
	var err error
	if q.channel, err = C.ibv_create_comp_channel(c.handle); q.channel == nil {
		return nil, failedBy(err, "completion channel")
	}
	if q.cq, err = C.ibv_create_cq(c.handle, C.int(depth), nil, q.channel, 0); q.cq == nil {
		return nil, errors.Join(failedBy(err, "completion queue of %d (the card has at most %d)",
			depth, c.device.Caps.CQDepth), q.Close())
	}
	if q.file, q.raw, err = waitable(int(q.channel.fd), "completions"); err != nil {
		return nil, errors.Join(err, q.Close())
	}
	return q, nil
}

// Poll implements verbs.CQ.
func (q *queue) Poll(into []verbs.Completion) (int, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	n := copy(into, q.backlog)
	q.backlog = q.backlog[:copy(q.backlog, q.backlog[n:])]
	for n < len(into) {
		want := min(len(into)-n, pollBatch)
		got := int(C.card_poll(q.cq, &q.into[0], C.int(want)))
		if got < 0 {
			return n, fmt.Errorf("ibv: poll: the completion queue is broken (%d)", got)
		}
		for i := range got {
			if q.convert(&q.into[i], &into[n]) {
				n++
			}
		}
		if got < want {
			break
		}
	}
	return n, nil
}

var statuses = map[C.uint32_t]verbs.Status{C.IBV_WC_SUCCESS: verbs.OK,
	C.IBV_WC_WR_FLUSH_ERR: verbs.Flushed, C.IBV_WC_REM_ACCESS_ERR: verbs.RemoteAccess,
	C.IBV_WC_LOC_PROT_ERR: verbs.LocalAccess, C.IBV_WC_LOC_ACCESS_ERR: verbs.LocalAccess,
	C.IBV_WC_MW_BIND_ERR: verbs.LocalAccess, C.IBV_WC_LOC_LEN_ERR: verbs.TooLong,
	C.IBV_WC_RNR_RETRY_EXC_ERR: verbs.NoReceive, C.IBV_WC_RETRY_EXC_ERR: verbs.NoAnswer,
	C.IBV_WC_RESP_TIMEOUT_ERR: verbs.NoAnswer}

// softInvalidated is the kernel's own number for IBV_WC_WITH_INV, which soft RoCE gives to programs
// where theirs belongs. To those it means something that it has no use for.
const softInvalidated = 1 << 2

// convert makes a completion of what the card says; false if nobody is to see it.
func (q *queue) convert(d *C.struct_card_done, c *verbs.Completion) bool {
	p := q.pairs[uint32(d.qp)]
	if p == nil {
		return false
	}
	*c = verbs.Completion{QP: p.number, Vendor: uint32(d.vendor)}
	if d.status != C.IBV_WC_SUCCESS {
		var known bool
		if c.Status, known = statuses[d.status]; !known {
			c.Status = verbs.Failed
		}
		p.lost()
	}
	if uint64(d.id)&sendMark != 0 {
		slot, seen := p.sends.complete(uint64(d.id))
		c.ID, c.Op = slot.id, slot.op
		if slot.op == verbs.OpRead {
			c.Bytes = slot.bytes
		}
		return seen
	}
	return q.convertReceive(p, d, c)
}

// convertReceive does the rest for a receive.
func (q *queue) convertReceive(p *pair, d *C.struct_card_done, c *verbs.Completion) bool {
	var known bool
	// Soft RoCE has other names for it: what it tells the peer, or that the receive is malformed.
	if d.status == C.IBV_WC_REM_INV_REQ_ERR || d.status == C.IBV_WC_LOC_QP_OP_ERR {
		c.Status = verbs.TooLong
	}
	if c.ID, known = p.recvs.complete(uint64(d.id)); !known || c.Status != verbs.OK {
		return known
	}
	c.Op, c.Bytes = verbs.OpRecv, int(d.bytes)
	switch {
	case d.op == C.IBV_WC_RECV_RDMA_WITH_IMM:
		c.Op, c.Imm = verbs.OpRecvImm, uint32(d.word)
	case d.flags&C.IBV_WC_WITH_INV != 0, p.card.soft && d.flags&softInvalidated != 0:
		c.Invalidated = uint32(d.word)
	}
	return true
}

// Wait implements verbs.CQ. The card is armed first and looked at after that: a completion before
// the arming would raise no event.
func (q *queue) Wait(limit time.Duration) error {
	if q.woken.Swap(false) {
		return nil
	}
	var deadline time.Time
	if limit > 0 {
		deadline = time.Now().Add(limit)
	}
	if err := q.file.SetReadDeadline(deadline); err != nil {
		return fmt.Errorf("%w: completion queue: %w", verbs.ErrClosed, err)
	}
	if q.woken.Swap(false) { // Wake sets the deadline after this, or was seen here
		return nil
	}
	if ready, err := q.arm(); ready || err != nil {
		return err
	}
	var failure error
	err := q.raw.Read(func(uintptr) bool {
		code := C.card_cq_event(q.channel)
		if code != 0 && syscall.Errno(code) != syscall.EAGAIN {
			failure = failed(code, "completion event")
		}
		return syscall.Errno(code) != syscall.EAGAIN
	})
	q.woken.Store(false)
	if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
		return fmt.Errorf("%w: completion queue: %w", verbs.ErrClosed, err)
	}
	return failure
}

// arm asks for an event and says whether there are completions already.
func (q *queue) arm() (ready bool, err error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if err := failed(C.card_arm(q.cq), "arm the completion queue"); err != nil {
		return false, err
	}
	if err := q.drain(pollBatch); err != nil {
		return false, err
	}
	return len(q.backlog) > 0, nil
}

// drain takes at most so many completions from the card into the backlog; 0: all.
func (q *queue) drain(most int) error {
	for taken := 0; most == 0 || taken < most; {
		got := int(C.card_poll(q.cq, &q.into[0], pollBatch))
		if got < 0 {
			return fmt.Errorf("ibv: poll: the completion queue is broken (%d)", got)
		}
		for i := range got {
			var c verbs.Completion
			if q.convert(&q.into[i], &c) {
				q.backlog = append(q.backlog, c)
			}
		}
		if got < pollBatch {
			return nil
		}
		taken += got
	}
	return nil
}

// Wake implements verbs.CQ.
func (q *queue) Wake() {
	q.woken.Store(true)
	_ = q.file.SetReadDeadline(time.Unix(1, 0))
}

// retire forgets a queue pair that is destroyed, and what it completed but for the receives of a
// shared queue: their memory goes back to who posted them.
func (q *queue) retire(p *pair) error {
	q.mu.Lock()
	err := q.drain(0)
	delete(q.pairs, p.number)
	kept := q.backlog[:0]
	back := 0
	for _, c := range q.backlog {
		if c.QP == p.number {
			if p.srq == nil || c.Op != verbs.OpRecv && c.Op != verbs.OpRecvImm && c.Op != 0 {
				continue
			}
			c = verbs.Completion{ID: c.ID, Status: verbs.Flushed, Op: verbs.OpRecv}
			back++
		}
		kept = append(kept, c)
	}
	q.backlog = kept
	q.mu.Unlock()
	if back > 0 {
		q.Wake()
	}
	return err
}

// Close implements verbs.CQ.
func (q *queue) Close() error {
	var errs []error
	if q.file != nil {
		errs = append(errs, q.file.Close())
	}
	if q.cq != nil {
		errs = append(errs, failed(C.ibv_destroy_cq(q.cq), "destroy completion queue"))
	}
	return errors.Join(append(errs, failed(C.ibv_destroy_comp_channel(q.channel),
		"destroy completion channel"))...)
}
