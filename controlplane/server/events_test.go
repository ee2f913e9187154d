package server

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ashlar-storage/ashlar/controlplane/meta"
	v1 "github.com/ashlar-storage/ashlar/rpc/admin/kitex_gen/ashlar/v1"
)

// events asks for all events behind a number.
func (w *world) events(after uint64) (all []*v1.Event) {
	w.t.Helper()
	for {
		r, err := w.Admin.ListEvents(ctx, &v1.ListEventsRequest{AfterId: after, PageSize: 7})
		w.ok(err)
		for _, e := range r.Events {
			if e.EventId != after+1 {
				w.t.Fatalf("event %d follows %d", e.EventId, after)
			}
			after = e.EventId
			all = append(all, e)
		}
		if !r.More {
			return all
		}
	}
}

// kinds are those of events, in order.
func kinds(events []*v1.Event) (list []string) {
	for _, e := range events {
		list = append(list, e.Kind)
	}
	return list
}

// happened waits a tick and tells the kinds of the events since the last call.
func (w *world) happened(seen *uint64) []string {
	w.t.Helper()
	w.tick(10 * time.Millisecond)
	list := w.events(*seen)
	if len(list) > 0 {
		*seen = list[len(list)-1].EventId
	}
	return kinds(list)
}

func (w *world) expect(what string, seen *uint64, want ...string) {
	w.t.Helper()
	if got := w.happened(seen); !slices.Equal(got, want) {
		w.t.Errorf("%s: %v, want %v", what, got, want)
	}
}

func TestWhatHappensIsToldAndStillKnownAfterAKill(t *testing.T) {
	w := newWorld(t, 4, func(c *Config) { c.TrashKeep = time.Hour })
	seen := uint64(0)
	w.expect("a new cluster", &seen, "node-started", "node-started", "node-started",
		"copysets-created", "node-started", "node-up", "node-up", "node-up", "node-up")
	w.expect("nothing", &seen)
	v := w.create("v", 1<<30)
	_, err := w.resize("v", 2<<30)
	w.ok(err)
	w.ok(w.move("v", "w"))
	w.open("w", false)
	w.open("w", true)
	w.open("w", false)
	w.kill() // what was told with a change is there at once
	w.expect("a volume", &seen, "volume-created", "volume-resized", "volume-renamed",
		"session-fenced")
	w.detach("w", 0)
	_, err = w.remove("w", false)
	w.ok(err)
	_, err = w.restore(v.VolumeId, "x")
	w.ok(err)
	_, err = w.remove("x", true)
	w.ok(err)
	w.beat() // the node's processes went on
	w.beat()
	w.expect("its end", &seen, "session-detached", "volume-trashed", "volume-restored",
		"volume-deleted", "volume-erased")
	for _, n := range w.nodes[1:] {
		w.ok(n.beat(w.raft))
	}
	w.clock.pass(w.srv.cfg.OfflineAfter)
	w.beat(w.nodes[1:]...)
	w.expect("silence", &seen, "node-offline")
	w.kill()
	w.clock.pass(w.srv.cfg.OfflineAfter)
	w.beat(w.nodes[1:]...)
	w.expect("a restart beside a node that is away", &seen)
	w.beat()
	w.expect("its return", &seen, "node-up")
	all := w.events(0)
	e := all[len(all)-2]
	if e.Severity != "warning" || e.Object != "node" || e.ObjectId != w.nodes[0].id ||
		e.Name != "n1" || !strings.Contains(e.Text, "nothing heard for 3s") {
		t.Errorf("%+v", e)
	}
	since, err := w.Admin.ListEvents(ctx, &v1.ListEventsRequest{SinceUnixNs: e.TimeUnixNs})
	w.ok(err)
	if got := kinds(since.Events); !slices.Equal(got, []string{"node-offline", "node-up"}) {
		t.Errorf("since then: %v", got)
	}
}

func TestStatesOfStoresAndReplacementsAreTold(t *testing.T) {
	w := newWorld(t, 3, nil)
	seen := uint64(0)
	w.happened(&seen)
	n := w.nodes[0]
	beat := func(state string) {
		w.beat(w.nodes[1:]...)
		req := &v1.HeartbeatNodeRequest{ClusterId: n.cluster, NodeId: n.id,
			DesiredVersion: n.version}
		for _, g := range n.copysets {
			req.Replicas = append(req.Replicas, n.report(g, w.raft))
		}
		req.Stores = []*v1.StoreReport{{StoreId: n.stores[0].StoreId, State: state, Detail: "why"}}
		_, err := w.Node.HeartbeatNode(ctx, req)
		w.ok(err)
	}
	beat("stalled")
	w.expect("stalled", &seen, "store-stalled")
	beat("stalled")
	w.expect("still", &seen)
	beat("failed")
	w.expect("failed", &seen, "store-failed")
	if e := w.events(seen - 1)[0]; e.Severity != "error" || !strings.HasSuffix(e.Text, ": why") {
		t.Errorf("%+v", e)
	}
	w.restart()
	beat("failed")
	w.expect("known after a restart", &seen)
	beat("up")
	w.expect("up again", &seen, "store-up")
	w.beat()
	g := n.copysets[0]
	for _, m := range g.Replicas {
		if m.NodeId == n.id {
			n.lost = map[uint64]uint64{g.CopysetId: m.ReplicaId}
		} else {
			w.raft.elect(g.CopysetId, m.ReplicaId)
		}
	}
	w.tick(time.Minute) // the scheduler's patience with stores that have just come
	w.beat()
	w.beat()
	var got []string
	for range 5 {
		got = append(got, w.happened(&seen)...)
		w.beat()
	}
	got = slices.DeleteFunc(got, func(k string) bool { return strings.HasPrefix(k, "node-") })
	if !slices.Equal(got, []string{"replacement-begun", "replacement-done"}) {
		t.Errorf("%v", got)
	}
}

// countingKV counts transactions.
type countingKV struct {
	meta.Store
	commits atomic.Int64
}

func (k *countingKV) Update(ctx context.Context, fn func(meta.Tx) error) error {
	k.commits.Add(1)
	return k.Store.Update(ctx, fn)
}

func TestManyEventsCostNoCommitsOfTheirOwnAndTheOldestGo(t *testing.T) {
	w := newWorld(t, 3, func(c *Config) { c.FlushInterval = time.Second })
	w.tick(time.Second)
	c := w.srv.cluster()
	counting := &countingKV{Store: c.kv}
	c.mu.Lock()
	c.kv = counting
	for i := range 200 {
		c.tell(newEvent(eventInfo, "test", aCluster, uint64(i), "", "event %d", i))
	}
	c.mu.Unlock()
	for range 9 {
		w.tick(100 * time.Millisecond)
	}
	if counting.commits.Load() != 0 {
		t.Errorf("%d commits within FlushInterval", counting.commits.Load())
	}
	w.create("v", 1) // takes them along
	if counting.commits.Load() != 1 || len(w.events(0)) < 201 {
		t.Errorf("%d commits, %d events", counting.commits.Load(), len(w.events(0)))
	}
	told, began := 0, counting.commits.Load()
	for told < maxEvents+500 {
		c.mu.Lock()
		for range maxEventsPerCommit {
			c.tell(newEvent(eventInfo, "test", aCluster, 0, "", "x"))
			told++
		}
		c.mu.Unlock()
		w.tick(time.Second)
	}
	if n := counting.commits.Load() - began; n > int64(told/maxEventsPerCommit) {
		t.Errorf("%d commits for %d events", n, told)
	}
	check := func() {
		t.Helper()
		stored := 0
		w.ok(c.kv.View(ctx, func(r meta.Reader) error {
			all, err := meta.Events.All(r)
			stored = len(all)
			return err
		}))
		last := w.events(w.lastEvent() - maxEvents)
		if len(last) != maxEvents || stored != maxEvents {
			t.Errorf("%d events are shown and %d stored, want %d", len(last), stored, maxEvents)
		}
	}
	check()
	c.mu.Lock()
	for range maxPendingEvents + 10 {
		c.tell(newEvent(eventInfo, "test", aCluster, 0, "", "x"))
	}
	c.mu.Unlock()
	seen := w.lastEvent()
	for range maxPendingEvents/maxEventsPerCommit + 2 {
		w.tick(time.Second)
	}
	got := w.events(seen)
	if n := len(got); n != maxPendingEvents+1 || got[n-1].Kind != "events-dropped" ||
		!strings.Contains(got[n-1].Text, "13 events") { // and three nodes are silent by now
		t.Errorf("%d events, the last %+v", n, got[n-1])
	}
	w.restart()
	c = w.srv.cluster()
	check()
}

func (w *world) lastEvent() uint64 {
	c := w.srv.cluster()
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.journal.ring[len(c.journal.ring)-1].EventID
}

func TestFailureOfTheMetadataIsToldAsLongAsItCannotBeWritten(t *testing.T) {
	w := newWorld(t, 3, nil)
	w.create("v", 1<<30)
	w.tick(time.Second)
	c := w.srv.cluster()
	c.mu.Lock()
	whole := c.kv
	c.kv = brokenKV{whole}
	c.mu.Unlock()
	for range 3 {
		_, _ = w.Client.OpenVolume(ctx, &v1.OpenVolumeRequest{Name: "v"})
		w.tick(time.Second)
	}
	r, err := w.Admin.ListEvents(ctx, &v1.ListEventsRequest{})
	w.ok(err)
	failures := 0
	for _, e := range r.Events {
		if e.Kind == metadataFailing {
			failures++
			if e.EventId != 0 || e.Severity != "error" ||
				!strings.Contains(e.Text, "input/output error") {
				t.Errorf("%+v", e)
			}
		}
	}
	if failures != 1 {
		t.Errorf("told %d times: %v", failures, kinds(r.Events))
	}
	c.mu.Lock()
	c.kv, c.failed = whole, nil // stopping would report it too
	c.mu.Unlock()
}

func TestLeaderMovesAreCountedAndNotTold(t *testing.T) {
	w := newWorld(t, 3, func(c *Config) { c.Admin.Addr = "127.0.0.1:0" })
	seen := uint64(0)
	w.happened(&seen)
	before := w.srv.cluster().sample().leaderMoves
	for i := range 5 {
		g := w.nodes[0].copysets[0]
		w.raft.elect(g.CopysetId, g.Replicas[(i+1)%3].ReplicaId)
		for _, n := range w.nodes { // all know it before the scheduler moves it back
			w.ok(n.beat(w.raft))
		}
	}
	if got := w.srv.cluster().sample().leaderMoves - before; got != 5 {
		t.Errorf("%d moves were counted, want 5", got)
	}
	w.serves(fmt.Sprint("ashlar_cluster_leader_moves_total ", before+5))
	w.expect("five moves", &seen)
}
