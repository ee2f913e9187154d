package server

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/ashlar-storage/ashlar/rpc/admin"
	v1 "github.com/ashlar-storage/ashlar/rpc/admin/kitex_gen/ashlar/v1"
)

func (w *world) explain(object string, id any) *v1.ExplainResponse {
	w.t.Helper()
	r, err := w.Admin.Explain(ctx, &v1.ExplainRequest{Object: object, Id: fmt.Sprint(id)})
	w.ok(err)
	if r.Object != object || r.State == "" || r.Summary == "" {
		w.t.Errorf("%s %v: %+v", object, id, r)
	}
	return r
}

// says checks that each part of an explanation has a sentence with each of the words; a part
// without words must be empty.
func (w *world) says(r *v1.ExplainResponse, state, why, waits, next string) {
	w.t.Helper()
	if r.State != state {
		w.t.Errorf("%s %d is %s, want %s", r.Object, r.ObjectId, r.State, state)
	}
	for _, p := range []struct {
		part, words string
		got         []string
	}{{"why", why, r.Why}, {"waits for", waits, r.WaitsFor}, {"next", next, r.Next}} {
		text := strings.Join(p.got, "\n")
		if p.words == "" && text != "" {
			w.t.Errorf("%s %d %s: %s", r.Object, r.ObjectId, p.part, text)
		}
		for _, word := range strings.Split(p.words, "|") {
			if !strings.Contains(text, word) {
				w.t.Errorf("%s %d %s lacks %q: %s", r.Object, r.ObjectId, p.part, word, text)
			}
		}
	}
}

// settled is a world in which every copyset is led by its preferred replica.
func settled(t *testing.T, n int, change func(*Config)) *world {
	w := newWorld(t, n, change)
	for range 30 {
		w.tick(2 * time.Second)
		w.beat()
		w.beat() // what the scheduler wanted is done and known
	}
	return w
}

func TestWhatIsWellIsExplainedWithoutComplaints(t *testing.T) {
	w := settled(t, 3, nil)
	w.create("v", 1<<30)
	for _, g := range w.nodes[0].copysets {
		w.says(w.explain("copyset", g.CopysetId), "ok", "", "", "")
	}
	w.says(w.explain("store", w.nodes[0].stores[0].StoreId), "up", "", "", "")
	w.says(w.explain("node", "n1"), "up", "", "", "")
	w.says(w.explain("node", w.nodes[0].id), "up", "", "", "")
	w.says(w.explain("volume", "v"), "ok", "", "", "")
	for _, c := range [][2]string{{"copyset", "99"}, {"copyset", "x"}, {"store", "99"},
		{"node", "n9"}, {"volume", "w"}, {"volume", "99"}} {
		_, err := w.Admin.Explain(ctx, &v1.ExplainRequest{Object: c[0], Id: c[1]})
		has(t, err, admin.ErrNotFound, c[0], c[1])
	}
	_, err := w.Admin.Explain(ctx, &v1.ExplainRequest{Object: "disk", Id: "1"})
	has(t, err, admin.ErrInvalid, "disk", "copyset, store")
}

func TestSilentNodesAreWhatTheirCopysetsWaitFor(t *testing.T) {
	w := settled(t, 3, nil)
	w.create("v", 1<<30)
	g := w.nodes[0].copysets[0].CopysetId
	stay := w.follower(g)
	w.raft.elect(g, func() uint64 {
		for _, m := range w.copyset(g).Replicas {
			if m.NodeId == stay.id {
				return m.ReplicaId
			}
		}
		return 0
	}())
	w.beat()
	var gone []*fakeNode
	for _, n := range w.nodes {
		if n != stay {
			gone = append(gone, n)
		}
	}
	w.clock.pass(4 * time.Second)
	w.beat(stay, gone[1])
	w.says(w.explain("copyset", g), "degraded", "node "+gone[0].name+" is offline",
		gone[0].name+"|"+gone[0].addr, "catch up by themselves")
	w.clock.pass(4 * time.Second)
	w.beat(stay)
	w.raft.leader[g] = 0 // it cannot lead alone
	w.beat(stay)
	w.raft.term[g]++
	w.beat(stay)
	r := w.explain("copyset", g)
	w.says(r, "unavailable", gone[0].name+"|"+gone[1].name, "1 more of its replicas",
		"elect a leader")
	if !strings.Contains(r.Summary, "1 of its 3 replicas run, and it needs 2") {
		t.Error(r.Summary)
	}
	w.says(w.explain("node", gone[0].name), "offline", "last heartbeat 8s ago|have no leader",
		"look at its process", "may lead again")
	w.says(w.explain("store", gone[0].stores[0].StoreId), "offline", "is offline", gone[0].name,
		"by themselves")
	w.says(w.explain("volume", "v"), "unavailable", "have no leader|node "+gone[0].name+
		" is offline", "explain copyset|"+gone[0].addr, "catch up by themselves")
}

func TestLostReplicaIsExplainedUntilItIsMadeAnew(t *testing.T) {
	w := settled(t, 3, nil)
	g := w.nodes[0].copysets[0].CopysetId
	n := w.follower(g)
	old := w.lose(n, g)
	w.beat()
	w.says(w.explain("copyset", g), "degraded", fmt.Sprintf("replica %d", old)+"|is damaged", "",
		"a new replica is made on store")
	w.tick(time.Second)
	w.raft.slow = w.copyset(g).Joining.ReplicaId // does not vote yet
	w.beat()
	w.beat()
	w.says(w.explain("copyset", g), "degraded", "is being rebuilt as replica",
		"to be filled by the leader", fmt.Sprintf("takes the place of replica %d", old))
}

func TestReplicaBehindItsLeaderIsExplained(t *testing.T) {
	w := settled(t, 3, nil)
	g := w.nodes[0].copysets[0].CopysetId
	n := w.follower(g)
	n.behind = true
	w.beat()
	w.says(w.explain("copyset", g), "degraded", "is catching-up", "to catch up with its leader",
		"sends what it lacks")
}

func TestVolumesOnTheirWayOutAreExplained(t *testing.T) {
	w := settled(t, 3, nil)
	v := w.create("v", 1<<30)
	w.open("v", true)
	s := w.open("v", false)
	w.says(w.explain("volume", "v"), "ok", "", "", "reads it|may write it|cannot be deleted")
	w.clock.pass(30 * time.Second)
	w.beat()
	w.says(w.explain("volume", "v"), "ok", fmt.Sprintf("session %d", s.SessionId)+
		"|not heard of for 30s", "", "")
	_, err := w.remove("v", false)
	w.ok(err)
	w.says(w.explain("volume", v.VolumeId), "trashed", "", "", "volume restore")
	_, err = w.Admin.PurgeVolume(ctx, &v1.PurgeVolumeRequest{VolumeId: v.VolumeId})
	w.ok(err)
	g := w.nodes[0].copysets[0].CopysetId
	w.raft.leader[g] = 0
	w.raft.term[g]++
	for _, n := range w.nodes {
		n.dropped = false
	}
	w.beat()
	w.beat()
	w.raft.leader[g] = 0
	w.says(w.explain("volume", v.VolumeId), "deleting", "",
		"whose leader is told with each heartbeat", "its space is free")
}
