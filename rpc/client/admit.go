package client

import "sync"

// admission bounds what a volume has between Submit and Done, and hands out its op ids. Those who
// must wait are let in first come, first served.
type admission struct {
	maxOps   int
	maxBytes int64

	mu     sync.Mutex
	idle   sync.Cond // signalled when ops falls to 0
	ops    int
	bytes  int64
	ids    window
	closed error
	first  *waiter
	last   *waiter
}

type waiter struct {
	bytes int64
	let   chan error
	next  *waiter
}

var waiters = sync.Pool{New: func() any { return &waiter{let: make(chan error, 1)} }}

func (a *admission) init(maxOps int, maxBytes int64) {
	a.maxOps, a.maxBytes = maxOps, maxBytes
	a.ids = newWindow()
	a.idle.L = &a.mu
}

func (a *admission) fits(bytes int64) bool {
	return a.ops < a.maxOps && (a.bytes+bytes <= a.maxBytes || a.bytes == 0) &&
		a.ids.span() < maxUnfinishedSpan
}

// enter blocks until an operation with that many bytes of data may start. It fails once the
// admission is closed, with the reason.
func (a *admission) enter(bytes int64) error {
	a.mu.Lock()
	if a.closed != nil {
		defer a.mu.Unlock()
		return a.closed
	}
	if a.first == nil && a.fits(bytes) {
		a.ops++
		a.bytes += bytes
		a.mu.Unlock()
		return nil
	}
	w := waiters.Get().(*waiter)
	w.bytes, w.next = bytes, nil
	if a.first == nil {
		a.first = w
	} else {
		a.last.next = w
	}
	a.last = w
	a.mu.Unlock()
	err := <-w.let
	waiters.Put(w)
	return err
}

// leave ends an operation that entered.
func (a *admission) leave(bytes int64) {
	a.mu.Lock()
	a.ops--
	a.bytes -= bytes
	a.letIn()
	if a.ops == 0 {
		a.idle.Broadcast()
	}
	a.mu.Unlock()
}

func (a *admission) letIn() {
	for a.first != nil && a.closed == nil && a.fits(a.first.bytes) {
		w := a.first
		a.first = w.next
		a.ops++
		a.bytes += w.bytes
		w.let <- nil
	}
}

// start gives out the next op id.
func (a *admission) start() uint64 {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.ids.start()
}

// finish retires an op id and returns the lowest unfinished one.
func (a *admission) finish(id uint64) uint64 {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.ids.finish(id) {
		a.letIn()
	}
	return a.ids.low
}

// close turns away those who wait and all who come later. It keeps the first reason.
func (a *admission) close(reason error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.closed == nil {
		a.closed = reason
	}
	for w := a.first; w != nil; {
		next := w.next
		w.let <- a.closed
		w = next
	}
	a.first = nil
}

// drain waits until every operation that entered has left.
func (a *admission) drain() {
	a.mu.Lock()
	defer a.mu.Unlock()
	for a.ops > 0 {
		a.idle.Wait()
	}
}

func (a *admission) load() (ops int, bytes int64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.ops, a.bytes
}
