package store

import (
	"time"

	"github.com/ashlar-storage/ashlar/dataplane/copyset"
)

// beat wakes everything in a store that looks after something at regular times, all at once: a
// process that does nothing else pays for the times that it wakes, not for what it does then. Who
// is late misses beats and takes the next, as with a time.Ticker.
type beat struct{ listeners []chan struct{} }

// beatEvery is from one beat to the next.
const beatEvery = copyset.TickInterval

// listen returns a channel with the beats. It must be called before run.
func (b *beat) listen() <-chan struct{} {
	c := make(chan struct{}, 1)
	b.listeners = append(b.listeners, c)
	return c
}

func (b *beat) run(stop <-chan struct{}) {
	tick := time.NewTicker(beatEvery)
	defer tick.Stop()
	for {
		select {
		case <-stop:
			return
		case <-tick.C:
		}
		for _, c := range b.listeners {
			select {
			case c <- struct{}{}:
			default:
			}
		}
	}
}
