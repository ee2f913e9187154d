package rdma

import (
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ashlar-storage/ashlar/rpc/rdma/verbs"
)

// Bits of a receive's id; requests to send have neither.
const (
	recvBit   = 1 << 63
	sharedBit = 1 << 62
)

// loop is a completion queue and the goroutine that polls it: everything that arrives on its
// connections is dealt with there, one thing after another.
type loop struct {
	dev  *Device
	cq   verbs.CQ
	most int // connections whose completions the queue has room for
	load atomic.Int64
	done chan struct{}

	mu      sync.Mutex
	conns   map[uint32]*conn // by the number of their queue pair
	calling []*conn          // want a turn
	every   time.Duration    // how often connections are looked at
	stopped bool

	// Owned by run.
	touched []*conn
	taken   []*conn
	all     []*conn
	swept   time.Time
}

func newLoop(d *Device) (*loop, error) {
	depth := min(d.caps.CQDepth, 1<<15)
	each := sendDepth + d.cfg.Credits
	most := depth / each
	if most == 0 {
		return nil, fmt.Errorf("%w: completion queues of %d are too small for a connection's %d",
			verbs.ErrUnsupported, depth, each)
	}
	cq, err := d.ctx.NewCQ(depth)
	if err != nil {
		return nil, err
	}
	return &loop{dev: d, cq: cq, most: most, conns: map[uint32]*conn{},
		done: make(chan struct{})}, nil
}

func (l *loop) end() {
	l.mu.Lock()
	l.stopped = true
	l.mu.Unlock()
	l.cq.Wake()
	<-l.done
	_ = l.cq.Close()
}

// add makes completions of a queue pair find their connection.
func (l *loop) add(num uint32, c *conn) {
	l.mu.Lock()
	if len(l.conns) == 0 {
		l.every = sweepMax
	}
	l.every = max(min(l.every, c.patience/sweepShare), time.Millisecond)
	l.conns[num] = c
	l.mu.Unlock()
	l.cq.Wake() // it may have slept without a limit
}

func (l *loop) remove(num uint32, c *conn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.conns[num] == c {
		delete(l.conns, num)
	}
}

// call gives a connection a turn soon.
func (l *loop) call(c *conn) {
	l.mu.Lock()
	first := !c.called
	c.called = true
	if first {
		l.calling = append(l.calling, c)
	}
	l.mu.Unlock()
	if first {
		l.cq.Wake()
	}
}

func (l *loop) run() {
	defer close(l.done)
	var batch [pollBatch]verbs.Completion
	last := time.Now()
	for {
		n, err := l.cq.Poll(batch[:])
		if err != nil {
			l.dev.log.Error("rdma: completion queue", "device", l.dev.Name(), "err", err)
			n = 0
		}
		for i := range batch[:n] {
			l.dispatch(&batch[i])
		}
		stopped := l.callers()
		busy := l.turns() || n > 0
		if stopped && !busy {
			return
		}
		now := time.Now()
		l.sweep(now)
		if busy {
			last = now
		} else if now.Sub(last) < l.dev.cfg.Spin {
			runtime.Gosched()
		} else {
			l.sleep(err)
		}
	}
}

// sleep waits for the card, or until connections must be looked at.
func (l *loop) sleep(err error) {
	l.dev.count.sleeps.Add(1)
	if err != nil {
		time.Sleep(time.Millisecond)
		return
	}
	l.mu.Lock()
	limit := l.every
	if len(l.conns) == 0 {
		limit = 0
	}
	l.mu.Unlock()
	_ = l.cq.Wait(limit)
}

// touch gives a connection a turn at the end of this batch.
func (l *loop) touch(c *conn) {
	if !c.touched {
		c.touched = true
		l.touched = append(l.touched, c)
	}
}

func (l *loop) dispatch(x *verbs.Completion) {
	l.mu.Lock()
	c := l.conns[x.QP]
	l.mu.Unlock()
	if c != nil {
		l.touch(c)
		c.handle(x)
		return
	}
	// Of a queue pair that is closed. Its shared receive goes to the others.
	if x.ID&sharedBit != 0 && x.ID&recvBit != 0 {
		_ = l.dev.shared.again([]uint64{x.ID &^ (recvBit | sharedBit)})
	}
}

// turns gives the touched connections their turn; false when there was none.
func (l *loop) turns() bool {
	if len(l.touched) == 0 {
		return false
	}
	l.dev.count.polls.Add(1)
	for _, c := range l.touched {
		c.touched = false
		c.turn()
	}
	clear(l.touched)
	l.touched = l.touched[:0]
	return true
}

// callers touches the connections that want a turn.
func (l *loop) callers() (stopped bool) {
	l.mu.Lock()
	l.taken = append(l.taken[:0], l.calling...)
	clear(l.calling)
	l.calling = l.calling[:0]
	for _, c := range l.taken {
		c.called = false
	}
	stopped = l.stopped
	l.mu.Unlock()
	for _, c := range l.taken {
		l.touch(c)
	}
	clear(l.taken)
	return stopped
}

// sweep looks at every connection now and then. A time-out may last a tenth longer.
func (l *loop) sweep(now time.Time) {
	l.mu.Lock()
	due := len(l.conns) > 0 && now.Sub(l.swept) >= l.every
	if due {
		for _, c := range l.conns {
			l.all = append(l.all, c)
		}
	}
	l.mu.Unlock()
	if !due {
		return
	}
	l.swept = now
	for _, c := range l.all {
		c.check(now)
	}
	clear(l.all)
	l.all = l.all[:0]
}
