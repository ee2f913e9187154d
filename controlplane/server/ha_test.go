package server

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/ashlar-storage/ashlar/controlplane/meta"
	"github.com/ashlar-storage/ashlar/controlplane/meta/etcdtest"
	"github.com/ashlar-storage/ashlar/rpc/admin"
	v1 "github.com/ashlar-storage/ashlar/rpc/admin/kitex_gen/ashlar/v1"
)

// activeIn returns how to ask etcd who is active.
func activeIn(t *testing.T, c *etcdtest.Cluster) func() string {
	kv, err := meta.OpenEtcd(ctx, meta.EtcdConfig{Endpoints: c.Endpoints(),
		Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { kv.Close() })
	return func() string {
		addr, err := kv.Leader(ctx, election)
		if err != nil && !errors.Is(err, meta.ErrNotFound) {
			t.Error(err)
		}
		return addr
	}
}

func TestAcknowledgedMutationsSurviveTakeovers(t *testing.T) {
	mutations := 1000
	if testing.Short() {
		mutations = 200
	}
	c := pair(t)
	mutateAndKill(t, mutations, c)
	t.Logf("takeovers after %v", c.takeovers)
	etcdtest.JudgeTakeovers(t, c.takeovers)
}

// pair is two control planes with their metadata in an etcd of three members.
func pair(t *testing.T) *child {
	etcd := etcdtest.Start(t, etcdtest.Options{Members: 3})
	return &child{env: []string{childEtcd + "=" + strings.Join(etcd.Endpoints(), ",")}, copies: 2,
		active: activeIn(t, etcd)}
}

func TestStoppedActiveControlPlaneComesBackAsAFollower(t *testing.T) {
	etcd := etcdtest.Start(t, etcdtest.Options{})
	active := activeIn(t, etcd)
	mutateAndStop(t, &child{copies: 2, active: active,
		env: []string{childEtcd + "=" + strings.Join(etcd.Endpoints(), ",")}})
}

// mutateAndStop stops the active process with a change in its hands, and lets it go on when another
// is active.
func mutateAndStop(t *testing.T, c *child) {
	c.t, c.procs = t, map[string]*exec.Cmd{}
	c.start()
	defer func() { c.killAll() }()
	w := &killWorld{child: c, raft: &raft{leader: map[uint64]uint64{}, term: map[uint64]uint64{}},
		m: model{addrs: map[string]string{}}}
	w.join(3)
	old := c.active()
	alone, err := admin.Dial(old, patient) // asks the stopped one first
	if err != nil {
		t.Fatal(err)
	}
	defer alone.Close()
	if err := c.procs[old].Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	stopped := time.Now()
	late := make(chan error, 1)
	go func() { // lies in the stopped one's socket until it goes on
		call, cancel := context.WithTimeout(ctx, 30*time.Second)
		defer cancel()
		_, err := alone.Admin.CreateVolume(call, &v1.CreateVolumeRequest{Name: "late",
			SizeBytes: 1 << 20})
		late <- err
	}()
	c.awaitOther(old)
	took := time.Since(stopped)
	t.Logf("took over from a stopped one after %v", took)
	if took > etcdtest.LateTakeover {
		t.Error("too late")
	}
	var next string
	for addr := range c.procs {
		if addr != old {
			next = addr
		}
	}
	c.Clients.Close()
	if c.Clients, err = admin.Dial(next, patient); err != nil {
		t.Fatal(err)
	}
	made, err := c.Admin.CreateVolume(ctx, &v1.CreateVolumeRequest{Name: "new", SizeBytes: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	if err := c.procs[old].Process.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	// The call that waited follows to the one that is active now; it is carried out once, there.
	if err := <-late; err != nil {
		t.Errorf("the call that waited: %v", err)
	}
	list, err := alone.Admin.ListVolumes(ctx, &v1.ListVolumesRequest{})
	if err != nil {
		t.Fatal(err)
	}
	slices.SortFunc(list.Volumes, func(a, b *v1.Volume) int {
		return cmp.Compare(a.VolumeId, b.VolumeId)
	})
	if len(list.Volumes) != 2 || list.Volumes[0].VolumeId != made.Volume.VolumeId ||
		list.Volumes[1].VolumeId != made.Volume.VolumeId+1 {
		t.Errorf("volumes %+v, want number %d and the next", list.Volumes, made.Volume.VolumeId)
	}
	if c.active() != next {
		t.Errorf("%s is active, not %s", c.active(), next)
	}
}

// awaitOther returns when another than old answers.
func (c *child) awaitOther(old string) {
	c.t.Helper()
	for addr := range c.procs {
		if addr == old {
			continue
		}
		for end := time.Now().Add(10 * time.Second); ; {
			// A follower may send the call to the stopped one still, where it hangs.
			other, err := admin.Dial(addr, admin.WithCallTimeout(100*time.Millisecond))
			if err != nil {
				c.t.Fatal(err)
			}
			_, err = other.Admin.ClusterStatus(ctx, &v1.ClusterStatusRequest{})
			other.Close()
			if err == nil {
				break
			}
			if time.Now().After(end) {
				c.t.Fatal(err)
			}
		}
	}
}

// standby begins a second control plane beside that of a world.
func (w *world) standby(t *testing.T) *rig {
	t.Helper()
	return newRig(t, func(c *Config) {
		*c = w.cfg
		c.Name, c.Admin.Addr = "standby", "127.0.0.1:0"
	})
}

func TestFollowersSendCallersToTheActiveOne(t *testing.T) {
	etcd := etcdtest.Start(t, etcdtest.Options{})
	w := newWorld(t, 3, func(c *Config) {
		c.Etcd.Endpoints, c.DataDir, c.Admin.Addr = etcd.Endpoints(), "", "127.0.0.1:0"
	})
	w.create("v", 1<<30)
	b := w.standby(t)
	list, err := b.Admin.ListVolumes(ctx, &v1.ListVolumesRequest{}) // through the follower
	if err != nil || len(list.Volumes) != 1 {
		t.Fatal(list, err)
	}
	_, err = (&adminHandler{b.srv}).ListVolumes(ctx, &v1.ListVolumesRequest{})
	if err == nil || !strings.Contains(err.Error(), w.srv.addr) {
		t.Errorf("the follower answered %v", err)
	}
	w.serves("ashlar_control_active" + labels(w.srv) + " 1")
	follower := &world{rig: b}
	follower.serves("ashlar_control_active" + labels(b.srv) + " 0")
	if text := follower.page(); strings.Contains(text, "ashlar_cluster_volumes") {
		t.Error("a follower tells what it does not know")
	}
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		last := w.status().Processes
		if p := last[len(last)-1]; p.Role == roleStandby && p.Id == "standby" &&
			p.Addr == b.srv.addr && p.State == stateUp {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("the follower is not listed: %+v", last)
		}
	}
	begun := time.Now()
	w.stop()
	list, err = b.Admin.ListVolumes(ctx, &v1.ListVolumesRequest{})
	if err != nil || len(list.Volumes) != 1 {
		t.Fatal(list, err)
	}
	t.Logf("a control plane that ends in order is replaced after %v", time.Since(begun))
	follower.serves("ashlar_control_active"+labels(b.srv)+" 1",
		"ashlar_control_terms_total"+labels(b.srv)+" 1", "ashlar_cluster_volumes 1")
}

func labels(s *Server) string {
	return `{cluster="` + s.id + `",name="` + s.cfg.Name + `",version="test"}`
}

// A replacement that one control plane began is finished by the next, once.
func TestPlannedReplacementSurvivesATakeover(t *testing.T) {
	etcd := etcdtest.Start(t, etcdtest.Options{})
	w := newWorld(t, 3, func(c *Config) { c.Etcd.Endpoints, c.DataDir = etcd.Endpoints(), "" })
	b := w.standby(t)
	const id = 1
	lost := w.lose(w.follower(id), id)
	w.beat()
	w.tick(time.Second)
	w.beat()
	w.tick(time.Second)
	plan := w.copyset(id)
	if plan.Joining == nil || plan.LeavingReplicaId != lost {
		t.Fatalf("no plan: %+v", plan)
	}
	w.raft.slow = plan.Joining.ReplicaId // a learner still
	w.beat()
	w.stop()
	w.rig = b
	for _, n := range w.nodes {
		n.r = b
		w.ok(n.register())
	}
	for range 3 {
		w.beat()
		w.tick(10 * time.Second)
	}
	if got := w.copyset(id); got.Epoch != plan.Epoch || got.Joining == nil ||
		got.Joining.ReplicaId != plan.Joining.ReplicaId {
		t.Fatalf("the plan is %+v, was %+v", got, plan)
	}
	w.raft.slow = 0
	w.beat()
	w.beat()
	w.tick(time.Second)
	if got := w.copyset(id); got.Joining != nil || got.Epoch != plan.Epoch+1 {
		t.Errorf("after the change: %+v", got)
	}
}

func TestControlPlaneWithoutEtcdStopsServingAndComesBack(t *testing.T) {
	etcd := etcdtest.Start(t, etcdtest.Options{})
	w := newWorld(t, 3, func(c *Config) { c.Etcd.Endpoints, c.DataDir = etcd.Endpoints(), "" })
	w.create("v", 1<<30)
	etcd.Members[0].Kill()
	begun := time.Now()
	for w.srv.current() != nil {
		if time.Since(begun) > etcdtest.LateTakeover {
			t.Fatal("it serves without etcd")
		}
		time.Sleep(time.Millisecond)
	}
	t.Logf("stopped serving %v after etcd's end", time.Since(begun))
	wantNotActive(t, "no other control plane is", func(short context.Context) error {
		_, err := w.Admin.ListVolumes(short, &v1.ListVolumesRequest{})
		return err
	})
	if err := etcd.Members[0].Restart(); err != nil {
		t.Fatal(err)
	}
	begun = time.Now()
	long, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	list, err := w.Admin.ListVolumes(long, &v1.ListVolumesRequest{})
	if err != nil || len(list.Volumes) != 1 {
		t.Fatal(list, err)
	}
	t.Logf("serves again %v after etcd", time.Since(begun))
}

// wantNotActive repeats a call, which has a short time each, until it is refused for the reason
// that is wanted: one whose time ends while an answer is under way tells only of the time.
func wantNotActive(t *testing.T, text string, call func(context.Context) error) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); ; {
		short, cancel := context.WithTimeout(ctx, 200*time.Millisecond)
		err := call(short)
		cancel()
		if errors.Is(err, admin.ErrNotActive) || time.Now().After(end) {
			has(t, err, admin.ErrNotActive, text)
			return
		}
	}
}

func TestEtcdNeedsAnAddressThatOthersCanReach(t *testing.T) {
	for _, c := range []Config{
		{Listen: ":7400"}, {Listen: "0.0.0.0:7400"}, {Listen: "[::]:7400"},
		{Listen: "127.0.0.1:0", Advertise: "0.0.0.0:7400"},
		{Listen: "0.0.0.0:7400", Advertise: "host"},
	} {
		c.Etcd.Endpoints = []string{"127.0.0.1:1"}
		_, err := New(c)
		has(t, err, admin.ErrInvalid, "Advertise")
	}
}

// ending is a leadership that is held a number of times that it is asked.
type ending struct {
	meta.Leadership
	left int
}

func (e *ending) Held() bool {
	e.left--
	return e.left >= 0
}

// A process that was stopped goes on in the middle of a call, before anything told it that its time
// is over.
func TestNothingIsServedWhenTheLeadershipIsOver(t *testing.T) {
	w := newWorld(t, 3, nil)
	whole := w.srv.term.Load()
	defer w.srv.term.Store(whole)
	h := &adminHandler{w.srv}
	for asked, want := range []string{"is not active", "stopped being active during the call", ""} {
		w.srv.term.Store(&term{lead: &ending{whole.lead, asked}, cluster: whole.cluster})
		_, err := h.ListVolumes(ctx, &v1.ListVolumesRequest{})
		if want == "" && err != nil || want != "" && (err == nil ||
			!strings.Contains(err.Error(), want)) {
			t.Errorf("held %d times: %v", asked, err)
		}
	}
}

// Members of etcd die one after the other, its leader among them.
func TestMutationsSurviveTheDeathOfMembersOfEtcd(t *testing.T) {
	etcd := etcdtest.Start(t, etcdtest.Options{Members: 3})
	w := newWorld(t, 3, func(c *Config) { c.Etcd.Endpoints, c.DataDir = etcd.Endpoints(), "" })
	made, failed, longest := 0, 0, time.Duration(0)
	acked := map[string]bool{}
	for _, m := range etcd.Members {
		m.Kill()
		for end := time.Now().Add(4 * time.Second); time.Now().Before(end); made++ {
			name := fmt.Sprint("v", made)
			call, cancel := context.WithTimeout(ctx, 20*time.Second)
			begun := time.Now()
			_, err := w.Admin.CreateVolume(call, &v1.CreateVolumeRequest{Name: name, SizeBytes: 1})
			cancel()
			longest = max(longest, time.Since(begun))
			switch {
			case err == nil:
				acked[name] = true
			case errors.Is(err, admin.ErrUnavailable):
				failed++
			default:
				t.Fatal(err)
			}
			time.Sleep(5 * time.Millisecond)
		}
		if err := m.Restart(); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("%d mutations, %d failed, the longest took %v, %d terms", made, failed, longest,
		w.srv.terms.Load())
	have := map[string]bool{}
	for _, v := range w.volumeNames() {
		have[strings.TrimSuffix(v, ":ok")] = true
	}
	for name := range acked {
		if !have[name] {
			t.Errorf("%s was acknowledged and is not there", name)
		}
	}
	if len(have) > len(acked)+failed || len(acked) == 0 {
		t.Errorf("%d are there, %d were acknowledged, %d failed", len(have), len(acked), failed)
	}
}

// lostStore is metadata that another leads by now, which its process has not noticed.
type lostStore struct{ meta.Store }

func (lostStore) Update(context.Context, func(meta.Tx) error) error { return meta.ErrLost }

func TestACallThatAnotherOnesLeadershipRefusedMayBeSentThere(t *testing.T) {
	w := newWorld(t, 3, nil)
	w.create("v", 1<<30)
	c := w.srv.cluster()
	c.mu.Lock()
	kept := c.kv
	c.kv = lostStore{kept}
	c.mu.Unlock()
	wantNotActive(t, "is not active", func(short context.Context) error {
		_, err := w.Admin.CreateVolume(short, &v1.CreateVolumeRequest{Name: "late",
			SizeBytes: 1 << 20})
		return err
	})
	if names := w.volumeNames(); !slices.Equal(names, []string{"v:ok"}) {
		t.Errorf("%q", names)
	}
	c.mu.Lock()
	c.kv = kept // so that the world can end
	c.mu.Unlock()
}
