package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/ashlar-storage/ashlar/io/disk"
	"github.com/ashlar-storage/ashlar/rpc/nbd"
)

// The tests run the program as users do, as processes of its own: the test binary becomes ashlar
// when this variable is set.
const asProgram = "ASHLAR_TEST_AS_PROGRAM"

const (
	readyWait  = 90 * time.Second
	stopWait   = 60 * time.Second
	settleWait = 60 * time.Second
	lifeMax    = 3 * time.Minute // of one cluster; then it is taken for stuck
	volumeSize = 256 << 20
)

func TestMain(m *testing.M) {
	if os.Getenv(asProgram) != "" {
		main()
		return
	}
	os.Exit(m.Run())
}

// command is one invocation of the program.
func command(args ...string) *exec.Cmd {
	self, err := os.Executable()
	if err != nil {
		panic("ashlar: " + err.Error())
	}
	cmd := exec.Command(self, args...)
	cmd.Env = append(os.Environ(), asProgram+"=1", "ASHLAR_ENDPOINT=")
	return cmd
}

// ashlar runs the program to its end.
func ashlar(args ...string) (stdout, stderr string, status int) {
	cmd := command(args...)
	var out, errOut bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errOut
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		return "", err.Error(), -1
	}
	return out.String(), errOut.String(), cmd.ProcessState.ExitCode()
}

// cluster is a running `ashlar up`.
type cluster struct {
	t     *testing.T
	dir   string
	url   string // of the ready line
	cmd   *exec.Cmd
	log   *syncBuffer
	ended chan struct{} // closed when cmd has been waited for
	err   error         // of the wait
}

type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

func skipShort(t *testing.T) {
	if testing.Short() {
		t.Skip("starts a cluster of processes; not with -short")
	}
}

// start runs `ashlar up` on dir and waits for its ready line.
func start(t *testing.T, dir string, args ...string) *cluster {
	t.Helper()
	return startAs(t, dir, func(*exec.Cmd) {}, args...)
}

// startAs is start with something changed about how the program is run.
func startAs(t *testing.T, dir string, change func(*exec.Cmd), args ...string) *cluster {
	t.Helper()
	c := &cluster{t: t, dir: dir, log: &syncBuffer{}, ended: make(chan struct{})}
	if forgets(t, filepath.Dir(dir)) {
		args = append(args, "--allow-volatile-cache")
	}
	c.cmd = command(append([]string{"up", "--data", dir, "--nbd", "127.0.0.1:0"}, args...)...)
	c.cmd.Stderr = c.log
	change(c.cmd)
	stdout, err := c.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := make(chan string, 16)
	go func() {
		for s := bufio.NewScanner(stdout); s.Scan(); {
			lines <- s.Text()
		}
		c.err = c.cmd.Wait()
		close(lines)
		close(c.ended)
	}()
	t.Cleanup(c.cleanup)
	watchdog := time.AfterFunc(lifeMax, c.dump)
	t.Cleanup(func() { watchdog.Stop() })
	select {
	case line, ok := <-lines:
		url, found := strings.CutPrefix(line, "ready ")
		if !ok || !found {
			t.Fatalf("`ashlar up` said %q and not that it is ready:\n%s", line, c.log)
		}
		c.url = url
	case <-time.After(readyWait):
		t.Fatalf("`ashlar up` was not ready within %v:\n%s", readyWait, c.log)
	}
	return c
}

// forgets says that a directory lies where a power cut takes it, as on a tmpfs.
func forgets(t *testing.T, dir string) bool {
	t.Helper()
	c, err := disk.CacheOf(dir)
	if err != nil {
		t.Fatal(err)
	}
	return c.Verdict == disk.CacheVolatile
}

// cleanup ends what the test left running; on failure it shows the logs.
func (c *cluster) cleanup() {
	_ = c.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-c.ended:
	case <-time.After(stopWait):
		_ = c.cmd.Process.Kill()
		<-c.ended
	}
	if c.t.Failed() {
		c.showLogs()
	}
}

// dump makes every process of a stuck cluster write its goroutines to its log and end.
func (c *cluster) dump() {
	c.t.Errorf("the test still runs after %v: see the goroutines below", lifeMax)
	_ = c.cmd.Process.Kill() // so that it starts nothing again
	for _, pid := range c.processesOnDir() {
		_ = syscall.Kill(pid, syscall.SIGQUIT)
	}
}

// processesOnDir finds the processes of the cluster that live, by their working directory.
func (c *cluster) processesOnDir() (pids []int) {
	links, _ := filepath.Glob("/proc/[0-9]*/cwd")
	for _, link := range links {
		var pid int
		at, err := os.Readlink(link)
		if err == nil && at == c.dir {
			_, _ = fmt.Sscanf(link, "/proc/%d/cwd", &pid)
			pids = append(pids, pid)
		}
	}
	return pids
}

// showLogs prints the ends of the logs, and copies them whole to a directory named for it.
func (c *cluster) showLogs() {
	logs, _ := filepath.Glob(filepath.Join(c.dir, "log", "*.log"))
	keep := os.Getenv("ASHLAR_TEST_LOGS")
	for _, name := range logs {
		text, _ := os.ReadFile(name)
		if keep != "" {
			to := filepath.Join(keep, c.t.Name()+"-"+filepath.Base(name))
			_ = os.WriteFile(to, text, 0o644)
		}
		c.t.Logf("--- %s\n%s", filepath.Base(name), text[max(0, len(text)-8192):])
	}
}

// stop ends the cluster in order.
func (c *cluster) stop() {
	c.t.Helper()
	if err := c.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		c.t.Fatal(err)
	}
	select {
	case <-c.ended:
	case <-time.After(stopWait):
		c.t.Fatalf("SIGTERM did not stop the cluster within %v", stopWait)
	}
	if c.err != nil {
		c.t.Fatalf("the cluster did not stop in order: %v\n%s", c.err, c.log)
	}
}

// ask runs a listing verb and decodes its JSON into v.
func (c *cluster) ask(v any, args ...string) {
	c.t.Helper()
	stdout, stderr, status := ashlar(append(args, "--data", c.dir, "-o", "json")...)
	if status != 0 {
		c.t.Fatalf("ashlar %v: status %d: %s", args, status, stderr)
	}
	if err := json.Unmarshal([]byte(stdout), v); err != nil {
		c.t.Fatalf("ashlar %v: %v in %s", args, err, stdout)
	}
}

type process struct {
	Role, ID, Addr, State string
	PID                   int
}

type clusterStatus struct {
	Health       string
	Problems     []string
	Copysets     int
	CopysetsFull int `json:"copysets_full"`
	Processes    []process
}

func (c *cluster) status() (s clusterStatus) {
	c.t.Helper()
	c.ask(&s, "cluster", "status")
	return s
}

// awaitFull waits until every replica has caught up and says how long that took.
func (c *cluster) awaitFull() time.Duration {
	c.t.Helper()
	began := time.Now()
	for {
		s := c.status()
		if s.Health == "ok" && s.CopysetsFull == s.Copysets {
			return time.Since(began)
		}
		if time.Since(began) > settleWait {
			c.t.Fatalf("not all replicas caught up within %v: %+v", settleWait, s)
		}
		time.Sleep(100 * time.Millisecond)
	}
}

// killAll SIGKILLs every process, the supervisor first so that it starts nothing again.
func (c *cluster) killAll() {
	c.t.Helper()
	processes := c.status().Processes
	if err := c.cmd.Process.Kill(); err != nil {
		c.t.Fatal(err)
	}
	for _, p := range processes {
		if p.PID > 0 && p.PID != c.cmd.Process.Pid {
			_ = syscall.Kill(p.PID, syscall.SIGKILL)
		}
	}
	<-c.ended
}

// attach opens an export over NBD.
func (c *cluster) attach(url string) *nbd.Client {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	client, err := nbd.Dial(ctx, url, "")
	if err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(func() { client.Close() })
	return client
}

// worstLeader returns the node that leads most copysets.
func (c *cluster) worstLeader() process {
	c.t.Helper()
	var copysets []struct {
		LeaderNodeID int `json:"leader_node_id"`
	}
	c.ask(&copysets, "copyset", "list")
	led := map[int]int{}
	for _, cs := range copysets {
		led[cs.LeaderNodeID]++
	}
	var nodes []struct {
		ID, PID int
		Name    string
	}
	c.ask(&nodes, "node", "list")
	worst := process{}
	most := -1
	for _, n := range nodes {
		if led[n.ID] > most {
			most = led[n.ID]
			worst = process{Role: "node", ID: n.Name, PID: n.PID}
		}
	}
	c.t.Logf("node %s leads %d of %d copysets", worst.ID, most, len(copysets))
	return worst
}

// nbdAddr is the host:port of the ready line.
func (c *cluster) nbdAddr() string {
	addr, _, _ := strings.Cut(strings.TrimPrefix(c.url, "nbd://"), "/")
	if _, _, err := net.SplitHostPort(addr); err != nil {
		c.t.Fatalf("ready line with %q", c.url)
	}
	return addr
}

// need skips the test when a program is missing, which `make test` installs.
func need(t *testing.T, programs ...string) {
	t.Helper()
	for _, p := range programs {
		if _, err := exec.LookPath(p); err != nil {
			t.Skipf("%s is not installed: run deploy/install.sh", p)
		}
	}
}

// run runs a program of the system and fails the test with its output when it fails.
func run(t *testing.T, name string, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	defer cancel()
	out, err := exec.CommandContext(ctx, name, args...).CombinedOutput()
	if err != nil {
		t.Fatal(fmt.Errorf("%s %s: %w\n%s", name, strings.Join(args, " "), err, out))
	}
	return string(out)
}
