package main

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ashlar-storage/ashlar/cmd/ashlar/config"
	"github.com/ashlar-storage/ashlar/internal/loopback"
	"github.com/ashlar-storage/ashlar/rpc/nbd"
)

// startLone is daemons that nobody supervises: one control plane with its metadata in a directory,
// nodes, and a gateway.
func startLone(t *testing.T, nodes int) *apart {
	t.Helper()
	a := &apart{t: t, dir: t.TempDir(), daemons: map[string]*exec.Cmd{}}
	addrs, err := loopback.Addrs(nodes + 2)
	if err != nil {
		t.Fatal(err)
	}
	a.controls, a.gateway = addrs[:1], addrs[1]
	t.Cleanup(a.stop)
	c := config.DefaultControl()
	c.Name, c.Listen, c.Data = "c0", addrs[0], a.metadata()
	a.run("control", c.Name, c)
	for i, addr := range addrs[2:] {
		a.runNode(i, addr)
	}
	g := config.DefaultGateway()
	g.Control, g.Listen = a.endpoints(), a.gateway
	a.run("gateway", g.Name, g)
	return a
}

func (a *apart) metadata() string { return filepath.Join(a.dir, "metadata") }

// tool runs a verb that must succeed.
func (a *apart) tool(args ...string) string {
	a.t.Helper()
	stdout, stderr, status := ashlar(args...)
	if status != 0 {
		a.t.Fatalf("ashlar %v: status %d: %s", args, status, stderr)
	}
	return stdout
}

// awaitHealth waits until the status says a health and has no other problems than those named.
func (a *apart) awaitHealth(allowed ...string) time.Duration {
	a.t.Helper()
	began := time.Now()
	for {
		var s clusterStatus
		stdout, _, status := ashlar("cluster", "status", "--endpoint", a.endpoints(), "-o", "json")
		if status == 0 && json.Unmarshal([]byte(stdout), &s) == nil {
			left := 0
			for _, p := range s.Problems {
				known := false
				for _, text := range allowed {
					known = known || strings.Contains(p, text)
				}
				if !known {
					left++
				}
			}
			if left == 0 && s.Copysets > 0 && s.Health != "unavailable" {
				return time.Since(began)
			}
		}
		if time.Since(began) > settleWait {
			a.t.Fatalf("status %d: %+v", status, s)
		}
		time.Sleep(100 * time.Millisecond)
	}
}

// loseMetadata ends the control plane as a fire would.
func (a *apart) loseMetadata() {
	a.t.Helper()
	a.kill("c0")
	if err := os.RemoveAll(a.metadata()); err != nil {
		a.t.Fatal(err)
	}
}

// Writes go on through the loss of the metadata and the restore of an older backup, on a volume
// that the backup knows and on one that it does not.
func TestWritesGoOnThroughTheRestoreOfAnOlderBackup(t *testing.T) {
	skipShort(t)
	a := startLone(t, 4)
	a.createVolume()
	path := filepath.Join(a.dir, "backup")
	a.tool("control", "backup", path, "--endpoint", a.endpoints())
	a.tool("volume", "create", "late", "--size", "64MiB", "--endpoint", a.endpoints())
	loads := []*load{a.load("vol"), a.load("late")}
	time.Sleep(time.Second)

	a.loseMetadata()
	a.tool("control", "restore", path, "--data", a.metadata())
	a.again("control", "c0")
	t.Logf("confirmed %v after the start", a.awaitHealth("volumes are in use that"))
	before := loads[0].writes.Load() + loads[1].writes.Load()
	time.Sleep(15 * time.Second) // longer than a lease: what is not taken up would end
	t.Logf("%d writes in 15 s after it", loads[0].writes.Load()+loads[1].writes.Load()-before)
	events := a.tool("events", "--endpoint", a.endpoints())
	for _, kind := range []string{"metadata-restored", "session-taken-up", "volume-forgotten"} {
		if !strings.Contains(events, kind) {
			t.Errorf("no event %s in\n%s", kind, events)
		}
	}
	name := a.recoveredName(false)
	for _, l := range loads {
		l.end(t)
	}
	a.awaitHealth() // until the client of the lost name counts as gone
	if got := a.recoveredName(true); got != name || name == "" {
		t.Fatalf("%q was recovered, %q was found", got, name)
	}
	loads[1].volume = name
	loads[1].compare(t)
	a.tool("volume", "create", "new", "--size", "64MiB", "--endpoint", a.endpoints())
	l := a.load("new")
	time.Sleep(time.Second)
	l.end(t)
}

// load is writes to a volume by NBD.
type load struct {
	*ledger
	a      *apart
	volume string
	client *nbd.Client
	stop   chan struct{}
	failed chan error
}

func (a *apart) load(volume string) *load {
	a.t.Helper()
	l := &load{ledger: newLedger(2048), a: a, volume: volume, failed: make(chan error, 1)}
	l.begin()
	return l
}

func (l *load) begin() {
	l.a.t.Helper()
	l.client, l.stop = l.a.open(l.volume), make(chan struct{})
	go func() { l.failed <- l.write(l.client, 4, l.stop) }()
}

func (a *apart) open(volume string) *nbd.Client {
	a.t.Helper()
	return (&cluster{t: a.t}).attach("nbd://" + a.gateway + "/" + volume)
}

// compare holds what was acknowledged against what is there, with a client of its own.
func (l *load) compare(t *testing.T) {
	t.Helper()
	client := l.a.open(l.volume)
	l.check(t, client)
	if err := client.Close(); err != nil {
		t.Error(err)
	}
}

// end stops the load and compares what was acknowledged with what is there, by another client.
func (l *load) end(t *testing.T) {
	t.Helper()
	close(l.stop)
	if err := <-l.failed; err != nil {
		t.Errorf("writing %s: %v", l.volume, err)
	}
	if l.writes.Load() == 0 {
		t.Errorf("%s: nothing was written", l.volume)
	}
	t.Logf("%s: %d writes, the longest took %v", l.volume, l.writes.Load(),
		time.Duration(l.longest.Load()))
	if err := l.client.Close(); err != nil {
		t.Error(err)
	}
	if l.volume != "late" { // whose name is forgotten by then
		l.compare(t)
	}
}

// recoveredName is the one volume that `control rebuild` finds.
func (a *apart) recoveredName(apply bool) string {
	a.t.Helper()
	args := []string{"control", "rebuild", "--endpoint", a.endpoints(), "-o", "json"}
	if apply {
		args = append(args, "--apply", "--nodes", "4")
	}
	var doc struct {
		Complete bool
		Volumes  []struct{ Name, Verdict string }
	}
	out := a.tool(args...)
	if err := json.Unmarshal([]byte(out), &doc); err != nil || len(doc.Volumes) != 1 ||
		doc.Complete != apply || apply && doc.Volumes[0].Verdict != "recovered" {
		a.t.Fatalf("%v in %s", err, out)
	}
	return doc.Volumes[0].Name
}

// A cluster whose metadata are gone, with no backup, gets nodes, copysets and data back.
func TestDataComesBackWithoutAnyMetadata(t *testing.T) {
	skipShort(t)
	a := startLone(t, 4)
	a.createVolume()
	l := a.load("vol")
	time.Sleep(2 * time.Second)
	l.end(t)
	identity, err := os.ReadFile(filepath.Join(a.dir, "store0", "STORE"))
	if err != nil {
		t.Fatal(err)
	}
	var store struct {
		ClusterID string `json:"cluster_id"`
	}
	if err := json.Unmarshal(identity, &store); err != nil {
		t.Fatal(err)
	}
	a.loseMetadata()
	for i := range 4 { // they start again too, after a power cut
		a.kill(fmt.Sprintf("n%d", i))
	}
	a.tool("control", "restore", "--cluster", store.ClusterID, "--data", a.metadata())
	a.again("control", "c0")
	for i := range 4 {
		a.again("node", fmt.Sprintf("n%d", i))
	}
	t.Logf("nodes and copysets are back after %v", a.awaitHealth())
	began := time.Now()
	l.volume = a.recoveredName(true)
	t.Logf("%s is back after %v", l.volume, time.Since(began))
	l.compare(t)
	l.begin()
	time.Sleep(time.Second)
	l.end(t)
}
