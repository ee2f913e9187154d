package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/ashlar-storage/ashlar/cmd/ashlar/config"
	"github.com/ashlar-storage/ashlar/controlplane/meta"
	"github.com/ashlar-storage/ashlar/controlplane/meta/etcdtest"
	"github.com/ashlar-storage/ashlar/internal/loopback"
	"github.com/ashlar-storage/ashlar/rpc/admin"
	v1 "github.com/ashlar-storage/ashlar/rpc/admin/kitex_gen/ashlar/v1"
)

// apart is a cluster of daemons that nobody supervises: two control planes over etcd, three nodes
// and a gateway.
type apart struct {
	t        *testing.T
	dir      string
	etcd     *etcdtest.Cluster
	controls []string             // addresses
	gateway  string               // address
	daemons  map[string]*exec.Cmd // by the name of their settings

	takeovers []time.Duration
}

func startApart(t *testing.T) *apart {
	t.Helper()
	a := &apart{t: t, dir: t.TempDir(), daemons: map[string]*exec.Cmd{},
		etcd: etcdtest.Start(t, etcdtest.Options{Members: 3})}
	addrs, err := loopback.Addrs(6)
	if err != nil {
		t.Fatal(err)
	}
	a.controls, a.gateway = addrs[:2], addrs[2]
	t.Cleanup(a.stop)
	for i, addr := range a.controls {
		c := config.DefaultControl()
		c.Name, c.Listen, c.Etcd.Endpoints = fmt.Sprintf("c%d", i), addr, a.etcd.Endpoints()
		a.run("control", c.Name, c)
	}
	for i, addr := range addrs[3:] {
		a.runNode(i, addr)
	}
	g := config.DefaultGateway()
	g.Control, g.Listen = a.endpoints(), a.gateway
	a.run("gateway", g.Name, g)
	return a
}

// runNode starts a node with a store of its own.
func (a *apart) runNode(i int, addr string) {
	a.t.Helper()
	n := config.DefaultNode()
	store := filepath.Join(a.dir, fmt.Sprintf("store%d", i))
	if err := os.Mkdir(store, 0o755); err != nil {
		a.t.Fatal(err)
	}
	n.Name, n.Zone, n.Listen = fmt.Sprintf("n%d", i), fmt.Sprintf("z%d", i), addr
	n.Control, n.Stores, n.Memory = a.endpoints(), []string{store}, 128<<20
	n.LogLimit, n.AllowVolatileCache = 256<<20, forgets(a.t, a.dir)
	a.run("node", n.Name, n)
}

func (a *apart) endpoints() string { return strings.Join(a.controls, ",") }

// run starts a daemon with settings.
func (a *apart) run(noun, name string, settings any) {
	a.t.Helper()
	text, err := config.Render(settings)
	if err == nil {
		err = os.WriteFile(filepath.Join(a.dir, name+".yaml"), text, 0o644)
	}
	if err != nil {
		a.t.Fatal(err)
	}
	a.again(noun, name)
}

// again starts a daemon with the settings that it had.
func (a *apart) again(noun, name string) {
	a.t.Helper()
	path := filepath.Join(a.dir, name)
	log, err := os.OpenFile(path+".log", os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		a.t.Fatal(err)
	}
	defer log.Close()
	cmd := command(noun, "run", "--config", path+".yaml")
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		a.t.Fatal(err)
	}
	a.daemons[name] = cmd
}

func (a *apart) kill(name string) {
	cmd := a.daemons[name]
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
	delete(a.daemons, name)
}

func (a *apart) stop() {
	for name := range a.daemons {
		a.kill(name)
		if a.t.Failed() {
			text, _ := os.ReadFile(filepath.Join(a.dir, name+".log"))
			a.t.Logf("--- %s\n%s", name, text[max(0, len(text)-4096):])
		}
	}
}

// active is the name of the control plane that etcd has as the active one.
func (a *apart) active() string {
	a.t.Helper()
	kv, err := meta.OpenEtcd(a.t.Context(), meta.EtcdConfig{Endpoints: a.etcd.Endpoints(),
		Logger: slog.New(slog.NewTextHandler(io.Discard, nil))})
	if err != nil {
		a.t.Fatal(err)
	}
	defer kv.Close()
	addr, err := kv.Leader(a.t.Context(), "control")
	if err != nil {
		a.t.Fatal(err)
	}
	return fmt.Sprintf("c%d", slices.Index(a.controls, addr))
}

// answered waits until a control plane lists the volumes, asked impatiently: one that is stopped
// takes calls and does not answer.
func (a *apart) answered() []*v1.Volume {
	a.t.Helper()
	clients, err := admin.Dial(a.endpoints(), admin.WithCallTimeout(200*time.Millisecond))
	if err != nil {
		a.t.Fatal(err)
	}
	defer clients.Close()
	for end := time.Now().Add(readyWait); ; {
		list, err := clients.Admin.ListVolumes(a.t.Context(), &v1.ListVolumesRequest{})
		if err == nil {
			return list.Volumes
		}
		if time.Now().After(end) {
			a.t.Fatal(err)
		}
	}
}

// maker makes volumes, one after the other, and remembers which were acknowledged.
type maker struct {
	a     *apart
	tried int
	acked []string
}

func (m *maker) make(stop <-chan struct{}) {
	clients, err := admin.Dial(m.a.endpoints())
	if err != nil {
		m.a.t.Error(err)
		return
	}
	defer clients.Close()
	for {
		select {
		case <-stop:
			return
		case <-time.After(50 * time.Millisecond):
		}
		name := fmt.Sprintf("made%d", m.tried)
		m.tried++
		_, err := clients.Admin.CreateVolume(context.Background(),
			&v1.CreateVolumeRequest{Name: name, SizeBytes: 4096})
		switch {
		case err == nil:
			m.acked = append(m.acked, name)
		case !errors.Is(err, admin.ErrUnavailable):
			m.a.t.Errorf("%s: %v", name, err)
		}
	}
}

// check compares what was acknowledged with what is there: nothing is missing, and nothing is there
// twice or was never asked for.
func (m *maker) check() {
	m.a.t.Helper()
	seen, ids := map[string]bool{}, map[uint64]bool{}
	for _, v := range m.a.answered() {
		if seen[v.Name] || ids[v.VolumeId] {
			m.a.t.Errorf("volume %s, number %d, is there twice", v.Name, v.VolumeId)
		}
		seen[v.Name], ids[v.VolumeId] = true, true
	}
	for _, name := range m.acked {
		if !seen[name] {
			m.a.t.Errorf("volume %s was acknowledged and is not there", name)
		}
	}
	if extra := len(seen) - 1 - len(m.acked); extra < 0 || extra > m.tried-len(m.acked) {
		m.a.t.Errorf("%d volumes are there, %d were acknowledged of %d", len(seen)-1, len(m.acked),
			m.tried)
	}
}

func (a *apart) createVolume() {
	a.t.Helper()
	for end := time.Now().Add(readyWait); ; time.Sleep(100 * time.Millisecond) {
		_, stderr, status := ashlar("volume", "create", "vol", "--size", "64MiB", "--endpoint",
			a.endpoints())
		if status == 0 {
			return
		}
		if status != 6 || time.Now().After(end) {
			a.t.Fatalf("volume create: status %d: %s", status, stderr)
		}
	}
}

func TestWritesGoOnAndNothingIsLostWhileControlPlanesDie(t *testing.T) {
	skipShort(t)
	a := startApart(t)
	a.createVolume()
	client := (&cluster{t: t}).attach("nbd://" + a.gateway + "/vol")
	l := newLedger(4096)
	m := &maker{a: a}
	stop := make(chan struct{})
	var load sync.WaitGroup
	load.Go(func() {
		if err := l.write(client, 4, stop); err != nil {
			t.Errorf("writing: %v", err)
		}
	})
	load.Go(func() { m.make(stop) })
	time.Sleep(time.Second)

	for range 3 {
		victim := a.active()
		writes, begun := l.writes.Load(), time.Now()
		a.kill(victim)
		a.answered()
		a.tookOver("killed", begun, l.writes.Load()-writes)
		a.again("control", victim)
		time.Sleep(time.Second)
		a.follows(victim)
	}
	stopped := a.active()
	writes, begun := l.writes.Load(), time.Now()
	a.signal(stopped, syscall.SIGSTOP)
	a.answered()
	a.tookOver("stopped", begun, l.writes.Load()-writes)
	time.Sleep(time.Second)
	a.signal(stopped, syscall.SIGCONT)
	time.Sleep(time.Second)
	a.follows(stopped)

	for i := range a.controls {
		a.kill(fmt.Sprintf("c%d", i))
	}
	writes, begun = l.writes.Load(), time.Now()
	time.Sleep(3 * time.Second)
	for l.writes.Load() == writes { // a disk may stand still, for a moment
		if time.Since(begun) > readyWait {
			t.Fatal("writes stop without a control plane")
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Logf("without any control plane: %d writes in %v", l.writes.Load()-writes,
		time.Since(begun))
	a.again("control", "c0")
	a.again("control", "c1")
	a.answered()
	close(stop)
	load.Wait()
	m.check()
	l.check(t, client)
	etcdtest.JudgeTakeovers(t, a.takeovers)
	t.Logf("%d writes, the longest took %v; %d of %d volumes were acknowledged", l.writes.Load(),
		time.Duration(l.longest.Load()), len(m.acked), m.tried)
	if d := time.Duration(l.longest.Load()); d > etcdtest.LateTakeover {
		t.Errorf("a write took %v", d)
	}
}

// follows waits until a control plane is listed as a standby by the active one.
func (a *apart) follows(name string) {
	a.t.Helper()
	clients, err := admin.Dial(a.endpoints())
	if err != nil {
		a.t.Fatal(err)
	}
	defer clients.Close()
	for end := time.Now().Add(readyWait); ; time.Sleep(20 * time.Millisecond) {
		st, err := clients.Admin.ClusterStatus(a.t.Context(), &v1.ClusterStatusRequest{})
		if err == nil && slices.ContainsFunc(st.Processes, func(p *v1.Process) bool {
			return p.Id == name && p.Role == "standby" && p.State == "up"
		}) {
			return
		}
		if time.Now().After(end) {
			a.t.Fatalf("%s is no standby: %v %v", name, st, err)
		}
	}
}

func (a *apart) signal(name string, s syscall.Signal) {
	a.t.Helper()
	if err := a.daemons[name].Process.Signal(s); err != nil {
		a.t.Fatal(err)
	}
}

func (a *apart) tookOver(what string, begun time.Time, writes int64) {
	a.t.Helper()
	took := time.Since(begun)
	a.t.Logf("the active one was %s: another answers after %v; %d writes meanwhile", what, took,
		writes)
	a.takeovers = append(a.takeovers, took)
}
