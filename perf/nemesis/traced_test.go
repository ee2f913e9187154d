package nemesis

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ashlar-storage/ashlar/perf/cost"
	"github.com/ashlar-storage/ashlar/perf/faultfs"
	"github.com/ashlar-storage/ashlar/perf/netlab"
	"github.com/ashlar-storage/ashlar/perf/rig"
	"github.com/ashlar-storage/ashlar/perf/starve"
	"github.com/ashlar-storage/ashlar/rpc/ops"
	"github.com/ashlar-storage/ashlar/rpc/ops/opstest"
)

const (
	tracedBlocks  = 32768 // 128 MiB: chunks of most copysets
	tracedSpan    = "5"   // seconds that a verdict is formed from
	tracedOps     = 10_000
	tracedRounds  = 5
	tracedStretch = 2 * time.Second
	lateDisk      = 8 * time.Millisecond // too little for leaders to leave it
	lateLink      = 30 * time.Millisecond
	tracedTries   = 3 // the machine has disks and processors that are slow by themselves
	readPause     = time.Millisecond
	readStride    = 4099 // blocks: one in another chunk each time
	starvedShare  = 15   // percent of a processor
)

// tracedReport is what these tests read of `ashlar trace stages -j`.
type tracedReport struct {
	Kinds []struct {
		Kind  string
		Total struct {
			Count int
		}
		Failed  int
		Verdict string
	}
	InStages float64 `json:"in_stages"`
	Skipped  int
}

func (r *tracedReport) of(kind string) (verdict string, count int) {
	for _, k := range r.Kinds {
		if k.Kind == kind {
			return k.Verdict, k.Total.Count
		}
	}
	return "no " + kind, 0
}

// traced is a cluster that is looked at.
type traced struct {
	*machine
	binary string
	ledger *ledger
	read   atomic.Int64 // blocks
}

func newTraced(t *testing.T, settings ...string) *traced {
	t.Helper()
	binary := prepared(t)
	if os.Getenv(environment) != "required" {
		t.Skip("takes a minute: runs in `make trace`")
	}
	lab := newLab(t)
	m := newMachine(t, rig.Config{Binary: binary, Net: lab,
		NodeSettings: powerSettings + strings.Join(settings, "")}, faultfs.Config{}, victim)
	m.lab, m.timeout = lab, faultTimeout
	if err := m.cluster.CreateVolume(t.Context(), volumeName, tracedBlocks*blockSize); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(m.attach(), m.awaitWhole(wholeWait)); err != nil {
		t.Fatal(err)
	}
	return &traced{machine: m, binary: binary, ledger: newLedger(tracedBlocks)}
}

// under runs f while clients write and read.
func (c *traced) under(workers int, f func()) {
	c.t.Helper()
	stop, ended := make(chan struct{}), make(chan error, 1)
	go func() { ended <- c.ledger.load(c.volume, workers, 2, stop) }()
	go func() { ended <- c.reads(stop) }()
	f()
	close(stop)
	if err := errors.Join(<-ended, <-ended); err != nil {
		c.t.Errorf("the client got an error: %v", err)
	}
}

// reads reads blocks here and there until it is stopped, without haste.
func (c *traced) reads(stop <-chan struct{}) error {
	block := make([]byte, blockSize)
	for n := int64(0); ; n++ {
		select {
		case <-stop:
			return nil
		case <-time.After(readPause):
		}
		if _, err := c.volume.ReadAt(block, n*readStride%tracedBlocks*blockSize); err != nil {
			return err
		}
		c.read.Add(1)
	}
}

func (c *traced) command(args ...string) *exec.Cmd {
	return exec.CommandContext(c.t.Context(), c.binary,
		append([]string{"trace"}, append(args, "--endpoint", c.cluster.Endpoint)...)...)
}

// stages is what `ashlar trace stages` says of the next seconds.
func (c *traced) stages(flags ...string) *tracedReport {
	c.t.Helper()
	cmd := c.command(append([]string{"stages", "-j", tracedSpan, "1"}, flags...)...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		c.t.Fatalf("%v: %s", err, errs.String())
	}
	return c.decode(&out)
}

func (c *traced) decode(out *bytes.Buffer) *tracedReport {
	c.t.Helper()
	var r tracedReport
	if err := json.Unmarshal(out.Bytes(), &r); err != nil {
		c.t.Fatalf("%v: %s", err, out.String())
	}
	return &r
}

func (c *traced) victim() *rig.Process {
	for _, p := range c.cluster.Nodes() {
		if p.Name == victim {
			return p
		}
	}
	panic("nemesis: there is no " + victim)
}

// slowness is something that makes one node's requests slow.
type slowness struct {
	name    string
	begin   func(c *traced) (end func() error, err error)
	verdict *regexp.Regexp // of writes
}

var slownesses = []slowness{
	{"a slow disk", func(c *traced) (func() error, error) {
		f := c.disks[victim]
		return func() error { f.Clear(); return nil },
			f.Fail(&faultfs.Rule{Pattern: "log/*", Kinds: faultfs.Write, Delay: lateDisk})
	}, regexp.MustCompile(`slow: the device of ` + victim + ` \(.*/` + victim + `.*\), in writes`)},
	{"too little processor", func(c *traced) (func() error, error) {
		return starve.Starve(c.victim().PID, starvedShare)
	}, regexp.MustCompile(`slow: processors of ` + victim + `,`)},
	{"slow links", func(c *traced) (func() error, error) {
		var errs []error
		for _, p := range c.cluster.Nodes() {
			if p.Name != victim {
				errs = append(errs, c.lab.Slow(victim, p.Name, netlab.Wire{Delay: lateLink}))
			}
		}
		return c.lab.Mend, errors.Join(errs...)
	}, regexp.MustCompile(`slow: the ways? between ` + victim + ` and (n[23]|the other nodes)$`)},
}

func TestTraceNamesWhatMakesOneNodeSlow(t *testing.T) {
	c := newTraced(t)
	for i := range slownesses {
		s := &slownesses[i]
		t.Run(s.name, func(t *testing.T) {
			c.t = t
			c.under(4, func() {
				end, err := s.begin(c)
				if err != nil {
					t.Fatal(err)
				}
				named := false
				for try := 0; !named && try < tracedTries; try++ {
					time.Sleep(time.Second)
					verdict, count := c.stages().of("write")
					t.Logf("of %d writes: %s", count, verdict)
					named = s.verdict.MatchString(verdict)
				}
				if err := end(); err != nil {
					t.Error(err)
				}
				if !named {
					t.Errorf("want a verdict like %q", s.verdict)
				}
			})
			if err := c.awaitWhole(wholeWait); err != nil {
				t.Error(err)
			}
		})
	}
}

// counted is what the nodes themselves have counted.
func (c *traced) counted() *cost.StageReading {
	c.t.Helper()
	var nodes []cost.Process
	for _, p := range c.cluster.Nodes() {
		nodes = append(nodes, cost.Process{Name: p.Name, Admin: p.Admin})
	}
	r, err := cost.ReadStages(c.t.Context(), nodes)
	if err != nil {
		c.t.Fatal(err)
	}
	return r
}

func TestTraceCountsWhatTheNodesCount(t *testing.T) {
	c := newTraced(t)
	before := c.counted()
	cmd := c.command("stages", "-j")
	var out bytes.Buffer
	cmd.Stdout = &out
	errs, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	first := make([]byte, len("Tracing"))
	if _, err := io.ReadFull(errs, first); err != nil || string(first) != "Tracing" {
		t.Fatalf("it does not trace: %q, %v", first, err)
	}
	c.under(16, func() {
		for end := time.Now().Add(time.Minute); c.ledger.writes.Load() < tracedOps ||
			c.read.Load() < tracedOps/10; {
			if time.Sleep(10 * time.Millisecond); time.Now().After(end) {
				t.Fatalf("%d writes and %d reads in a minute", c.ledger.writes.Load(),
					c.read.Load())
			}
		}
	})
	time.Sleep(100 * time.Millisecond) // answers that are on their way
	if err := cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	rest, _ := io.ReadAll(errs)
	if err := cmd.Wait(); err != nil || strings.Contains(string(rest), "lost") {
		t.Fatalf("%v: %s", err, rest)
	}
	r := c.decode(&out)
	answered := map[string]int{}
	for _, s := range c.counted().Since(before) {
		if s.Stage == "reply" {
			answered[s.Op] = int(s.Count)
		}
	}
	for _, kind := range []string{"read", "write"} {
		_, got := r.of(kind)
		if want := answered[kind]; got != want || got < tracedOps/10 {
			t.Errorf("%ss: %d were traced, the nodes counted %d", kind, got, want)
		}
	}
	if r.InStages < 0.98 || r.InStages > 1.02 {
		t.Errorf("stages have %.4f of the time of requests", r.InStages)
	}
	t.Logf("in stages: %.4f of the time; skipped: %d", r.InStages, r.Skipped)
}

// A read is followed from the request to its operation on the ring and to the device.
func TestTraceFollowsAReadToTheDevice(t *testing.T) {
	c := newTraced(t)
	c.under(8, func() { time.Sleep(time.Second) })
	time.Sleep(flushTime) // what was written has left memory
	cmd := c.command("slow", "-j", "--min", "1ns", "2", "1")
	var out bytes.Buffer
	cmd.Stdout = &out
	stop, ended := make(chan struct{}), make(chan error, 1)
	go func() { ended <- c.reads(stop) }()
	err := cmd.Run()
	close(stop)
	if err := errors.Join(err, <-ended); err != nil {
		t.Fatal(err)
	}
	reads, followed := 0, 0
	for line := range strings.SplitSeq(strings.TrimSpace(out.String()), "\n") {
		var r struct {
			Kind, Node string
			Moments    []struct{ Where, What string }
		}
		if err := json.Unmarshal([]byte(line), &r); err != nil {
			t.Fatalf("%v: %s", err, line)
		}
		ring, device := false, false
		for _, m := range r.Moments {
			ring = ring || m.Where == r.Node && m.What == "its operation on the ring"
			device = device || m.Where == r.Node && strings.HasPrefix(m.What, "device read")
		}
		if r.Kind == "read" {
			reads++
			if ring && device {
				followed++
			}
		}
	}
	if reads < 100 || followed < 10 {
		t.Errorf("of %d reads %d were followed to the device", reads, followed)
	}
	t.Logf("of %d reads, the rest of blocks that were never written, %d went to the device", reads,
		followed)
}

// The nodes trace themselves, for who has the right token, and name the slow disk all the same.
func TestTraceThroughAdminListenersNamesTheSlowDisk(t *testing.T) {
	files := map[ops.Role]string{}
	var lines []string
	for _, role := range []ops.Role{ops.Viewer, ops.Tracer} {
		token, line, err := ops.NewToken(ops.Owner{Name: role.String(), Role: role})
		if err != nil {
			t.Fatal(err)
		}
		lines = append(lines, line)
		files[role] = writeFile(t, role.String(), token+"\n")
	}
	var hosts []net.IP
	for n := range byte(16) {
		hosts = append(hosts, net.IPv4(10, 77, 0, n)) // a lab's
	}
	cert, key := opstest.Certificate(t, hosts...)
	c := newTraced(t, fmt.Sprintf("admin_cert: %s\nadmin_key: %s\nadmin_tokens: %s\n", cert, key,
		writeFile(t, "tokens", strings.Join(lines, "\n"))))
	for role, want := range map[ops.Role]string{ops.Nobody: "needs a token of the role tracer",
		ops.Viewer: "needs the role tracer; viewer has viewer"} {
		file := files[role]
		if file == "" {
			file = writeFile(t, "empty", "")
		}
		out, err := c.command("stages", "--remote", "--ca", cert, "--token-file", file, "1",
			"1").CombinedOutput()
		if err == nil || !strings.Contains(string(out), want) {
			t.Errorf("%s: %v: %s", role, err, out)
		}
	}
	s := &slownesses[0]
	c.under(4, func() {
		end, err := s.begin(c)
		if err != nil {
			t.Fatal(err)
		}
		named := false
		for try := 0; !named && try < tracedTries; try++ {
			time.Sleep(time.Second)
			verdict, count := c.stages("--remote", "--ca", cert, "--token-file",
				files[ops.Tracer]).of("write")
			t.Logf("of %d writes: %s", count, verdict)
			named = s.verdict.MatchString(verdict)
		}
		if err := end(); err != nil {
			t.Error(err)
		}
		if !named {
			t.Errorf("want a verdict like %q", s.verdict)
		}
	})
}

func writeFile(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// rate is how many operations were done in a stretch of time.
func (c *traced) rate() float64 {
	n := c.ledger.writes.Load()
	time.Sleep(tracedStretch)
	return float64(c.ledger.writes.Load()-n) / tracedStretch.Seconds()
}

// TestWhatTracingCosts prints ratios of neighbouring stretches; they are no bounds, the machine has
// others to serve.
func TestWhatTracingCosts(t *testing.T) {
	c := newTraced(t)
	for _, verb := range []string{"stages", "snoop", "slow", "latency"} {
		var ratios []string
		var lost string
		c.under(32, func() {
			for range tracedRounds {
				without := c.rate()
				cmd := c.command(verb)
				var errs bytes.Buffer
				cmd.Stderr = &errs
				if err := cmd.Start(); err != nil {
					t.Fatal(err)
				}
				time.Sleep(time.Second)
				with := c.rate()
				_ = cmd.Process.Signal(os.Interrupt)
				if err := cmd.Wait(); err != nil {
					t.Fatalf("%v: %s", err, errs.String())
				}
				if _, more, found := strings.Cut(errs.String(), "\n"); found && more != "" {
					lost = more
				}
				ratios = append(ratios, fmt.Sprintf("%.3f", with/without))
			}
		})
		t.Logf("writes with `trace %s` over writes without: %v %s", verb, ratios, lost)
	}
}
