package server

import (
	"slices"
	"time"

	"github.com/ashlar-storage/ashlar/rpc/admin"
)

// What lies where is counted as memberships change, so that nobody looks at every copyset to learn
// it.

// members is the memberships of the records by where they are.
type members struct {
	byNode  map[uint64]map[uint64]bool // by node, the copysets that have a member there
	byStore map[uint64]uint64          // how many members a store has, with those that come and go
	joining map[uint64]bool            // copysets with a replacement under way
	unsure  map[uint64]bool            // copysets that isUnsettled may hold of
}

func newMembers() members {
	return members{byNode: map[uint64]map[uint64]bool{}, byStore: map[uint64]uint64{},
		joining: map[uint64]bool{}, unsure: map[uint64]bool{}}
}

// relate notes that a copyset's membership may have changed, and has it judged anew.
func (c *cluster) relate(g *copyset) {
	m, id := &c.members, g.rec.CopysetId
	for _, r := range g.members {
		m.byStore[r.StoreId]--
		delete(m.byNode[r.NodeId], id)
	}
	g.members = admin.Members(g.rec)
	for _, r := range g.members {
		m.byStore[r.StoreId]++
		if m.byNode[r.NodeId] == nil {
			m.byNode[r.NodeId] = map[uint64]bool{}
		}
		m.byNode[r.NodeId][id] = true
	}
	if g.verdict.health == "" { // nothing is known of it yet
		c.tally.unavailable[id] = true
	}
	c.relocate(g)
	mark(m.joining, id, g.rec.Joining != nil)
	mark(m.unsure, id, c.isUnsettled(id))
	c.touch(g)
}

// under are the copysets, in order, whose replacements are under way.
func (c *cluster) under() (list []*copyset) {
	for _, id := range sortedIDs(c.members.joining) {
		list = append(list, c.copysets[id])
	}
	return list
}

// of are the copysets, in order, that have a member on a node.
func (c *cluster) of(node uint64) (list []*copyset) {
	for _, id := range sortedIDs(c.members.byNode[node]) {
		list = append(list, c.copysets[id])
	}
	return list
}

// inUse says whether a node has a replica.
func (c *cluster) inUse(n *node) bool {
	for id := range n.stores {
		if c.members.byStore[id] > 0 {
			return true
		}
	}
	return false
}

// filling is how many new members are filled on a store.
func (c *cluster) filling(store uint64) (n int) {
	for id := range c.members.joining {
		if c.copysets[id].rec.Joining.StoreId == store {
			n++
		}
	}
	return n
}

// inTurns calls fn for all copysets, in order, and lets others have the lock in between: they are
// not all of one moment.
func (c *cluster) inTurns(fn func(*copyset, time.Time)) {
	c.mu.Lock()
	order := slices.Clone(c.order)
	c.mu.Unlock()
	inParts(c, order, maxTouched, func(part []uint64) {
		now := c.cfg.Now()
		for _, id := range part {
			fn(c.copysets[id], now)
		}
	})
}

// writeLater has a copyset's record written down within the flush interval.
func (c *cluster) writeLater(g *copyset) {
	if !g.dirty {
		g.dirty = true
		c.late = append(c.late, g)
	}
}
