package server

import (
	"strings"
	"testing"

	"github.com/ashlar-storage/ashlar/rpc/admin"
	v1 "github.com/ashlar-storage/ashlar/rpc/admin/kitex_gen/ashlar/v1"
)

// feature is what the status says of one.
func (w *world) feature(bit uint64) *v1.Feature {
	w.t.Helper()
	for _, f := range w.status().Features {
		if f.Bit == bit {
			return f
		}
	}
	w.t.Fatalf("no feature %d", bit)
	return nil
}

// program starts a node anew with a program of another release.
func (w *world) program(n *fakeNode, version string, lacks uint64) {
	w.t.Helper()
	n.program, n.lacks, n.told = version, lacks, admin.Told{}
	n.full = lacks&admin.FeaturePartial != 0
	w.ok(n.register())
	w.beat()
	w.beat()
}

func (w *world) takesPartial() (list []bool) {
	for _, n := range w.nodes {
		list = append(list, n.last.TakesPartial)
	}
	return list
}

func TestAFeatureIsOnOnceAllNodesHaveItAndOffWithTheFirstThatIsPutBack(t *testing.T) {
	w := newWorld(t, 3, nil)
	for _, n := range w.nodes {
		w.program(n, "v1", admin.Features)
	}
	for i, n := range w.nodes {
		f := w.feature(admin.FeaturePartial)
		if f.On || len(f.Lacking) != 3-i || f.Lacking[0] != n.name+" (v1)" {
			t.Errorf("with %d new nodes: %+v", i, f)
		}
		w.wantProblem("feature partial-heartbeats (heartbeats tell what changed, and not all) is " +
			"off: nodes " + strings.Join(f.Lacking, ", ") + " do not have it; start them with " +
			"version test")
		w.program(n, "v2", 0)
		// What concerns one node alone it has at once.
		for j, partial := range w.takesPartial() {
			if partial != (j <= i) {
				t.Errorf("with %d new nodes, node %d: partial %v", i+1, j+1, partial)
			}
		}
	}
	if f := w.feature(admin.FeaturePartial); !f.On || len(f.Lacking) != 0 {
		t.Errorf("with new nodes only: %+v", f)
	}
	if s := w.status(); s.Health != "ok" || len(s.Problems) != 0 {
		t.Errorf("%s: %q", s.Health, s.Problems)
	}
	w.program(w.nodes[1], "v1", admin.Features)
	if f := w.feature(admin.FeaturePartial); f.On || len(f.Lacking) != 1 ||
		f.Lacking[0] != "n2 (v1)" {
		t.Errorf("with one put back: %+v", f)
	}
	if s := w.status(); s.Health != "ok" { // it is no problem, and said as a note
		t.Errorf("%s: %q", s.Health, s.Problems)
	}
}

func TestANodeThatIsOfflineHoldsAFeatureBackWhileSomethingLiesOnIt(t *testing.T) {
	w := newWideWorld(t, 4)
	old := w.nodes[3]
	w.program(old, "v1", admin.Features)
	w.goOn(10, w.nodes[:3]...)
	if f := w.feature(admin.FeaturePartial); f.On {
		t.Error("it may be back at any time")
	}
	w.goOn(170, w.nodes[:3]...) // it is lost after 60 s
	if got := w.on(old); got != 0 {
		t.Fatalf("it still holds %d", got)
	}
	if f := w.feature(admin.FeaturePartial); !f.On {
		t.Errorf("nothing lies on it: %+v", f)
	}
}

// The node registered with a control plane that did not know of features.
func TestHeartbeatsTellANewControlPlaneWhatNodesHave(t *testing.T) {
	w := newWorld(t, 3, nil)
	c := w.srv.cluster()
	c.mu.Lock()
	for _, n := range c.nodes {
		rec := *n.rec
		rec.Features, rec.Version = 0, ""
		n.rec = &rec
	}
	c.weighFeatures(w.clock.now())
	c.mu.Unlock()
	if w.feature(admin.FeaturePartial).On {
		t.Fatal("on, though nobody has it")
	}
	for _, n := range w.nodes {
		n.program, n.told = "v2", admin.Told{}
	}
	w.beat()
	if f := w.feature(admin.FeaturePartial); !f.On {
		t.Errorf("%+v", f)
	}
	r, err := w.Admin.ListNodes(ctx, &v1.ListNodesRequest{})
	w.ok(err)
	for _, n := range r.Nodes {
		if n.Version != "v2" || n.Features != admin.Features {
			t.Errorf("%+v", n)
		}
	}
}

func TestANodeOfALevelThatIsNotUnderstoodIsToldTheVersionsAndTheFix(t *testing.T) {
	w := newWorld(t, 3, func(c *Config) { c.OldestNode = 1 })
	n := newNode(w.rig, 9)
	n.program, n.oldest = "v9", admin.Level+3
	has(t, n.register(), admin.ErrInvalid, `node n9 is of version "v9", level 1; this control `+
		`plane is of version "test", level 1, and the node needs level 4 at least: upgrade the `+
		`control planes first`)
	n.oldest = admin.Level
	w.ok(n.register())

	old := newNode(newRig(t, func(c *Config) { c.OldestNode = 3 }), 1)
	old.program, old.level = "v1", 2
	has(t, old.register(), admin.ErrInvalid, `node n1 is of version "v1", level 2; this control `+
		`plane is of version "test", level 1, and takes nodes from level 3 on: start the node `+
		`with a newer release`)
	old.level = 3
	w.ok(old.register())
}
