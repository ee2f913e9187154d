package server

import (
	"slices"
	"strings"
	"testing"
	"time"

	v1 "github.com/ashlar-storage/ashlar/rpc/admin/kitex_gen/ashlar/v1"
)

func (w *world) copyset(id uint64) *v1.Copyset {
	w.t.Helper()
	resp, err := w.Admin.GetCopyset(ctx, &v1.GetCopysetRequest{CopysetId: id})
	w.ok(err)
	return resp.Status.Copyset
}

// nodeOf is the node of a replica.
func (w *world) nodeOf(id, replica uint64) uint64 {
	for _, m := range w.copyset(id).Replicas {
		if m.ReplicaId == replica {
			return m.NodeId
		}
	}
	return 0
}

// lose has the store of a node's replica report it lost, and says which it was.
func (w *world) lose(n *fakeNode, id uint64) uint64 {
	for _, m := range w.copyset(id).Replicas {
		if m.NodeId == n.id {
			n.lost = map[uint64]uint64{id: m.ReplicaId}
			return m.ReplicaId
		}
	}
	w.t.Fatalf("node %s has no replica of copyset %d", n.name, id)
	return 0
}

// follower is a node whose replica of a copyset does not lead.
func (w *world) follower(id uint64) *fakeNode {
	for _, m := range w.copyset(id).Replicas {
		for _, n := range w.nodes {
			if n.id == m.NodeId && w.raft.leader[id] != m.ReplicaId {
				return n
			}
		}
	}
	w.t.Fatal("every replica leads")
	return nil
}

func (w *world) wantProblem(part string) {
	w.t.Helper()
	if got := w.status().Problems; !slices.ContainsFunc(got, func(p string) bool {
		return strings.Contains(p, part)
	}) {
		w.t.Errorf("no problem says %q: %q", part, got)
	}
}

func TestDamagedReplicaIsReplacedByANewMember(t *testing.T) {
	w := newWorld(t, 3, nil)
	const id = 1
	before := w.copyset(id)
	at := w.follower(id)
	lost := w.lose(at, id)
	w.beat()
	w.wantProblem("is damaged: frame lost")
	w.tick(time.Second)
	w.beat()
	w.tick(time.Second)
	plan := w.copyset(id)
	j := plan.Joining
	if j == nil || plan.LeavingReplicaId != lost || j.NodeId != at.id ||
		plan.Epoch != before.Epoch+1 {
		t.Fatalf("no plan: %+v", plan)
	}
	for _, m := range before.Replicas {
		if j.ReplicaId <= m.ReplicaId {
			t.Fatalf("the new member is number %d, there is a %d", j.ReplicaId, m.ReplicaId)
		}
	}
	if slices.Contains(plan.FoundingReplicaIds, j.ReplicaId) || len(plan.FoundingReplicaIds) != 3 {
		t.Errorf("founders %v", plan.FoundingReplicaIds)
	}
	w.raft.slow = j.ReplicaId // a learner still
	w.beat()
	w.restart() // the plan is in the metadata
	for _, n := range w.nodes {
		w.ok(n.register())
	}
	w.beat()
	w.tick(time.Second)
	w.beat()
	w.wantProblem("is being rebuilt as replica")
	w.raft.slow = 0
	w.beat()
	w.beat()
	w.tick(time.Second)
	w.beat()
	after := w.copyset(id)
	var ids []uint64
	for _, m := range after.Replicas {
		ids = append(ids, m.ReplicaId)
	}
	if after.Joining != nil || after.LeavingReplicaId != 0 || slices.Contains(ids, lost) ||
		!slices.Contains(ids, j.ReplicaId) || after.Epoch != plan.Epoch+1 {
		t.Fatalf("after the change: %+v", after)
	}
	w.beat()
	if s := w.status(); s.Health != "ok" {
		t.Errorf("%s: %q", s.Health, s.Problems)
	}
}

// TestMembersOfACopysetWithoutALeaderAreRoused: one that rests does not look for a leader.
func TestMembersOfACopysetWithoutALeaderAreRoused(t *testing.T) {
	w := newWorld(t, 3, nil)
	const id = 1
	w.beat()
	w.beat()
	n := w.follower(id)
	if got := n.last.Rouse; len(got) != 0 {
		t.Errorf("roused %v, and every copyset has a leader", got)
	}
	w.raft.leader[id] = 0
	w.beat()
	w.beat()
	for _, n := range w.nodes {
		if got := n.last.Rouse; !slices.Equal(got, []uint64{id}) {
			t.Errorf("%s: roused %v, want copyset %d, which nobody leads", n.name, got, id)
		}
	}
}

func TestReplicaIsNotReplacedWithoutAMajorityOfTheOthers(t *testing.T) {
	w := newWorld(t, 3, nil)
	const id = 1
	at := w.follower(id)
	w.lose(at, id)
	w.beat()
	w.clock.pass(10 * time.Second) // one that is neither falls silent
	for _, n := range w.nodes {
		if n != at && n.id == w.nodeOf(id, w.raft.leader[id]) {
			w.beat(n, at)
		}
	}
	w.tick(time.Millisecond)
	w.wantProblem("cannot be rebuilt until a majority")
	if plan := w.copyset(id); plan.Joining != nil {
		t.Errorf("planned all the same: %+v", plan.Joining)
	}
}

func TestMembersAreRememberedAsRecorded(t *testing.T) {
	w := newWorld(t, 3, nil)
	w.beat()
	w.tick(time.Second)
	w.kill()
	for _, n := range w.nodes {
		w.ok(n.register())
	}
	for _, m := range w.copyset(1).Replicas {
		if !m.Recorded {
			t.Errorf("replica %d is not known to exist", m.ReplicaId)
		}
	}
}
