package schedule

import "fmt"

// Drain returns the replacements of replicas on stores that shall be emptied: each by a new member
// on another store. Leaders have left before (Leaders), and at most Limits.Drains replicas of a
// store are on their way at a time.
func Drain(v View, lim Limits) Plan {
	m := newMover(NewIndex(v.Copysets), v.Scene, lim)
	m.drain()
	return m.plan
}

func (m *mover) drain() {
	for _, s := range m.spots {
		if !s.Draining || m.isLost(s.ID) {
			continue
		}
		for _, c := range s.held {
			from := c.at(s.ID)
			if c.Joining == nil && !m.moved[c.ID] {
				m.drainOne(s, c, from)
			}
		}
	}
}

func (m *mover) drainOne(s *spot, c *Copyset, from *Replica) {
	why := m.obstacle(c, from)
	switch {
	case why != "":
	case from.Damaged:
		why = m.poisoned(c)
	case c.Leader == from.ID:
		why = "it leads, and another takes over first"
	case m.leaderMoves(c):
		why = "its leader has just moved"
	case s.leaving >= m.lim.Drains:
		why = fmt.Sprintf("store %d gives %d away already", s.ID, s.leaving)
	}
	if why != "" {
		m.wait(DrainReplica, c, from, nowhere{reason: why})
		return
	}
	to, no := m.pick(c, from)
	if to == nil {
		m.wait(DrainReplica, c, from, *no)
		return
	}
	m.begin(DrainReplica, c, from, to, fmt.Sprintf("store %d is draining", s.ID))
}

// leaderMoves says whether a transfer of the copyset's leader may still be under way, maybe to the
// replica that shall go. One that has not succeeded in that time has been given up.
func (m *mover) leaderMoves(c *Copyset) bool {
	return !c.LastOperator.IsZero() && m.now.Sub(c.LastOperator) < m.lim.Settle
}

// offDraining gives a copyset that is led on a draining store to the store that leads the fewest,
// among those that are fit. It does not wait for the turns of the other rules.
func (r *round) offDraining(c *Copyset) {
	if !r.movable(c) || !r.stores[c.replica(c.Leader).Store].Draining {
		return
	}
	from := c.replica(c.Leader).Store
	if best := r.lightest(c, r.fit); best != nil {
		r.move(c, best, fmt.Sprintf("store %d is draining", from))
	}
}

// at is the member on a store; nil when there is none.
func (c *Copyset) at(store uint64) *Replica {
	for i := range c.Replicas {
		if c.Replicas[i].Store == store {
			return &c.Replicas[i]
		}
	}
	return nil
}
