package node

import (
	"bytes"
	"path/filepath"
	"slices"
	"testing"
	"time"

	v1 "github.com/ashlar-storage/ashlar/rpc/admin/kitex_gen/ashlar/v1"
)

// A disk of a node is lost, and the replica that was on it is made anew on another disk of the same
// node: requests and messages find the new one, and the old one goes when the node is told so.
func TestAReplicaIsMadeAnewOnAnotherDiskOfItsNode(t *testing.T) {
	c := startCluster(t, 3, 2)
	want := bytes.Repeat([]byte("blocks of copyset one...."), 4096/25*4+4)[:4*4096]
	c.write(1, 0, 0, want)
	at := (c.leader(1) + 1) % 3
	c.stopNode(at)
	second := c.store(t, filepath.Join(c.dir, "second"))
	c.extra = map[int]string{at: second}
	c.startNode(at)
	n := c.nodes[at]
	if err := n.stores[1].Adopt(testCluster, 101); err != nil {
		t.Fatal(err)
	}
	if err := n.stores[0].Regressed(1 << 60); err != nil { // all on it is lost
		t.Fatal(err)
	}
	const newcomer = 99
	old := uint64(10 + at + 1)
	g := &v1.Copyset{CopysetId: 1, Epoch: 2, LeavingReplicaId: old,
		Joining: &v1.Replica{ReplicaId: newcomer, NodeId: uint64(at + 1), StoreId: 101,
			Addr: c.addrs[at]}}
	for i := range c.nodes {
		id := uint64(10 + i + 1)
		g.FoundingReplicaIds = append(g.FoundingReplicaIds, id)
		g.Replicas = append(g.Replicas, &v1.Replica{ReplicaId: id, NodeId: uint64(i + 1),
			StoreId: uint64(i + 1), Addr: c.addrs[i], Recorded: true})
	}
	for _, n := range c.nodes {
		n.adopt(&v1.HeartbeatNodeResponse{DesiredVersion: 2, Copysets: []*v1.Copyset{g}})
	}
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		st := c.status(c.leader(1), 1)
		if !st.Joint && slices.Contains(st.Voters, newcomer) && !slices.Contains(st.Voters, old) {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("the newcomer never votes: %+v", st)
		}
	}
	n.retire([]*v1.RetireReplica{{CopysetId: 1, ReplicaId: old}})
	for _, r := range n.report().Replicas {
		if r.CopysetId == 1 && r.ReplicaId != newcomer {
			t.Errorf("the node reports replica %d still", r.ReplicaId)
		}
	}
	if n.home(1) != n.stores[1] {
		t.Error("the way to the copyset leads to the lost disk")
	}
	// Every majority needs the newcomer now.
	c.stopNode(3 - at - c.leader(1))
	c.write(1, 0, 8*4096, want)
	if got := c.read(1, 0, 0, uint32(len(want))); !bytes.Equal(got, want) {
		t.Error("other bytes are read")
	}
}
