package schedule

import (
	"fmt"
	"slices"
)

// Balance returns moves of replicas from stores that hold more than their capacity's share to
// stores that hold less, as after new ones have come. Only copysets whose replicas are all good
// move, and never their leaders.
//
// A replica moves from s to t only while members/weight of s is above that of t by more than one
// replica on each side, and a part of the mean. Each such move lowers the sum over the stores of
// members^2/weight, so that repeating it ends.
func Balance(v View, lim Limits) Plan {
	m := newMover(NewIndex(v.Copysets), v.Scene, lim)
	m.balance()
	return m.plan
}

func (m *mover) balance() {
	if m.lim.Balances <= 0 || len(m.spots) == 0 {
		return
	}
	left := min(m.lim.Balances-m.balancing(), m.lim.Cluster-m.moving,
		m.lim.PerRound-len(m.plan.Operators))
	if left <= 0 {
		return
	}
	rich := slices.Clone(m.spots)
	slices.SortStableFunc(rich, func(a, b *spot) int { return compareLoad(b, a) })
	poor := slices.DeleteFunc(slices.Clone(m.spots), func(s *spot) bool {
		return !m.takes(s, nil, new(refusals))
	})
	slices.SortStableFunc(poor, compareLoad)
	slack := m.slack()
	first := max(0, slices.IndexFunc(rich, func(s *spot) bool { return s.ID == m.resume }))
	for _, s := range slices.Concat(rich[first:], rich[:first]) {
		if left <= 0 || len(poor) == 0 {
			return
		}
		if m.lim.Looks > 0 && m.looks >= m.lim.Looks {
			m.plan.Resume = s.ID
			return
		}
		if (s.Up || s.Full) && !s.Draining && s.leaving < m.lim.Drains && m.shift(s, poor, slack) {
			left--
			slices.SortStableFunc(poor, compareLoad)
		}
	}
}

// balancing counts the moves for balance that are under way.
func (m *mover) balancing() (n int) {
	for c := range m.index.joining {
		if c.Why == BalanceReplica && !m.stuck(c) {
			n++
		}
	}
	return n
}

// slack is the difference in load that is left alone: a part of the mean.
func (m *mover) slack() float64 {
	members := 0
	for _, s := range m.spots {
		members += s.members
	}
	return float64(m.lim.BalanceSlack) / 100 * float64(members) / float64(len(m.spots))
}

// richer says whether s has so much more than t that one replica should move.
func (m *mover) richer(s, t *spot, slack float64) bool {
	return s.load(-1) >= t.load(1) && s.load(0)-t.load(0) > slack
}

// shift moves one replica of s to the poorest store that can have it.
func (m *mover) shift(s *spot, poor []*spot, slack float64) bool {
	var able []*Copyset
	looked, taken := false, map[string]bool{}
	for _, t := range poor {
		if s.load(-1) < t.load(1) {
			return false // and so have all after it
		}
		if !m.richer(s, t, slack) || t.filling >= m.lim.Rebuilds || m.isFull(t) ||
			t.Node == s.Node || taken[t.Zone] {
			continue
		}
		if !looked {
			able, looked = m.shiftables(s), true
		}
		for _, c := range able {
			from := c.at(s.ID)
			if m.isNear(t, c, from) {
				continue
			}
			m.begin(BalanceReplica, c, from, t, fmt.Sprintf("store %d has %d replicas, store %d "+
				"has %d", s.ID, s.members, t.ID, t.members))
			return true
		}
		taken[t.Zone] = m.zoneTaken(t.Zone, s.ID, able)
	}
	return false
}

// zoneTaken says whether each of the copysets has a member in a zone beside that on a store.
func (m *mover) zoneTaken(zone string, store uint64, able []*Copyset) bool {
	for _, c := range able {
		if !slices.ContainsFunc(c.Replicas, func(r Replica) bool {
			s := m.stores[r.Store]
			return s != nil && r.Store != store && s.Zone == zone
		}) {
			return false
		}
	}
	return true
}

// shiftables are the copysets with a replica on a store that may move.
func (m *mover) shiftables(s *spot) (able []*Copyset) {
	m.looks += len(s.held)
	for _, c := range s.held {
		if m.shiftable(c, c.at(s.ID)) {
			able = append(able, c)
		}
	}
	return able
}

// isNear says whether a store shares a zone with a member that stays, or a node with any.
func (m *mover) isNear(t *spot, c *Copyset, from *Replica) bool {
	for i := range c.Replicas {
		s := m.stores[c.Replicas[i].Store]
		if s != nil && (s.Node == t.Node || s.Zone == t.Zone && c.Replicas[i].ID != from.ID) {
			return true
		}
	}
	return false
}

// shiftable says whether a copyset is well enough to be moved for balance alone.
func (m *mover) shiftable(c *Copyset, from *Replica) bool {
	return c.Joining == nil && c.Leader != from.ID && c.good() == len(c.Replicas) &&
		!m.leaderMoves(c) && m.obstacleOf(c, from) == noObstacle
}
