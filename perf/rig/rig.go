package rig

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"github.com/ashlar-storage/ashlar/internal/loopback"
	"github.com/ashlar-storage/ashlar/rpc/admin"
	v1 "github.com/ashlar-storage/ashlar/rpc/admin/kitex_gen/ashlar/v1"
)

// ErrDied marks a process of the cluster that ended by itself.
var ErrDied = errors.New("rig: a process ended by itself")

const (
	startWait = 60 * time.Second
	stopWait  = 25 * time.Second
	pollEvery = 100 * time.Millisecond
	// logTail is how much of a log an error shows.
	logTail = 2 << 10
)

// Config describes the cluster.
type Config struct {
	Binary   string // of ashlar
	Parent   string // the cluster's directory is made in this one
	Nodes    int    // 0: 3
	Copysets int    // 0: as the control plane has it
	// NodeSettings are further lines of each node's YAML.
	NodeSettings string
	// Place, when set, names the directory of each process's data by the process's name, instead
	// of one in the cluster's directory. What it names is made when absent, and not removed.
	Place func(name string) string
	// Net, when set, is the network that the processes are members of, by their names; nil: all
	// are in the caller's, on loopback.
	Net Network
	// Env is added to the environment of every process, for instance GODEBUG=...
	Env []string
}

// Network gives processes addresses and a place to run in, as netlab.Lab does.
type Network interface {
	// Addrs are n addresses, host:port, for a process to listen on.
	Addrs(name string, n int) ([]string, error)
	// Wrap is the command that runs another one in the process's place, as the same process.
	Wrap(name string, argv []string) []string
}

// here is the caller's own network. No address is given twice.
type here map[string]bool

func (h here) Addrs(_ string, n int) (addrs []string, err error) {
	for len(addrs) < n {
		one, err := loopback.Addrs(1)
		if err != nil {
			return nil, err
		}
		if !h[one[0]] {
			h[one[0]] = true
			addrs = append(addrs, one[0])
		}
	}
	return addrs, nil
}

func (here) Wrap(_ string, argv []string) []string { return argv }

// Process is one process of the cluster.
type Process struct {
	Role, Name string
	PID        int
	Addr       string
	Admin      string // host:port of a node's admin listener

	cmd  *exec.Cmd
	log  string
	done chan struct{}
}

// Cluster is what Start started.
type Cluster struct {
	Dir       string
	Endpoint  string // control plane
	NBD       string // host:port
	Processes []*Process

	cfg            Config
	lifeline, held *os.File
	clients        *admin.Clients
}

// Start makes the directory, starts everything and waits until every copyset has a leader.
func Start(ctx context.Context, cfg Config) (*Cluster, error) {
	if cfg.Nodes == 0 {
		cfg.Nodes = 3
	}
	if cfg.Net == nil {
		cfg.Net = here{}
	}
	c := &Cluster{cfg: cfg}
	if err := c.start(ctx); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return c, nil
}

func (c *Cluster) start(ctx context.Context) (err error) {
	if c.cfg.Binary, err = filepath.Abs(c.cfg.Binary); err != nil {
		return fmt.Errorf("rig: %w", err)
	}
	if c.Dir, err = os.MkdirTemp(c.cfg.Parent, "ashlar-rig-"); err != nil {
		return fmt.Errorf("rig: %w", err)
	}
	if c.lifeline, c.held, err = os.Pipe(); err != nil {
		return fmt.Errorf("rig: %w", err)
	}
	if c.Endpoint, err = c.listen("control"); err != nil {
		return err
	}
	if c.NBD, err = c.listen("gateway"); err != nil {
		return err
	}
	if c.clients, err = admin.Dial(c.Endpoint); err != nil {
		return fmt.Errorf("rig: %w", err)
	}
	err = c.launch(&Process{Role: "control", Name: "control", Addr: c.Endpoint}, fmt.Sprintf(
		"name: control\nlisten: %s\ndata: %s\nreplicas: %d\nmin_nodes: %d\ncopysets: %d\n",
		c.Endpoint, c.place("control"), min(3, c.cfg.Nodes), c.cfg.Nodes,
		c.cfg.Copysets))
	for i := 0; i < c.cfg.Nodes && err == nil; i++ {
		err = c.launchNode(i)
	}
	if err != nil {
		return err
	}
	return c.awaitLeaders(ctx)
}

func (c *Cluster) place(name string) string {
	if c.cfg.Place != nil {
		return c.cfg.Place(name)
	}
	return filepath.Join(c.Dir, name)
}

// listen is the address for a process that has one.
func (c *Cluster) listen(name string) (string, error) {
	addrs, err := c.cfg.Net.Addrs(name, 1)
	if err != nil {
		return "", fmt.Errorf("rig: %w", err)
	}
	return addrs[0], nil
}

func (c *Cluster) launchNode(i int) error {
	name := fmt.Sprintf("n%d", i+1)
	addrs, err := c.cfg.Net.Addrs(name, 2)
	if err != nil {
		return fmt.Errorf("rig: %w", err)
	}
	store := c.place(name)
	if err := os.MkdirAll(store, 0o755); err != nil {
		return fmt.Errorf("rig: %w", err)
	}
	// A rig's data is thrown away, so it may lie in memory.
	return c.launch(&Process{Role: "node", Name: name, Addr: addrs[0], Admin: addrs[1]},
		fmt.Sprintf("name: %s\nzone: %s\nlisten: %s\ncontrol: %s\nstores: [%s]\nadmin: %s\n"+
			"allow_volatile_cache: true\n%s",
			name, name, addrs[0], c.Endpoint, store, addrs[1], c.cfg.NodeSettings))
}

// StartGateway starts the NBD gateway and waits until it accepts connections.
func (c *Cluster) StartGateway(ctx context.Context) error {
	err := c.launch(&Process{Role: "gateway", Name: "gateway", Addr: c.NBD}, fmt.Sprintf(
		"name: gateway\ncontrol: %s\nlisten: %s\n", c.Endpoint, c.NBD))
	if err != nil {
		return err
	}
	return c.AwaitGateway(ctx)
}

// AwaitGateway waits until the gateway accepts connections.
func (c *Cluster) AwaitGateway(ctx context.Context) error {
	return c.poll(ctx, "the gateway accepts connections", func() bool {
		conn, err := net.Dial("tcp", c.NBD)
		if err == nil {
			conn.Close()
		}
		return err == nil
	})
}

// launch writes a process's settings and starts it.
func (c *Cluster) launch(p *Process, settings string) error {
	if err := os.WriteFile(c.conf(p), []byte(settings), 0o644); err != nil {
		return fmt.Errorf("rig: %w", err)
	}
	if err := c.run(p); err != nil {
		return err
	}
	c.Processes = append(c.Processes, p)
	return nil
}

func (c *Cluster) conf(p *Process) string { return filepath.Join(c.Dir, p.Name+".yaml") }

// run starts a process that has its settings; the log of an earlier life goes on.
func (c *Cluster) run(p *Process) error {
	p.log = filepath.Join(c.Dir, p.Name+".log")
	log, err := os.OpenFile(p.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return fmt.Errorf("rig: %w", err)
	}
	defer log.Close()
	argv := c.cfg.Net.Wrap(p.Name, []string{c.cfg.Binary, p.Role, "run", "--supervised",
		"--config", c.conf(p)})
	p.cmd = exec.Command(argv[0], argv[1:]...)
	p.cmd.Stdout, p.cmd.Stderr, p.cmd.Dir = log, log, c.Dir
	p.cmd.Env = append(os.Environ(), c.cfg.Env...)
	p.cmd.ExtraFiles = []*os.File{c.lifeline}
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := p.cmd.Start(); err != nil {
		return fmt.Errorf("rig: %s: %w", p.Name, err)
	}
	cmd, done := p.cmd, make(chan struct{})
	p.PID, p.done = cmd.Process.Pid, done
	go func() {
		_ = cmd.Wait() // Alive tells of an early end, with the log
		close(done)
	}()
	return nil
}

// Kill sends SIGKILL to every process and does not wait: see Reap.
func (c *Cluster) Kill() {
	for _, p := range c.Processes {
		_ = p.cmd.Process.Kill() // one that has ended is as good
	}
}

// Reap waits until every process has ended.
func (c *Cluster) Reap(ctx context.Context) error {
	for _, p := range c.Processes {
		if err := c.ReapOne(ctx, p); err != nil {
			return err
		}
	}
	return nil
}

// ReapOne waits until a process has ended.
func (c *Cluster) ReapOne(ctx context.Context, p *Process) error {
	select {
	case <-p.done:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("rig: waiting for the end of %s: %w", p.Name, ctx.Err())
	}
}

// Restart starts every process that has ended, with the same settings and addresses. It waits for
// nothing.
func (c *Cluster) Restart() error {
	for _, p := range c.Processes {
		select {
		case <-p.done:
		default:
			continue
		}
		if err := c.run(p); err != nil {
			return err
		}
	}
	return nil
}

func (c *Cluster) awaitLeaders(ctx context.Context) error {
	return c.poll(ctx, "every copyset has a leader", func() bool {
		r, err := c.Status(ctx)
		return err == nil && r.GetCopysets() > 0 &&
			r.GetCopysetsWithLeader() == r.GetCopysets()
	})
}

func (c *Cluster) poll(ctx context.Context, what string, cond func() bool) error {
	ctx, cancel := context.WithTimeout(ctx, startWait)
	defer cancel()
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	for !cond() {
		if err := c.Alive(); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("rig: waiting until %s: %w", what, ctx.Err())
		case <-tick.C:
		}
	}
	return nil
}

// Status asks the control plane how the cluster is.
func (c *Cluster) Status(ctx context.Context) (*v1.ClusterStatusResponse, error) {
	return c.clients.Admin.ClusterStatus(ctx, &v1.ClusterStatusRequest{})
}

// CreateVolume makes a volume.
func (c *Cluster) CreateVolume(ctx context.Context, name string, size int64) error {
	_, err := c.clients.Admin.CreateVolume(ctx, &v1.CreateVolumeRequest{Name: name,
		SizeBytes: uint64(size)})
	if err != nil {
		return fmt.Errorf("rig: volume %s: %w", name, err)
	}
	return nil
}

// Nodes are the data-plane processes.
func (c *Cluster) Nodes() []*Process {
	var out []*Process
	for _, p := range c.Processes {
		if p.Role == "node" {
			out = append(out, p)
		}
	}
	return out
}

// Busiest is the node that leads the most copysets, and how many.
func (c *Cluster) Busiest(ctx context.Context) (p *Process, leads int, err error) {
	nodes, err := c.clients.Admin.ListNodes(ctx, &v1.ListNodesRequest{})
	if err != nil {
		return nil, 0, fmt.Errorf("rig: %w", err)
	}
	sets, err := c.clients.Admin.ListCopysets(ctx, &v1.ListCopysetsRequest{})
	if err != nil {
		return nil, 0, fmt.Errorf("rig: %w", err)
	}
	counts := map[uint64]int{}
	for _, s := range sets.Copysets {
		for _, r := range s.GetCopyset().GetReplicas() {
			if r.GetReplicaId() == s.GetCopyset().GetLeaderReplicaId() {
				counts[r.GetNodeId()]++
			}
		}
	}
	for _, n := range nodes.Nodes {
		i := slices.IndexFunc(c.Processes, func(p *Process) bool { return p.Name == n.GetName() })
		if i >= 0 && counts[n.GetNodeId()] > leads {
			p, leads = c.Processes[i], counts[n.GetNodeId()]
		}
	}
	if p == nil {
		return nil, 0, errors.New("rig: no node leads a copyset")
	}
	return p, leads, nil
}

// Alive is an error of class ErrDied when a process has ended.
func (c *Cluster) Alive() error {
	for _, p := range c.Processes {
		select {
		case <-p.done:
			return fmt.Errorf("%w: %s: %s", ErrDied, p.Name, p.lastWords())
		default:
		}
	}
	return nil
}

func (p *Process) lastWords() string {
	text, _ := os.ReadFile(p.log)
	return string(bytes.TrimSpace(text[max(0, len(text)-logTail):]))
}

// Close stops everything and removes the directory.
func (c *Cluster) Close() error {
	var errs []error
	for i := len(c.Processes) - 1; i >= 0; i-- {
		p := c.Processes[i]
		_ = p.cmd.Process.Signal(syscall.SIGTERM)
		select {
		case <-p.done:
		case <-time.After(stopWait):
			errs = append(errs, fmt.Errorf("rig: %s did not stop within %v and was killed",
				p.Name, stopWait))
			_ = p.cmd.Process.Kill()
			<-p.done
		}
	}
	if c.clients != nil {
		errs = append(errs, c.clients.Close())
	}
	for _, f := range []*os.File{c.lifeline, c.held} {
		if f != nil {
			errs = append(errs, f.Close())
		}
	}
	if c.Dir != "" {
		errs = append(errs, os.RemoveAll(c.Dir))
	}
	return errors.Join(errs...)
}
