package nemesis

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/ashlar-storage/ashlar/perf/faultfs"
	"github.com/ashlar-storage/ashlar/perf/netlab"
	"github.com/ashlar-storage/ashlar/perf/rig"
	"github.com/ashlar-storage/ashlar/rpc/client"
)

const (
	volumeName  = "vol"
	openWait    = 60 * time.Second
	reapWait    = 30 * time.Second
	logShown    = 4 << 10
	environment = "LANE" // "required": what a lane needs must be there
)

func TestMain(m *testing.M) { os.Exit(netlab.Run(m.Run)) }

// prepared returns the program to run, and skips the test, or fails it, where a lane cannot run.
func prepared(t *testing.T, tools ...string) (binary string) {
	t.Helper()
	if testing.Short() {
		t.Skip("starts a cluster of processes; not with -short")
	}
	binary = os.Getenv("ASHLAR")
	if binary == "" {
		binary = filepath.Join("..", "..", "bin", "ashlar")
	}
	var missing []error
	for _, name := range []string{binary, "/dev/fuse"} {
		_, err := os.Stat(name)
		missing = append(missing, err)
	}
	for _, tool := range tools {
		_, err := exec.LookPath(tool)
		missing = append(missing, err)
	}
	if os.Geteuid() != 0 {
		missing = append(missing, errors.New("not root: FUSE cannot be mounted"))
	}
	err := errors.Join(missing...)
	switch {
	case err == nil:
	case os.Getenv(environment) == "required":
		t.Fatal(err)
	default:
		t.Skipf("%v (make build, deploy/install.sh; %s=required fails here)", err, environment)
	}
	return binary
}

// number reads a whole number from the environment.
func number(t *testing.T, name string, standard int) int {
	t.Helper()
	text := os.Getenv(name)
	if text == "" {
		return standard
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 {
		t.Fatalf("%s=%q: write a whole number above zero", name, text)
	}
	return n
}

// machine is a cluster of which some processes have their data on disks that can fail.
type machine struct {
	t       *testing.T
	dir     string
	cluster *rig.Cluster
	disks   map[string]*faultfs.FS // by the name of the process
	lab     *netlab.Lab            // nil: all are on loopback

	timeout  time.Duration // of an operation of the client
	openWait time.Duration // of its attachment
	client   *client.Client
	volume   *client.Volume
	closeHot func() // the clients of the hot blocks; nil: there are none
}

// newLab is a network for a machine, which must be made after it.
func newLab(t *testing.T) *netlab.Lab {
	t.Helper()
	lab, err := netlab.New()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := lab.Close(); err != nil {
			t.Error(err)
		}
	})
	return lab
}

// newMachine starts three nodes; disks are made for the processes that are named.
func newMachine(t *testing.T, cfg rig.Config, disk faultfs.Config, names ...string) *machine {
	t.Helper()
	m := &machine{t: t, dir: t.TempDir(), openWait: openWait, disks: map[string]*faultfs.FS{}}
	t.Cleanup(m.close)
	for _, name := range names {
		disk.Dir, disk.At = filepath.Join(m.dir, "back", name), m.place(name)
		f, err := faultfs.Mount(disk)
		if err != nil {
			t.Fatal(err)
		}
		m.disks[name] = f
	}
	cfg.Parent, cfg.Place = m.dir, m.place
	cluster, err := rig.Start(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	m.cluster = cluster
	return m
}

func (m *machine) place(name string) string { return filepath.Join(m.dir, "disk", name) }

// close ends everything; what a failed test left mounted is detached.
func (m *machine) close() {
	if m.cluster != nil {
		if m.t.Failed() {
			m.showLogs()
		}
		for _, f := range m.disks {
			f.Clear()
		}
		m.detach()
		if err := m.cluster.Close(); err != nil {
			m.t.Error(err)
		}
	}
	for _, f := range m.disks {
		if err := f.Close(); err != nil {
			m.t.Error(err)
		}
	}
	for name := range m.disks {
		_ = syscall.Unmount(m.place(name), syscall.MNT_DETACH)
	}
}

func (m *machine) showLogs() {
	for _, p := range m.cluster.Processes {
		text, _ := os.ReadFile(filepath.Join(m.cluster.Dir, p.Name+".log"))
		m.t.Logf("--- the end of the log of %s\n%s", p.Name, text[max(0, len(text)-logShown):])
	}
}

// attach opens the volume as soon as the cluster lets it.
func (m *machine) attach() error {
	c, err := client.Connect(m.t.Context(), client.Config{Endpoint: m.cluster.Endpoint,
		Name: "nemesis", Timeout: m.timeout, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		return err
	}
	end := time.Now().Add(m.openWait)
	for {
		ctx, cancel := context.WithTimeout(m.t.Context(), time.Second)
		m.volume, err = c.OpenVolume(ctx, volumeName)
		cancel()
		if err == nil {
			m.client = c
			return nil
		}
		if died := m.cluster.Alive(); died != nil || time.Now().After(end) {
			return errors.Join(died, err, c.Close())
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// detach ends the clients; a cluster without power cannot be told.
func (m *machine) detach() {
	if m.closeHot != nil {
		m.closeHot()
		m.closeHot = nil
	}
	if m.client != nil {
		_ = m.client.Close()
		m.client = nil
	}
}

// cutPower takes the power of every disk and every process, and ends when they are gone.
func (m *machine) cutPower() error {
	names := m.names()
	for _, name := range names {
		m.disks[name].Cut()
	}
	m.cluster.Kill()
	for _, name := range names {
		m.disks[name].Release()
	}
	ctx, cancel := context.WithTimeout(m.t.Context(), reapWait)
	defer cancel()
	return m.cluster.Reap(ctx)
}

// restorePower brings the disks back with what they have, and starts every process.
func (m *machine) restorePower(seed uint64) (lost faultfs.Losses, err error) {
	for i, name := range m.names() {
		f, l, err := m.disks[name].Resume(seed*16 + uint64(i))
		if err != nil {
			delete(m.disks, name)
			return lost, fmt.Errorf("nemesis: disk of %s: %w", name, err)
		}
		m.disks[name] = f
		lost.Kept, lost.Dropped = lost.Kept+l.Kept, lost.Dropped+l.Dropped
		lost.NamesLost += l.NamesLost
	}
	return lost, m.cluster.Restart()
}

func (m *machine) names() (names []string) {
	for name := range m.disks {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}
