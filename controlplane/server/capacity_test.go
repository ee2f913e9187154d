package server

import (
	"fmt"
	"testing"

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
	resp, err := w.Admin.ListCopysets(ctx, &v1.ListCopysetsRequest{})
	w.ok(err)
	members := map[uint64]int{}
	for _, g := range resp.Copysets {
		for _, m := range g.Copyset.Replicas {
			members[m.StoreId]++
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
