package server

import (
	"context"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/ashlar-storage/ashlar/rpc/admin"
	v1 "github.com/ashlar-storage/ashlar/rpc/admin/kitex_gen/ashlar/v1"
)

// wantVerdicts compares every verdict, and what is known of every replica, with what is so.
func (w *world) wantVerdicts(step string) {
	w.t.Helper()
	c := w.srv.cluster()
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.cfg.Now()
	c.refresh(now)
	joining, damaged := 0, 0
	for id, g := range c.copysets {
		health := c.health(g, now)
		if g.verdict.health != health || c.tally.unavailable[id] != (health == healthUnavailable) ||
			c.tally.degraded[id] != (health == healthDegraded) {
			w.t.Fatalf("%s: copyset %d is taken for %s and is %s", step, id, g.verdict.health,
				health)
		}
		if g.rec.Joining != nil {
			joining++
		}
		for _, m := range g.rec.Replicas {
			if c.damaged(g, m, now) {
				damaged++
			}
		}
	}
	if joining != len(c.members.joining) || damaged != c.tally.damaged {
		w.t.Fatalf("%s: %d join and %d are damaged, taken for %d and %d", step, joining, damaged,
			len(c.members.joining), c.tally.damaged)
	}
}

// wantHeard says that the control plane has of a node what a full heartbeat would have said.
func (w *world) wantHeard(step string, n *fakeNode) {
	w.t.Helper()
	c := w.srv.cluster()
	c.mu.Lock()
	defer c.mu.Unlock()
	known := c.nodes[n.id]
	for _, want := range n.said {
		have := known.reports[want.CopysetId]
		if !member(c.copysets[want.CopysetId].rec, want.ReplicaId, n.id) {
			continue // it was refused, or would be now
		}
		if have == nil || admin.ReportSense(want) != admin.ReportSense(have) {
			w.t.Fatalf("%s: of copyset %d node %s says %v, known is %v", step, want.CopysetId,
				n.name, want, have)
		}
	}
	if len(known.reports) > len(n.said) {
		w.t.Fatalf("%s: %d reports are known of %d", step, len(known.reports), len(n.said))
	}
}

// upset does something to the cluster.
func (w *world) upset(rng *rand.Rand) string {
	n := w.nodes[rng.IntN(len(w.nodes))]
	g := n.copysets[rng.IntN(len(n.copysets))]
	m := g.Replicas[rng.IntN(len(g.Replicas))]
	switch rng.IntN(10) {
	case 0, 1:
		w.raft.elect(g.CopysetId, m.ReplicaId)
		return "an election"
	case 2:
		n.behind = !n.behind
		return "a node that catches up, or has"
	case 3:
		w.raft.slow = m.ReplicaId
		return "a slow member"
	case 4:
		if n.lost == nil {
			n.lost = map[uint64]uint64{}
		}
		n.lost[g.CopysetId] = m.ReplicaId
		return "a lost replica"
	case 5:
		w.clock.pass(time.Duration(rng.IntN(4)) * time.Second)
		return "time"
	case 6:
		n.state = []string{"up", "stalled", "failed"}[rng.IntN(3)]
		return "the state of a store"
	case 7:
		w.tick(time.Second)
		return "a tick"
	case 8:
		if n.mute == nil {
			n.mute = map[uint64]bool{}
		}
		n.mute[g.CopysetId] = !n.mute[g.CopysetId]
		return "a replica that is not there any more, or is again"
	}
	if rng.IntN(4) == 0 {
		w.restart()
		return "a restart"
	}
	w.ok(n.register())
	n.told, n.version = admin.Told{}, 0
	return "a node that starts again"
}

func TestVerdictsAndReportsAreThoseOfAFullLook(t *testing.T) {
	for seed := range uint64(6) {
		rng := rand.New(rand.NewPCG(seed, 7))
		w := newWorld(t, 3, nil)
		partial := 0
		for range 150 {
			step := w.upset(rng)
			w.wantVerdicts(step)
			w.wantIndex(step)
			for _, n := range w.nodes {
				if rng.IntN(4) == 0 {
					continue // it is not heard for a while
				}
				w.beat(n)
				w.wantVerdicts(step)
				w.wantIndex(step)
				w.wantHeard(step, n)
				if n.last.TakesPartial {
					partial++
				}
			}
		}
		if partial < 100 {
			t.Errorf("seed %d: only %d heartbeats could be partial", seed, partial)
		}
	}
}

func TestNodesThatKnowNoPartialHeartbeatsAreHeardAsEver(t *testing.T) {
	w := newWorld(t, 3, nil)
	for _, n := range w.nodes {
		n.full = true
		w.ok(n.register())
	}
	for range 3 {
		w.beat()
		w.tick(time.Second)
	}
	for _, n := range w.nodes {
		if n.last.TakesPartial {
			t.Error("a heartbeat without a sum is followed by a partial one")
		}
	}
	if s := w.status(); s.Health != stateOK {
		t.Errorf("%s %q", s.Health, s.Problems)
	}
}

func TestOfAHeartbeatThatWasGivenUpOnlyTheSignOfLifeIsTaken(t *testing.T) {
	w := newWorld(t, 3, nil)
	n, c := w.nodes[0], w.srv.cluster()
	w.clock.pass(time.Minute)
	late, cancel := context.WithCancel(ctx)
	cancel()
	_, err := c.heartbeatNode(late, &v1.HeartbeatNodeRequest{ClusterId: n.cluster, NodeId: n.id,
		DesiredVersion: n.version, Stores: []*v1.StoreReport{{StoreId: n.stores[0].StoreId,
			State: stateFailed}}})
	has(t, err, admin.ErrUnavailable, "gave its heartbeat up")
	c.mu.Lock()
	defer c.mu.Unlock()
	known := c.nodes[n.id]
	if !c.up(known, c.cfg.Now()) || len(known.reports) != len(n.said) ||
		c.stores[n.stores[0].StoreId].report.State == stateFailed {
		t.Errorf("up %v, %d reports of %d", c.up(known, c.cfg.Now()), len(known.reports),
			len(n.said))
	}
}

func TestPartialHeartbeatFromAnUnknownPastChangesNothing(t *testing.T) {
	w := newWorld(t, 3, nil)
	n := w.nodes[0]
	w.restart()
	resp, err := w.Node.HeartbeatNode(ctx, &v1.HeartbeatNodeRequest{ClusterId: n.cluster,
		NodeId: n.id, DesiredVersion: n.version, Partial: true, ReplicaCount: 6, ReplicaSum: 9,
		Gone: []uint64{1, 2}})
	w.ok(err)
	if resp.TakesPartial {
		t.Error("it is taken for known")
	}
	w.beat()
	if s := w.status(); s.Health != stateOK {
		t.Errorf("%s %q", s.Health, s.Problems)
	}
}
