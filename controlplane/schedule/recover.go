package schedule

import (
	"cmp"
	"fmt"
	"slices"
)

// Recover returns the replacements of replicas whose store has been away for Limits.LostAfter or
// longer, or was replaced by one that takes none: each by a new member on another store. Those of
// copysets with the fewest good replicas come first.
func Recover(v View, lim Limits) Plan {
	m := newMover(NewIndex(v.Copysets), v.Scene, lim)
	m.recover()
	return m.plan
}

func (m *mover) recover() {
	short := slices.DeleteFunc(m.maybeGone(), func(c *Copyset) bool {
		return m.gone(c) == nil || m.moved[c.ID]
	})
	slices.SortStableFunc(short, func(a, b *Copyset) int { return cmp.Compare(a.good(), b.good()) })
	for _, c := range short {
		m.recoverOne(c, m.gone(c))
	}
}

// maybeGone are the copysets that a lost store may have a part in, by number.
func (m *mover) maybeGone() (list []*Copyset) {
	list = append(list, m.index.joining.sorted()...)
	elsewhere := false // what was to come in a replaced store's place may have to go elsewhere
	for _, s := range m.spots {
		if m.lost[s.ID] || s.Replaced {
			list = append(list, s.held...)
		}
		elsewhere = elsewhere || m.lost[s.ID] || s.Draining
	}
	if elsewhere {
		list = append(list, m.index.placed.sorted()...)
	}
	slices.SortFunc(list, byNumber)
	return slices.Compact(list)
}

func (m *mover) recoverOne(c *Copyset, from *Replica) {
	why := cmp.Or(m.poisoned(c), m.obstacle(c, from))
	if why != "" {
		m.wait(RecoverReplica, c, from, nowhere{reason: why})
		return
	}
	to, no := m.pick(c, from)
	if to == nil {
		m.wait(RecoverReplica, c, from, *no)
		return
	}
	what := fmt.Sprintf("store %d is lost", from.Store)
	if m.noPlace(from) {
		what = fmt.Sprintf("no store takes the place of store %d", from.Store)
	}
	if c.Joining != nil {
		what = fmt.Sprintf("its new member on store %d is lost", c.Joining.Store)
	}
	m.begin(RecoverReplica, c, from, to, fmt.Sprintf("%s, %d of %d are good", what, c.good(),
		len(c.Replicas)))
}

// gone is a member whose store is lost and that nothing is done about; nil when there is none. One
// that is being replaced counts again when the new member is lost as well.
func (m *mover) gone(c *Copyset) *Replica {
	if c.Joining != nil {
		if m.stuck(c) {
			return c.replica(c.Leaving)
		}
		return nil
	}
	for i := range c.Replicas {
		if r := &c.Replicas[i]; m.isLost(r.place()) || m.noPlace(r) {
			return r
		}
	}
	return nil
}

// noPlace says whether a replica's store was replaced, and the one that came in its place shall be
// emptied or is not known any more.
func (m *mover) noPlace(r *Replica) bool {
	s := m.stores[r.place()]
	return s != nil && (s.Replaced || s.Draining && s.ID != r.Store)
}
