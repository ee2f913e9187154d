package store

import (
	"sync/atomic"
	"time"

	"github.com/ashlar-storage/ashlar/dataplane/copyset"
)

// beat wakes everything in a store that looks after something at regular times, all at once: a
// process that does nothing else pays for the times that it wakes, not for what it does then. Who
// is late misses beats and takes the next, as with a time.Ticker. While all replicas rest, for whom
// no time passes, it beats slower.
type beat struct {
	listeners []chan struct{}
	awake     atomic.Int64  // replicas that get ticks
	roused    chan struct{} // the first of them is awake
}

const (
	// beatEvery is from one beat to the next, beatQuiet while no replica is awake.
	beatEvery = copyset.TickInterval
	beatQuiet = 5 * beatEvery
)

// listen returns a channel with the beats. It must be called before run.
func (b *beat) listen() <-chan struct{} {
	c := make(chan struct{}, 1)
	b.listeners = append(b.listeners, c)
	return c
}

// wakes counts a replica that gets ticks from now on, or (-1) none any more. It may be called from
// any goroutine.
func (b *beat) wakes(n int64) {
	if b.awake.Add(n) == 1 && n == 1 {
		select {
		case b.roused <- struct{}{}:
		default:
		}
	}
}

func (b *beat) interval() time.Duration {
	if b.awake.Load() == 0 {
		return beatQuiet
	}
	return beatEvery
}

func (b *beat) run(stop <-chan struct{}) {
	interval := beatEvery
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for {
		select {
		case <-stop:
			return
		case <-b.roused:
		case <-tick.C:
			b.tell()
		}
		if next := b.interval(); next != interval {
			interval = next
			tick.Reset(interval)
		}
	}
}

func (b *beat) tell() {
	for _, c := range b.listeners {
		select {
		case c <- struct{}{}:
		default:
		}
	}
}
