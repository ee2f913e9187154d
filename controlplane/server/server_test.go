package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ashlar-storage/ashlar/controlplane/meta"
	"github.com/ashlar-storage/ashlar/rpc/admin"
	v1 "github.com/ashlar-storage/ashlar/rpc/admin/kitex_gen/ashlar/v1"
)

func has(t *testing.T, err error, class error, words ...string) {
	t.Helper()
	if !errors.Is(err, class) {
		t.Fatalf("got %v, want class %v", err, class)
	}
	for _, w := range words {
		if !strings.Contains(err.Error(), w) {
			t.Fatalf("%q does not say %q", err, w)
		}
	}
}

func TestCopysetsAppearOnceEnoughNodesAreUp(t *testing.T) {
	r := newRig(t, nil)
	w := &world{rig: r, raft: &raft{}}
	if s := w.status(); s.Health != "unavailable" || s.Copysets != 0 ||
		!strings.Contains(s.Problems[0], "waiting for 3 nodes, 0 are up") {
		t.Fatalf("%+v", s)
	}
	for i := range 3 {
		if s := w.status(); s.Copysets != 0 {
			t.Fatalf("%d copysets with %d nodes", s.Copysets, i)
		}
		w.nodes = append(w.nodes, newNode(r, i+1))
		w.ok(w.nodes[i].register())
	}
	if s := w.status(); s.Copysets != 6 || s.CopysetsWithLeader != 0 || s.Health != "unavailable" {
		t.Fatalf("%+v", s)
	}
	w.beat()
	for _, n := range w.nodes {
		if len(n.copysets) != 6 || n.version == 0 || len(n.peers) != 3 {
			t.Fatalf("node %s: %d copysets, version %d, %d peers", n.name, len(n.copysets),
				n.version, len(n.peers))
		}
	}
	checkCopysets(t, w.nodes[0].copysets, w.nodes)
	w.beat()
	if w.nodes[0].last.DesiredPresent {
		t.Fatal("an unchanged desired state was sent again")
	}
}

func checkCopysets(t *testing.T, copysets []*v1.Copyset, nodes []*fakeNode) {
	t.Helper()
	replicas := map[uint64]bool{}
	preferred := map[uint64]int{}
	for _, g := range copysets {
		on := map[uint64]bool{}
		for _, m := range g.Replicas {
			n := nodes[m.NodeId-1]
			if replicas[m.ReplicaId] || m.Addr != n.addr || m.StoreId != n.stores[0].StoreId {
				t.Fatalf("replica %+v", m)
			}
			replicas[m.ReplicaId], on[m.NodeId] = true, true
			if m.ReplicaId == g.PreferredLeaderReplicaId {
				preferred[m.NodeId]++
			}
		}
		if len(on) != 3 || g.Epoch != 1 {
			t.Fatalf("copyset %+v", g)
		}
	}
	for id, n := range preferred {
		if n != 2 {
			t.Fatalf("node %d is preferred by %d of 6", id, n)
		}
	}
}

func TestNodesInTooFewZonesAreNotEnough(t *testing.T) {
	r := newRig(t, nil)
	w := &world{rig: r}
	for i := range 3 {
		n := newNode(r, i+1)
		n.zone = "same"
		w.ok(n.register())
	}
	if s := w.status(); s.Copysets != 0 || !strings.Contains(s.Problems[0], "lie in 1") {
		t.Fatalf("%+v", s)
	}
}

func TestOneNodeServesWithOneReplica(t *testing.T) {
	w := newWorld(t, 1, func(c *Config) { c.Replicas = 1 })
	s := w.status()
	if s.Health != "ok" || s.CopysetsFull != 6 || len(s.Problems) != 0 {
		t.Fatalf("%+v", s)
	}
	w.create("v", 90<<30)
	_, err := w.Admin.CreateVolume(ctx, &v1.CreateVolumeRequest{Name: "w", SizeBytes: 11 << 30})
	has(t, err, admin.ErrNoSpace, "11 GiB", "10 GiB free of 100 GiB", "1 replicas")
}

func TestHealthyClusterSaysSoAndNamesItsProcesses(t *testing.T) {
	w := newWorld(t, 3, nil)
	_, err := w.Node.RegisterProcess(ctx, &v1.RegisterProcessRequest{Role: "gateway", Id: "gw",
		Pid: 9, Addr: "127.0.0.1:10809"})
	w.ok(err)
	s := w.status()
	if s.Health != "ok" || s.CopysetsFull != 6 || s.CopysetsWithLeader != 6 ||
		s.CapacityBytes != 300<<30 || s.UsedBytes != 3<<20 || s.Version != "test" {
		t.Fatalf("%+v", s)
	}
	var got []string
	for _, p := range s.Processes {
		got = append(got, p.Role+"/"+p.Id+"/"+p.State)
	}
	want := []string{"control/control/up", "node/n1/up", "node/n2/up", "node/n3/up",
		"gateway/gw/up"}
	if !slices.Equal(got, want) || s.Processes[0].Pid != uint64(os.Getpid()) ||
		s.Processes[0].Addr != w.srv.Addr().String() {
		t.Fatalf("got %v", s.Processes)
	}
	w.tick(4 * time.Second)
	if p := w.status().Processes[4]; p.State != "offline" {
		t.Fatalf("a silent gateway is %s", p.State)
	}
	w.tick(forgetProcess)
	if s := w.status(); len(s.Processes) != 4 {
		t.Fatalf("a gateway silent for long is still listed: %v", s.Processes)
	}
	for _, bad := range []*v1.RegisterProcessRequest{{Role: "node", Id: "x"}, {Role: "gateway"},
		{Role: "a b", Id: "x"}} {
		_, err := w.Node.RegisterProcess(ctx, bad)
		has(t, err, admin.ErrInvalid)
	}
}

func TestSilentNodeGoesOfflineAndComesBack(t *testing.T) {
	w := newWorld(t, 3, nil)
	lead := w.raft.leader[1]
	victim := w.nodes[0]
	for _, n := range w.nodes {
		if n.report(n.copysets[0], w.raft).Leader {
			victim = n
		}
	}
	others := slices.Clone(w.nodes)
	others = slices.DeleteFunc(others, func(n *fakeNode) bool { return n == victim })
	w.tick(2 * time.Second)
	w.beat(others...)
	if s := w.status(); s.Health != "ok" {
		t.Fatalf("too early: %v", s.Problems)
	}
	w.tick(time.Second)
	w.beat(others...)
	s := w.status()
	if s.Health != "unavailable" || !strings.Contains(strings.Join(s.Problems, "\n"),
		"node "+victim.name+" is offline: last heartbeat 3s ago") {
		t.Fatalf("%s %v", s.Health, s.Problems)
	}
	// Its copysets elect others.
	for _, g := range others[0].copysets {
		if w.raft.leader[g.CopysetId] != 0 {
			for _, m := range g.Replicas {
				if m.NodeId == others[0].id {
					w.raft.elect(g.CopysetId, m.ReplicaId)
				}
			}
		}
	}
	w.beat(others...)
	if s = w.status(); s.Health != "degraded" || s.CopysetsWithLeader != 6 || s.CopysetsFull != 0 {
		t.Fatalf("%+v", s)
	}
	got, err := w.Client.LookupCopysets(ctx, &v1.LookupCopysetsRequest{CopysetIds: []uint64{1}})
	if err != nil || got.Copysets[0].LeaderReplicaId == lead {
		t.Fatalf("%v %v", got, err)
	}
	victim.behind = true
	w.beat()
	if s = w.status(); s.Health != "degraded" || s.CopysetsFull != 0 {
		t.Fatalf("behind: %+v", s)
	}
	victim.behind = false
	w.beat()
	if s = w.status(); s.Health != "ok" {
		t.Fatalf("back: %v", s.Problems)
	}
}

func TestOldTermsDoNotMoveTheLeader(t *testing.T) {
	w := newWorld(t, 3, nil)
	old := &raft{leader: map[uint64]uint64{}, term: map[uint64]uint64{}}
	for id, leader := range w.raft.leader {
		old.leader[id], old.term[id] = leader, w.raft.term[id]
	}
	g := w.nodes[0].copysets[0]
	w.raft.elect(g.CopysetId, g.Replicas[1].ReplicaId)
	w.beat()
	w.ok(w.nodes[g.Replicas[0].NodeId-1].beat(old))
	got, err := w.Client.LookupCopysets(ctx, &v1.LookupCopysetsRequest{
		CopysetIds: []uint64{g.CopysetId}})
	if err != nil || got.Copysets[0].LeaderReplicaId != g.Replicas[1].ReplicaId {
		t.Fatalf("%v %v", got, err)
	}
}

func TestLeadersSpreadToTheirPreferredReplicas(t *testing.T) {
	w := newWorld(t, 3, nil)
	for range 30 {
		w.tick(time.Second)
		w.beat()
	}
	led := map[uint64]int{}
	for _, g := range w.nodes[0].copysets {
		if w.raft.leader[g.CopysetId] != g.PreferredLeaderReplicaId {
			t.Errorf("copyset %d is led by %d, not %d", g.CopysetId, w.raft.leader[g.CopysetId],
				g.PreferredLeaderReplicaId)
		}
		led[g.PreferredLeaderReplicaId]++
	}
	terms := maps.Clone(w.raft.term)
	for range 30 {
		w.tick(time.Second)
		w.beat()
	}
	if !reflect.DeepEqual(terms, w.raft.term) {
		t.Error("leaders keep moving")
	}
}

func TestRestartKeepsEverything(t *testing.T) {
	w := newWorld(t, 3, nil)
	w.create("a", 3<<30)
	w.create("b", 5000)
	s1 := w.open("a", false)
	before := w.everything()
	w.srv.cluster().tick()
	for _, end := range []func(){w.restart, w.kill} {
		end()
		if after := w.everything(); !reflect.DeepEqual(before, after) {
			t.Fatalf("before: %+v\nafter: %+v", before, after)
		}
		if s := w.status(); s.CopysetsWithLeader != 0 || !strings.Contains(s.Problems[0],
			"nothing heard since the control plane started") {
			t.Fatalf("leaders count before anyone reported: %+v", s)
		}
		for _, n := range w.nodes {
			id, stores := n.id, n.stores[0].StoreId
			w.ok(n.register())
			if n.id != id || n.stores[0].StoreId != stores {
				t.Fatal("a node or store lost its id")
			}
		}
		w.beat()
		if s := w.status(); s.Health != "ok" {
			t.Fatalf("%+v", s)
		}
		renewed, err := w.Client.RenewSession(ctx, &v1.RenewSessionRequest{SessionId: s1.SessionId})
		if err != nil || !renewed.Valid {
			t.Fatalf("session lost: %v %v", renewed, err)
		}
	}
	s2 := w.open("a", false)
	if s2.SessionId <= s1.SessionId || s2.Epoch != s1.Epoch+1 || s2.ClusterId != s1.ClusterId {
		t.Fatalf("%+v after %+v", s2, s1)
	}
	if v := w.create("c", 1); v.VolumeId <= s1.Volume.VolumeId+1 || v.SizeBytes != 4096 {
		t.Fatalf("%+v", v)
	}
}

// everything is what must not change by a restart.
func (w *world) everything() map[string]any {
	w.t.Helper()
	all := map[string]any{}
	volumes, err := w.Admin.ListVolumes(ctx, &v1.ListVolumesRequest{})
	w.ok(err)
	all["volumes"] = volumes
	for _, v := range volumes.Volumes {
		got, err := w.Client.LookupSegments(ctx, &v1.LookupSegmentsRequest{VolumeId: v.VolumeId,
			Count: 1024})
		if v.State == "ok" {
			w.ok(err)
			all["segments of "+v.Name] = got // with the copysets and their leaders
		}
	}
	all["cluster"] = w.srv.ClusterID()
	return all
}

func TestForeignNodesAndStoresAreRefusedNamingBothClusters(t *testing.T) {
	w := newWorld(t, 3, nil)
	other := newRig(t, nil)
	stranger := newNode(w.rig, 4)
	stranger.cluster = other.srv.ClusterID()
	has(t, stranger.register(), admin.ErrForeign, w.srv.ClusterID(), other.srv.ClusterID())
	_, err := w.Node.HeartbeatNode(ctx, &v1.HeartbeatNodeRequest{NodeId: 1,
		ClusterId: other.srv.ClusterID()})
	has(t, err, admin.ErrForeign, w.srv.ClusterID(), other.srv.ClusterID())
	// A store that has an id, but not from here.
	stranger.cluster = ""
	stranger.stores[0].StoreId = 77
	has(t, stranger.register(), admin.ErrForeign, stranger.stores[0].Uuid, w.srv.ClusterID())
	// A store of another node.
	stranger.stores[0] = w.nodes[0].stores[0]
	has(t, stranger.register(), admin.ErrInvalid, "belongs to node n1")
	// An unknown node.
	_, err = w.Node.HeartbeatNode(ctx, &v1.HeartbeatNodeRequest{NodeId: 99,
		ClusterId: w.srv.ClusterID()})
	has(t, err, admin.ErrNotFound, "register")
}

func TestRegistrationNamesWhatIsWrong(t *testing.T) {
	w := newWorld(t, 3, nil)
	for _, c := range []struct {
		word   string
		change func(*fakeNode)
	}{
		{"node name", func(n *fakeNode) { n.name = "a b" }},
		{"zone", func(n *fakeNode) { n.zone = "../z" }},
		{"addr", func(n *fakeNode) { n.addr = "nowhere" }},
		{"addr", func(n *fakeNode) { n.addr = "h:0" }},
		{"stores", func(n *fakeNode) { n.stores = nil }},
		{"uuid", func(n *fakeNode) { n.stores[0].Uuid = "x" }},
		{"twice", func(n *fakeNode) { n.stores = append(n.stores, n.stores[0]) }},
	} {
		n := newNode(w.rig, 9)
		c.change(n)
		has(t, n.register(), admin.ErrInvalid, c.word)
	}
	if resp, _ := w.Admin.ListNodes(ctx, &v1.ListNodesRequest{}); len(resp.Nodes) != 3 {
		t.Fatalf("%v", resp.Nodes)
	}
	moved := *w.nodes[0]
	moved.zone = "z9"
	has(t, moved.register(), admin.ErrInvalid, "cannot move to zone z9")
}

func TestNodeNameInUseIsRefusedUntilItsHolderIsSilent(t *testing.T) {
	w := newWorld(t, 3, nil)
	twin := newNode(w.rig, 9)
	twin.name, twin.zone = "n1", "z1"
	has(t, twin.register(), admin.ErrBusy, "n1", w.nodes[0].addr)
	// The same node on a new port has its store with it.
	w.nodes[0].addr = "127.0.0.1:7999"
	w.ok(w.nodes[0].register())
	w.beat()
	if a := w.nodes[2].copysets[0]; !slices.ContainsFunc(a.Replicas, func(m *v1.Replica) bool {
		return m.Addr == "127.0.0.1:7999"
	}) {
		t.Fatalf("the new address did not reach the others: %+v", a)
	}
	w.tick(time.Minute)
	w.ok(twin.register())
	if twin.id != w.nodes[0].id {
		t.Fatal("the name has two ids")
	}
	resp, err := w.Admin.ListNodes(ctx, &v1.ListNodesRequest{})
	w.ok(err)
	if st := resp.Nodes[0].Stores; len(st) != 2 || st[0].State != "offline" || st[1].State != "up" {
		t.Fatalf("%+v", st)
	}
}

func TestFailedStoreIsAProblemAndItsSpaceIsGone(t *testing.T) {
	w := newWorld(t, 3, nil)
	_, err := w.Node.HeartbeatNode(ctx, &v1.HeartbeatNodeRequest{
		ClusterId: w.srv.ClusterID(), NodeId: w.nodes[1].id, DesiredVersion: 1,
		Stores: []*v1.StoreReport{{StoreId: w.nodes[1].stores[0].StoreId, State: "failed",
			Detail: "write of segment 3: input/output error"}},
	})
	w.ok(err)
	s := w.status()
	if !strings.Contains(strings.Join(s.Problems, "\n"), "is failed: write of segment 3") {
		t.Fatalf("%v", s.Problems)
	}
	_, err = w.Admin.CreateVolume(ctx, &v1.CreateVolumeRequest{Name: "v", SizeBytes: 90 << 30})
	has(t, err, admin.ErrNoSpace, "200 GiB")
}

func TestVolumeErrorsHaveTheirClasses(t *testing.T) {
	w := newWorld(t, 3, nil)
	w.create("v", 1<<30)
	create := func(name string, size uint64) error {
		_, err := w.Admin.CreateVolume(ctx, &v1.CreateVolumeRequest{Name: name, SizeBytes: size})
		return err
	}
	has(t, create("v", 1<<30), admin.ErrExists, "v")
	has(t, create("", 1), admin.ErrInvalid, "volume name")
	has(t, create("a/b", 1), admin.ErrNotFound, "a", "make it first")
	has(t, create("a//b", 1), admin.ErrInvalid, "a//b", "single slashes")
	has(t, create(strings.Repeat("x", 129), 1), admin.ErrInvalid, "128")
	has(t, create(strings.Repeat("x/", 16)+"x", 1), admin.ErrInvalid, "17 names", "at most 16")
	has(t, create("z", 0), admin.ErrInvalid, "size_bytes 0")
	has(t, create("z", MaxVolumeBytes+1), admin.ErrInvalid, "size_bytes")
	has(t, create("z", 1<<40), admin.ErrNoSpace, "1.0 TiB", "3.0 TiB", "297 GiB free of 300 GiB")
	_, err := w.Admin.GetVolume(ctx, &v1.GetVolumeRequest{Name: "nope"})
	has(t, err, admin.ErrNotFound, "nope")
	_, err = w.Admin.DeleteVolume(ctx, &v1.DeleteVolumeRequest{Name: "nope", Now: true})
	has(t, err, admin.ErrNotFound, "nope")
	_, err = w.Client.OpenVolume(ctx, &v1.OpenVolumeRequest{Name: "nope"})
	has(t, err, admin.ErrNotFound, "nope")
	_, err = w.Client.LookupSegments(ctx, &v1.LookupSegmentsRequest{VolumeId: 99, Count: 1})
	has(t, err, admin.ErrNotFound)
	_, err = w.Client.LookupSegments(ctx, &v1.LookupSegmentsRequest{VolumeId: 2})
	has(t, err, admin.ErrInvalid, "count")
	_, err = w.Client.LookupSegments(ctx, &v1.LookupSegmentsRequest{VolumeId: 2, First: 1,
		Count: 1})
	has(t, err, admin.ErrInvalid, "first 1", "1 segments")
	_, err = w.Client.LookupCopysets(ctx, &v1.LookupCopysetsRequest{CopysetIds: []uint64{77}})
	has(t, err, admin.ErrNotFound, "77")
	_, err = w.Client.LookupCopysets(ctx, &v1.LookupCopysetsRequest{
		CopysetIds: make([]uint64, 2000)})
	has(t, err, admin.ErrInvalid, "copyset_ids")
	_, err = w.Admin.GetCopyset(ctx, &v1.GetCopysetRequest{CopysetId: 77})
	has(t, err, admin.ErrNotFound, "77")
	early := newRig(t, nil)
	_, err = early.Admin.CreateVolume(ctx, &v1.CreateVolumeRequest{Name: "v", SizeBytes: 1})
	has(t, err, admin.ErrUnavailable, "waiting for 3 nodes")
}

func TestThereAreTwoCopysetsForEachStoreWhereNobodySaysOtherwise(t *testing.T) {
	for _, c := range []struct{ stores, asked, width, want int }{
		{3, 0, 0, 6}, {5, 0, 0, 10}, {5, 7, 0, 7}, {9, 0, 8, 18}, {9, 0, 16, 24},
	} {
		w := newWorld(t, c.stores, func(cfg *Config) {
			cfg.Copysets, cfg.ScatterWidth, cfg.MinNodes = c.asked, c.width, c.stores
		})
		st, err := w.Admin.ClusterStatus(ctx, &v1.ClusterStatusRequest{})
		w.ok(err)
		if got := int(st.GetCopysets()); got != c.want {
			t.Errorf("%+v: %d copysets", c, got)
		}
	}
}

func TestMappingInterleavesOverAllCopysetsAndStartsDifferently(t *testing.T) {
	for _, copysets := range []int{1, 6, 16, 40} {
		w := newWorld(t, 3, func(c *Config) { c.Copysets = copysets })
		w.create("a", 80<<30)
		got, err := w.Admin.GetVolume(ctx, &v1.GetVolumeRequest{Name: "a"})
		w.ok(err)
		if len(got.Segments) != 80 {
			t.Fatalf("%d segments", len(got.Segments))
		}
		uses, firsts := map[uint64]int{}, map[uint64]bool{}
		for i, s := range got.Segments {
			distinct := map[uint64]bool{}
			for _, id := range s.CopysetIds {
				distinct[id] = true
				uses[id]++
			}
			if s.Index != uint64(i) || len(distinct) != min(16, copysets) ||
				len(s.CopysetIds) != len(distinct) {
				t.Fatalf("segment %d: %v", i, s)
			}
			firsts[s.CopysetIds[0]] = true
		}
		for id, n := range uses {
			if mean := 80 * min(16, copysets) / copysets; n < mean*3/4 || n > mean*5/4 {
				t.Errorf("%d copysets: copyset %d is used %d times, %d on average", copysets, id, n,
					mean)
			}
		}
		if len(uses) != copysets || len(firsts) != copysets {
			t.Errorf("%d copysets: %d used, %d of them first", copysets, len(uses), len(firsts))
		}
		part, err := w.Client.LookupSegments(ctx, &v1.LookupSegmentsRequest{
			VolumeId: got.Volume.VolumeId, First: 78, Count: 5})
		w.ok(err)
		if len(part.Segments) != 2 || !reflect.DeepEqual(part.Segments, got.Segments[78:]) ||
			part.Copysets[0].Replicas[0].Addr == "" {
			t.Fatalf("%v", part)
		}
		w.stop()
	}
}

func TestWritersFenceEachOtherAndReadersDoNot(t *testing.T) {
	w := newWorld(t, 3, nil)
	w.create("v", 1<<30)
	valid := func(s *v1.OpenVolumeResponse) bool {
		t.Helper()
		resp, err := w.Client.RenewSession(ctx, &v1.RenewSessionRequest{SessionId: s.SessionId})
		w.ok(err)
		if !resp.Valid && resp.Reason == "" {
			t.Fatal("no reason given")
		}
		return resp.Valid
	}
	first := w.open("v", false)
	reader := w.open("v", true)
	if first.Epoch != 1 || reader.Epoch != 1 || !valid(first) || !valid(reader) {
		t.Fatalf("%+v %+v", first, reader)
	}
	second := w.open("v", false)
	if second.Epoch != 2 || valid(first) || !valid(reader) || !valid(second) {
		t.Fatalf("%+v", second)
	}
	w.tick(9 * time.Second)
	if !valid(second) {
		t.Fatal("lease too short")
	}
	w.tick(9 * time.Second)
	if !valid(second) || valid(first) {
		t.Fatal("a renewal did not count, or the fenced session came back")
	}
	w.tick(time.Hour)
	if !valid(second) || !valid(reader) {
		t.Fatal("a session that nobody replaced did not come back")
	}
	w.tick(forgetSession + time.Minute)
	if valid(second) || valid(reader) {
		t.Fatal("sessions are kept for ever")
	}
	if third := w.open("v", false); third.Epoch != 3 || third.SessionId != 4 {
		t.Fatalf("%+v", third)
	}
	_, err := w.Client.CloseSession(ctx, &v1.CloseSessionRequest{SessionId: 4})
	w.ok(err)
	_, err = w.Client.CloseSession(ctx, &v1.CloseSessionRequest{SessionId: 4})
	w.ok(err)
}

func TestOpenVolumeIsNotDeleted(t *testing.T) {
	w := newWorld(t, 3, nil)
	w.create("v", 1<<30)
	s := w.open("v", true)
	_, err := w.Admin.DeleteVolume(ctx, &v1.DeleteVolumeRequest{Name: "v", Now: true})
	has(t, err, admin.ErrBusy, "v", "test")
	_, err = w.Client.CloseSession(ctx, &v1.CloseSessionRequest{SessionId: s.SessionId})
	w.ok(err)
	_, err = w.Admin.DeleteVolume(ctx, &v1.DeleteVolumeRequest{Name: "v", Now: true})
	w.ok(err)
}

func TestLapsedSessionNeitherKeepsItsVolumeNorOutlivesIt(t *testing.T) {
	w := newWorld(t, 3, nil)
	w.create("v", 1<<30)
	s := w.open("v", false)
	w.tick(11 * time.Second)
	_, err := w.Admin.DeleteVolume(ctx, &v1.DeleteVolumeRequest{Name: "v", Now: true})
	w.ok(err)
	resp, err := w.Client.RenewSession(ctx, &v1.RenewSessionRequest{SessionId: s.SessionId})
	w.ok(err)
	if resp.Valid || !strings.Contains(resp.Reason, "deleted") {
		t.Fatalf("%+v", resp)
	}
}

func TestTooManySessionsCostTheOneThatLapsedFirst(t *testing.T) {
	w := newWorld(t, 3, nil)
	w.create("v", 1<<30)
	c := w.srv.cluster()
	c.mu.Lock()
	for id := uint64(1 << 40); len(c.sessions) < maxSessions; id++ {
		c.sessions[id] = &session{rec: &meta.Session{SessionID: id, VolumeID: 2, ReadOnly: true},
			expires: w.clock.now().Add(time.Second + time.Duration(id-1<<40))}
	}
	c.mu.Unlock()
	_, err := w.Client.OpenVolume(ctx, &v1.OpenVolumeRequest{Name: "v"})
	has(t, err, admin.ErrBusy, "65536")
	w.tick(2 * time.Second)
	w.open("v", false)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.sessions[1<<40] != nil || c.sessions[1<<40+1] == nil || len(c.sessions) != maxSessions {
		t.Fatalf("%d sessions, and not the oldest was forgotten", len(c.sessions))
	}
}

func TestDeletionEndsWhenEveryLeaderHasDroppedTheChunks(t *testing.T) {
	w := newWorld(t, 3, nil)
	w.create("v", 90<<30)
	_, err := w.Admin.CreateVolume(ctx, &v1.CreateVolumeRequest{Name: "w", SizeBytes: 20 << 30})
	has(t, err, admin.ErrNoSpace)
	_, err = w.Admin.DeleteVolume(ctx, &v1.DeleteVolumeRequest{Name: "v", Now: true})
	w.ok(err)
	_, err = w.Admin.GetVolume(ctx, &v1.GetVolumeRequest{Name: "v"})
	has(t, err, admin.ErrNotFound)
	w.create("v", 1<<20) // the name is free at once, the space is not
	_, err = w.Admin.CreateVolume(ctx, &v1.CreateVolumeRequest{Name: "w", SizeBytes: 20 << 30})
	has(t, err, admin.ErrNoSpace)
	w.restart()
	for _, n := range w.nodes {
		n.dropped = false
		w.ok(n.register())
	}
	w.beat()
	w.tick(time.Second)
	w.beat()
	if got := w.volumeNames(); !slices.Equal(got, []string{"v:deleting", "v:ok"}) {
		t.Fatalf("%v", got)
	}
	for _, n := range w.nodes {
		if !slices.Equal(n.deletes, []uint64{2}) {
			t.Fatalf("node %s was told to delete %v", n.name, n.deletes)
		}
	}
	// Only the nodes that lead can end it.
	leaders := map[*fakeNode]bool{}
	for _, n := range w.nodes {
		for _, g := range n.copysets {
			leaders[n] = leaders[n] || n.report(g, w.raft).Leader
		}
	}
	for _, n := range w.nodes {
		n.dropped = !leaders[n]
	}
	w.beat()
	w.tick(time.Millisecond)
	if got := w.volumeNames(); len(got) != 2 {
		t.Fatalf("followers ended the deletion: %v", got)
	}
	for _, n := range w.nodes {
		n.dropped = true
	}
	w.beat()
	w.tick(time.Millisecond)
	if got := w.volumeNames(); !slices.Equal(got, []string{"v:ok"}) {
		t.Fatalf("%v", got)
	}
	w.create("w", 20<<30)
	w.restart()
	if got := w.volumeNames(); !slices.Equal(got, []string{"v:ok", "w:ok"}) {
		t.Fatalf("%v", got)
	}
	_ = w.kv().View(ctx, func(r meta.Reader) error {
		return meta.Segments.Scan(r, meta.ID(2), nil, 0, func(k meta.Key, _ *v1.Segment) error {
			t.Errorf("segment %x of the deleted volume is still there", []byte(k))
			return nil
		})
	})
}

func (w *world) kv() meta.KV { return w.srv.kv }

func TestGracefulStopLetsCallsFinish(t *testing.T) {
	w := newWorld(t, 3, nil)
	type answer struct {
		err error
	}
	answers := make(chan answer, 64)
	before := w.Admin
	for i := range cap(answers) {
		go func() {
			name := "v" + string(rune('A'+i%26)) + string(rune('a'+i/26))
			_, err := before.CreateVolume(ctx, &v1.CreateVolumeRequest{Name: name, SizeBytes: 1})
			answers <- answer{err}
		}()
	}
	first := <-answers
	w.ok(first.err)
	done := 1
	w.restart()
	for range cap(answers) - 1 {
		switch a := <-answers; {
		case a.err == nil:
			done++
		case !errors.Is(a.err, admin.ErrUnavailable) && !errors.Is(a.err, admin.ErrClosed):
			t.Errorf("a call that was cut off says %v", a.err)
		}
	}
	if got := len(w.volumeNames()); got < done {
		t.Fatalf("%d volumes were acknowledged, %d are there", done, got)
	}
}

// brokenKV is metadata whose disk has failed.
type brokenKV struct{ meta.Store }

func (brokenKV) Update(context.Context, func(meta.Tx) error) error {
	return fmt.Errorf("%w: commit: input/output error", meta.ErrFailed)
}

func TestFailedMetadataRefusesChangesAndKeepsAnswering(t *testing.T) {
	w := newWorld(t, 3, nil)
	w.create("v", 1<<30)
	c := w.srv.cluster()
	c.mu.Lock()
	whole := c.kv
	c.kv = brokenKV{whole}
	c.mu.Unlock()
	_, err := w.Client.OpenVolume(ctx, &v1.OpenVolumeRequest{Name: "v"})
	has(t, err, admin.ErrUnavailable, "restart", "input/output error")
	c.mu.Lock()
	c.kv = whole
	c.mu.Unlock()
	_, err = w.Client.OpenVolume(ctx, &v1.OpenVolumeRequest{Name: "v"})
	has(t, err, admin.ErrUnavailable, "restart")
	_, err = w.Admin.GetVolume(ctx, &v1.GetVolumeRequest{Name: "v"})
	w.ok(err)
	w.beat()
	if s := w.status(); s.Health != "unavailable" || !strings.Contains(s.Problems[0], "metadata") {
		t.Fatalf("%+v", s)
	}
	// Stopping reports the failure too, which is not what this test is about.
	c.mu.Lock()
	c.failed = nil
	c.mu.Unlock()
	w.restart()
	if s := w.open("v", false); s.Epoch != 1 {
		t.Fatalf("a refused change was made: %+v", s)
	}
}

func TestServerRefusesWhatItCannotUse(t *testing.T) {
	quiet := slog.New(slog.DiscardHandler)
	foreign := t.TempDir()
	if err := os.WriteFile(filepath.Join(foreign, "x"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	_, err := New(Config{Listen: "127.0.0.1:0", DataDir: foreign, Logger: quiet})
	has(t, err, meta.ErrForeign, foreign)
	r := newRig(t, nil)
	_, err = New(r.cfg)
	has(t, err, meta.ErrLocked, r.cfg.DataDir)
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	dir := t.TempDir()
	_, err = New(Config{Listen: taken.Addr().String(), DataDir: dir, Logger: quiet})
	if err == nil || !strings.Contains(err.Error(), taken.Addr().String()) {
		t.Fatalf("got %v", err)
	}
	// What failed gave the directory back.
	s, err := New(Config{Listen: "127.0.0.1:0", DataDir: dir, Logger: quiet})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestConfigErrorsNameTheField(t *testing.T) {
	for field, change := range map[string]func(*Config){
		"Listen":       func(c *Config) { c.Listen = "x" },
		"DataDir":      func(c *Config) { c.DataDir = "" },
		"Replicas":     func(c *Config) { c.Replicas = -1 },
		"Copysets":     func(c *Config) { c.Copysets = -1 },
		"MinNodes":     func(c *Config) { c.MinNodes = 2 },
		"ScatterWidth": func(c *Config) { c.ScatterWidth = -1 },
		"ChunkBytes":   func(c *Config) { c.ChunkBytes = 5000 },
		"SegmentBytes": func(c *Config) { c.SegmentBytes = 5000 },
		"Overcommit":   func(c *Config) { c.Overcommit = -1 },
		"OfflineAfter": func(c *Config) { c.OfflineAfter = 1 },
		"TickInterval": func(c *Config) { c.TickInterval = 1 },
	} {
		c := Config{Listen: "127.0.0.1:0", DataDir: filepath.Join(t.TempDir(), "d")}
		change(&c)
		_, err := New(c)
		has(t, err, admin.ErrInvalid, field)
	}
}

func TestServeEndsAtOnceWhenItsContextHasEnded(t *testing.T) {
	s, err := New(Config{Listen: "127.0.0.1:0", DataDir: t.TempDir(),
		Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	ended, cancel := context.WithCancel(ctx)
	cancel()
	done := make(chan error, 1)
	go func() { done <- s.Serve(ended) }()
	select {
	case err := <-done:
		if err != nil {
			t.Fatal(err)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("still serving")
	}
	if c, err := net.DialTimeout("tcp", s.Addr().String(), time.Second); err == nil {
		c.Close()
		t.Fatal("the port is still open")
	}
}
