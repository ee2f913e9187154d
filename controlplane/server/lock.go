package server

import (
	"sync"
	"time"
)

// lock is a mutex that knows for how long it was held.
type lock struct {
	sync.Mutex
	since   time.Time
	longest time.Duration
}

func (l *lock) Lock() {
	l.Mutex.Lock()
	l.since = time.Now()
}

func (l *lock) Unlock() {
	l.longest = max(l.longest, time.Since(l.since))
	l.Mutex.Unlock()
}

// LongestHold is the longest time for which one call or task kept the state of the cluster to
// itself since this was asked last; every other call waited so long at most for each before it. It
// is 0 while this control plane is not active.
func (s *Server) LongestHold() time.Duration {
	t := s.current()
	if t == nil {
		return 0
	}
	l := &t.cluster.mu
	l.Lock()
	defer l.Unlock()
	longest := l.longest
	l.longest = 0
	return longest
}
