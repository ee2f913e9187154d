package client

import (
	"container/heap"
	"sync"
	"time"
)

// timers is the one clock goroutine of a client: it ends waits, polls copysets without a leader,
// and looks every tickEvery for what is overdue. What it calls must not block.
type timers struct {
	now  func() int64
	tick func(now int64)

	mu     sync.Mutex
	heap   timerHeap
	wake   chan struct{}
	forced bool // a tick is wanted at once
	closed bool
}

// alarm is one entry: either a request whose wait ends or a copyset to be polled.
type alarm struct {
	at     int64
	piece  *piece
	route  *route
	arming uint64 // the route's, when this was set
}

type timerHeap []alarm

func (h timerHeap) Len() int           { return len(h) }
func (h timerHeap) Less(i, j int) bool { return h[i].at < h[j].at }
func (h timerHeap) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (h *timerHeap) Push(x any)        { *h = append(*h, x.(alarm)) }
func (h *timerHeap) Pop() any {
	old := *h
	n := len(old) - 1
	x := old[n]
	old[n] = alarm{}
	*h = old[:n]
	return x
}

func newTimers(now func() int64, tick func(int64)) *timers {
	return &timers{now: now, tick: tick, wake: make(chan struct{}, 1)}
}

func (t *timers) add(a alarm) {
	t.mu.Lock()
	heap.Push(&t.heap, a)
	earliest := t.heap[0] == a
	t.mu.Unlock()
	if earliest {
		t.poke()
	}
}

func (t *timers) poke() {
	select {
	case t.wake <- struct{}{}:
	default:
	}
}

// force makes a tick happen now.
func (t *timers) force() {
	t.mu.Lock()
	t.forced = true
	t.mu.Unlock()
	t.poke()
}

func (t *timers) close() {
	t.mu.Lock()
	t.closed = true
	t.mu.Unlock()
	t.poke()
}

// takeIf removes the waiting requests that match and returns them.
func (t *timers) takeIf(match func(*piece) bool) []*piece {
	t.mu.Lock()
	defer t.mu.Unlock()
	var out []*piece
	keep := t.heap[:0]
	for _, a := range t.heap {
		if a.piece != nil && match(a.piece) {
			out = append(out, a.piece)
		} else {
			keep = append(keep, a)
		}
	}
	if len(out) > 0 {
		clear(t.heap[len(keep):])
		t.heap = keep
		heap.Init(&t.heap)
	}
	return out
}

// due pops the earliest entry if its time has come; otherwise it says how long to sleep.
func (t *timers) due(now, nextTick int64) (a alarm, ok bool, sleep time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	sleep = time.Duration(nextTick - now)
	if len(t.heap) == 0 {
		return alarm{}, false, sleep
	}
	if top := t.heap[0].at; top > now {
		return alarm{}, false, min(sleep, time.Duration(top-now))
	}
	return heap.Pop(&t.heap).(alarm), true, 0
}

func (t *timers) state() (forced, closed bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	forced, t.forced = t.forced, false
	return forced, t.closed
}

// run is the goroutine. fire gets every entry whose time has come.
func (t *timers) run(fire func(alarm)) {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	nextTick := t.now() + int64(tickEvery)
	for {
		forced, closed := t.state()
		if closed {
			return
		}
		now := t.now()
		if forced || now >= nextTick {
			t.tick(now)
			nextTick = t.now() + int64(tickEvery)
			continue
		}
		a, ok, sleep := t.due(now, nextTick)
		if ok {
			fire(a)
			continue
		}
		timer.Reset(max(sleep, 0))
		select {
		case <-timer.C:
		case <-t.wake:
		}
	}
}
