package node

import (
	"math"
	"reflect"
	"testing"
	"time"

	"github.com/ashlar-storage/ashlar/dataplane/store"
	"github.com/ashlar-storage/ashlar/io/buf"
	v1 "github.com/ashlar-storage/ashlar/rpc/admin/kitex_gen/ashlar/v1"
	"github.com/ashlar-storage/ashlar/rpc/wire"
)

// A list that knows of a fence has everything that was written before it, and after it older
// sessions write nothing.
func TestLeaderTellsItsChunksAndFencesThem(t *testing.T) {
	c := startCluster(t, 3, 1)
	block := make([]byte, buf.BlockSize)
	for _, chunk := range []uint64{0, 7, 3} {
		c.write(1, chunk, 0, block)
	}
	lead := c.leader(1)
	for i, n := range c.nodes {
		list, ok := n.stores[0].Survey(1, nil)
		want := []store.VolumeChunks{{Volume: 1, Epoch: 1, Chunks: []uint64{0, 3, 7}}}
		if ok != (i == lead) || ok && !reflect.DeepEqual(list, want) {
			t.Errorf("node %d of leader %d: %v %+v", i, lead, ok, list)
		}
	}
	c.write(1, 5, 0, block)
	fences := []store.VolumeFence{{Volume: 1, Epoch: 9}, {Volume: 4, Epoch: 2}}
	want := []store.VolumeChunks{{Volume: 1, Epoch: 9, Chunks: []uint64{0, 3, 5, 7}},
		{Volume: 4, Epoch: 2}}
	var list []store.VolumeChunks
	for end := time.Now().Add(patience); time.Now().Before(end); {
		list, _ = c.nodes[c.leader(1)].stores[0].Survey(1, fences)
		if reflect.DeepEqual(list, want) {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	if !reflect.DeepEqual(list, want) {
		t.Fatalf("%+v, want %+v", list, want)
	}
	_, status := c.op(wire.OpWrite, wire.IORequest{Copyset: 1, Chunk: 6,
		Length: uint32(len(block))}, block)
	if status != wire.StatusStaleEpoch {
		t.Errorf("an older session writes: %v", status)
	}
	if _, ok := c.nodes[lead].stores[0].Survey(2, nil); ok {
		t.Error("a copyset that is not here was listed")
	}
}

// A node asks which volumes are erased while a copyset that it leads has many, and hands that on.
func TestLeadersOfManyVolumesAskWhichAreErased(t *testing.T) {
	c := startCluster(t, 3, 1)
	c.write(1, 0, 0, make([]byte, buf.BlockSize))
	const last = 1100
	var gone []store.VolumeFence
	for v := uint64(2); v <= last; v++ {
		gone = append(gone, store.VolumeFence{Volume: v, Epoch: math.MaxUint64})
	}
	wants := func(asks bool, want int) {
		t.Helper()
		var list []store.VolumeChunks
		for end := time.Now().Add(patience); time.Now().Before(end); {
			lead := c.nodes[c.leader(1)]
			list, _ = lead.stores[0].Survey(1, gone)
			if len(list) == want && lead.report().WantsErased == asks {
				return
			}
			time.Sleep(10 * time.Millisecond)
		}
		t.Fatalf("%d volumes, want %d; the leader asks: %v", len(list), want, !asks)
	}
	wants(true, last)
	for _, n := range c.nodes {
		n.erased([]*v1.VolumeRun{{First: 2, Last: last}})
		if n != c.nodes[c.leader(1)] && n.report().WantsErased {
			t.Error("a follower asks")
		}
	}
	wants(false, 1)
}
