package schedule

import (
	"fmt"
	"slices"
	"time"
)

// slowTimes is how many times as long as on the others a write of a store's log must take for the
// store to be slow, and slowLeast how long at least: what is quick enough for everybody is not
// slow, and where all disks are alike none is.
const (
	slowTimes = 5
	slowLeast = 20 * time.Millisecond
)

// Slow are the stores whose disks are much slower than those of the others. A leader answers when
// its own log has a write too, so the clients wait for its disk; a follower's is hidden by the
// majority. Two others at least must be known, or nobody could say which of two is odd.
func Slow(stores []Store) map[uint64]bool {
	slow := map[uint64]bool{}
	var known []time.Duration
	for i := range stores {
		if s := &stores[i]; s.Up && s.LogWrite > 0 {
			known = append(known, s.LogWrite)
		}
	}
	if len(known) < 3 {
		return slow
	}
	slices.Sort(known)
	// The lower median: of three stores the one in the middle, of four the second.
	usual := known[(len(known)-1)/2]
	for i := range stores {
		s := &stores[i]
		if s.Up && s.LogWrite >= slowLeast && s.LogWrite >= slowTimes*usual {
			slow[s.ID] = true
		}
	}
	return slow
}

// offSlow gives a copyset that a slow store leads to the store with the fewest among those that are
// fit. It does not wait for the turns of the other rules: every write waits meanwhile.
func (r *round) offSlow(c *Copyset) {
	if !r.movable(c) || !r.slow[c.replica(c.Leader).Store] {
		return
	}
	best := r.lightest(c, r.fit)
	if best == nil {
		return
	}
	at := r.stores[c.replica(c.Leader).Store]
	r.move(c, best, fmt.Sprintf("store %d is slow, a write of its log takes %v", at.ID,
		at.LogWrite.Round(time.Millisecond)))
}
