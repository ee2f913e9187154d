package server

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/ashlar-storage/ashlar/controlplane/schedule"
	"github.com/ashlar-storage/ashlar/rpc/admin"
	v1 "github.com/ashlar-storage/ashlar/rpc/admin/kitex_gen/ashlar/v1"
)

// moving drains the first of four nodes, and returns an operator that moves a replica off it and
// whose new member has not caught up.
func (w *world) moving() *v1.Operator {
	w.t.Helper()
	w.pause(schedule.BalanceReplica, true, "")
	_, err := w.Admin.DrainNode(ctx, &v1.DrainNodeRequest{Name: "n1"})
	w.ok(err)
	for range 30 {
		w.beat()
		w.tick(time.Second)
		for _, op := range w.operators().Operators {
			if op.Kind == "drain-replica" && op.State == "running" {
				w.raft.learner = op.ToReplicaId
				w.beat()
				return op
			}
		}
	}
	w.t.Fatal("nothing moves")
	return nil
}

func (w *world) cancel(copyset uint64, kind string) (*v1.Operator, error) {
	r, err := w.Admin.CancelOperator(ctx, &v1.CancelOperatorRequest{CopysetId: copyset, Kind: kind})
	return r.GetOperator(), err
}

func (w *world) eventKinds() (kinds string) {
	w.t.Helper()
	w.tick(time.Second)
	r, err := w.Admin.ListEvents(ctx, &v1.ListEventsRequest{})
	w.ok(err)
	for _, e := range r.Events {
		kinds += e.Kind + " "
	}
	return kinds
}

func TestACancelledMoveIsUndoneAndNotBegunAgainForAWhile(t *testing.T) {
	w := newWideWorld(t, 4)
	op := w.moving()
	before := w.copyset(op.CopysetId)
	got, err := w.cancel(op.CopysetId, "")
	w.ok(err)
	if got.State != "cancelling" || got.ToReplicaId != op.ToReplicaId {
		t.Errorf("%+v", got)
	}
	if again, err := w.cancel(op.CopysetId, "drain-replica"); err != nil ||
		again.State != "cancelling" {
		t.Errorf("cancelled twice: %+v, %v", again, err)
	}
	w.restart() // another control plane goes on with it
	for _, n := range w.nodes {
		n.told = admin.Told{}
	}
	w.goOn(5, w.nodes...)
	g := w.copyset(op.CopysetId)
	if g.Joining != nil || g.LeavingReplicaId != 0 || g.Epoch != before.Epoch+3 {
		t.Fatalf("%+v", g)
	}
	for i, m := range g.Replicas {
		if m.ReplicaId != before.Replicas[i].ReplicaId {
			t.Errorf("member %d is %d, was %d", i, m.ReplicaId, before.Replicas[i].ReplicaId)
		}
	}
	for _, n := range w.nodes {
		if n.left[op.CopysetId] != 0 {
			t.Errorf("%s was not told to destroy replica %d", n.name, n.left[op.CopysetId])
		}
	}
	if kinds := w.eventKinds(); !strings.Contains(kinds, "operator-cancelled") ||
		!strings.Contains(kinds, "replacement-undone") {
		t.Error(kinds)
	}
	w.goOn(300, w.nodes...)
	if g := w.copyset(op.CopysetId); g.Epoch != before.Epoch+3 {
		t.Errorf("it moved again: %+v", g)
	}
	w.wantWaiting(op.CopysetId, "it was cancelled, and may begin again in ")
	w.goOn(400, w.nodes...)
	if got := w.on(w.nodes[0]); got != 0 {
		t.Errorf("%d replicas are left ten minutes later: %v", got, w.operators())
	}
}

func (w *world) wantWaiting(copyset uint64, text string) {
	w.t.Helper()
	for _, op := range w.operators().Operators {
		if op.CopysetId == copyset && op.State == "waiting" && strings.Contains(op.Reason, text) {
			return
		}
	}
	w.t.Errorf("copyset %d does not say %q: %+v", copyset, text, w.operators())
}

// Until all who may lead next have heard of it, the new member stays on record: one of them could
// take it on.
func TestACancelledMoveEndsWhenAllMembersHaveHeardOfIt(t *testing.T) {
	w := newWideWorld(t, 4)
	op := w.moving()
	w.raft.stubborn = true
	_, err := w.cancel(op.CopysetId, "")
	w.ok(err)
	g := w.copyset(op.CopysetId)
	var others []*fakeNode
	var deaf *fakeNode
	for _, n := range w.nodes {
		if deaf == nil && n.id != w.nodeOfLeader(g) && w.holds(g, n) &&
			n.id != g.Joining.NodeId {
			deaf = n
			continue
		}
		others = append(others, n)
	}
	wants := func(progress string) {
		t.Helper()
		if g := w.copyset(op.CopysetId); g.Joining == nil {
			t.Fatalf("it is forgotten already: %s", progress)
		}
		if op := w.operatorOn(op.CopysetId); op.State != "cancelling" || op.Progress != progress {
			t.Errorf("%+v, want %q", op, progress)
		}
	}
	hear := func(nodes []*fakeNode) {
		t.Helper()
		for range 3 {
			w.beat(nodes...)
			w.tick(300 * time.Millisecond)
		}
	}
	hear(others)
	wants("the leader removes the new member")
	w.raft.stubborn = false
	hear(others)
	wants("waits until the nodes of all members have heard of it: " + deaf.name)
	w.raft.stubborn = true
	hear(w.nodes)
	wants("the leader removes the new member")
	w.raft.stubborn = false
	hear(w.nodes)
	if g := w.copyset(op.CopysetId); g.Joining != nil {
		t.Errorf("it does not end: %+v", w.operators())
	}
}

// An earlier newcomer had the place already, as a voter, and was lost before anybody heard of it:
// without a further one the copyset would be short of a member for good.
func TestWhereAnEarlierNewcomerHadThePlaceAnotherComes(t *testing.T) {
	w := newWideWorld(t, 4)
	op := w.moving()
	_, err := w.cancel(op.CopysetId, "")
	w.ok(err)
	w.raft.instead = op.FromReplicaId
	w.goOn(15, w.nodes...)
	g := w.copyset(op.CopysetId)
	if g.Joining == nil && member(g, op.FromReplicaId, 0) || member(g, op.ToReplicaId, 0) {
		t.Errorf("%+v", g)
	}
	if kinds := w.eventKinds(); !strings.Contains(kinds, "replacement-undone") {
		t.Error(kinds)
	}
}

func (w *world) operatorOn(copyset uint64) *v1.Operator {
	w.t.Helper()
	for _, op := range w.operators().Operators {
		if op.CopysetId == copyset {
			return op
		}
	}
	w.t.Fatalf("copyset %d has no operator", copyset)
	return nil
}

func (w *world) nodeOfLeader(g *v1.Copyset) uint64 {
	return w.nodeOf(g.CopysetId, w.raft.leader[g.CopysetId])
}

func (w *world) holds(g *v1.Copyset, n *fakeNode) bool { return member(g, 0, n.id) }

func TestAMoveWhoseNewMemberVotesCannotBeCancelled(t *testing.T) {
	w := newWideWorld(t, 4)
	op := w.moving()
	w.raft.learner = 0
	w.beat()
	_, err := w.cancel(op.CopysetId, "")
	has(t, err, admin.ErrBusy, "cannot be cancelled any more: its new member")
	w.goOn(2, w.nodes...)
	if g := w.copyset(op.CopysetId); g.Joining != nil || !member(g, op.ToReplicaId, 0) {
		t.Errorf("%+v", g)
	}
}

// The leader was faster than the word.
func TestAMoveThatIsCancelledTooLateIsDone(t *testing.T) {
	w := newWideWorld(t, 4)
	op := w.moving()
	_, err := w.cancel(op.CopysetId, "")
	w.ok(err)
	w.raft.learner = 0
	w.goOn(3, w.nodes...)
	if g := w.copyset(op.CopysetId); g.Joining != nil || !member(g, op.ToReplicaId, 0) {
		t.Errorf("%+v", g)
	}
	w.tick(time.Second)
	r, err := w.Admin.ListEvents(ctx, &v1.ListEventsRequest{})
	w.ok(err)
	late := false
	for _, e := range r.Events {
		late = late || e.Kind == "replacement-done" && strings.Contains(e.Text, "too late")
	}
	if !late {
		t.Error("nothing says that it was too late")
	}
}

func TestOnlyNodesThatKnowHowAreAskedToCallAMoveBack(t *testing.T) {
	w := newWideWorld(t, 4)
	op := w.moving()
	for _, n := range w.nodes {
		n.program, n.lacks = "v1", admin.FeatureCancel
	}
	w.beat()
	_, err := w.cancel(op.CopysetId, "")
	has(t, err, admin.ErrBusy, "do not know how; start them with version test")
}

func TestWhatHasNotBegunIsCancelledByNotBeginning(t *testing.T) {
	w := newWideWorld(t, 4)
	_, err := w.cancel(1, "")
	has(t, err, admin.ErrNotFound, "nothing of copyset 1 moves")
	_, err = w.cancel(1, "balance-replica")
	has(t, err, admin.ErrNotFound, "no balance-replica")
	_, err = w.cancel(1, "gravity")
	has(t, err, admin.ErrInvalid, "gravity")
	_, err = w.cancel(999, "")
	has(t, err, admin.ErrNotFound, "copyset 999")

	// A leader that shall move, and has not been told.
	g := w.copyset(1)
	at := g.Replicas[0]
	_, err = w.Admin.DrainStore(ctx, &v1.DrainStoreRequest{StoreId: at.StoreId})
	w.ok(err)
	w.raft.elect(1, at.ReplicaId)
	var op *v1.Operator
	for err = admin.ErrNotFound; errors.Is(err, admin.ErrNotFound); {
		w.beat()
		w.tick(time.Second)
		op, err = w.cancel(1, "transfer-leader")
	}
	w.ok(err)
	if op.State != "cancelled" {
		t.Errorf("%+v", op)
	}
	for range 20 {
		w.beat()
		w.tick(time.Second)
	}
	if w.raft.leader[1] != at.ReplicaId {
		t.Error("the leader moved all the same")
	}
	// The replica waits for that, and is told not to.
	w.wantWaiting(1, "it leads")
	op, err = w.cancel(1, "")
	w.ok(err)
	if op.State != "cancelled" || op.Kind != "drain-replica" {
		t.Errorf("%+v", op)
	}
	// That one is held does not let the other begin.
	for range 20 {
		w.beat()
		w.tick(time.Second)
	}
	if w.raft.leader[1] != at.ReplicaId {
		t.Error("the leader moved as another operator was cancelled")
	}
	if g := w.copyset(1); len(holdsOf(g)) != 2 || g.Joining != nil {
		t.Errorf("%+v", g)
	}
}
