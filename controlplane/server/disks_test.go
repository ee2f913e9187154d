package server

import (
	"testing"
	"time"

	v1 "github.com/ashlar-storage/ashlar/rpc/admin/kitex_gen/ashlar/v1"
)

// opens registers a node whose store was opened anew with a log that ends there, and gives what it
// is told.
func (w *world) opens(n *fakeNode, life, end uint64) (reached uint64) {
	w.t.Helper()
	s := n.stores[0]
	n.stores = []*v1.StoreIdentity{{Uuid: s.Uuid, Path: s.Path, CapacityBytes: s.CapacityBytes,
		StoreId: s.StoreId, Life: life, LogEnd: end}}
	w.ok(n.register())
	n.life = life
	return n.stores[0].LogEnd
}

// writes has the node report that its log goes so far.
func (w *world) writes(n *fakeNode, end uint64) {
	n.logEnd = end
	w.beat(n)
}

func TestStoreWhoseLogEndsBeforeWhatItReportedIsTold(t *testing.T) {
	w := newWorld(t, 3, nil)
	n := w.nodes[0]
	for _, step := range []struct {
		name      string
		life, end uint64
		reported  uint64 // afterwards; 0: it ends before its first heartbeat
		want      uint64
	}{
		{"the first opening that says so", 1, 100, 900, 0},
		{"a process that registers again", 1, 100, 1000, 0},
		{"with all that it reported", 2, 1000, 1000, 0},
		{"with more", 3, 1500, 2000, 0},
		{"put back", 4, 1999, 0, 2000},
		{"again before it took note", 5, 1999, 1999, 2000},
		{"after it took note", 6, 1999, 3000, 0},
	} {
		if got := w.opens(n, step.life, step.end); got != step.want {
			t.Errorf("%s: told %d, want %d", step.name, got, step.want)
		}
		if step.reported != 0 {
			w.writes(n, step.reported)
		}
		w.tick(2 * time.Second) // what may be written late is
		w.kill()
	}
}

func TestReplicasOfAReplacedDiskAreMadeAnewOnTheOneInItsPlace(t *testing.T) {
	w := newWorld(t, 3, nil)
	const id = 1
	at := w.follower(id)
	old := at.stores[0]
	for g := range w.raft.leader {
		for _, m := range w.copyset(g).Replicas {
			if m.NodeId != at.id {
				w.raft.elect(g, m.ReplicaId)
			}
		}
	}
	at.stores = []*v1.StoreIdentity{{Uuid: "00000000-0000-0000-0000-0000000000ff", Path: old.Path,
		CapacityBytes: old.CapacityBytes}}
	w.ok(at.register())
	w.beat()
	w.wantProblem("the store was replaced by an empty one")
	w.tick(time.Second)
	plan := w.copyset(id)
	if j := plan.Joining; j == nil || j.StoreId != at.stores[0].StoreId || j.NodeId != at.id {
		t.Fatalf("no plan: %+v", plan)
	}
	for range 60 { // copysets take turns
		w.beat()
		w.tick(time.Second)
	}
	for _, m := range w.copyset(id).Replicas {
		if m.StoreId == old.StoreId {
			t.Errorf("replica %d is on the store that is gone", m.ReplicaId)
		}
	}
	w.beat()
	if s := w.status(); s.Health != "ok" {
		t.Errorf("%s: %q", s.Health, s.Problems)
	}
}

func TestAbsentDiskWithoutAnotherInItsPlaceIsWaitedFor(t *testing.T) {
	w := newWorld(t, 3, nil)
	at := w.follower(1)
	at.stores = []*v1.StoreIdentity{{Uuid: "00000000-0000-0000-0000-0000000000ff",
		Path: "/elsewhere", CapacityBytes: 1 << 30}}
	w.ok(at.register())
	w.beat()
	w.tick(time.Second)
	w.beat()
	if plan := w.copyset(1); plan.Joining != nil {
		t.Errorf("planned all the same: %+v", plan.Joining)
	}
}

func TestSlowDiskLosesItsLeadersAndIsNamed(t *testing.T) {
	w := newWorld(t, 3, nil)
	at := w.nodes[w.nodeOf(1, w.raft.leader[1])-1] // leads something, wherever replicas were put
	for _, n := range w.nodes {
		n.logWrite = time.Millisecond
		if n.id == w.nodeOf(1, w.raft.leader[1]) {
			at = n
		}
	}
	at.logWrite = 50 * time.Millisecond
	leads := func() (n int) {
		for g, r := range w.raft.leader {
			if w.nodeOf(g, r) == at.id {
				n++
			}
		}
		return n
	}
	w.tick(10 * time.Second) // of the cool-down
	for range 3 {
		w.beat()
		w.tick(time.Second)
	}
	w.beat()
	w.beat() // nodes that reported before the last transfer tell of it
	if n := leads(); n != 0 {
		t.Errorf("it leads %d copysets", n)
	}
	w.wantProblem("is slow: a write of its log takes 50ms")
	if s := w.status(); s.Health != "ok" {
		t.Errorf("%s: %q", s.Health, s.Problems)
	}
}
