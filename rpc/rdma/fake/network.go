package fake

import (
	"math/rand/v2"
	"net/netip"
	"sync"
	"time"
)

// Faults is what goes wrong. Chances are of one step of a queue pair.
type Faults struct {
	// Fail is the chance that a request ends with a random error, Break that the queue pair breaks
	// in the middle of it, with part of the bytes moved.
	Fail, Break float64
	// Late is the chance that completions are held back for the while of another step.
	Late float64
	// Slow is slept before each step.
	Slow time.Duration
	// MaxPinned bounds registered bytes of each context; 0 means no bound.
	MaxPinned int64
}

// Network is cards that reach each other. One goroutine does the work of all of them.
type Network struct {
	mu        sync.Mutex
	work      sync.Cond
	rng       *rand.Rand
	faults    Faults
	stopped   bool
	done      chan struct{}
	listeners map[netip.AddrPort]*listener
	active    []*qp // with something to do
	cqs       []*cq // with completions held back
	dying     []*qp // whose peers broke
	hosts     []*Host
	nextPort  uint16
	nextQP    uint32
	nextKey   uint32
	counts    Counts
	steps     int64
}

// Counts is what is open.
type Counts struct {
	QPs, Windows, Bound, Regions, SRQs, CQs int
	// Unfinished is the requests and receives whose memory belongs to the card.
	Unfinished int
}

// New makes a network whose chances come from seed.
func New(seed uint64) *Network {
	n := &Network{rng: rand.New(rand.NewPCG(seed, 7)), done: make(chan struct{}),
		listeners: map[netip.AddrPort]*listener{}, nextPort: 20000, nextQP: 16, nextKey: 1}
	n.work.L = &n.mu
	go n.run()
	return n
}

// Close ends the work. Objects may still be closed after it.
func (n *Network) Close() {
	n.mu.Lock()
	n.stopped = true
	n.work.Broadcast()
	n.mu.Unlock()
	<-n.done
}

// SetFaults changes what goes wrong from now on.
func (n *Network) SetFaults(f Faults) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.faults = f
	n.work.Broadcast()
}

// Counts tells what is open now.
func (n *Network) Counts() Counts {
	n.mu.Lock()
	defer n.mu.Unlock()
	c := n.counts
	n.each(func(q *qp) {
		for _, w := range q.windows {
			if w.bound {
				c.Bound++
			}
		}
		c.Unfinished += len(q.sendq) + len(q.recvs)
	})
	return c
}

func (n *Network) each(f func(q *qp)) {
	for _, h := range n.hosts {
		for _, c := range h.contexts {
			for _, q := range c.qps {
				f(q)
			}
		}
	}
}

// Uses reports whether mem is named by unfinished work of a queue pair that may still reach it, or
// lies under a bound window.
func (n *Network) Uses(mem []byte) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	found := false
	at, end := address(mem), address(mem)+uint64(len(mem))
	touches := func(b, size uint64) { found = found || (b < end && at < b+size) }
	n.each(func(q *qp) {
		for _, w := range q.windows {
			if w.bound {
				touches(w.addr, w.size)
			}
		}
		for i := range q.sendq {
			for _, p := range q.sendq[i].Pieces {
				touches(address(p.Mem), uint64(len(p.Mem)))
			}
		}
		for _, r := range q.recvs {
			for _, p := range r.Pieces {
				touches(address(p.Mem), uint64(len(p.Mem)))
			}
		}
	})
	return found
}

// BreakAll breaks every queue pair.
func (n *Network) BreakAll() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.each(func(q *qp) { q.breakLocked() })
	n.work.Broadcast()
}

// StickAll makes every queue pair that there is do nothing more and say nothing, until it is
// disconnected.
func (n *Network) StickAll() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.each(func(q *qp) { q.stuck = true })
}

// Steps is how much the cards have done.
func (n *Network) Steps() int64 {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.steps
}
