package node

import (
	"reflect"
	"testing"
	"time"

	"github.com/ashlar-storage/ashlar/dataplane/store"
	"github.com/ashlar-storage/ashlar/io/buf"
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
