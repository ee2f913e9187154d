package server

import (
	"testing"
	"time"

	"github.com/ashlar-storage/ashlar/rpc/admin"
)

// A machine was copied with its disk, or a node that was cut off from the control plane alone was
// started elsewhere: two processes have the same replicas, and would vote twice.
func TestOfTwoProcessesWithTheSameStoresTheOneBeforeIsEnded(t *testing.T) {
	w := newWorld(t, 3, nil)
	first := w.nodes[1]
	second := *first
	second.addr, second.told = "127.0.0.1:7777", admin.Told{}
	w.ok(second.register())
	w.ok(second.beat(w.raft))
	has(t, first.beat(w.raft), admin.ErrForeign, "node n2 was started after this process, with "+
		"the same stores, as process 1 at 127.0.0.1:7777; this one must end")
	// Another control plane knows it too, whoever speaks first.
	w.restart()
	second.told = admin.Told{}
	has(t, first.beat(w.raft), admin.ErrForeign, "this one must end")
	w.ok(second.beat(w.raft))
	w.nodes[1] = &second
	w.beat()
	w.tick(time.Second)
	w.beat()
	if s := w.status(); s.Health != "ok" {
		t.Errorf("%s: %q", s.Health, s.Problems)
	}
}

// Metadata from a backup know processes of its time, none of which may be left.
func TestAControlPlaneThatDoesNotKnowWhoCameLastTakesTheFirst(t *testing.T) {
	w := newWorld(t, 3, nil)
	first := w.nodes[1]
	second := *first
	second.process++
	c := w.srv.cluster()
	c.mu.Lock()
	c.nodes[first.id].process = 0
	c.mu.Unlock()
	w.ok(second.beat(w.raft))
	has(t, first.beat(w.raft), admin.ErrForeign, "this one must end")
	// A registration of the one before was long under way, and comes last.
	c.mu.Lock()
	c.nodes[first.id].process = first.process
	c.mu.Unlock()
	has(t, second.beat(w.raft), admin.ErrNotFound, "register again")
	w.ok(second.register())
	w.ok(second.beat(w.raft))
	old := w.nodes[2]
	old.process = 0 // of a release that draws no number
	w.ok(old.beat(w.raft))
}
