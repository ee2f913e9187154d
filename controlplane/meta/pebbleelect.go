package meta

import (
	"context"
	"sync"
)

// A pebble directory is open in one process, so the lock of the directory is the election: what
// is left to decide is who leads inside the process.

// elections are the leaderships of one pebble KV by name.
type elections struct {
	mu     sync.Mutex
	held   map[string]*pebbleLeadership
	closed bool
	ended  chan struct{} // closed with the KV
}

type pebbleLeadership struct {
	kv          *pebbleKV
	name, value string
	lost        chan struct{}
}

var _ Leadership = (*pebbleLeadership)(nil)

func (k *pebbleKV) Campaign(ctx context.Context, name, value string) (Leadership, error) {
	for {
		l, before, err := k.elections.take(k, name, value)
		if err != nil {
			return nil, err
		}
		if l != nil {
			return l, nil
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-k.elections.ended:
		case <-before.lost:
		}
	}
}

// take returns a new leadership, or the one that is before it.
func (e *elections) take(k *pebbleKV, name, value string) (l, before *pebbleLeadership, _ error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed {
		return nil, nil, ErrClosed
	}
	if before = e.held[name]; before != nil {
		return nil, before, nil
	}
	l = &pebbleLeadership{kv: k, name: name, value: value, lost: make(chan struct{})}
	e.held[name] = l
	return l, nil, nil
}

// close ends all leaderships.
func (e *elections) close() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.closed = true
	close(e.ended)
	for name, l := range e.held {
		close(l.lost)
		delete(e.held, name)
	}
}

func (k *pebbleKV) Leader(_ context.Context, name string) (string, error) {
	k.elections.mu.Lock()
	defer k.elections.mu.Unlock()
	switch l := k.elections.held[name]; {
	case k.elections.closed:
		return "", ErrClosed
	case l == nil:
		return "", ErrNotFound
	default:
		return l.value, nil
	}
}

func (l *pebbleLeadership) View(ctx context.Context, fn func(Reader) error) error {
	return l.kv.View(ctx, fn)
}

func (l *pebbleLeadership) Update(ctx context.Context, fn func(Tx) error) error {
	return l.kv.update(ctx, fn, func() error {
		if !l.Held() {
			return ErrLost
		}
		return nil
	})
}

func (l *pebbleLeadership) Held() bool {
	select {
	case <-l.lost:
		return false
	default:
		return true
	}
}

func (l *pebbleLeadership) Lost() <-chan struct{} { return l.lost }

func (l *pebbleLeadership) Resign(context.Context) error {
	// The writer asks Held under this lock.
	l.kv.mu.Lock()
	defer l.kv.mu.Unlock()
	l.end()
	return nil
}

func (l *pebbleLeadership) end() {
	e := &l.kv.elections
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.held[l.name] == l {
		delete(e.held, l.name)
		close(l.lost)
	}
}
