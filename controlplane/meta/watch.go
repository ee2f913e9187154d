package meta

import (
	"bytes"
	"context"
	"sync"
)

// hub hands committed changes to watches. It never blocks the committer.
type hub struct {
	mu      sync.Mutex
	watches map[*watch]struct{}
	closed  bool
}

type watch struct {
	hub    *hub
	prefix []byte
	after  uint64        // changes up to this revision are none of its business
	wake   chan struct{} // holds one token when there is something to see

	// guarded by hub.mu
	queue  []Change
	lagged bool
	closed bool
}

// add makes a watch of what is published with a higher revision than after.
func (h *hub) add(prefix []byte, after uint64) (*watch, error) {
	w := &watch{hub: h, prefix: bytes.Clone(prefix), after: after, wake: make(chan struct{}, 1)}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		return nil, ErrClosed
	}
	if h.watches == nil {
		h.watches = make(map[*watch]struct{})
	}
	h.watches[w] = struct{}{}
	return w, nil
}

// publish is called once per committed transaction, in commit order.
func (h *hub) publish(changes []Change) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for w := range h.watches {
		w.take(changes)
	}
}

// lag tells every watch that changes were lost.
func (h *hub) lag() {
	h.mu.Lock()
	defer h.mu.Unlock()
	for w := range h.watches {
		w.queue, w.lagged = nil, true
		w.signal()
	}
}

func (w *watch) take(changes []Change) {
	before := len(w.queue)
	for _, c := range changes {
		if c.Revision <= w.after || !bytes.HasPrefix(c.Key, w.prefix) || w.lagged {
			continue
		}
		if len(w.queue) == watchQueue {
			w.queue, w.lagged = nil, true
			break
		}
		w.queue = append(w.queue, c)
	}
	if w.lagged || len(w.queue) != before {
		w.signal()
	}
}

func (w *watch) signal() {
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

// Next implements Watch.
func (w *watch) Next(ctx context.Context) ([]Change, error) {
	for {
		w.hub.mu.Lock()
		changes, lagged, closed := w.queue, w.lagged, w.closed
		w.queue, w.lagged = nil, false
		w.hub.mu.Unlock()
		switch {
		case closed:
			return nil, ErrClosed
		case lagged:
			return nil, ErrLagged
		case len(changes) > 0:
			return changes, nil
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-w.wake:
		}
	}
}

// Close implements Watch.
func (w *watch) Close() {
	w.hub.mu.Lock()
	defer w.hub.mu.Unlock()
	w.end()
}

func (w *watch) end() {
	w.closed, w.queue = true, nil
	delete(w.hub.watches, w)
	w.signal()
}

func (h *hub) close() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.closed = true
	for w := range h.watches {
		w.end()
	}
}
