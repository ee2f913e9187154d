package server

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ashlar-storage/ashlar/rpc/admin"
	v1 "github.com/ashlar-storage/ashlar/rpc/admin/kitex_gen/ashlar/v1"
)

// These name the metadata to a process that is this test binary as a control plane: a directory, or
// the endpoints of etcd.
const (
	childDir  = "ASHLAR_CONTROL_CHILD"
	childEtcd = "ASHLAR_CONTROL_CHILD_ETCD"
)

func runChild() {
	cfg := Config{
		Listen: "127.0.0.1:0", DataDir: os.Getenv(childDir), Copysets: 6,
		TickInterval: 20 * time.Millisecond, FlushInterval: 50 * time.Millisecond,
		SessionLease: time.Hour, OfflineAfter: time.Hour, Logger: slog.New(slog.DiscardHandler),
	}
	if etcd := os.Getenv(childEtcd); etcd != "" {
		cfg.Etcd.Endpoints = strings.Split(etcd, ",")
	}
	s, err := New(cfg)
	if err != nil {
		fmt.Println("error", err)
		os.Exit(1)
	}
	fmt.Println("listen", s.Addr())
	err = s.Serve(context.Background())
	fmt.Println("error", err)
	os.Exit(1)
}

// child is a control plane in a process of its own, for killing; with etcd, several of which one is
// active, and that one is killed.
type child struct {
	t      *testing.T
	env    []string
	copies int
	procs  map[string]*exec.Cmd // by address
	active func() string        // address
	*admin.Clients

	killed    time.Time
	takeovers []time.Duration // from the kill to the first answer
}

// start makes up for the processes that are missing.
func (c *child) start() {
	c.t.Helper()
	if len(c.procs) > 0 { // others are there, one of them takes over
		c.dial()
		if _, err := c.Admin.ClusterStatus(ctx, &v1.ClusterStatusRequest{}); err != nil {
			c.t.Fatal(err)
		}
		c.takeovers = append(c.takeovers, time.Since(c.killed))
		c.Clients.Close()
	}
	for len(c.procs) < c.copies {
		addr, cmd := c.launch()
		c.procs[addr] = cmd
	}
	c.dial()
}

func (c *child) dial() {
	c.t.Helper()
	var err error
	addrs := slices.Sorted(maps.Keys(c.procs))
	c.Clients, err = admin.Dial(strings.Join(addrs, ","), patient)
	if err != nil {
		c.t.Fatal(err)
	}
}

func (c *child) launch() (addr string, cmd *exec.Cmd) {
	c.t.Helper()
	cmd = exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), c.env...)
	out, err := cmd.StdoutPipe()
	if err != nil {
		c.t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		c.t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	addr, ok := strings.CutPrefix(strings.TrimSpace(line), "listen ")
	if err != nil || !ok {
		c.t.Fatalf("the control plane did not start: %q %v", line, err)
	}
	return addr, cmd
}

// kill ends the active process.
func (c *child) kill() {
	for addr, cmd := range c.procs {
		if c.active == nil || c.active() == addr {
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
			delete(c.procs, addr)
		}
	}
	c.killed = time.Now()
	c.Clients.Close()
}

// killAll ends all processes.
func (c *child) killAll() {
	c.active = nil
	c.kill()
}

// model is what the control plane acknowledged.
type model struct {
	volumes  map[string]*v1.Volume
	mapping  map[string][]*v1.Segment
	sessions map[uint64]string // open sessions that may write and are the newest: their volume
	maybe    map[string]bool   // volumes that a session may hold of which no answer told
	ids      map[uint64]bool   // of volumes, ever
	last     uint64            // session
	addrs    map[string]string // of nodes
}

// killWorld drives random mutations against a child.
type killWorld struct {
	*child
	rng   *rand.Rand
	m     model
	nodes []*fakeNode
	raft  *raft

	lapses int
}

func TestAcknowledgedMutationsSurviveKills(t *testing.T) {
	mutations := 1000
	if testing.Short() {
		mutations = 200
	}
	mutateAndKill(t, mutations, lone(t))
}

// lone is a control plane with its metadata in a directory.
func lone(t *testing.T) *child {
	return &child{env: []string{childDir + "=" + t.TempDir()}, copies: 1}
}

// newKillWorld is a child that does not run yet, and what is to come of it by chance.
func newKillWorld(t *testing.T, c *child) *killWorld {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	c.t, c.procs = t, map[string]*exec.Cmd{}
	return &killWorld{
		child: c, rng: rand.New(rand.NewPCG(seed, 0)),
		m: model{volumes: map[string]*v1.Volume{}, mapping: map[string][]*v1.Segment{},
			sessions: map[uint64]string{}, ids: map[uint64]bool{}, maybe: map[string]bool{},
			addrs: map[string]string{}},
		raft: &raft{leader: map[uint64]uint64{}, term: map[uint64]uint64{}},
	}
}

// mutateAndKill kills a control plane among mutations, and compares what was acknowledged with
// what is there after each kill.
func mutateAndKill(t *testing.T, mutations int, c *child) {
	w := newKillWorld(t, c)
	w.start()
	defer func() { w.killAll() }()
	w.join(3)
	for i := range mutations {
		if w.rng.IntN(80) == 0 {
			w.killDuring(w.mutation())
			w.check()
			w.rejoin()
		}
		switch err := w.mutation()(); {
		case err == nil:
		case w.lapsed(err):
			w.adopt()
		default:
			t.Fatalf("mutation %d: %v", i, err)
		}
		if i%10 == 0 {
			w.beat()
		}
	}
	w.killDuring(w.mutation())
	w.check()
	t.Logf("%d volumes, %d sessions at the end", len(w.m.volumes), len(w.m.sessions))
}

// lapsed says whether an error may be that of a pair that lost its leadership though nobody killed
// it, as the disk of its etcd stood still for longer than a lease: rarely, or something else is
// wrong.
func (w *killWorld) lapsed(err error) bool {
	if w.active == nil || !errors.Is(err, admin.ErrUnavailable) {
		return false
	}
	w.lapses++
	w.t.Logf("lapse %d: %v", w.lapses, err)
	return w.lapses <= maxLapses
}

// maxLapses is how often a pair may lose its leadership to a slow disk in a run.
const maxLapses = 3

func (w *killWorld) join(n int) {
	w.t.Helper()
	for i := range n {
		n := newNode(&rig{t: w.t, Clients: w.Clients}, i+1)
		w.nodes = append(w.nodes, n)
	}
	w.rejoin()
	w.beat()
	for _, g := range w.nodes[0].copysets {
		w.raft.elect(g.CopysetId, g.Replicas[0].ReplicaId)
	}
	w.beat()
}

func (w *killWorld) rejoin() {
	w.t.Helper()
	for _, n := range w.nodes {
		n.r.Clients = w.Clients
		if err := n.register(); err != nil {
			w.t.Fatal(err)
		}
		w.m.addrs[n.name] = n.addr
	}
}

func (w *killWorld) beat() {
	w.t.Helper()
	for _, n := range w.nodes {
		if err := n.beat(w.raft); err != nil {
			w.t.Fatal(err)
		}
	}
}

// killDuring kills the process while a mutation is on its way. Its outcome is unknown when it
// reports none; then the state must be the one before or the one after, which check finds out
// because every mutation asks what is there before it acts.
func (w *killWorld) killDuring(mutate func() error) {
	w.t.Helper()
	done := make(chan error, 1)
	go func() { done <- mutate() }()
	time.Sleep(time.Duration(w.rng.IntN(2000)) * time.Microsecond)
	w.kill()
	err := <-done
	w.start()
	if err == nil {
		return
	}
	if !errors.Is(err, admin.ErrUnavailable) && !errors.Is(err, admin.ErrClosed) {
		w.t.Fatal(err)
	}
	w.adopt()
}

// adopt takes over what the last, unanswered mutation may have left; anything else stays for
// check to complain about.
func (w *killWorld) adopt() {
	w.t.Helper()
	changed := 0
	now := w.list()
	for name, v := range now {
		old := w.m.volumes[name]
		switch {
		case old == nil:
			w.remember(v)
			changed++
		case old.Epoch+1 == v.Epoch:
			old.Epoch++
			w.dropSessions(name)
			w.m.maybe[name] = true
			w.m.last++
			changed++
		}
	}
	for name := range w.m.volumes {
		if now[name] == nil {
			w.forget(name)
			changed++
		}
	}
	if changed > 1 {
		w.t.Fatalf("one mutation changed %d volumes", changed)
	}
}

func (w *killWorld) list() map[string]*v1.Volume {
	w.t.Helper()
	resp, err := w.Admin.ListVolumes(ctx, &v1.ListVolumesRequest{})
	if err != nil {
		w.t.Fatal(err)
	}
	all := map[string]*v1.Volume{}
	for _, v := range resp.Volumes {
		if v.State == "ok" {
			all[v.Name] = v
		}
	}
	return all
}

func (w *killWorld) segments(name string) []*v1.Segment {
	w.t.Helper()
	resp, err := w.Admin.GetVolume(ctx, &v1.GetVolumeRequest{Name: name})
	if err != nil {
		w.t.Fatal(err)
	}
	return resp.Segments
}

// check compares everything that was acknowledged with what is there.
func (w *killWorld) check() {
	w.t.Helper()
	now := w.list()
	if len(now) != len(w.m.volumes) {
		w.t.Fatalf("%d volumes, want %d", len(now), len(w.m.volumes))
	}
	for name, want := range w.m.volumes {
		if !reflect.DeepEqual(now[name], want) {
			w.t.Fatalf("volume %s is\n%+v, want\n%+v", name, now[name], want)
		}
		if got := w.segments(name); !reflect.DeepEqual(got, w.m.mapping[name]) {
			w.t.Fatalf("volume %s is mapped to %v, want %v", name, got, w.m.mapping[name])
		}
	}
	for id := range w.m.sessions {
		resp, err := w.Client.RenewSession(ctx, &v1.RenewSessionRequest{SessionId: id})
		if err != nil || !resp.Valid {
			w.t.Fatalf("session %d: %v %v", id, resp, err)
		}
	}
	nodes, err := w.Admin.ListNodes(ctx, &v1.ListNodesRequest{})
	if err != nil || len(nodes.Nodes) != len(w.nodes) {
		w.t.Fatalf("%v %v", nodes, err)
	}
	for _, n := range nodes.Nodes {
		if n.Addr != w.m.addrs[n.Name] {
			w.t.Fatalf("node %s is at %s, want %s", n.Name, n.Addr, w.m.addrs[n.Name])
		}
	}
}

func (w *killWorld) remember(v *v1.Volume) {
	w.t.Helper()
	if w.m.ids[v.VolumeId] {
		w.t.Fatalf("volume id %d was given out twice", v.VolumeId)
	}
	w.m.ids[v.VolumeId] = true
	w.m.volumes[v.Name] = v
	w.m.mapping[v.Name] = w.segments(v.Name)
}

func (w *killWorld) forget(name string) {
	delete(w.m.volumes, name)
	delete(w.m.mapping, name)
	delete(w.m.maybe, name)
}

func (w *killWorld) dropSessions(volume string) {
	for id, name := range w.m.sessions {
		if name == volume {
			delete(w.m.sessions, id)
		}
	}
}

// mutation draws one change. It is carried out by the function, so that it can be cut off; the
// random decisions are made here, by the test's own goroutine.
func (w *killWorld) mutation() func() error {
	name := fmt.Sprint("v", w.rng.IntN(12))
	switch k := w.rng.IntN(10); {
	case k < 4:
		size := uint64(1 + w.rng.IntN(6<<30))
		return func() error { return w.create(name, size) }
	case k < 6:
		return func() error { return w.remove(name) }
	case k < 8:
		return func() error { return w.open(name) }
	case k < 9:
		return func() error { return w.closeOne() }
	}
	n := w.nodes[w.rng.IntN(len(w.nodes))]
	return func() error { return n.register() }
}

func (w *killWorld) create(name string, size uint64) error {
	resp, err := w.Admin.CreateVolume(ctx, &v1.CreateVolumeRequest{Name: name, SizeBytes: size})
	if w.m.volumes[name] != nil {
		return expect(err, admin.ErrExists)
	}
	if errors.Is(err, admin.ErrNoSpace) { // as long as deletions are not finished
		return nil
	}
	if err != nil {
		return err
	}
	if w.m.ids[resp.Volume.VolumeId] {
		return fmt.Errorf("volume id %d was given out twice", resp.Volume.VolumeId)
	}
	w.m.ids[resp.Volume.VolumeId] = true
	w.m.volumes[name] = resp.Volume
	got, err := w.Admin.GetVolume(ctx, &v1.GetVolumeRequest{Name: name})
	if err != nil {
		delete(w.m.ids, resp.Volume.VolumeId)
		delete(w.m.volumes, name)
		return err
	}
	w.m.mapping[name] = got.Segments
	return nil
}

// expect turns the error that should come into success, and success into an error.
func expect(err, class error) error {
	switch {
	case errors.Is(err, class):
		return nil
	case err == nil:
		return fmt.Errorf("succeeded, want %v", class)
	}
	return err
}

func (w *killWorld) remove(name string) error {
	_, err := w.Admin.DeleteVolume(ctx, &v1.DeleteVolumeRequest{Name: name, Now: true})
	if w.m.volumes[name] == nil {
		return expect(err, admin.ErrNotFound)
	}
	for _, volume := range w.m.sessions {
		if volume == name {
			return expect(err, admin.ErrBusy)
		}
	}
	if w.m.maybe[name] && errors.Is(err, admin.ErrBusy) {
		return nil
	}
	if err == nil {
		w.forget(name)
	}
	return err
}

func (w *killWorld) open(name string) error {
	resp, err := w.Client.OpenVolume(ctx, &v1.OpenVolumeRequest{Name: name})
	vol := w.m.volumes[name]
	if vol == nil {
		return expect(err, admin.ErrNotFound)
	}
	if err != nil {
		return err
	}
	if resp.SessionId <= w.m.last || resp.Epoch != vol.Epoch+1 {
		return fmt.Errorf("session %d with epoch %d after session %d with epoch %d", resp.SessionId,
			resp.Epoch, w.m.last, vol.Epoch)
	}
	w.dropSessions(name)
	delete(w.m.maybe, name)
	w.m.last, vol.Epoch = resp.SessionId, resp.Epoch
	w.m.sessions[resp.SessionId] = name
	return nil
}

// closeOne closes a session. It leaves the model first: cut off or not, the session is of no
// further use.
func (w *killWorld) closeOne() error {
	for id, name := range w.m.sessions {
		delete(w.m.sessions, id)
		w.m.maybe[name] = true
		_, err := w.Client.CloseSession(ctx, &v1.CloseSessionRequest{SessionId: id})
		if err == nil {
			delete(w.m.maybe, name)
		}
		return err
	}
	return nil
}
