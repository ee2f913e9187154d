package store

import "github.com/ashlar-storage/ashlar/dataplane/copyset"

// beat wakes everything in a store that looks after something at regular times, all at once: a
// process that does nothing else pays for the times that it wakes, not for what it does then. Who
// is late misses beats and takes the next, as with a time.Ticker.
type beat struct{ listeners []listener }

// listener is one who looks after something.
type listener struct {
	wake chan struct{}
	// quiet sees to a beat in which there is next to nothing to do, and says whether it did. It
	// must not block. In a store at rest nobody then is woken but who beats.
	quiet func() bool
}

// beatEvery is from one beat to the next.
const beatEvery = copyset.TickInterval

// listen returns a channel with the beats that are not quiet. It must be called before run.
func (b *beat) listen(quiet func() bool) <-chan struct{} {
	l := listener{wake: make(chan struct{}, 1), quiet: quiet}
	b.listeners = append(b.listeners, l)
	return l.wake
}

// run beats until the pulse is closed.
func (b *beat) run(p *pulse) {
	for p.wait() {
		b.once()
	}
}

func (b *beat) once() {
	for _, l := range b.listeners {
		if l.quiet() {
			continue
		}
		select {
		case l.wake <- struct{}{}:
		default:
		}
	}
}
