package store

import (
	"bytes"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/ashlar-storage/ashlar/dataplane/copyset"
	"github.com/ashlar-storage/ashlar/io/chunkfile"
	"github.com/ashlar-storage/ashlar/rpc/wire"
)

// plant gives one replica other blocks than the rest, with checksums that fit them, as a device
// leaves it that lost a write and the checkpoint after it.
func (r *rig) plant(i int, id chunkfile.ID, first int, data []byte) {
	r.t.Helper()
	chunk, ok := r.store(uint64(i)).chunks.Get(id)
	if !ok {
		r.t.Fatal("no chunk")
	}
	b, err := r.pool.Get(len(data))
	if err != nil {
		r.t.Fatal(err)
	}
	defer b.Release()
	copy(b.Bytes(), data)
	done := make(chan error, 1)
	chunk.Write(&chunkfile.IO{Block: first, Count: len(data) / block, Vec: [][]byte{b.Bytes()},
		CRCs: wire.ChecksumPieces(nil, 0, data), Done: func(io *chunkfile.IO) { done <- io.Err }})
	r.store(uint64(i)).disk.Flush()
	if err := <-done; err != nil {
		r.t.Fatal(err)
	}
}

func TestScrubberTellsOfReplicasThatDifferAndChangesNone(t *testing.T) {
	r := scrubRig(t, false)
	r.mustWrite(1, 0, 0, pattern(1, 4))
	r.settle(1)
	leader := r.leader(1)
	if rep := r.scrubCycle(leader); rep.Compared != testChunk/block || rep.Diverged != 0 {
		t.Fatalf("nothing is wrong: %+v", rep)
	}
	id := chunkfile.ID{Group: 1, Volume: 1}
	odd, other := (leader+1)%3, pattern(50, 2)
	r.plant(odd, id, 1, other)
	all := []int{leader + 1, odd + 1, (leader+2)%3 + 1} // replicas, this one first, then in order
	if all[1] > all[2] {
		all[1], all[2] = all[2], all[1]
	}
	var most []int
	for _, n := range all {
		if n != odd+1 {
			most = append(most, n)
		}
	}
	want := fmt.Sprintf("copyset 1, volume 1, chunk 0: blocks [1 2] differ, and all fit their "+
		"checksums: replicas [%d] from the majority %v", odd+1, most)
	for range 2 { // the second cycle has nothing new to tell
		rep := r.scrubCycle(leader)
		if rep.Diverged != 2 || rep.Unrepaired != 0 || rep.Bad != 0 || len(rep.Findings) != 1 ||
			!strings.Contains(rep.Findings[0], want) {
			t.Fatalf("%+v, want %s", rep, want)
		}
	}
	if rep := r.scrubCycle(odd); rep.Compared != 0 || rep.Diverged != 0 {
		t.Errorf("who does not lead compares: %+v", rep)
	}
	peer := copyset.Peer{ReplicaID: uint64(odd + 1), StoreID: uint64(odd)}
	data, _, err := r.PeerBlocks(peer, 1, copyset.PeerRead{First: 1, Count: 2,
		Chunk: copyset.Chunk{Volume: 1}})
	if err != nil || !bytes.Equal(data.B, other) {
		t.Errorf("the odd replica was changed: %v", err)
	}
	data.Release()
	r.mustWrite(1, 0, block, pattern(9, 2))
	r.settle(1)
	if rep := r.scrubCycle(leader); rep.Diverged != 0 {
		t.Errorf("written anew: %+v", rep)
	}
}

func TestScrubberHasAReplicaRepairWhatDiffersAndDoesNotFit(t *testing.T) {
	r := scrubRig(t, false)
	want := pattern(1, 4)
	r.mustWrite(1, 0, 0, want)
	r.settle(1)
	leader, id := r.leader(1), chunkfile.ID{Group: 1, Volume: 1}
	odd, other := (leader+1)%3, pattern(50, 1)
	r.plant(odd, id, 2, other)
	if !r.corrupt(odd, other) {
		t.Fatal("the block is not in a chunk file")
	}
	rep := r.scrubCycle(leader)
	if rep.Diverged != 0 || len(rep.Findings) != 1 ||
		!strings.Contains(rep.Findings[0], "until one repaired what it had") {
		t.Fatalf("%+v", rep)
	}
	r.checkpoint(odd)
	if rep := r.scrubCycle(odd); rep.CycleBad != 0 {
		t.Errorf("%+v", rep)
	}
	r.wantRead(1, 0, 0, want)
}

func TestReplicasThatAreWrittenToDoNotDiffer(t *testing.T) {
	r := scrubRig(t, false)
	r.mustWrite(1, 0, 0, pattern(1, 4))
	r.settle(1)
	leader := r.leader(1)
	var stop atomic.Bool
	done := make(chan struct{})
	go func() {
		defer close(done)
		for i := 0; !stop.Load(); i++ { // the same two contents, over and over
			r.write(1, 0, 0, pattern(byte(1+i%2), 4))
		}
	}()
	for range 20 {
		if rep := r.scrubCycle(leader); rep.Diverged != 0 || len(rep.Findings) != 0 {
			t.Fatalf("%+v", rep)
		}
	}
	stop.Store(true)
	<-done
}

// Every look sees another checksum of a peer, as it does when the block is written all the time.
func TestADifferenceThatChangesDoesNotCount(t *testing.T) {
	r := scrubRig(t, false)
	r.mustWrite(1, 0, 0, pattern(1, 4))
	r.settle(1)
	var looks atomic.Uint32
	r.sums = func(crcs []uint32) { crcs[1] = looks.Add(1) }
	if rep := r.scrubCycle(r.leader(1)); rep.Diverged != 0 || len(rep.Findings) != 0 {
		t.Errorf("%+v", rep)
	}
	if looks.Load() < 4 {
		t.Errorf("two replicas were asked %d times: the difference was not looked at again",
			looks.Load())
	}
}

func TestVerdictOnBlocksThatDiffer(t *testing.T) {
	for _, c := range []struct {
		crcs    []uint32
		members int
		want    string
	}{
		{[]uint32{1, 1, 2}, 3, "replicas [3] from the majority [1 2]"},
		{[]uint32{2, 1, 1}, 3, "replicas [1] from the majority [2 3]"},
		{[]uint32{1, 2, 3}, 3, "replicas [1 2 3], no majority"},
		{[]uint32{1, 2}, 3, "replicas [1 2], no majority"},
		{[]uint32{1, 1, 2}, 5, "replicas [1 2 3], no majority"},
		{[]uint32{1, 1, 2, 2}, 4, "replicas [1 2 3 4], no majority"},
	} {
		var all []replicaSums
		for i, crc := range c.crcs {
			all = append(all, replicaSums{replica: uint64(i + 1), crcs: []uint32{crc}})
		}
		if got := verdict(all, 0, c.members); got != c.want {
			t.Errorf("%v of %d: %s, want %s", c.crcs, c.members, got, c.want)
		}
	}
}
