package server

import (
	"maps"
	"slices"
	"time"

	v1 "github.com/ashlar-storage/ashlar/rpc/admin/kitex_gen/ashlar/v1"
)

// Whoever asks how the cluster is does not wait until every copyset was looked at: each is judged
// when something changed that its verdict rests on, which is its record, the reports of its
// replicas, and whether their nodes and stores are up.

// verdict is what is known of a copyset.
type verdict struct {
	health  string // empty before the first
	joining bool
	damaged int // replicas
}

// tally is the copysets by their verdicts.
type tally struct {
	stale                 []*copyset // to be judged anew
	unavailable, degraded map[uint64]bool
	harmed                map[uint64]bool // with damaged replicas
	joining, damaged      int
}

func newTally() tally {
	return tally{unavailable: map[uint64]bool{}, degraded: map[uint64]bool{},
		harmed: map[uint64]bool{}}
}

// touch has a copyset judged anew.
func (c *cluster) touch(g *copyset) {
	if g != nil && !g.stale {
		g.stale = true
		c.tally.stale = append(c.tally.stale, g)
	}
}

// touchNode has all copysets judged anew that have, or had, a member on a node.
func (c *cluster) touchNode(n *node) {
	for id := range n.sets {
		c.touch(c.copysets[id])
	}
}

// relate notes of which nodes a copyset has members, and has it judged anew.
func (c *cluster) relate(g *copyset, members []*v1.Replica) {
	for _, m := range members {
		if n := c.nodes[m.NodeId]; n != nil {
			if n.sets == nil {
				n.sets = map[uint64]bool{}
			}
			n.sets[g.rec.CopysetId] = true
		}
	}
	c.touch(g)
}

// noteNode notices whether a node and its stores are up.
func (c *cluster) noteNode(n *node, now time.Time) {
	changed := false
	if up := c.up(n, now); up != n.judgedUp {
		n.judgedUp, changed = up, true
	}
	for id := range n.stores {
		s := c.stores[id]
		if state, _ := c.storeUp(s, now); state != s.judged {
			s.judged, changed = state, true
		}
	}
	if changed {
		c.touchNode(n)
	}
}

// refresh makes the verdicts those of now.
func (c *cluster) refresh(now time.Time) {
	for _, n := range c.nodes {
		c.noteNode(n, now)
	}
	c.judgeStale(now)
}

// judgeStale judges the copysets that something changed for.
func (c *cluster) judgeStale(now time.Time) {
	t := &c.tally
	for _, g := range t.stale {
		id, old := g.rec.CopysetId, g.verdict
		v := verdict{health: c.health(g, now), joining: g.rec.Joining != nil}
		for _, m := range g.rec.Replicas {
			if c.damaged(g, m, now) {
				v.damaged++
			}
		}
		g.verdict, g.stale = v, false
		mark(t.unavailable, id, v.health == healthUnavailable)
		mark(t.degraded, id, v.health == healthDegraded)
		mark(t.harmed, id, v.damaged > 0)
		t.damaged += v.damaged - old.damaged
		if v.joining != old.joining {
			if t.joining++; old.joining {
				t.joining -= 2
			}
		}
	}
	clear(t.stale)
	t.stale = t.stale[:0]
}

func mark(set map[uint64]bool, id uint64, in bool) {
	if in {
		set[id] = true
	} else {
		delete(set, id)
	}
}

// leaderless are the copysets of a node that nobody leads, by all that was reported. One that rests
// does not notice by itself that its leader is gone, and without a leader nothing is replaced.
func (c *cluster) leaderless(n *node, now time.Time) (ids []uint64) {
	without := c.tally.unavailable
	if len(without) <= len(n.reports) {
		for id := range without {
			if n.reports[id] != nil && !c.isUnsettled(id) {
				ids = append(ids, id)
			}
		}
	} else {
		for id := range n.reports {
			if without[id] && !c.isUnsettled(id) {
				ids = append(ids, id)
			}
		}
	}
	ids = append(ids, c.unled(n, now)...)
	slices.Sort(ids)
	return slices.Compact(ids)
}

// byHealth are the copysets that are not ok, in order.
func (t *tally) byHealth() map[string][]uint64 {
	return map[string][]uint64{
		healthUnavailable: slices.Sorted(maps.Keys(t.unavailable)),
		healthDegraded:    slices.Sorted(maps.Keys(t.degraded))}
}
