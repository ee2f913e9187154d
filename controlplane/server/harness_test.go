package server

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/ashlar-storage/ashlar/rpc/admin"
	v1 "github.com/ashlar-storage/ashlar/rpc/admin/kitex_gen/ashlar/v1"
)

// Kitex and netpoll start goroutines for the life of the process on first use.
func TestMain(m *testing.M) {
	if os.Getenv(childDir)+os.Getenv(childEtcd) != "" {
		runChild()
	}
	const kitex = "github.com/cloudwego/kitex/"
	goleak.VerifyTestMain(m,
		goleak.IgnoreAnyFunction("github.com/cloudwego/netpoll.(*defaultPoll).Wait"),
		goleak.IgnoreAnyFunction(kitex+"client.(*timeoutPool).createTicker.func1"),
		goleak.IgnoreAnyFunction(kitex+"client.(*timeoutPool).createWorker.func1"),
		goleak.IgnoreAnyFunction(kitex+"pkg/loadbalance/lbcache.(*BalancerFactory).watcher"),
	)
}

// clock is time that passes when the test says so.
type clock struct {
	mu sync.Mutex
	at time.Time
}

func newClock() *clock { return &clock{at: time.Unix(1_900_000_000, 0)} }

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at
}

func (c *clock) pass(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = c.at.Add(d)
}

// rig is a control plane that can be restarted on the same directory. Time passes and ticks
// happen only by the test's hand.
type rig struct {
	t     *testing.T
	cfg   Config
	clock *clock
	srv   *Server
	// processes is how many were started.
	processes uint64
	*admin.Clients
	stop func()
}

func newRig(t *testing.T, change func(*Config)) *rig {
	t.Helper()
	r := &rig{t: t, clock: newClock()}
	r.cfg = Config{
		Listen: "127.0.0.1:0", DataDir: t.TempDir(), Copysets: 6, Now: r.clock.now,
		TickInterval: time.Hour, Logger: slog.New(slog.DiscardHandler), Version: "test",
		FlushInterval: time.Millisecond, ScheduleInterval: time.Millisecond,
	}
	if os.Getenv("ASHLAR_TEST_LOG") != "" {
		r.cfg.Logger = slog.Default()
	}
	if change != nil {
		change(&r.cfg)
	}
	r.start()
	t.Cleanup(func() { r.stop() })
	return r
}

func (r *rig) start() {
	r.t.Helper()
	srv, err := New(r.cfg)
	if err != nil {
		r.t.Fatal(err)
	}
	clients, err := admin.Dial(srv.Addr().String(), patient)
	if err != nil {
		r.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- srv.Serve(ctx) }()
	r.srv, r.Clients = srv, clients
	r.stop = sync.OnceFunc(func() {
		clients.Close()
		cancel()
		if err := <-done; err != nil {
			r.t.Error(err)
		}
	})
}

func (r *rig) restart() {
	r.t.Helper()
	r.stop()
	r.start()
}

// kill leaves the directory as a killed process would: nothing is flushed.
func (r *rig) kill() {
	r.t.Helper()
	r.srv.cluster().mu.Lock()
	for _, g := range r.srv.cluster().copysets {
		g.dirty = false
	}
	for _, s := range r.srv.cluster().stores {
		s.dirty = false
	}
	r.srv.cluster().journal.pending = nil
	r.srv.cluster().mu.Unlock()
	r.restart()
}

// tick lets time pass and runs the control plane's periodic work.
func (r *rig) tick(d time.Duration) {
	r.clock.pass(d)
	r.srv.cluster().tick()
}

var ctx = context.Background()

// patient lets a call wait for commits on a disk that other tests keep busy.
var patient = admin.WithCallTimeout(20 * time.Second)

// fakeNode is a data-plane node in miniature: it keeps its desired state and obeys at once.
type fakeNode struct {
	r       *rig
	name    string
	zone    string
	addr    string
	cluster string
	id      uint64
	stores  []*v1.StoreIdentity

	version  uint64
	copysets []*v1.Copyset
	peers    []*v1.Node
	wants    bool // to know which volumes are erased
	deletes  []uint64
	dropped  bool // reports the volumes it was told to delete
	behind   bool
	lost     map[uint64]uint64 // copyset -> the replica that its store has lost
	left     map[uint64]uint64 // copyset -> a replica that it has and was not told to destroy
	life     uint64
	logEnd   uint64
	logWrite time.Duration
	waiting  *v1.Waiting
	scrub    *v1.Scrub
	used     uint64
	space    *v1.Space
	mute     map[uint64]bool // copysets of which it says nothing
	told     admin.Told
	said     []*v1.ReplicaReport // of all replicas, at the last heartbeat
	state    string              // of its store; empty: up
	full     bool                // it tells of all replicas every time, as older nodes do
	program  string              // of its program
	lacks    uint64              // features that its program does not have
	level    uint64
	oldest   uint64
	process  uint64
	last     *v1.HeartbeatNodeResponse
}

func newNode(r *rig, i int) *fakeNode {
	return &fakeNode{
		r: r, name: fmt.Sprint("n", i), zone: fmt.Sprint("z", i),
		addr: fmt.Sprintf("127.0.0.1:%d", 7000+i), dropped: true,
		stores: []*v1.StoreIdentity{{
			Uuid: fmt.Sprintf("00000000-0000-0000-0000-%012d", i), Path: fmt.Sprint("/store", i),
			CapacityBytes: 100 << 30,
		}},
	}
}

func (n *fakeNode) register() error {
	n.r.processes++
	n.process = n.r.processes
	resp, err := n.r.Node.RegisterNode(ctx, &v1.RegisterNodeRequest{
		Name: n.name, Zone: n.zone, Addr: n.addr, Pid: 1, ClusterId: n.cluster, Stores: n.stores,
		Version: n.program, Features: admin.Features &^ n.lacks, Level: n.level,
		OldestLevel: n.oldest, Incarnation: n.process,
	})
	if err != nil {
		return err
	}
	n.cluster, n.id, n.stores = resp.ClusterId, resp.NodeId, resp.Stores
	return nil
}

// raft is which replica leads each copyset, and in which term; shared by the nodes of a test.
type raft struct {
	leader map[uint64]uint64
	term   map[uint64]uint64
	slow   uint64 // a member that has not caught up
	// learner is a member that has not everything yet.
	learner uint64
	// stubborn leaders keep a learner that was given up.
	stubborn bool
	instead  uint64            // whose place another had taken, when a learner was given up
	extra    map[uint64]uint64 // copyset -> a member that only the leader knows
}

func (w *raft) elect(copyset, replica uint64) {
	w.leader[copyset] = replica
	w.term[copyset]++
}

func (n *fakeNode) beat(w *raft) error {
	req := &v1.HeartbeatNodeRequest{
		ClusterId: n.cluster, NodeId: n.id, DesiredVersion: n.version,
		Features: admin.Features &^ n.lacks, Level: n.level, Version: n.program,
		Incarnation: n.process, WantsErased: n.wants,
	}
	if n.dropped {
		req.DeletedVolumes = n.deletes
	}
	for _, s := range n.stores {
		req.Stores = append(req.Stores, &v1.StoreReport{StoreId: s.StoreId,
			State:         cmp.Or(n.state, "up"),
			CapacityBytes: s.CapacityBytes, UsedBytes: max(n.used, 1<<20), Chunks: 2,
			Life: n.life, LogEnd: n.logEnd,
			LogWriteNs: uint64(n.logWrite), Waiting: n.waiting, Space: n.space, Scrub: n.scrub})
	}
	for _, g := range n.copysets {
		if !n.mute[g.CopysetId] {
			req.Replicas = append(req.Replicas, n.report(g, w))
		}
	}
	n.said = slices.Clone(req.Replicas)
	if !n.full {
		n.told.Reduce(req)
	}
	for g, replica := range n.left {
		req.Replicas = append(req.Replicas, &v1.ReplicaReport{CopysetId: g, ReplicaId: replica,
			StoreId: n.stores[0].StoreId, State: "ok", Recorded: true})
	}
	resp, err := n.r.Node.HeartbeatNode(ctx, req)
	if err != nil {
		n.told.Lost()
		return err
	}
	again := n.told.Answered(resp)
	n.last, n.deletes = resp, resp.DeleteVolumes
	if resp.DesiredPresent {
		n.leave(resp.Copysets)
		n.version, n.copysets, n.peers = resp.DesiredVersion, resp.Copysets, resp.Nodes
	}
	for _, r := range resp.Retire {
		if n.left[r.CopysetId] == r.ReplicaId {
			delete(n.left, r.CopysetId)
		}
	}
	for _, t := range resp.Transfers {
		w.elect(t.CopysetId, t.ToReplicaId)
	}
	if again {
		return n.beat(w)
	}
	return nil
}

// leave keeps the replicas that the node runs and that are not wanted here any more.
func (n *fakeNode) leave(wanted []*v1.Copyset) {
	for _, g := range n.copysets {
		if slices.ContainsFunc(wanted, func(w *v1.Copyset) bool {
			return w.CopysetId == g.CopysetId
		}) {
			continue
		}
		for _, m := range admin.Members(g) {
			if m.NodeId == n.id {
				if n.left == nil {
					n.left = map[uint64]uint64{}
				}
				n.left[g.CopysetId] = m.ReplicaId
			}
		}
	}
}

func (n *fakeNode) report(g *v1.Copyset, w *raft) *v1.ReplicaReport {
	report := &v1.ReplicaReport{CopysetId: g.CopysetId, Term: w.term[g.CopysetId],
		LeaderReplicaId: w.leader[g.CopysetId], State: "ok", CommitIndex: 10}
	if n.behind {
		report.State = "catching-up"
	}
	for _, m := range admin.Members(g) {
		if m.NodeId == n.id {
			report.ReplicaId, report.StoreId = m.ReplicaId, m.StoreId
		}
		report.Voters = append(report.Voters, m.ReplicaId)
	}
	if id := w.extra[g.CopysetId]; id != 0 {
		report.Voters = append(report.Voters, id)
	}
	report.Recorded = true
	w.learns(g, report)
	report.Voters = slices.DeleteFunc(report.Voters, func(id uint64) bool {
		return id == g.LeavingReplicaId && w.learner != g.Joining.GetReplicaId() ||
			id == w.slow || id == w.learner
	})
	if n.lost[g.CopysetId] == report.ReplicaId {
		report.State, report.Detail = "damaged", "frame lost"
	}
	report.Leader = report.LeaderReplicaId == report.ReplicaId
	if report.Leader {
		for _, m := range g.Replicas {
			report.Progress = append(report.Progress, &v1.PeerProgress{ReplicaId: m.ReplicaId,
				MatchIndex: 10, Active: true})
		}
	}
	return report
}

// learns adds to a report the learner, if it is of the copyset, and what becomes of it when it is
// given up.
func (w *raft) learns(g *v1.Copyset, report *v1.ReplicaReport) {
	switch {
	case !slices.Contains(report.Voters, w.learner):
	case w.learner > g.GivenUpReplicaId || w.stubborn:
		report.Learners = append(report.Learners, w.learner)
	case g.GivenUpHeard:
		report.GivenUpReplicaId = w.learner
		report.Voters = slices.DeleteFunc(report.Voters, func(id uint64) bool {
			return id == w.instead
		})
	}
}

// world is a rig with nodes that have their copysets and elected leaders.
type world struct {
	*rig
	nodes []*fakeNode
	raft  *raft
}

func newWorld(t *testing.T, n int, change func(*Config)) *world {
	t.Helper()
	w := &world{rig: newRig(t, change),
		raft: &raft{leader: map[uint64]uint64{}, term: map[uint64]uint64{}}}
	for i := range n {
		w.nodes = append(w.nodes, newNode(w.rig, i+1))
		w.ok(w.nodes[i].register())
	}
	w.beat()
	for _, g := range w.nodes[0].copysets {
		w.raft.elect(g.CopysetId, g.Replicas[0].ReplicaId)
	}
	w.beat()
	return w
}

func (w *world) ok(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

// beat sends the heartbeats of the nodes given, or of all.
func (w *world) beat(nodes ...*fakeNode) {
	w.t.Helper()
	if len(nodes) == 0 {
		nodes = w.nodes
	}
	for _, n := range nodes {
		w.ok(n.beat(w.raft))
	}
}

func (w *world) status() *v1.ClusterStatusResponse {
	w.t.Helper()
	s, err := w.Admin.ClusterStatus(ctx, &v1.ClusterStatusRequest{})
	w.ok(err)
	return s
}

func (w *world) create(name string, size uint64) *v1.Volume {
	w.t.Helper()
	resp, err := w.Admin.CreateVolume(ctx, &v1.CreateVolumeRequest{Name: name, SizeBytes: size})
	w.ok(err)
	return resp.Volume
}

func (w *world) open(name string, readOnly bool) *v1.OpenVolumeResponse {
	w.t.Helper()
	resp, err := w.Client.OpenVolume(ctx, &v1.OpenVolumeRequest{Name: name, ReadOnly: readOnly,
		Client: "test"})
	w.ok(err)
	return resp
}

// volumeNames is what there is of volumes, those too that have no name any more.
func (w *world) volumeNames() []string {
	c := w.srv.cluster()
	c.mu.Lock()
	defer c.mu.Unlock()
	var names []string
	for _, v := range c.volumes {
		names = append(names, v.Name+":"+v.State)
	}
	slices.Sort(names)
	return names
}

// cluster is the state of a control plane that is active. On a machine that is busy one with etcd
// may have lost its lease, and is active again some seconds later.
func (s *Server) cluster() *cluster {
	for end := time.Now().Add(20 * time.Second); s.term.Load() == nil && time.Now().Before(end); {
		time.Sleep(20 * time.Millisecond)
	}
	return s.term.Load().cluster
}
