package server

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/ashlar-storage/ashlar/controlplane/meta"
	"github.com/ashlar-storage/ashlar/rpc/admin"
	v1 "github.com/ashlar-storage/ashlar/rpc/admin/kitex_gen/ashlar/v1"
)

// eraseNow deletes volumes for good.
func (w *world) eraseNow(names ...string) {
	w.t.Helper()
	for _, name := range names {
		_, err := w.Admin.DeleteVolume(ctx, &v1.DeleteVolumeRequest{Name: name, Now: true})
		w.ok(err)
	}
	for _, n := range w.nodes {
		n.dropped = true
	}
	w.beat()
	w.beat()
	w.tick(time.Millisecond)
	w.beat()
}

// erased is what a node was told of last.
func (n *fakeNode) erased() (list [][2]uint64) {
	for _, r := range n.last.ErasedVolumes {
		list = append(list, [2]uint64{r.First, r.Last})
	}
	return list
}

func TestNodesAreToldOfRunsOfVolumesThatAreGone(t *testing.T) {
	w := newWorld(t, 3, nil)
	var ids []uint64
	for i := range 6 {
		if i == 3 {
			w.ok(w.mkdir("dir"))
			continue
		}
		ids = append(ids, w.create(fmt.Sprint("v", i), 1<<20).VolumeId)
	}
	first := ids[0]
	if ids[4] != first+5 {
		t.Fatalf("volumes have the numbers %d", ids)
	}
	wants := func(when string, want ...[2]uint64) {
		t.Helper()
		for _, n := range w.nodes {
			if got := n.erased(); !slices.Equal(got, want) {
				t.Errorf("%s: node %s is told %v, want %v", when, n.name, got, want)
			}
		}
	}
	w.eraseNow("v1", "v2")
	wants("no node asks")
	for _, n := range w.nodes {
		n.wants = true
	}
	w.beat()
	wants("two are gone", [2]uint64{first + 1, first + 2})
	w.eraseNow("v4")
	wants("two and another", [2]uint64{first + 1, first + 2})
	w.ok(w.rmdir("dir"))
	w.beat()
	wants("what parted them is gone", [2]uint64{first + 1, first + 4})
	w.restart()
	for _, n := range w.nodes {
		w.ok(n.register())
	}
	w.beat()
	wants("after a restart", [2]uint64{first + 1, first + 4})
	w.program(w.nodes[1], "v1", admin.FeatureErased)
	wants("with a node that does not know runs")
	w.program(w.nodes[1], "v2", 0)
	w.eraseNow("v0", "v5")
	wants("all are gone", [2]uint64{first, first + 5})
	_ = w.kv().View(ctx, func(r meta.Reader) error {
		if all, err := meta.Erased.All(r); err != nil || len(all) != 1 {
			t.Errorf("%d runs are written down: %v", len(all), err)
		}
		return nil
	})
}

// Whatever goes in whatever order, memory and metadata have the same runs, and each id once.
func TestRunsThatAreWrittenDownAreThoseInMemory(t *testing.T) {
	w := newWorld(t, 3, nil)
	c := w.srv.cluster()
	c.mu.Lock()
	defer c.mu.Unlock()
	rng, gone := rand.New(rand.NewPCG(5, 6)), map[uint64]bool{}
	for range 150 {
		id := 2 + rng.Uint64N(200)
		if gone[id] {
			continue
		}
		gone[id] = true
		w.ok(c.update(func(tx meta.Tx) error { return c.erase(tx, id) }))
		c.tookErased(id)
	}
	again := &cluster{}
	w.ok(c.kv.View(ctx, again.loadErased))
	count := 0
	for i, r := range c.erased {
		if *again.erased[i] != *r || i > 0 && c.erased[i-1].Last+1 >= r.First {
			t.Fatalf("run %d: %+v, written down %+v", i, r, again.erased[i])
		}
		for id := r.First; id <= r.Last; id++ {
			if !gone[id] {
				t.Fatalf("%d is in %+v", id, r)
			}
			count++
		}
	}
	if count != len(gone) || len(again.erased) != len(c.erased) {
		t.Errorf("%d ids in %d runs, %d written down; want %d", count, len(c.erased),
			len(again.erased), len(gone))
	}
}

func TestANodeIsToldOfEveryRunInTurn(t *testing.T) {
	c := &cluster{common: admin.Features}
	want := map[uint64]bool{}
	for i := range uint64(3*maxErased + 7) {
		r := &v1.VolumeRun{First: 10*i + 1, Last: 10*i + 1 + i%3}
		c.erased = append(c.erased, r)
		if r.First < r.Last {
			want[r.First] = true
		}
	}
	n := &node{}
	for range 4 {
		told := c.erasedFor(n)
		if len(told) > maxErased {
			t.Errorf("told of %d at once", len(told))
		}
		for _, r := range told {
			delete(want, r.First)
		}
	}
	if len(want) != 0 {
		t.Errorf("never told of %d runs", len(want))
	}
}

// Somebody who does not know that the volume is gone may write to copysets that had nothing of it.
func TestChunksOfVolumesThatAreGoneAreDropped(t *testing.T) {
	w := newWorld(t, 3, nil)
	ids := []uint64{w.create("v0", 1<<20).VolumeId, w.create("v1", 1<<20).VolumeId}
	w.create("v2", 1<<20)
	n := w.nodes[0]
	n.space = spaceOf(1, ids[0], 2, true)
	w.beat()
	w.eraseNow("v1")
	wants := func(when string, want ...uint64) {
		t.Helper()
		w.beat()
		w.beat()
		for _, other := range w.nodes[1:] {
			if len(other.deletes) != 0 {
				t.Errorf("%s: node %s is to drop %v", when, other.name, other.deletes)
			}
		}
		if !slices.Equal(n.deletes, want) {
			t.Errorf("%s: the node is to drop %v, want %v", when, n.deletes, want)
		}
	}
	wants("nothing is left")
	n.space = spaceOf(2, ids[1], 1, true)
	wants("a chunk came after the end", ids[1])
	n.space = spaceOf(3, ids[0], 2, true)
	wants("it was dropped")
	w.eraseNow("v0") // the list of before is the last that there is
	wants("chunks came before the end, unasked", ids[0])
	w.restart()
	for _, n := range w.nodes {
		w.ok(n.register())
	}
	n.space = spaceOf(4, ids[1], 1, true)
	wants("a chunk came after a restart", ids[1])
	n.state = stateFailed
	wants("the store has failed")
}

func TestRunsInAnyOrderAreJoined(t *testing.T) {
	run := func(first, last uint64) *v1.VolumeRun { return &v1.VolumeRun{First: first, Last: last} }
	got := joined([]*v1.VolumeRun{run(10, 12), run(1, 3), run(4, 4), run(11, 20), run(22, 22),
		run(100, math.MaxUint64), run(200, 300)})
	want := []*v1.VolumeRun{run(1, 4), run(10, 20), run(22, 22), run(100, math.MaxUint64)}
	if !slices.EqualFunc(got, want, func(a, b *v1.VolumeRun) bool {
		return a.First == b.First && a.Last == b.Last
	}) {
		t.Errorf("%v, want %v", got, want)
	}
	for _, id := range []uint64{1, 4, 10, 20, 22, 100, 1000, math.MaxUint64} {
		if !got.has(id) {
			t.Errorf("%d is in none", id)
		}
	}
	for _, id := range []uint64{0, 5, 9, 21, 23, 99} {
		if got.has(id) {
			t.Errorf("%d is in one", id)
		}
	}
	for _, id := range []uint64{150, math.MaxUint64} {
		r, within := got.around(id)
		if r.First != 100 || r.Last != math.MaxUint64 || len(within) != 1 {
			t.Errorf("%d makes the run %v of %v", id, r, within)
		}
	}
}
