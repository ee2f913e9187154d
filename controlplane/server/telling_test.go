package server

import (
	"testing"
	"time"

	"github.com/ashlar-storage/ashlar/rpc/admin"
	v1 "github.com/ashlar-storage/ashlar/rpc/admin/kitex_gen/ashlar/v1"
)

func TestOnlySoManyNodesHaveATurnAtATime(t *testing.T) {
	var q turnstile
	now := time.Unix(1000, 0)
	asks := func(want bool, nodes ...uint64) {
		t.Helper()
		for _, n := range nodes {
			if got := q.ask(n, now); got != want {
				t.Errorf("node %d: %v", n, got)
			}
		}
	}
	asks(true, 1, 2, 3, 4)
	asks(false, 5, 6)
	asks(true, 2) // again: its answer was lost
	q.told(3)
	q.told(9) // that nobody asked
	asks(true, 6)
	asks(false, 5, 3)
	now = now.Add(tellWithin - time.Millisecond)
	asks(true, 1)
	asks(false, 5)
	now = now.Add(time.Millisecond) // 2, 4 and 6 have not told
	asks(true, 5, 7, 8)
	asks(false, 2, 4, 6)
}

// ask sends what a node says that does not know what is known of it, and lacks some features.
func (w *world) ask(n *fakeNode, version, lacks uint64) *v1.HeartbeatNodeResponse {
	w.t.Helper()
	resp, err := w.Node.HeartbeatNode(ctx, &v1.HeartbeatNodeRequest{ClusterId: n.cluster,
		NodeId: n.id, DesiredVersion: version, Partial: true, ReplicaCount: 6, ReplicaSum: 9,
		Features: admin.Features &^ lacks, Level: n.level, Incarnation: n.process})
	w.ok(err)
	return resp
}

func TestAfterATakeoverNodesTellInTurnAndAllCountAsAlive(t *testing.T) {
	w := newWorld(t, 9, nil)
	w.restart()
	for i, n := range w.nodes[:maxTelling+3] {
		resp := w.ask(n, n.version, 0)
		if later := i >= maxTelling; resp.TellLater != later || resp.TakesPartial {
			t.Errorf("node %d: later %v, partial %v", i, resp.TellLater, resp.TakesPartial)
		}
	}
	late, old := w.nodes[maxTelling], w.nodes[maxTelling+1]
	if resp := w.ask(late, 0, 0); resp.TellLater || !resp.DesiredPresent {
		t.Error("a node that serves nothing yet has to wait")
	}
	if w.ask(old, old.version, admin.FeatureTellLater).TellLater {
		t.Error("a node that does not know what that is has to wait")
	}
	w.beat(w.nodes[0]) // tells all
	c := w.srv.cluster()
	c.mu.Lock()
	if got := len(c.nodes[w.nodes[0].id].reports); got != len(w.nodes[0].said) {
		t.Errorf("%d reports of %d", got, len(w.nodes[0].said))
	}
	c.mu.Unlock()
	if w.ask(late, late.version, 0).TellLater {
		t.Error("it has to wait when another's turn is over")
	}
	nodes, err := w.Admin.ListNodes(ctx, &v1.ListNodesRequest{})
	w.ok(err)
	for i, n := range nodes.Nodes {
		if up := n.State == stateUp; up != (i < maxTelling+3) {
			t.Errorf("node %s is %s", n.Name, n.State)
		}
	}
	w.clock.pass(tellWithin)
	for range 2 {
		w.beat()
		w.tick(time.Second)
	}
	if s := w.status(); s.Health != stateOK {
		t.Errorf("%s %q", s.Health, s.Problems)
	}
}

// A copyset whose leader may be on a node that has not told yet is not taken for leaderless.
func TestNobodyLooksForALeaderThatMayNotHaveBeenHeardYet(t *testing.T) {
	w := newWorld(t, 3, nil)
	leads := w.nodes[1]
	for _, g := range leads.copysets {
		for _, m := range g.Replicas {
			if m.NodeId == leads.id {
				w.raft.elect(g.CopysetId, m.ReplicaId)
			}
		}
	}
	w.beat()
	w.restart()
	w.ask(leads, leads.version, 0)
	w.ask(w.nodes[2], w.nodes[2].version, 0)
	first := w.nodes[0]
	for range 2 {
		w.beat(first)
		w.tick(0)
	}
	if len(first.last.Rouse) != 0 {
		t.Errorf("leaders are looked for in %v", first.last.Rouse)
	}
	w.clock.pass(time.Minute) // the leaders' node is gone
	for range 2 {
		w.beat(first)
		w.tick(0)
	}
	if len(first.last.Rouse) != len(first.copysets) {
		t.Errorf("leaders are looked for in %v of %d", first.last.Rouse, len(first.copysets))
	}
}
