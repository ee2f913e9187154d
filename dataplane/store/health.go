package store

import (
	"errors"
	"fmt"
	"time"
)

// State is how a store is, in the words of listings.
type State string

// The states, from best to worst. A store that is stalled or full serves what it can, but leads
// nothing where another replica can.
const (
	StateUp      State = "up"
	StateFull    State = "full"    // no room for new chunks
	StateStalled State = "stalled" // the device does not answer
	StateFailed  State = "failed"  // a durable write failed
)

// ErrStalled is why a store is stalled.
var ErrStalled = errors.New("store: stalled")

// Health tells the state of the store, and why it is not up.
func (s *Store) Health() (State, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.failure != nil:
		return StateFailed, s.failure
	case s.stalled != nil:
		return StateStalled, s.stalled
	case s.full != nil:
		return StateFull, s.full
	}
	return StateUp, nil
}

// stall decides from the age of the oldest operation whether the device answers. It is on from the
// first one that is older than the bound until for stallCalm none was older than half of it: a
// device that hangs once hangs again, and leaders that go back and forth help nobody.
type stall struct {
	bound time.Duration
	on    bool
	calm  time.Duration // since when all is well, as long as it is on
}

func (t *stall) step(age, elapsed time.Duration) (changed bool) {
	was := t.on
	switch {
	case age >= t.bound:
		t.on, t.calm = true, 0
	case age >= t.bound/2:
		t.calm = 0
	default:
		if t.calm += elapsed; t.calm >= stallCalm {
			t.on = false
		}
	}
	return t.on != was
}

// watchdog looks after the device until the store stops.
func (s *Store) watchdog(beats <-chan struct{}) {
	t := stall{bound: s.cfg.StallBound}
	last := s.clock()
	for {
		select {
		case <-s.stop:
			return
		case <-beats:
		}
		now, age := s.clock(), s.disk.Oldest()
		if t.step(age, time.Duration(now-last)) || t.on {
			s.setStalled(t.on, age)
		}
		if t.on {
			s.giveAway()
		}
		if last = now; now >= s.nextCount.Load() {
			s.nextCount.Store(now + int64(countEvery))
			s.countRoom()
		}
	}
}

// deviceIsWell reports whether the watchdog would find nothing to do.
func (s *Store) deviceIsWell() bool {
	return s.clock() < s.nextCount.Load() && s.disk.Oldest() < s.cfg.StallBound && !s.isStalled()
}

func (s *Store) isStalled() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.stalled != nil
}

func (s *Store) setStalled(on bool, age time.Duration) {
	s.mu.Lock()
	was := s.stalled != nil
	s.stalled = nil
	if on {
		s.stalled = fmt.Errorf("%w: %s: the device let an operation wait for %v; its leaders were "+
			"moved away: look at the device's health and at the kernel's log", ErrStalled,
			s.cfg.Path, max(age, s.cfg.StallBound).Round(100*time.Millisecond))
	}
	err := s.stalled
	s.mu.Unlock()
	switch {
	case on && !was:
		s.log.Error("the device does not answer: leaderships are given away", "err", err)
	case !on && was:
		s.log.Warn("the device answers again")
	}
}

// giveAway has the replicas here hand over the leaderships they hold. It waits for nobody.
func (s *Store) giveAway() {
	for _, o := range s.owners {
		o.queue.post(event{do: func() {
			for _, m := range o.replicas {
				if m.HandOff() {
					o.touch(m)
				}
			}
		}})
	}
}
