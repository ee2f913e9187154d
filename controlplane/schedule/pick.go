package schedule

import (
	"fmt"
	"slices"
	"strings"
)

// refusals counts why stores cannot take a replica.
type refusals struct {
	down, full, draining, young, busy, near int

	zones []string // of the members that stay, sorted
}

// want is all that decides, beside the stores, whether one takes a new member: a node lies in one
// zone.
type want struct {
	zones string // of the members that stay
	from  uint64 // the store of the one that goes
	runs  bool   // that one does
}

// nowhere is why a replacement does not begin.
type nowhere struct {
	reason  string
	noPlace bool // no store can take the replica
}

// pick is the store for a new member in the place of from, or why there is none. Members of a
// copyset lie in distinct zones and nodes. Of the stores that are up, settled, not full and not
// draining it takes the one with the fewest replicas for its capacity; where several are within one
// replica of it, the one that has most copysets with the others in common already, since each new
// pair of stores is one more whose loss loses data.
func (m *mover) pick(c *Copyset, from *Replica) (*spot, *nowhere) {
	zones, nodes := m.others(c, from)
	key := want{strings.Join(zones, "\x00"), from.Store, m.runs(from)}
	if none := m.full[key]; none != nil {
		return nil, none
	}
	var fit []*spot
	no := &refusals{zones: zones}
	for _, s := range m.spots {
		if s.ID == from.Store || slices.Contains(zones, s.Zone) {
			continue
		}
		if m.takes(s, nodes, no) {
			fit = append(fit, s)
		}
	}
	if len(fit) == 0 {
		m.full[key] = &nowhere{reason: no.explain(), noPlace: no.busy+no.young == 0}
		return nil, m.full[key]
	}
	least := slices.MinFunc(fit, func(a, b *spot) int { return compareLoad(a, b) }).load(1)
	partners := m.partners(c, from)
	var best *spot
	for _, s := range fit {
		if s.load(1)-least > 1/s.weight {
			continue
		}
		if best == nil || partners[s.ID] > partners[best.ID] ||
			partners[s.ID] == partners[best.ID] && s.load(1) < best.load(1) {
			best = s
		}
	}
	return best, nil
}

func compareLoad(a, b *spot) int {
	switch x, y := a.load(1), b.load(1); {
	case x < y:
		return -1
	case x > y:
		return 1
	}
	return 0
}

// others are the zones of the members that stay, and the nodes that cannot have the new one. The
// node of the one that goes is among them while that one runs: a node serves one replica of a
// copyset at a time.
func (m *mover) others(c *Copyset, from *Replica) (zones, nodes []string) {
	for i := range c.Replicas {
		r := &c.Replicas[i]
		s := m.stores[r.Store]
		if s == nil {
			continue
		}
		if r.ID != from.ID {
			zones = append(zones, s.Zone)
		}
		if r.ID != from.ID || m.runs(r) {
			nodes = append(nodes, s.Node)
		}
	}
	slices.Sort(zones)
	return slices.Compact(zones), nodes
}

// runs says whether a replica has its place on its node.
func (m *mover) runs(r *Replica) bool {
	s := m.stores[r.Store]
	return s != nil && (s.Up || s.Full || s.Stalled) && !r.Damaged
}

// takes says whether a store may take a new member now, and counts why not.
func (m *mover) takes(s *spot, nodes []string, no *refusals) bool {
	switch {
	case s.Full:
		no.full++
	case !s.Up:
		no.down++
	case s.Draining:
		no.draining++
	case slices.Contains(nodes, s.Node):
		no.near++
	case m.isFull(s):
		no.full++
	case m.now.Sub(s.UpSince) < m.lim.Settle:
		no.young++
	case s.filling >= m.lim.Rebuilds:
		no.busy++
	default:
		return true
	}
	return false
}

// isFull says whether a store would be too full with one replica more, and those on their way.
func (m *mover) isFull(s *spot) bool {
	if s.Capacity == 0 {
		return false
	}
	coming := uint64(s.filling+1) * m.size
	return float64(s.Used+coming) > float64(s.Capacity)*fullShare
}

// partners counts, by store, in how many copysets it meets the members that stay.
func (m *mover) partners(c *Copyset, from *Replica) map[uint64]int {
	met := map[uint64]int{}
	for i := range c.Replicas {
		s := m.stores[c.Replicas[i].Store]
		if s == nil || c.Replicas[i].ID == from.ID {
			continue
		}
		for _, other := range s.held {
			for j := range other.Replicas {
				met[other.Replicas[j].Store]++
			}
		}
	}
	return met
}

// explain says why no store takes the replica.
func (no *refusals) explain() string {
	outside := "outside zones " + strings.Join(no.zones, ", ") + ", where its other replicas are"
	var parts []string
	for _, p := range []struct {
		n    int
		what string
	}{
		{no.down, "down"}, {no.draining, "draining"}, {no.full, "full"},
		{no.near, "on a node that has a replica of it"}, {no.young, "up only just now"},
		{no.busy, "filling others"},
	} {
		if p.n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", p.n, p.what))
		}
	}
	if len(parts) == 0 {
		return "no store can take it: there is none " + outside
	}
	return "no store can take it: of those " + outside + ", " + strings.Join(parts, ", ")
}
