package fake

import (
	"fmt"
	"time"

	"github.com/ashlar-storage/ashlar/rpc/rdma/verbs"
)

// done is a completion with the place in the send queue that polling it makes free.
type done struct {
	verbs.Completion
	q     *qp
	freed uint64 // 0 for receives
}

// cq implements verbs.CQ. Completions wait in held until the network lets them out.
type cq struct {
	x           *context
	depth       int
	held, ready []done
	wake        chan struct{}
	closed      bool
}

func (x *context) NewCQ(depth int) (verbs.CQ, error) {
	if depth <= 0 || depth > x.card.Caps.CQDepth {
		return nil, fmt.Errorf("fake: completion queue of %d, the card takes 1..%d", depth,
			x.card.Caps.CQDepth)
	}
	x.net.mu.Lock()
	defer x.net.mu.Unlock()
	x.objects++
	x.net.counts.CQs++
	return &cq{x: x, depth: depth, wake: make(chan struct{}, 1)}, nil
}

func (c *cq) Poll(into []verbs.Completion) (int, error) {
	c.x.net.mu.Lock()
	defer c.x.net.mu.Unlock()
	if c.closed {
		return 0, verbs.ErrClosed
	}
	n := min(len(into), len(c.ready))
	for i, d := range c.ready[:n] {
		into[i] = d.Completion
		d.q.freed = max(d.q.freed, d.freed)
	}
	c.ready = c.ready[:copy(c.ready, c.ready[n:])]
	return n, nil
}

func (c *cq) Wait(limit time.Duration) error {
	c.x.net.mu.Lock()
	some, closed := len(c.ready) > 0, c.closed
	c.x.net.mu.Unlock()
	if closed {
		return verbs.ErrClosed
	}
	if some {
		return nil
	}
	if limit == 0 {
		<-c.wake
		return nil
	}
	t := time.NewTimer(limit)
	defer t.Stop()
	select {
	case <-c.wake:
	case <-t.C:
	}
	return nil
}

func (c *cq) Wake() {
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

func (c *cq) Close() error {
	c.x.net.mu.Lock()
	defer c.x.net.mu.Unlock()
	if c.closed {
		return verbs.ErrClosed
	}
	for _, q := range c.x.qps {
		if q.cfg.CQ == verbs.CQ(c) {
			panic("fake: completion queue closed under a queue pair")
		}
	}
	c.closed = true
	c.x.objects--
	c.x.net.counts.CQs--
	c.Wake()
	return nil
}

// add takes a completion. Too many is a bug of whoever made the queue.
func (c *cq) add(d done) {
	if len(c.held)+len(c.ready) >= c.depth {
		panic(fmt.Sprintf("fake: completion queue of %d overflows", c.depth))
	}
	if len(c.held) == 0 {
		c.x.net.cqs = append(c.x.net.cqs, c)
	}
	c.held = append(c.held, d)
}

// letOut makes held completions visible.
func (c *cq) letOut() {
	c.ready = append(c.ready, c.held...)
	clear(c.held)
	c.held = c.held[:0]
	c.Wake()
}

// forget loses the completions of a queue pair that closes. Receives of a shared queue come back.
func (c *cq) forget(q *qp) {
	keep := func(all []done) []done {
		out := all[:0]
		for _, d := range all {
			if d.q == q && d.freed == 0 && q.cfg.SRQ != nil {
				d.Completion = verbs.Completion{ID: d.ID, Status: verbs.Flushed}
			} else if d.q == q {
				continue
			}
			out = append(out, d)
		}
		clear(all[len(out):])
		return out
	}
	c.held, c.ready = keep(c.held), keep(c.ready)
	c.Wake()
}

// srq implements verbs.SRQ.
type srq struct {
	x      *context
	depth  int
	recvs  []verbs.Recv
	closed bool
}

func (x *context) NewSRQ(depth int) (verbs.SRQ, error) {
	if depth <= 0 || depth > x.card.Caps.Depth {
		return nil, fmt.Errorf("fake: shared queue of %d, the card takes 1..%d", depth,
			x.card.Caps.Depth)
	}
	x.net.mu.Lock()
	defer x.net.mu.Unlock()
	x.objects++
	x.net.counts.SRQs++
	return &srq{x: x, depth: depth}, nil
}

func (s *srq) PostRecv(recvs []verbs.Recv) error {
	s.x.net.mu.Lock()
	defer s.x.net.mu.Unlock()
	if s.closed {
		return verbs.ErrClosed
	}
	if len(s.recvs)+len(recvs) > s.depth {
		return verbs.ErrFull
	}
	s.recvs = append(s.recvs, cloneRecvs(recvs)...)
	s.x.net.work.Broadcast()
	return nil
}

func (s *srq) Close() error {
	s.x.net.mu.Lock()
	defer s.x.net.mu.Unlock()
	if s.closed {
		return verbs.ErrClosed
	}
	for _, q := range s.x.qps {
		if q.cfg.SRQ == verbs.SRQ(s) {
			panic("fake: shared queue closed under a queue pair")
		}
	}
	s.closed, s.recvs = true, nil
	s.x.objects--
	s.x.net.counts.SRQs--
	return nil
}

func cloneRecvs(recvs []verbs.Recv) []verbs.Recv {
	out := make([]verbs.Recv, len(recvs))
	for i, r := range recvs {
		out[i] = verbs.Recv{ID: r.ID, Pieces: append([]verbs.Piece(nil), r.Pieces...)}
	}
	return out
}
