package server

import (
	"slices"
	"time"
)

// Whoever asks how the cluster is does not wait until every copyset was looked at: each is judged
// when something changed that its verdict rests on, which is its record, the reports of its
// replicas, and whether their nodes and stores are up.

// verdict is what is known of a copyset.
type verdict struct {
	health  string // empty before the first
	damaged int    // replicas
}

// tally is the copysets by their verdicts.
type tally struct {
	stale                 []*copyset // to be judged anew
	unavailable, degraded map[uint64]bool
	harmed                map[uint64]bool // with damaged replicas
	damaged               int
}

func newTally() tally {
	return tally{unavailable: map[uint64]bool{}, degraded: map[uint64]bool{},
		harmed: map[uint64]bool{}}
}

// touch has a copyset judged anew, and looked at by the schedulers.
func (c *cluster) touch(g *copyset) {
	if g == nil {
		return
	}
	if !g.stale {
		g.stale = true
		c.tally.stale = append(c.tally.stale, g)
	}
	if !g.unseen {
		g.unseen = true
		c.unseen = append(c.unseen, g)
	}
}

// touchNode has all copysets judged anew that have a member on a node.
func (c *cluster) touchNode(n *node) {
	for id := range c.members.byNode[n.rec.NodeId] {
		c.touch(c.copysets[id])
	}
}

// relocateNode notes that new chunks of the copysets on a node may go elsewhere.
func (c *cluster) relocateNode(n *node) {
	for id := range c.members.byNode[n.rec.NodeId] {
		c.relocate(c.copysets[id])
	}
}

// noteNode notices whether a node and its stores are up, and says whether that has changed.
func (c *cluster) noteNode(n *node, now time.Time) (changed bool) {
	moved := false
	if up := c.up(n, now); up != n.judgedUp {
		n.judgedUp, changed = up, true
	}
	for id := range n.stores {
		s := c.stores[id]
		if state, _ := c.storeUp(s, now); state != s.judged {
			s.judged, changed = state, true
		}
		if failed := s.report.GetState() == stateFailed; failed != s.failed {
			s.failed, moved = failed, true
		}
	}
	if moved {
		c.relocateNode(n)
	}
	if changed {
		c.touchNode(n)
	}
	return changed
}

// resettleAll has the allocator follow where copysets have moved, before somebody waits for it, and
// lets others have the lock between the parts.
func (c *cluster) resettleAll() {
	for more := true; more; {
		c.mu.Lock()
		more = c.resettle()
		c.mu.Unlock()
	}
}

// judgeAll makes the verdicts those of now, and lets others have the lock between the parts.
func (c *cluster) judgeAll() {
	parts := 0
	for more := true; more; {
		c.mu.Lock()
		more = c.noteNodes(c.cfg.Now())
		parts = len(c.tally.stale) / maxTouched
		c.mu.Unlock()
	}
	for ; parts >= 0; parts-- {
		c.mu.Lock()
		c.judgeStale(c.cfg.Now())
		c.mu.Unlock()
	}
}

// refresh makes some of the verdicts those of now, where few have changed all of them.
func (c *cluster) refresh(now time.Time) {
	c.noteNodes(now)
	c.judgeStale(now)
}

// noteNodes notices which nodes and stores are up, until maxNoted nodes have changed; more says
// that others may have.
func (c *cluster) noteNodes(now time.Time) (more bool) {
	changed := 0
	for _, n := range c.nodes {
		if c.noteNode(n, now) {
			changed++
		}
		if changed == maxNoted {
			return true
		}
	}
	return false
}

// judgeStale judges the copysets that something changed for, maxTouched of them; the rest waits for
// the next call.
func (c *cluster) judgeStale(now time.Time) {
	t := &c.tally
	n := min(maxTouched, len(t.stale))
	for _, g := range t.stale[:n] {
		id, old := g.rec.CopysetId, g.verdict
		v := verdict{health: c.health(g, now)}
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
	}
	if t.stale = t.stale[n:]; len(t.stale) == 0 {
		t.stale = nil
	}
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
			if n.reports[id] != nil && c.isLeaderless(id) {
				ids = append(ids, id)
			}
		}
	} else {
		for id := range n.reports {
			if without[id] && c.isLeaderless(id) {
				ids = append(ids, id)
			}
		}
	}
	ids = append(ids, c.unled(n, now)...)
	slices.Sort(ids)
	return slices.Compact(ids)
}

// isLeaderless says whether the verdict that nobody leads a copyset counts: it may be led by a node
// that has not been heard yet.
func (c *cluster) isLeaderless(id uint64) bool {
	g := c.copysets[id]
	return !g.stale && !c.isUnsettled(id) && !c.isAwaited(g)
}
