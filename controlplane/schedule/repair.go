package schedule

import (
	"cmp"
	"fmt"
	"slices"
)

// Repairs returns the replacements of damaged replicas that should begin now. They do not wait for
// the cool-down of leader transfers, only for that of the replacement before.
func Repairs(v View, lim Limits) []Operator {
	r := newRound(v, lim)
	filling := map[uint64]int{}
	var broken []*Copyset
	for i := range v.Copysets {
		c := &v.Copysets[i]
		if j := c.Joining; j != nil && !j.Damaged {
			filling[j.Store]++
		}
		if c.broken() != nil {
			broken = append(broken, c)
		}
	}
	slices.SortStableFunc(broken, func(a, b *Copyset) int {
		return cmp.Compare(a.good(), b.good())
	})
	for _, c := range broken {
		m := c.broken()
		place := m.place()
		s, known := r.stores[place]
		rested := c.LastRepair.IsZero() || v.Now.Sub(c.LastRepair) >= lim.CoolDown
		if len(r.ops) >= lim.PerRound || c.replica(c.Leader) == nil || !rested || !known || !s.Up ||
			filling[place] >= lim.Rebuilds || c.good() <= len(c.Replicas)/2 {
			continue
		}
		filling[place]++
		r.ops = append(r.ops, Operator{Kind: ReplaceReplica, Copyset: c.ID, From: m.ID,
			Store: place, Reason: fmt.Sprintf("it is damaged, %d of %d are good", c.good(),
				len(c.Replicas))})
	}
	return r.ops
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
