package meta

import (
	"context"
	"sync"
)

// life lets the calls of a KV finish before it closes and refuses those that come after.
type life struct {
	using  sync.RWMutex // read-held by calls, write-held by end
	closed bool
}

// enter admits a call unless the KV is closed; leave must follow when it returns nil.
func (l *life) enter(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	l.using.RLock()
	if l.closed {
		l.using.RUnlock()
		return ErrClosed
	}
	return nil
}

func (l *life) leave() { l.using.RUnlock() }

// end waits for the calls inside, then releases once what the KV holds; a second end is refused.
func (l *life) end(release func() error) error {
	l.using.Lock()
	defer l.using.Unlock()
	if l.closed {
		return ErrClosed
	}
	l.closed = true
	return release()
}
