package server

import (
	"sync"
	"time"

	"github.com/ashlar-storage/ashlar/controlplane/schedule"
	v1 "github.com/ashlar-storage/ashlar/rpc/admin/kitex_gen/ashlar/v1"
)

// The schedulers have the copysets in an index of their own and look at it without the lock of the
// cluster, however long that takes. A turn takes over what was touched since the one before,
// decides, and carries out what still fits: what has changed meanwhile is looked at again in the
// next turn.
// Each holding of the lock is for a bounded number of copysets, or for one change of the metadata.

// turns is what is kept from turn to turn. Its lock is taken before the cluster's.
type turns struct {
	mu     sync.Mutex
	index  schedule.Index
	resume uint64
}

// due says whether the schedulers have a turn now. They take a fifth of a processor at most; what
// their commits wait for the disk does not count.
func (c *cluster) due(now time.Time) bool {
	if now.Sub(c.lastSchedule) < c.cfg.ScheduleInterval || now.Before(c.resting) {
		return false
	}
	c.lastSchedule = now
	return true
}

// turn is one turn of the schedulers.
func (c *cluster) turn() {
	c.turns.mu.Lock()
	defer c.turns.mu.Unlock()
	began := c.cfg.Now()
	x := &c.turns.index
	c.catchUp()
	inParts(c, x.Respread(), maxTouched, c.grant)
	c.catchUp()
	scene, lim := c.scene()
	inParts(c, x.Leaders(scene, lim), maxTouched, func(ops []schedule.Operator) {
		c.transfer(ops, lim)
	})
	c.catchUp()
	scene, lim = c.scene()
	plan := x.Moves(scene, lim)
	c.turns.resume = plan.Resume
	decided := c.cfg.Now()
	c.replaceAll(plan.Operators, lim)
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.cfg.Now()
	c.takeWaits(&plan, now)
	c.resting = now.Add(4 * decided.Sub(began))
}

// replaceAll begins replacements, each of which is a commit.
func (c *cluster) replaceAll(ops []schedule.Operator, lim schedule.Limits) {
	for _, op := range ops {
		if err := c.replace(op, lim); err != nil {
			c.log.Warn("cannot replace a replica", "error", err)
			return
		}
	}
}

// inParts has fn called with the lock held, for n of the list at a time.
func inParts[T any](c *cluster, list []T, n int, fn func([]T)) {
	for len(list) > 0 {
		part := list[:min(n, len(list))]
		c.mu.Lock()
		fn(part)
		c.mu.Unlock()
		list = list[len(part):]
	}
}

// catchUp takes the copysets over into the index that were touched before it began. What is being
// cancelled is looked at each time: when its hold ends, or another hold is set, nothing tells.
func (c *cluster) catchUp() {
	c.mu.Lock()
	for id := range c.givingUp {
		c.touch(c.copysets[id])
	}
	touched := c.unseen
	c.unseen = nil
	c.mu.Unlock()
	views := make([]schedule.Copyset, 0, min(maxTouched, len(touched)))
	for ; len(touched) > 0; touched = touched[len(views):] {
		views = c.viewsOf(touched[:min(maxTouched, len(touched))], views[:0])
		for i := range views {
			c.turns.index.Put(views[i])
		}
	}
}

// viewsOf appends the views of copysets, which are no longer unseen then.
func (c *cluster) viewsOf(touched []*copyset, views []schedule.Copyset) []schedule.Copyset {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.cfg.Now()
	for _, g := range touched {
		g.unseen = false
		views = append(views, c.viewOf(g, now))
	}
	return views
}

// scene is what the schedulers go by beside the copysets, and their limits.
func (c *cluster) scene() (schedule.Scene, schedule.Limits) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.cfg.Now()
	return schedule.Scene{Now: now, Stores: c.viewStores(now), Resume: c.turns.resume}, c.limits()
}

// viewOf is a copyset as the schedulers see it. It rests on what a verdict rests on, on what the
// schedulers did with it, and on the time where a replacement is being cancelled.
func (c *cluster) viewOf(g *copyset, now time.Time) schedule.Copyset {
	p := planned(g.rec)
	p.LastOperator, p.LastRepair, p.Losses = g.lastOperator, g.lastRepair, g.losses
	p.Held = holdsOf(g.rec)
	if j := g.rec.Joining; j != nil {
		p.Leaving, p.Why = g.rec.LeavingReplicaId, whyOf(g.rec)
		p.Joining = &schedule.Replica{ID: j.ReplicaId, Store: j.StoreId,
			Damaged: c.isGivenUpFor(g.rec, now) || c.damaged(g, j, now)}
	}
	lead := c.leading(g, now)
	if lead != nil {
		p.Leader = lead.ReplicaId
	}
	for i, m := range g.rec.Replicas {
		p.Replicas[i].Damaged = c.damaged(g, m, now)
		p.Replicas[i].Place = c.placeOf(m.StoreId)
		p.Replicas[i].CaughtUp = lead != nil && c.replicaFull(g, m, lead, now)
	}
	return p
}

func (c *cluster) viewStores(now time.Time) (stores []schedule.Store) {
	for _, id := range sortedIDs(c.stores) {
		s := c.stores[id]
		state, _ := c.storeUp(s, now)
		n := c.nodes[s.rec.NodeId]
		stores = append(stores, schedule.Store{
			ID: id, Up: state == stateUp, Full: state == stateFull,
			Stalled: state == stateStalled, Replaced: state == stateReplaced,
			UpSince: n.upSince, DownSince: s.downSince,
			LogWrite: time.Duration(s.report.GetLogWriteNs()), Draining: c.draining(s),
			Zone: n.rec.Zone, Node: n.rec.Name, Capacity: s.rec.CapacityBytes,
			Used: s.report.GetUsedBytes(),
		})
	}
	return stores
}

// grant evens the preferred leaders out after members have moved. They are written down late: they
// are wishes.
func (c *cluster) grant(wishes []schedule.Wish) {
	for _, wish := range wishes {
		g := c.copysets[wish.Copyset]
		c.touch(g)
		if !member(g.rec, wish.Replica, 0) || c.isUnsettled(wish.Copyset) {
			continue
		}
		rec := *g.rec
		rec.PreferredLeaderReplicaId = wish.Replica
		g.rec = &rec
		c.writeLater(g)
	}
}

// transfer leaves changes of leaders for the next heartbeats of the nodes that lead now, if they
// can still be wanted.
func (c *cluster) transfer(ops []schedule.Operator, lim schedule.Limits) {
	if c.limits() != lim {
		return
	}
	now := c.cfg.Now()
	for _, op := range ops {
		g := c.copysets[op.Copyset]
		if g.unseen {
			continue
		}
		for _, m := range g.rec.Replicas {
			n := c.nodes[m.NodeId]
			if m.ReplicaId != op.From || len(n.transfers) >= maxTransfers {
				continue
			}
			g.lastOperator = now
			c.touch(g)
			n.transfers = append(n.transfers, &v1.TransferLeader{
				CopysetId: op.Copyset, ToReplicaId: op.To,
			})
			c.log.Info("operator", "operator", op.String(), "node", n.rec.Name)
		}
	}
}

// replace begins a replacement that the schedulers want, if it can still be wanted.
func (c *cluster) replace(op schedule.Operator, lim schedule.Limits) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.cfg.Now()
	g, s := c.copysets[op.Copyset], c.stores[op.Store]
	if g.unseen || s == nil || c.draining(s) || c.limits() != lim {
		return nil
	}
	if state, _ := c.storeUp(s, now); state != stateUp {
		return nil
	}
	if err := c.beginReplacement(g, op, now); err != nil {
		return err
	}
	g.lastOperator, g.lastRepair = now, now
	level := eventInfo
	if op.Lost {
		g.losses = g.losses.Add(now, c.tuned)
		level = eventWarning
	}
	c.tell(newEvent(level, "replacement-begun", aCopyset, op.Copyset, "", "copyset %d: "+
		"replica %d is made anew as replica %d on store %d: %s", op.Copyset, op.From,
		g.rec.Joining.ReplicaId, op.Store, op.Reason))
	c.log.Info("operator", "operator", op.String(), "joining", g.rec.Joining.ReplicaId)
	return nil
}
