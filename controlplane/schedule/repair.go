package schedule

import (
	"cmp"
	"fmt"
	"slices"
)

// Repairs returns the replacements of damaged replicas that should begin now: each by a new member
// on the same store, or on the one that came in its place. They do not wait for the cool-down of
// leader transfers, only for that of the replacement before.
func Repairs(v View, lim Limits) []Operator {
	m := newMover(NewIndex(v.Copysets), v.Scene, lim)
	m.repair()
	return m.plan.Operators
}

func (m *mover) repair() {
	broken := m.index.broken.sorted()
	slices.SortStableFunc(broken, func(a, b *Copyset) int {
		return cmp.Compare(a.good(), b.good())
	})
	for _, c := range broken {
		m.repairOne(c, c.broken())
	}
}

func (m *mover) repairOne(c *Copyset, from *Replica) {
	s := m.stores[from.place()]
	if s == nil || m.isLost(s.ID) || s.Draining || s.Replaced {
		return // it moves to another store
	}
	why := cmp.Or(m.poisoned(c), m.obstacle(c, from))
	switch {
	case why != "":
	case s.Full:
		why = fmt.Sprintf("store %d is full", s.ID)
	case !s.Up:
		why = fmt.Sprintf("store %d is down", s.ID)
	case s.filling >= m.lim.Rebuilds:
		why = fmt.Sprintf("store %d fills %d already", s.ID, s.filling)
	}
	if why != "" {
		m.wait(ReplaceReplica, c, from, nowhere{reason: why})
		return
	}
	m.begin(ReplaceReplica, c, from, s, fmt.Sprintf("it is damaged, %d of %d are good", c.good(),
		len(c.Replicas)))
}

// broken is a damaged member that nothing is done about; nil when there is none. While another
// joins in its place that is enough, unless the newcomer is damaged too.
func (c *Copyset) broken() *Replica {
	if c.Joining != nil && !c.Joining.Damaged {
		return nil
	}
	for i := range c.Replicas {
		if c.Replicas[i].Damaged {
			return &c.Replicas[i]
		}
	}
	return nil
}

// place is the store for a new member that takes its place.
func (m *Replica) place() uint64 { return cmp.Or(m.Place, m.Store) }

// good is how many members have everything.
func (c *Copyset) good() (n int) {
	for i := range c.Replicas {
		if c.Replicas[i].CaughtUp {
			n++
		}
	}
	return n
}
