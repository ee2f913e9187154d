package server

import (
	"fmt"
	"testing"

	"github.com/ashlar-storage/ashlar/rpc/admin"
	v1 "github.com/ashlar-storage/ashlar/rpc/admin/kitex_gen/ashlar/v1"
)

// uneven is three nodes with a small and a large store each, and their copysets.
func uneven(t *testing.T, copysets int) *world {
	t.Helper()
	w := &world{rig: newRig(t, func(c *Config) { c.Copysets = copysets }),
		raft: &raft{leader: map[uint64]uint64{}, term: map[uint64]uint64{}}}
	for i := range 3 {
		n := newNode(w.rig, i+1)
		n.stores = append(n.stores, &v1.StoreIdentity{
			Uuid: fmt.Sprintf("00000000-0000-0000-0000-1%011d", i), Path: fmt.Sprint("/large", i),
			CapacityBytes: 3 * n.stores[0].CapacityBytes,
		})
		w.nodes = append(w.nodes, n)
		w.ok(n.register())
	}
	w.beat()
	return w
}

func TestStoreOfThreeTimesTheCapacityIsInThreeTimesTheCopysets(t *testing.T) {
	w := uneven(t, 40)
	members := map[uint64]int{}
	for _, stores := range w.places() {
		for _, id := range stores {
			members[id]++
		}
	}
	for _, n := range w.nodes {
		small, large := members[n.stores[0].StoreId], members[n.stores[1].StoreId]
		if small+large != 40 || small < 9 || small > 11 {
			t.Errorf("node %s: %d copysets on the small store, %d on the large", n.name, small,
				large)
		}
	}
}

// places are the stores of every copyset, by its id.
func (w *world) places() map[uint64][]uint64 {
	w.t.Helper()
	at := map[uint64][]uint64{}
	sets, err := w.Admin.ListCopysets(ctx, &v1.ListCopysetsRequest{})
	w.ok(err)
	for _, g := range sets.Copysets {
		for _, m := range g.Copyset.Replicas {
			at[g.Copyset.CopysetId] = append(at[g.Copyset.CopysetId], m.StoreId)
		}
	}
	return at
}

// given returns what the volumes may come to write on each store, by the mapping that clients see.
func (w *world) given() map[uint64]uint64 {
	w.t.Helper()
	at := w.places()
	bytes := map[uint64]uint64{}
	vols, err := w.Admin.ListVolumes(ctx, &v1.ListVolumesRequest{})
	w.ok(err)
	for _, v := range vols.Volumes {
		got, err := w.Admin.GetVolume(ctx, &v1.GetVolumeRequest{Name: v.Name})
		w.ok(err)
		for from := uint64(0); from < v.SizeBytes; from += v.ChunkBytes {
			seg := got.Segments[from/v.SegmentBytes]
			chunk := from % v.SegmentBytes / v.ChunkBytes
			for _, store := range at[seg.CopysetIds[chunk%uint64(len(seg.CopysetIds))]] {
				bytes[store] += v.ChunkBytes
			}
		}
	}
	return bytes
}

func TestVolumesFillUnequalStoresTogetherAcrossRestarts(t *testing.T) {
	w := uneven(t, 40)
	for i := range 30 {
		w.create(fmt.Sprint("v", i), 10<<30)
		if i%10 == 9 {
			w.restart()
			w.beat()
		}
	}
	// 300 of 400 GiB.
	for id, bytes := range w.given() {
		capacity := w.srv.cluster().stores[id].rec.CapacityBytes
		if full := float64(bytes) / float64(capacity); full < 0.73 || full > 0.77 {
			t.Errorf("store %d of %d GiB was given %.3f of it", id, capacity>>30, full)
		}
	}
}

func TestFullStoreIsGivenNothingWhileOthersHaveRoom(t *testing.T) {
	w := uneven(t, 40)
	full := w.nodes[1].stores[0].StoreId
	w.srv.cluster().mu.Lock()
	w.srv.cluster().stores[full].report.State = stateFull
	w.srv.cluster().mu.Unlock()
	w.create("v", 100<<30)
	given := w.given()
	if given[full] != 0 || given[w.nodes[0].stores[1].StoreId] == 0 {
		t.Errorf("given: %v, store %d is full", given, full)
	}
}

// A volume that grows inside its last segment takes space where that lies.
func TestGrowthOfTheLastSegmentNeedsRoomOnItsStores(t *testing.T) {
	w := &world{rig: newRig(t, nil),
		raft: &raft{leader: map[uint64]uint64{}, term: map[uint64]uint64{}}}
	for i := range 3 { // the two small stores have what the pool has to give
		n := newNode(w.rig, i+1)
		n.stores[0].CapacityBytes = uint64(10+90*(i/2)) << 30
		w.nodes = append(w.nodes, n)
		w.ok(n.register())
	}
	w.beat()
	w.create("large", 9<<30)
	for i := range 64 {
		w.create(fmt.Sprintf("small%d", i), 16<<20)
	}
	grow := func(name string, size uint64) error {
		_, err := w.Admin.ResizeVolume(ctx, &v1.ResizeVolumeRequest{Name: name, SizeBytes: size})
		return err
	}
	has(t, grow("small0", 512<<20), admin.ErrNoSpace, "last segment", "add space there")
	has(t, grow("small0", 2<<30), admin.ErrNoSpace)
	_, err := w.Admin.DeleteVolume(ctx, &v1.DeleteVolumeRequest{Name: "large", Now: true})
	w.ok(err)
	for _, g := range w.nodes[0].copysets {
		w.raft.elect(g.CopysetId, g.Replicas[0].ReplicaId)
	}
	for range 3 {
		w.beat()
		w.tick(0)
	}
	w.ok(grow("small0", 512<<20))
	w.ok(grow("small0", 8<<30))
	has(t, grow("small1", 2<<30), admin.ErrNoSpace)
	w.restart()
	w.beat()
	has(t, grow("small1", 2<<30), admin.ErrNoSpace)
}

func TestVolumeThatNoCopysetHasRoomForIsRefusedThoughThePoolHasSpace(t *testing.T) {
	w := &world{rig: newRig(t, nil),
		raft: &raft{leader: map[uint64]uint64{}, term: map[uint64]uint64{}}}
	for i := range 3 { // three copies: the smallest zone bounds the pool
		n := newNode(w.rig, i+1)
		n.stores[0].CapacityBytes = uint64(100+400*(i/2)) << 30
		w.nodes = append(w.nodes, n)
		w.ok(n.register())
	}
	w.beat()
	_, err := w.Admin.CreateVolume(ctx, &v1.CreateVolumeRequest{Name: "v", SizeBytes: 150 << 30})
	has(t, err, admin.ErrNoSpace, "volume v of 150 GiB", "room for 100 GiB of it", "add stores")
	w.create("a", 60<<30)
	w.create("b", 40<<30)
	_, err = w.Admin.CreateVolume(ctx, &v1.CreateVolumeRequest{Name: "v", SizeBytes: 1})
	has(t, err, admin.ErrNoSpace)
	w.restart()
	w.beat()
	_, err = w.Admin.CreateVolume(ctx, &v1.CreateVolumeRequest{Name: "v", SizeBytes: 1})
	has(t, err, admin.ErrNoSpace)
	// What a deleted volume had is given again once its chunks are gone.
	for _, g := range w.nodes[0].copysets {
		w.raft.elect(g.CopysetId, g.Replicas[0].ReplicaId)
	}
	w.beat()
	_, err = w.Admin.DeleteVolume(ctx, &v1.DeleteVolumeRequest{Name: "b", Now: true})
	w.ok(err)
	for range 3 {
		w.beat()
		w.tick(0)
	}
	w.create("c", 40<<30)
}
