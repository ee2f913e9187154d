package server

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ashlar-storage/ashlar/controlplane/schedule"
	"github.com/ashlar-storage/ashlar/rpc/admin"
	v1 "github.com/ashlar-storage/ashlar/rpc/admin/kitex_gen/ashlar/v1"
)

// newWideWorld has more nodes than replicas, and waits a minute for stores that are away.
func newWideWorld(t *testing.T, n int) *world {
	w := newWorld(t, n, func(c *Config) {
		c.MinNodes = n
		c.Schedule = schedule.DefaultLimits()
		c.Schedule.LostAfter = time.Minute
	})
	resp, err := w.Admin.ListCopysets(ctx, &v1.ListCopysetsRequest{})
	w.ok(err)
	for _, s := range resp.Copysets {
		w.raft.elect(s.Copyset.CopysetId, s.Copyset.Replicas[0].ReplicaId)
	}
	w.beat()
	return w
}

// go on lets seconds pass with the nodes given alive. Copysets whose leader is not among them elect
// another.
func (w *world) goOn(seconds int, alive ...*fakeNode) {
	w.t.Helper()
	for range seconds {
		for g, leader := range w.raft.leader {
			w.electAmong(g, leader, alive)
		}
		w.beat(alive...)
		w.tick(time.Second)
	}
	w.beat(alive...) // what the last tick wants
	w.beat(alive...) // and what came of it
}

func (w *world) electAmong(g, leader uint64, alive []*fakeNode) {
	w.t.Helper()
	lives := func(m *v1.Replica) bool {
		return slices.ContainsFunc(alive, func(n *fakeNode) bool { return n.id == m.NodeId })
	}
	rec := w.copyset(g)
	var next uint64
	for _, m := range admin.Members(rec) {
		if m.ReplicaId == leader && lives(m) {
			return
		}
		if lives(m) && m.ReplicaId != rec.Joining.GetReplicaId() &&
			m.ReplicaId != rec.LeavingReplicaId {
			next = m.ReplicaId
		}
	}
	w.raft.elect(g, next)
}

// on counts the members on a node, those that join included.
func (w *world) on(n *fakeNode) (count int) {
	w.t.Helper()
	for g := range w.raft.leader {
		for _, m := range admin.Members(w.copyset(g)) {
			if m.NodeId == n.id {
				count++
			}
		}
	}
	return count
}

func (w *world) operators() *v1.ListOperatorsResponse {
	w.t.Helper()
	resp, err := w.Admin.ListOperators(ctx, &v1.ListOperatorsRequest{})
	w.ok(err)
	return resp
}

func (w *world) wantDistinct() {
	w.t.Helper()
	for g := range w.raft.leader {
		nodes := map[uint64]bool{}
		for _, m := range w.copyset(g).Replicas {
			if nodes[m.NodeId] {
				w.t.Errorf("copyset %d has two replicas on node %d", g, m.NodeId)
			}
			nodes[m.NodeId] = true
		}
	}
}

func TestReplicasOfALostNodeAreMadeAnewOnOthers(t *testing.T) {
	w := newWideWorld(t, 4)
	dead, rest := w.nodes[3], w.nodes[:3]
	held := w.on(dead)
	if held == 0 {
		t.Fatal("the node holds nothing to begin with")
	}
	w.goOn(55, rest...)
	if got := w.on(dead); got != held || w.operators().Running != 0 {
		t.Fatalf("after 55 s it holds %d of %d, %v", got, held, w.operators())
	}
	w.goOn(120, rest...)
	if got := w.on(dead); got != 0 {
		t.Fatalf("it still holds %d of %d: %v", got, held, w.operators())
	}
	w.wantDistinct()
	if s := w.status(); s.Health != "ok" || s.CopysetsFull != s.Copysets {
		t.Errorf("%s: %q", s.Health, s.Problems)
	}
	w.wantProblem("node n4 is offline, and nothing lies on it any more")
	// It comes back with all that it had, and gets some again, as others have more.
	had := map[uint64]bool{}
	for _, g := range dead.copysets {
		had[g.CopysetId] = true
	}
	if len(had) != held {
		t.Fatalf("it remembers %d copysets, held %d", len(had), held)
	}
	w.ok(dead.register())
	w.beat()
	w.goOn(2, w.nodes...)
	if len(dead.left) != 0 {
		t.Errorf("it was not told to destroy %v", dead.left)
	}
	w.goOn(200, w.nodes...)
	if n := w.on(dead); n < 3 {
		t.Errorf("the node that came back has %d replicas", n)
	}
	w.wantDistinct()
}

// A store without room for more serves what it has: its replicas count, and keep nothing from being
// made anew.
func TestReplicasOnAFullStoreCount(t *testing.T) {
	w := newWideWorld(t, 5)
	full, dead := w.nodes[0], w.nodes[4]
	full.state = "full"
	w.goOn(1, w.nodes...)
	held := w.on(full)
	if s := w.status(); s.CopysetsFull != s.Copysets || held == 0 || w.on(dead) == 0 {
		t.Fatalf("%d on the full store, %d on the one that dies: %v", held, w.on(dead), s)
	}
	w.goOn(175, w.nodes[:4]...)
	if n := w.on(dead); n != 0 {
		t.Errorf("the dead node still holds %d: %v", n, w.operators())
	}
	if n := w.on(full); n > held {
		t.Errorf("the full store has %d, had %d", n, held)
	}
	if s := w.status(); s.CopysetsFull != s.Copysets {
		t.Errorf("%q", s.Problems)
	}
}

func TestALostNodeWithoutAnotherZoneIsWaitedFor(t *testing.T) {
	w := newWideWorld(t, 3)
	w.goOn(90, w.nodes[:2]...)
	if plan := w.copyset(1); plan.Joining != nil {
		t.Fatalf("planned all the same: %+v", plan.Joining)
	}
	w.wantProblem("6 replicas of lost stores cannot be made anew: no store can take it: there is " +
		"none outside zones z1, z2")
	ops := w.operators()
	if ops.Running != 0 || ops.Waiting != 6 || ops.Operators[0].FromNode != "n3" ||
		ops.Operators[0].Kind != "recover-replica" || ops.Operators[0].State != "waiting" {
		t.Errorf("%+v", ops)
	}
	first := ops.Operators[0].SinceUnixNs
	w.goOn(5, w.nodes[:2]...)
	if again := w.operators().Operators[0].SinceUnixNs; again != first {
		t.Errorf("waits since %d, then since %d", first, again)
	}
}

func TestADrainedNodeGivesLeadersAndReplicasAway(t *testing.T) {
	w := newWideWorld(t, 4)
	n := w.nodes[0]
	resp, err := w.Admin.DrainNode(ctx, &v1.DrainNodeRequest{Name: "n1"})
	w.ok(err)
	if s := resp.Node.Stores[0]; !resp.Node.Draining || s.State != "draining" || s.Replicas == 0 {
		t.Fatalf("%+v", resp.Node)
	}
	w.wantProblem("is draining: ")
	w.goOn(3, w.nodes...)
	for g, r := range w.raft.leader {
		if w.nodeOf(g, r) == n.id {
			t.Errorf("copyset %d is led there", g)
		}
	}
	listed := 0
	for range 12 {
		w.goOn(1, w.nodes...)
		for _, op := range w.operators().Operators {
			if op.Kind == "drain-replica" && op.State == "running" {
				listed++
				if op.FromNode != "n1" || op.ToNode == "" || op.ToNode == "n1" ||
					op.SinceUnixNs == 0 || op.Reason != "store 1 is draining" {
					t.Errorf("%+v", op)
				}
			}
		}
	}
	if listed == 0 {
		t.Error("no move was listed")
	}
	w.restart() // the mark is in the metadata
	for _, n := range w.nodes {
		w.ok(n.register())
	}
	w.beat()
	w.goOn(200, w.nodes...)
	if got := w.on(n); got != 0 {
		t.Fatalf("%d replicas are left: %v", got, w.operators())
	}
	if len(n.left) != 0 {
		t.Errorf("it was not told to destroy %v", n.left)
	}
	w.wantDistinct()
	w.wantProblem("nothing is left on it")
	if s := w.status(); s.Health != "ok" {
		t.Errorf("%s: %q", s.Health, s.Problems)
	}
	id := n.stores[0].StoreId
	if _, err := w.Admin.UndrainStore(ctx, &v1.UndrainStoreRequest{StoreId: id}); !errors.Is(err,
		admin.ErrInvalid) {
		t.Errorf("its store alone: %v", err)
	}
	_, err = w.Admin.UndrainNode(ctx, &v1.UndrainNodeRequest{Name: "n1"})
	w.ok(err)
	w.goOn(200, w.nodes...)
	if got := w.on(n); got < 3 {
		t.Errorf("it has %d replicas again", got)
	}
}

func TestAStoreThatCannotBeEmptiedSaysWhy(t *testing.T) {
	w := newWideWorld(t, 3)
	id := w.nodes[0].stores[0].StoreId
	_, err := w.Admin.DrainStore(ctx, &v1.DrainStoreRequest{StoreId: id})
	w.ok(err)
	w.goOn(20, w.nodes...)
	w.wantProblem("is draining: 6 replicas are left: copyset ")
	w.wantProblem(" waits: no store can take it: there is none outside zones z2, z3")
	_, err = w.Admin.UndrainStore(ctx, &v1.UndrainStoreRequest{StoreId: id})
	w.ok(err)
	w.goOn(1, w.nodes...)
	if s := w.status(); len(s.Problems) != 0 || w.operators().Waiting != 0 {
		t.Errorf("%q", s.Problems)
	}
	_, err = w.Admin.DrainStore(ctx, &v1.DrainStoreRequest{StoreId: 99})
	if !errors.Is(err, admin.ErrNotFound) {
		t.Errorf("a store that is not there: %v", err)
	}
	_, err = w.Admin.DrainNode(ctx, &v1.DrainNodeRequest{Name: "n9"})
	if !errors.Is(err, admin.ErrNotFound) {
		t.Errorf("a node that is not there: %v", err)
	}
}

func TestANewNodeGetsReplicasAndLeaders(t *testing.T) {
	w := newWideWorld(t, 3)
	n := newNode(w.rig, 4)
	w.nodes = append(w.nodes, n)
	w.ok(n.register())
	w.beat()
	w.goOn(300, w.nodes...)
	for _, n := range w.nodes {
		if got := w.on(n); got < 4 || got > 5 {
			t.Errorf("node %s has %d of 18 replicas", n.name, got)
		}
	}
	w.wantDistinct()
	led := map[uint64]int{}
	for g, r := range w.raft.leader {
		led[w.nodeOf(g, r)]++
	}
	if led[n.id] == 0 {
		t.Errorf("the new node leads nothing: %v", led)
	}
	if ops := w.operators(); ops.Running+ops.Waiting != 0 {
		t.Errorf("it does not come to rest: %v", ops)
	}
}

// What a node reports and nobody knows is destroyed only when number and leader say so too.
func TestAReplicaIsDestroyedOnlyWhenRecordNumberAndLeaderAgree(t *testing.T) {
	w := newWideWorld(t, 4)
	n := w.nodes[0]
	newest := uint64(0)
	for g := range w.raft.leader {
		for _, m := range w.copyset(g).Replicas {
			newest = max(newest, m.ReplicaId)
		}
	}
	var g, lowest uint64 // the node has none of g, whose lowest replica is not the first of all
	for id := range w.raft.leader {
		c := w.copyset(id)
		if least := leastReplica(c); !member(c, 0, n.id) && least > lowest {
			g, lowest = id, least
		}
	}
	if lowest <= 1 {
		t.Fatal("the node is in every copyset, or in all but the first")
	}
	told := func(replica uint64) bool {
		w.beat() // of the leader, before the node's
		n.left = map[uint64]uint64{g: replica}
		w.beat(n)
		return len(n.left) == 0
	}
	for _, c := range []struct {
		what    string
		replica uint64
		want    bool
	}{
		{"a number before all members'", lowest - 1, true},
		{"one that is higher than any", newest + 7, false},
	} {
		if got := told(c.replica); got != c.want {
			t.Errorf("%s: destroyed %v", c.what, got)
		}
	}
	leader := w.raft.leader[g]
	w.raft.leader[g] = 0
	w.raft.term[g]++
	if told(lowest - 1) {
		t.Error("destroyed without a leader's word")
	}
	w.raft.elect(g, leader)
	w.raft.extra = map[uint64]uint64{g: lowest - 1}
	if told(lowest - 1) {
		t.Error("destroyed although the leader counts it")
	}
}

func leastReplica(c *v1.Copyset) uint64 {
	least := c.Replicas[0].ReplicaId
	for _, m := range c.Replicas {
		least = min(least, m.ReplicaId)
	}
	return least
}

func TestOperatorsSayHowFarTheyAre(t *testing.T) {
	w := newWideWorld(t, 4)
	_, err := w.Admin.DrainNode(ctx, &v1.DrainNodeRequest{Name: "n1"})
	w.ok(err)
	seen := map[string]bool{}
	for range 30 {
		w.goOn(1, w.nodes...)
		for _, op := range w.operators().Operators {
			if op.State == "running" && op.Kind == "drain-replica" && w.raft.slow == 0 {
				w.raft.slow = op.ToReplicaId
			}
			seen[op.Progress] = true
			if op.State == "waiting" && op.Reason == "" || op.CopysetId == 0 {
				t.Fatalf("%+v", op)
			}
		}
	}
	var words []string
	for text := range seen {
		words = append(words, text)
	}
	if !strings.Contains(fmt.Sprint(words), "the leader has not taken the new member on") {
		t.Errorf("%q", words)
	}
}
