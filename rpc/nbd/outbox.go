package nbd

import (
	"fmt"
	"sync"
)

// outgoing is something to send: a reply of the server, a request of the client.
type outgoing interface {
	// appendTo adds the bytes to vec; no slice may be empty. They must stay unchanged until
	// sent.
	appendTo(vec [][]byte) [][]byte
	// sent is called exactly once, when the bytes have left or will never leave (err).
	sent(err error)
}

// outbox sends what any goroutine puts into it, in the order of put.
//
// Whoever finds the socket free may write from its own goroutine without waiting (flush): a lone
// reply takes no hop. Everything else goes through one writer goroutine (kick, run), which sends
// all that is ready in one vectored write and is the only one that waits for a slow peer.
type outbox struct {
	sock   *sock
	onFail func(error) // called once, from the goroutine whose write failed

	mu      sync.Mutex
	queue   []outgoing
	busy    bool  // some goroutine owns sock, batch and vec
	handoff bool  // the owner left a half-sent batch to the writer
	err     error // nothing is written any more
	wake    chan struct{}
	stop    chan struct{}

	batch []outgoing // owned by the owner
	vec   [][]byte   // owned by the owner
	stats *outStats
}

func newOutbox(s *sock, stats *outStats, onFail func(error)) *outbox {
	return &outbox{
		sock: s, onFail: onFail, stats: stats,
		wake: make(chan struct{}, 1),
		stop: make(chan struct{}),
	}
}

// put queues it. One of flush and kick must follow.
func (o *outbox) put(it outgoing) {
	o.mu.Lock()
	o.queue = append(o.queue, it)
	o.mu.Unlock()
}

// kick lets the writer send what is queued.
func (o *outbox) kick() {
	select {
	case o.wake <- struct{}{}:
	default:
	}
}

// flush sends what is queued from the calling goroutine as far as that needs no waiting; the
// writer does the rest.
func (o *outbox) flush() {
	for range flushRounds {
		if !o.take() {
			return
		}
		if !o.send(false) {
			return
		}
		if o.finish() {
			return
		}
	}
	o.kick()
}

// run is the writer goroutine; it ends after close.
func (o *outbox) run() {
	for {
		select {
		case <-o.wake:
		case <-o.stop:
			return
		}
		for o.resume() || o.take() {
			o.send(true)
			o.finish()
		}
	}
}

// close ends run. What is put later is still handled by flush.
func (o *outbox) close() { close(o.stop) }

// fail makes everything queued, and what follows, end with err. A blocked write ends when its
// connection is closed, which is the caller's part.
func (o *outbox) fail(err error) {
	o.mu.Lock()
	if o.err == nil {
		o.err = err
	}
	o.mu.Unlock()
	o.kick()
}

// take makes the caller owner of a new batch; false when there is none or it is owned.
func (o *outbox) take() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.busy || len(o.queue) == 0 {
		return false
	}
	o.busy = true
	n := min(len(o.queue), maxBatch)
	o.batch = append(o.batch[:0], o.queue[:n]...)
	rest := copy(o.queue, o.queue[n:])
	clear(o.queue[rest:])
	o.queue = o.queue[:rest]
	o.vec = o.vec[:0]
	return true
}

// resume makes the writer owner of a batch that flush could not finish.
func (o *outbox) resume() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	ok := o.handoff
	o.handoff = false
	return ok
}

// finish gives up ownership; true when nothing is left to do.
func (o *outbox) finish() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.busy = false
	return len(o.queue) == 0
}

// send writes the owned batch. It returns false when the batch now belongs to the writer.
func (o *outbox) send(block bool) bool {
	if len(o.vec) == 0 {
		for _, it := range o.batch {
			o.vec = it.appendTo(o.vec)
		}
		o.sock.vec = o.vec
	}
	err := o.failed()
	if err == nil {
		calls := o.sock.writes
		err = o.sock.write(o.sock.vec, block)
		o.stats.writes.Add(o.sock.writes - calls)
	}
	if err == nil && len(o.sock.vec) > 0 {
		o.mu.Lock()
		o.handoff = true
		o.mu.Unlock()
		o.kick()
		return false
	}
	if err != nil {
		o.broke(err)
	}
	clear(o.vec)
	o.vec = o.vec[:0]
	o.sock.vec = nil
	o.stats.items.Add(int64(len(o.batch)))
	for i, it := range o.batch {
		o.batch[i] = nil
		it.sent(err)
	}
	return true
}

func (o *outbox) failed() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.err
}

func (o *outbox) broke(err error) {
	if isTimeout(err) {
		err = fmt.Errorf("nbd: peer took nothing for %v: %w", o.sock.timeout, err)
	}
	o.mu.Lock()
	first := o.err == nil
	if first {
		o.err = err
	}
	o.mu.Unlock()
	if first && o.onFail != nil {
		o.onFail(err)
	}
}
