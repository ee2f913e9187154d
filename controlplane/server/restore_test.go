package server

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ashlar-storage/ashlar/controlplane/meta"
	"github.com/ashlar-storage/ashlar/controlplane/schedule"
	"github.com/ashlar-storage/ashlar/rpc/admin"
	v1 "github.com/ashlar-storage/ashlar/rpc/admin/kitex_gen/ashlar/v1"
)

// group is a copyset as it really is, whatever the control plane believes.
type group struct {
	voters, learners []uint64
	leader, term     uint64
	at               map[uint64]*v1.Replica // the replicas that exist, voters or not
	ever             map[uint64]bool
	holds            told
	erased           []*v1.VolumeRun
}

// reality is nodes and copysets that do what real ones do: replicas run whether the control plane
// speaks of them or not, a leader changes its membership when it is told.
type reality struct {
	*world
	groups  map[uint64]*group
	alive   map[*fakeNode]bool
	retired []string
	// straggler writes to a volume at a copyset, just before it is fenced there; nil: nobody does.
	straggler func(copyset uint64, v *v1.CopysetVolume)
}

func newReality(t *testing.T, nodes int) *reality {
	rig := newRig(t, func(c *Config) {
		c.MinNodes, c.Copysets = nodes, 6
		c.Schedule = schedule.DefaultLimits()
		c.Schedule.LostAfter = time.Minute
	})
	r := &reality{world: &world{rig: rig}, groups: map[uint64]*group{},
		alive: map[*fakeNode]bool{}}
	for range nodes {
		r.addNode()
	}
	r.pass(3)
	if len(r.groups) != 6 {
		t.Fatalf("%d copysets", len(r.groups))
	}
	return r
}

func (r *reality) addNode() *fakeNode {
	r.t.Helper()
	n := newNode(r.rig, len(r.nodes)+1)
	r.nodes = append(r.nodes, n)
	r.alive[n] = true
	r.ok(n.register())
	return n
}

// on is the node that has a store.
func (r *reality) on(store uint64) *fakeNode {
	for _, n := range r.nodes {
		if n.stores[0].StoreId == store {
			return n
		}
	}
	r.t.Fatalf("no node has store %d", store)
	return nil
}

// pass lets seconds pass.
func (r *reality) pass(seconds int) {
	r.t.Helper()
	for range seconds {
		for _, id := range sortedIDs(r.groups) {
			r.elect(r.groups[id])
		}
		for _, n := range r.nodes {
			if r.alive[n] {
				r.beatOf(n)
			}
		}
		r.tick(time.Second)
	}
}

func (r *reality) elect(g *group) {
	if m := g.at[g.leader]; m != nil && r.alive[r.on(m.StoreId)] &&
		slices.Contains(g.voters, g.leader) {
		return
	}
	g.leader = 0
	for _, v := range g.voters {
		if m := g.at[v]; m != nil && r.alive[r.on(m.StoreId)] {
			g.leader, g.term = v, g.term+1
			return
		}
	}
}

func (r *reality) beatOf(n *fakeNode) {
	r.t.Helper()
	store := n.stores[0].StoreId
	req := &v1.HeartbeatNodeRequest{ClusterId: n.cluster, NodeId: n.id, DesiredVersion: n.version,
		Stores: []*v1.StoreReport{{StoreId: store, State: "up", CapacityBytes: 100 << 30}}}
	for _, id := range sortedIDs(r.groups) {
		g := r.groups[id]
		for _, replica := range sortedIDs(g.at) {
			if g.at[replica].StoreId == store {
				req.Replicas = append(req.Replicas, g.report(id, replica))
			}
		}
	}
	resp, err := n.r.Node.HeartbeatNode(ctx, req)
	if errors.Is(err, admin.ErrNotFound) {
		r.ok(n.register())
		return
	}
	r.ok(err)
	for _, t := range resp.Retire {
		r.destroy(t)
	}
	r.tellChunks(n, resp)
	if !resp.DesiredPresent {
		return
	}
	n.version = resp.DesiredVersion
	for _, c := range resp.Copysets {
		r.obey(n, c)
	}
}

func (g *group) report(id, replica uint64) *v1.ReplicaReport {
	rep := &v1.ReplicaReport{CopysetId: id, ReplicaId: replica, StoreId: g.at[replica].StoreId,
		Leader: replica == g.leader, LeaderReplicaId: g.leader, Term: g.term, State: "ok",
		Voters: g.voters, Learners: g.learners, Recorded: true, CommitIndex: 10}
	if rep.Leader {
		for _, v := range g.voters {
			rep.Progress = append(rep.Progress, &v1.PeerProgress{ReplicaId: v, MatchIndex: 10,
				Active: g.at[v] != nil})
		}
	}
	return rep
}

// destroy is what must never happen to a replica that counts.
func (r *reality) destroy(t *v1.RetireReplica) {
	r.t.Helper()
	g := r.groups[t.CopysetId]
	if g != nil && (slices.Contains(g.voters, t.ReplicaId) ||
		slices.Contains(g.learners, t.ReplicaId)) {
		r.t.Errorf("copyset %d: replica %d, which counts, was to be destroyed", t.CopysetId,
			t.ReplicaId)
		return
	}
	if g != nil {
		delete(g.at, t.ReplicaId)
	}
	r.retired = append(r.retired, fmt.Sprint(t.CopysetId, "/", t.ReplicaId))
}

// obey does what a node does with a copyset of its desired state.
func (r *reality) obey(n *fakeNode, c *v1.Copyset) {
	r.t.Helper()
	g := r.groups[c.CopysetId]
	if g == nil {
		g = &group{at: map[uint64]*v1.Replica{}, ever: map[uint64]bool{}}
		for _, m := range c.Replicas {
			g.voters = append(g.voters, m.ReplicaId)
		}
		r.groups[c.CopysetId] = g
	}
	for _, m := range admin.Members(c) {
		if m.StoreId != n.stores[0].StoreId || g.at[m.ReplicaId] != nil {
			continue
		}
		switch {
		case m.Recorded:
			r.t.Errorf("copyset %d: replica %d is taken for lost", c.CopysetId, m.ReplicaId)
		case g.ever[m.ReplicaId]:
			r.t.Errorf("copyset %d: replica %d was made a second time", c.CopysetId, m.ReplicaId)
		}
		g.at[m.ReplicaId], g.ever[m.ReplicaId] = m, true
	}
	if m := g.at[g.leader]; m == nil || m.StoreId != n.stores[0].StoreId {
		return
	}
	if j := c.GetJoining().GetReplicaId(); j != 0 && slices.Contains(g.voters, c.LeavingReplicaId) {
		at := slices.Index(g.voters, c.LeavingReplicaId)
		g.voters = slices.Clone(g.voters)
		g.voters[at] = j
	}
}

// lose has a node die, and its replicas made anew on others.
func (r *reality) lose(n *fakeNode) {
	r.t.Helper()
	r.alive[n] = false
	r.pass(100)
	for id, g := range r.groups {
		for _, v := range g.voters {
			if m := g.at[v]; m == nil || !r.alive[r.on(m.StoreId)] {
				r.t.Fatalf("copyset %d has its member %d on a dead node still", id, v)
			}
		}
	}
}

// save makes a backup, restore puts it in the place of what the control plane has now.
func (r *reality) save() string {
	r.t.Helper()
	path := filepath.Join(r.t.TempDir(), "backup")
	_, err := meta.BackUp(ctx, r.srv.kv, path, r.clock.now())
	r.ok(err)
	return path
}

func (r *reality) restore(path string) meta.Restoration {
	r.t.Helper()
	r.stop()
	r.cfg.DataDir = r.t.TempDir()
	kv, err := meta.OpenPebble(r.cfg.DataDir, meta.PebbleConfig{Logger: r.cfg.Logger})
	r.ok(err)
	var done meta.Restoration
	if path != "" {
		done, err = meta.Restore(ctx, path, kv, "here", r.clock.now())
	} else {
		done, err = meta.RestoreNothing(ctx, r.nodes[0].cluster, kv, "here", r.clock.now())
	}
	r.ok(errors.Join(err, kv.Close()))
	r.start()
	return done
}

// converge waits until the records are what is real.
func (r *reality) converge() {
	r.t.Helper()
	wrong := ""
	for range 60 {
		r.pass(2)
		if wrong = r.difference(); wrong == "" {
			return
		}
	}
	r.t.Fatal(wrong)
}

// difference says where a record is not what is real.
func (r *reality) difference() string {
	c := r.srv.cluster()
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.unsettled) > 0 || len(c.copysets) != len(r.groups) || !slices.IsSorted(c.order) {
		return fmt.Sprintf("%+v are not settled of %v, want %d", c.unsettled, c.order,
			len(r.groups))
	}
	for id, g := range r.groups {
		rec := c.copysets[id].rec
		var ids []uint64
		for _, m := range rec.Replicas {
			ids = append(ids, m.ReplicaId)
			if real := g.at[m.ReplicaId]; real == nil || real.StoreId != m.StoreId ||
				c.nodes[m.NodeId] == nil || !c.nodes[m.NodeId].stores[m.StoreId] {
				return fmt.Sprintf("copyset %d: member %+v, really %+v", id, m, real)
			}
		}
		got, want := slices.Sorted(slices.Values(ids)), slices.Sorted(slices.Values(g.voters))
		if !slices.Equal(got, want) || rec.Joining != nil {
			return fmt.Sprintf("copyset %d has the members %v, really %v", id, got, want)
		}
	}
	return ""
}

// Everything that control planes do goes on after the backup: volumes, sessions, a node that is
// lost and two that come. Then the backup is restored.
func TestRestoredBackupForgetsAndDestroysNothingThatCounts(t *testing.T) {
	r := newReality(t, 4)
	r.create("old", 1<<30)
	early := r.open("old", false)
	path := r.save()
	before := r.srv.cluster().topology

	late := r.create("late", 1<<30)
	writer := r.open("old", false) // fences early
	reader := r.open("late", true)
	fifth := r.addNode()
	r.lose(r.nodes[0])
	r.lose(r.nodes[1]) // so that the new node has members that the backup does not know
	r.retired = nil
	oldID, oldStore := fifth.id, fifth.stores[0].StoreId
	given := r.srv.cluster().topology

	done := r.restore(path)
	if before >= given || given >= done.Restored.Floor {
		t.Fatalf("topology %d, then %d: floor %d", before, given, done.Restored.Floor)
	}
	r.converge()
	if fifth.id == oldID || fifth.stores[0].StoreId != oldStore || fifth.id <= done.Restored.Floor {
		t.Errorf("node %d with store %d, was %d with %d", fifth.id, fifth.stores[0].StoreId, oldID,
			oldStore)
	}
	r.wantSessions(early, writer, reader)

	// The dead come back with what they had; it is none of the members, and goes.
	r.alive[r.nodes[0]], r.alive[r.nodes[1]] = true, true
	r.pass(100) // they take over from others too, as they are empty
	r.converge()
	if len(r.retired) == 0 {
		t.Error("what was left behind is not destroyed once the leaders have spoken")
	}
	for id, g := range r.groups {
		if len(g.at) != 3 {
			t.Errorf("copyset %d has %d replicas", id, len(g.at))
		}
	}

	// What is given out now was never given out.
	vol := r.create("new", 1<<30)
	s := r.open("old", false)
	if vol.VolumeId <= done.Restored.Floor || s.SessionId <= done.Restored.Floor ||
		s.Epoch <= done.Restored.Floor || vol.VolumeId == late.VolumeId {
		t.Errorf("volume %d, session %d, epoch %d", vol.VolumeId, s.SessionId, s.Epoch)
	}
	r.lose(r.nodes[2])
	r.converge()
	for id, g := range r.groups {
		for _, v := range g.voters {
			if v > done.Restored.Floor {
				return
			}
		}
		t.Logf("copyset %d: %v", id, g.voters)
	}
	t.Error("no replica was made anew after the restore")
}

// wantSessions checks that those who may go on may, and the others may not.
func (r *reality) wantSessions(early, writer, reader *v1.OpenVolumeResponse) {
	r.t.Helper()
	renew := func(o *v1.OpenVolumeResponse, readOnly bool) *v1.RenewSessionResponse {
		resp, err := r.Client.RenewSession(ctx, &v1.RenewSessionRequest{SessionId: o.SessionId,
			VolumeId: o.Volume.VolumeId, Epoch: o.Epoch, ReadOnly: readOnly, Client: "test"})
		r.ok(err)
		return resp
	}
	if got := renew(writer, false); !got.Valid || got.Volume.GetEpoch() != writer.Epoch {
		r.t.Errorf("the session that writes: %+v", got)
	}
	if got := renew(early, false); got.Valid {
		r.t.Error("the session that it fenced goes on")
	}
	if got := renew(reader, true); !got.Valid {
		r.t.Errorf("the session on a volume that is forgotten: %+v", got)
	}
	text := strings.Join(r.status().Problems, "\n")
	if !strings.Contains(text, "1 volumes are in use") {
		r.t.Errorf("problems: %s", text)
	}
	list, err := r.Admin.ListAttachments(ctx, &v1.ListAttachmentsRequest{Volume: "old"})
	r.ok(err)
	if len(list.Attachments) == 0 || list.Attachments[0].SessionId != writer.SessionId ||
		list.Attachments[0].State != attachedOK {
		r.t.Errorf("attachments: %+v", list.Attachments)
	}
	_, err = r.Admin.ResizeVolume(ctx, &v1.ResizeVolumeRequest{Name: "old", SizeBytes: 2 << 30})
	if !errors.Is(err, admin.ErrBusy) || !strings.Contains(err.Error(), "grow") {
		r.t.Errorf("resizing what may have grown: %v", err)
	}
	_, err = r.Admin.DeleteVolume(ctx, &v1.DeleteVolumeRequest{Name: "old", Now: true})
	if !errors.Is(err, admin.ErrBusy) {
		r.t.Errorf("deleting what a survivor has open: %v", err)
	}
	for _, id := range []uint64{1 << 62, early.SessionId - 1} { // never given; closed before
		resp, err := r.Client.RenewSession(ctx, &v1.RenewSessionRequest{SessionId: id})
		r.ok(err)
		if resp.Valid {
			r.t.Errorf("session %d is taken for good", id)
		}
	}
}

// A change that was under way when the control plane was lost ends after its record was confirmed
// as it was before: the leader had been told, and does it.
func TestChangeThatEndsAfterTheConfirmationIsTakenOver(t *testing.T) {
	r := newReality(t, 4)
	path := r.save()
	r.restore(path)
	r.converge()
	var free *fakeNode
	g := r.groups[1]
	for _, n := range r.nodes {
		if !slices.ContainsFunc(g.voters, func(v uint64) bool {
			return g.at[v].StoreId == n.stores[0].StoreId
		}) {
			free = n
		}
	}
	left := g.voters[0]
	g.at[77] = &v1.Replica{ReplicaId: 77, StoreId: free.stores[0].StoreId}
	g.voters = []uint64{77, g.voters[1], g.voters[2]}
	r.converge()
	r.pass(5)
	if g.at[left] != nil || g.at[77] == nil {
		t.Errorf("replicas %v, members %v", sortedIDs(g.at), g.voters)
	}
}

func TestExplainSaysThatACopysetIsNotConfirmedSinceARestore(t *testing.T) {
	r := newReality(t, 4)
	path := r.save()
	r.restore(path)
	explain := func(id string) *v1.ExplainResponse {
		t.Helper()
		e, err := r.Admin.Explain(ctx, &v1.ExplainRequest{Object: "copyset", Id: id})
		r.ok(err)
		return e
	}
	r.tick(time.Second)
	e := explain("1")
	if !strings.Contains(e.Summary, "is not confirmed by its leader since the metadata were "+
		"restored") || !slices.Contains(e.WaitsFor, "its leader to say who its members are: no "+
		"leader has reported") || strings.Contains(strings.Join(e.Why, "\n"), "has no leader") {
		t.Errorf("%+v", e)
	}
	_, err := r.Admin.Explain(ctx, &v1.ExplainRequest{Object: "copyset", Id: "9999"})
	has(t, err, admin.ErrNotFound, "9999")
	r.converge()
	if e := explain("1"); !strings.Contains(e.Summary, "is well") {
		t.Errorf("once it is confirmed: %+v", e)
	}
}

// With nothing but the cluster's id, nodes, stores and copysets come back from what runs.
func TestClusterWithoutMetadataIsTakenUpFromItsNodes(t *testing.T) {
	r := newReality(t, 4)
	r.lose(r.nodes[3])
	r.alive[r.nodes[3]] = true
	r.pass(5)
	r.restore("")
	r.converge()
	if len(r.srv.cluster().nodes) != 4 || len(r.srv.cluster().stores) != 4 {
		t.Errorf("%d nodes, %d stores", len(r.srv.cluster().nodes), len(r.srv.cluster().stores))
	}
	r.pass(1)
	if s := r.status(); s.Health != stateOK {
		t.Errorf("%s: %q", s.Health, s.Problems)
	}
	r.restart()
	r.converge()
	r.lose(r.nodes[0])
	r.converge()
}

// A backup may be restored twice, and what was given out in between is not given out again.
func TestBackupThatIsRestoredAgainGivesOutNewNumbers(t *testing.T) {
	r := newReality(t, 4)
	path := r.save()
	seen := map[string]bool{}
	for range 3 {
		r.clock.pass(time.Hour)
		r.restore(path)
		r.converge()
		for i := range 5 {
			vol := r.create(fmt.Sprint("v", i), 1<<20)
			o := r.open(vol.Name, false)
			for _, id := range []string{fmt.Sprint("volume ", vol.VolumeId),
				fmt.Sprint("session ", o.SessionId)} {
				if seen[id] {
					t.Errorf("%s was given out before", id)
				}
				seen[id] = true
			}
		}
		r.lose(r.nodes[0])
		r.alive[r.nodes[0]] = true
		r.converge()
	}
}

// What was in the trash may have been taken out of it, so its time begins anew.
func TestTrashHasItsTimeAnewAfterARestore(t *testing.T) {
	r := newReality(t, 3)
	r.create("v", 1<<20)
	_, err := r.Admin.DeleteVolume(ctx, &v1.DeleteVolumeRequest{Name: "v"})
	r.ok(err)
	path := r.save()
	list, err := r.Admin.ListTrash(ctx, &v1.ListTrashRequest{})
	r.ok(err)
	back, err := r.Admin.RestoreVolume(ctx, &v1.RestoreVolumeRequest{
		VolumeId: list.Volumes[0].Volume.VolumeId})
	r.ok(err)
	o := r.open("v", false)
	r.clock.pass(30 * time.Hour) // its time in the trash of the backup is over
	done := r.restore(path)
	r.converge()
	list, err = r.Admin.ListTrash(ctx, &v1.ListTrashRequest{})
	r.ok(err)
	if len(list.Volumes) != 1 || list.Volumes[0].Volume.State != stateTrashed ||
		list.Volumes[0].Volume.PurgeUnixNs < done.Restored.TimeNS+int64(24*time.Hour) {
		t.Fatalf("%+v", list.Volumes)
	}
	renew := func() *v1.RenewSessionResponse {
		resp, err := r.Client.RenewSession(ctx, &v1.RenewSessionRequest{SessionId: o.SessionId,
			VolumeId: back.Volume.VolumeId, Epoch: o.Epoch})
		r.ok(err)
		return resp
	}
	if !renew().Valid {
		t.Error("who has it open is sent away")
	}
	for _, what := range []string{"in use", "in use"} {
		_, err = r.Admin.PurgeVolume(ctx, &v1.PurgeVolumeRequest{VolumeId: back.Volume.VolumeId})
		if !errors.Is(err, admin.ErrBusy) || !strings.Contains(err.Error(), what) {
			t.Errorf("purge: %v", err)
		}
		r.clock.pass(9 * time.Second)
	}
	_, err = r.Admin.RestoreVolume(ctx, &v1.RestoreVolumeRequest{VolumeId: back.Volume.VolumeId})
	r.ok(err)
	if got := renew(); !got.Valid || got.Volume == nil {
		t.Errorf("after it is taken out again: %+v", got)
	}
}

func TestConfirmDecidesByTheLeaderAlone(t *testing.T) {
	rec := &v1.Copyset{CopysetId: 5, Epoch: 3, PoolId: 1, PreferredLeaderReplicaId: 2,
		FoundingReplicaIds: []uint64{1, 2, 3}, Replicas: []*v1.Replica{
			{ReplicaId: 1, StoreId: 1, NodeId: 1}, {ReplicaId: 2, StoreId: 2, NodeId: 2},
			{ReplicaId: 3, StoreId: 3, NodeId: 3}}}
	said := func(node, replica, term uint64, leader, joint bool, voters ...uint64) claim {
		return claim{node: node, report: &v1.ReplicaReport{CopysetId: 5, ReplicaId: replica,
			StoreId: node, Leader: leader, Term: term, Joint: joint, Voters: voters}}
	}
	for _, c := range []struct {
		name    string
		said    []claim
		members string
		missing string
	}{
		{"nobody", nil, "", "no leader"},
		{"followers", []claim{said(1, 1, 4, false, false, 1, 2, 3)}, "", "no leader"},
		{"as it was", []claim{said(1, 1, 4, true, false, 3, 1, 2)}, "1@1 2@2 3@3", ""},
		{"deposed", []claim{said(1, 1, 4, true, false, 1, 2, 3),
			said(2, 2, 5, false, false, 1, 2, 9)}, "", "no leader"},
		{"two lead", []claim{said(1, 1, 4, true, false, 1, 2, 3),
			said(2, 2, 5, true, false, 1, 2, 9), said(4, 9, 5, false, false)}, "1@1 2@2 9@4", ""},
		{"between", []claim{said(1, 1, 4, true, true, 1, 2, 3)}, "", "changing"},
		{"unheard of", []claim{said(1, 1, 4, true, false, 1, 2, 9)}, "", "member 9"},
		{"moved", []claim{said(1, 1, 4, true, false, 1, 2, 9), said(4, 9, 4, false, false)},
			"1@1 2@2 9@4", ""},
		{"all new", []claim{said(7, 17, 4, true, false, 17, 18, 19), said(8, 18, 4, false, false),
			said(9, 19, 4, false, false)}, "17@7 18@8 19@9", ""},
	} {
		next, missing := confirm(rec, c.said, 1000)
		var members []string
		for _, m := range next.GetReplicas() {
			members = append(members, fmt.Sprint(m.ReplicaId, "@", m.StoreId))
			if !m.Recorded || m.NodeId != m.StoreId {
				t.Errorf("%s: %+v", c.name, m)
			}
		}
		if strings.Join(members, " ") != c.members || !strings.Contains(missing, c.missing) ||
			(next == nil) == (missing == "") {
			t.Errorf("%s: %v, %q", c.name, members, missing)
		}
		if next != nil && (next.Epoch != 1001 || len(next.FoundingReplicaIds) != 3) {
			t.Errorf("%s: %+v", c.name, next)
		}
	}
}
