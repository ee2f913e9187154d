package nemesis

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ashlar-storage/ashlar/perf/cost"
	"github.com/ashlar-storage/ashlar/perf/rig"
)

const (
	// stagesCost is what the product promises of `trace stages` with a report every two seconds:
	// a write takes at most a twentieth more processor time, clients and tracer included.
	stagesCost    = 1.05
	costTries     = 5   // for two pairs, to get as many that are judged
	costAgain     = 2   // times as many pairs more, where the first ones say that it costs too much
	costOthers    = 0.3 // processors that others may have had in one
	costStretch   = 2500 * time.Millisecond
	costAttach    = 1500 * time.Millisecond // until probes are attached and the tracer has settled
	costVolume    = "cost"
	costVolumeMiB = 256
)

// costPairs is how many pairs are judged: what eight say lies within a tenth of what forty do.
var costPairs = flag.Int("cost-pairs", 8, "how many pairs tell what tracing costs")

// pressed is a cluster whose processors are all taken, by `ashlar bench` at depth 32.
type pressed struct {
	t       *testing.T
	binary  string
	cluster *rig.Cluster
	bench   *exec.Cmd
}

func newPressed(t *testing.T) *pressed {
	t.Helper()
	binary := prepared(t)
	if os.Getenv(environment) != "required" {
		t.Skip("takes a minute: runs in `make trace`")
	}
	cluster, err := rig.Start(t.Context(), rig.Config{Binary: binary, Parent: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := cluster.Close(); err != nil {
			t.Error(err)
		}
	})
	if err := cluster.CreateVolume(t.Context(), costVolume, costVolumeMiB<<20); err != nil {
		t.Fatal(err)
	}
	p := &pressed{t: t, binary: binary, cluster: cluster}
	job := []string{"bench", "--ioengine=ashlar", "--volume=" + costVolume,
		"--endpoint=" + cluster.Endpoint, fmt.Sprintf("--size=%dm", costVolumeMiB)}
	fill := exec.CommandContext(t.Context(), binary, append(job, "--name=fill", "--rw=write",
		"--bs=1m", "--iodepth=4")...)
	if out, err := fill.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	p.bench = exec.CommandContext(t.Context(), binary, append(job, "--name=press",
		"--rw=randwrite", "--bs=4k", "--iodepth=32", "--time_based",
		fmt.Sprintf("--runtime=%d", 15*tries((1+costAgain)*(*costPairs))))...)
	if err := p.bench.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = p.bench.Process.Kill()
		_ = p.bench.Wait()
	})
	time.Sleep(2 * costAttach)
	return p
}

// tries is how many pairs are measured to get n that are judged.
func tries(n int) int { return costTries * n / 2 }

// perWrite is the processor time of a write in the stretch that follows, in us, of the client, the
// nodes and a tracer, and how many processors all others had.
func (p *pressed) perWrite(tracer *exec.Cmd) (us, others float64) {
	p.t.Helper()
	processes := []cost.Process{{Name: "client", PID: p.bench.Process.Pid}}
	var nodes []cost.Process
	for _, n := range p.cluster.Nodes() {
		nodes = append(nodes, cost.Process{Name: n.Name, PID: n.PID, Admin: n.Admin})
	}
	for _, n := range nodes {
		processes = append(processes, cost.Process{Name: n.Name, PID: n.PID})
	}
	if tracer != nil {
		processes = append(processes, cost.Process{Name: "tracer", PID: tracer.Process.Pid})
	}
	before := p.read(processes, nodes)
	time.Sleep(costStretch)
	after := p.read(processes, nodes)
	used := cost.Between(before.used, after.used)
	writes := 0.0
	for _, s := range after.answered.Since(before.answered) {
		if s.Stage == "reply" && s.Op == "write" {
			writes = float64(s.Count)
		}
	}
	if writes < 1000 {
		p.t.Fatalf("%.0f writes in %v", writes, costStretch)
	}
	return used.Total() * 1e6 / writes, max(used.Busy-used.Total(), 0) / used.Seconds
}

// pressedReading is what was used and done at one time.
type pressedReading struct {
	used     *cost.Reading
	answered *cost.StageReading
}

func (p *pressed) read(processes, nodes []cost.Process) (r pressedReading) {
	p.t.Helper()
	var err error
	if r.answered, err = cost.ReadStages(p.t.Context(), nodes); err == nil {
		r.used, err = cost.Read(p.t.Context(), processes)
	}
	if err != nil {
		p.t.Fatal(err)
	}
	return r
}

// traced is perWrite with a tracer attached.
func (p *pressed) traced(verb ...string) (us, others float64) {
	p.t.Helper()
	cmd := exec.CommandContext(p.t.Context(), p.binary, append(append([]string{"trace"}, verb...),
		"--endpoint", p.cluster.Endpoint)...)
	var errs bytes.Buffer
	cmd.Stderr = &errs
	if err := cmd.Start(); err != nil {
		p.t.Fatal(err)
	}
	time.Sleep(costAttach)
	us, others = p.perWrite(cmd)
	_ = cmd.Process.Signal(os.Interrupt)
	if err := cmd.Wait(); err != nil || strings.Contains(errs.String(), "lost") {
		p.t.Errorf("%v: %v: %s", verb, err, errs.String())
	}
	return us, others
}

// pairs compares n stretches with the tracer each with the mean of the two without that it stands
// between: what a write takes drifts. A pair says nothing when others took the processors; where
// that was so too often there are fewer than n.
func (p *pressed) pairs(n int) (ratios []float64) {
	p.t.Helper()
	before, _ := p.perWrite(nil)
	for try := 0; try < tries(n) && len(ratios) < n; try++ {
		with, others := p.traced("stages", "2")
		after, more := p.perWrite(nil)
		ratio := with / ((before + after) / 2)
		p.t.Logf("%.1f us without, %.1f with, %.1f without: %.3f; others had %.2f processors",
			before, with, after, ratio, max(others, more))
		if before = after; max(others, more) <= costOthers {
			ratios = append(ratios, ratio)
		}
	}
	return ratios
}

// dearer reports whether three quarters of the pairs say that tracing costs more than promised.
func dearer(ratios []float64) bool {
	return slices.Sorted(slices.Values(ratios))[len(ratios)/4] > stagesCost
}

// One pair says little, and pairs that follow each other err alike: where some say that the promise
// is broken, twice as many more are asked. Where there are too few the figures are told and not
// judged.
func TestWhatTracingStagesCostsWhereProcessorsAreShort(t *testing.T) {
	p := newPressed(t)
	n := *costPairs
	ratios := p.pairs(n)
	if len(ratios) == n && dearer(ratios) {
		ratios, n = append(ratios, p.pairs(costAgain*n)...), n+costAgain*n
	}
	slices.Sort(ratios)
	if len(ratios) < n {
		t.Logf("not judged: only %d of %d pairs had the processors: %.3f", len(ratios), n, ratios)
		return
	}
	t.Logf("processor time of a write with `trace stages` over without: median %.3f, %.3f to %.3f",
		(ratios[n/2-1]+ratios[n/2])/2, ratios[0], ratios[n-1])
	if dearer(ratios) {
		t.Errorf("three quarters of %d pairs say %.3f or more, promised are %.2f", n, ratios[n/4],
			stagesCost)
	}
}
