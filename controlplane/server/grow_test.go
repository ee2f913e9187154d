package server

import (
	"testing"

	"github.com/ashlar-storage/ashlar/rpc/admin"
	v1 "github.com/ashlar-storage/ashlar/rpc/admin/kitex_gen/ashlar/v1"
)

// grow has the pool grow and waits until the new copysets are there; it returns how many it has.
func (r *reality) grow(to uint64) uint64 {
	r.t.Helper()
	resp, err := r.Admin.GrowPool(ctx, &v1.GrowPoolRequest{Copysets: to})
	r.ok(err)
	r.pass(3)
	r.converge()
	if got := r.status(); got.Copysets != resp.Copysets || got.CopysetsFull != got.Copysets {
		r.t.Errorf("%d copysets, %d full, want %d", got.Copysets, got.CopysetsFull, resp.Copysets)
	}
	return resp.Copysets
}

// copysetsOf are those that the segments of a volume have.
func (r *reality) copysetsOf(name string) map[uint64]bool {
	r.t.Helper()
	resp, err := r.Admin.GetVolume(ctx, &v1.GetVolumeRequest{Name: name})
	r.ok(err)
	ids := map[uint64]bool{}
	for _, s := range resp.Segments {
		for _, id := range s.CopysetIds {
			ids[id] = true
		}
	}
	return ids
}

func TestPoolGrowsOntoNodesThatCame(t *testing.T) {
	r := newReality(t, 3)
	r.create("old", 64<<30)
	for range 3 {
		r.addNode()
	}
	before := r.copysetsOf("old")
	if n := r.grow(0); n != 12 {
		t.Fatalf("%d copysets on 6 stores", n)
	}
	on := map[uint64]int{}
	for id, stores := range r.places() {
		if len(stores) != 3 || stores[0] == stores[1] || stores[1] == stores[2] ||
			stores[0] == stores[2] {
			t.Errorf("copyset %d lies on %v", id, stores)
		}
		for _, s := range stores {
			on[s]++
		}
	}
	for _, n := range r.nodes {
		if k := on[n.stores[0].StoreId]; k != 6 {
			t.Errorf("node %s is in %d copysets of 12, want 6", n.name, k)
		}
	}
	r.create("new", 64<<30)
	if n := len(r.copysetsOf("new")); n != 12 {
		t.Errorf("a new volume lies on %d copysets of 12", n)
	}
	if after := r.copysetsOf("old"); len(after) != len(before) || len(after) != 6 {
		t.Errorf("a volume of before lay on %d copysets and lies on %d", len(before), len(after))
	}
	r.restart()
	r.pass(2)
	if n := r.grow(0); n != 12 { // there are enough
		t.Errorf("%d copysets", n)
	}
	if n := r.grow(13); n != 13 {
		t.Errorf("%d copysets", n)
	}
}

func TestGrowthThatCannotBeIsRefused(t *testing.T) {
	r := newReality(t, 3)
	for _, c := range []struct {
		req   v1.GrowPoolRequest
		class error
		text  string
	}{
		{v1.GrowPoolRequest{Copysets: 6}, admin.ErrInvalid, "copysets: 6, the pool has 6 already"},
		{v1.GrowPoolRequest{Copysets: 3}, admin.ErrInvalid, "none is ever taken away"},
		{v1.GrowPoolRequest{Copysets: maxCopysets + 1}, admin.ErrInvalid, "at most 65536"},
		{v1.GrowPoolRequest{PoolId: 2}, admin.ErrNotFound, "pool 2 does not exist"},
	} {
		_, err := r.Admin.GrowPool(ctx, &c.req)
		has(t, err, c.class, c.text)
	}
	r.alive[r.nodes[0]] = false
	r.pass(20)
	_, err := r.Admin.GrowPool(ctx, &v1.GrowPoolRequest{Copysets: 7})
	has(t, err, admin.ErrUnavailable, "the 2 stores lie in 2")
	r.alive[r.nodes[0]] = true
	r.pass(5)
	r.grow(7)
	none := newRig(t, nil)
	_, err = none.Admin.GrowPool(ctx, &v1.GrowPoolRequest{})
	has(t, err, admin.ErrUnavailable, "no copysets yet: waiting for 3 nodes")
}

// A backup from before the growth does not know the copysets that came. They are taken up, and what
// comes after the restore has numbers and epochs that nobody had.
func TestPoolGrowsBeforeAndAfterARestore(t *testing.T) {
	r := newReality(t, 4)
	path := r.save()
	if n := r.grow(8); n != 8 {
		t.Fatalf("%d copysets", n)
	}
	r.restore(path)
	_, err := r.Admin.GrowPool(ctx, &v1.GrowPoolRequest{Copysets: 20})
	has(t, err, admin.ErrBusy, "not confirmed yet")
	r.converge()
	r.grow(10)
	r.restart()
	r.pass(2)
	r.grow(11)
	r.restore("")
	r.converge()
	r.grow(13)
	if missing := gaps(r.srv.cluster().order); len(missing) > 0 {
		t.Errorf("copysets %v are missing", missing)
	}
}
