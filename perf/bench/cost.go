package main

import (
	"context"
	"fmt"
	"os"
	"time"

	"github.com/ashlar-storage/ashlar/perf/meter"
	"github.com/ashlar-storage/ashlar/perf/rig"
)

// self is the name of this process among those whose use is read: native client and generator.
const self = "client"

// reading is what everything had used at one time.
type reading struct {
	at    time.Time
	busy  time.Duration            // of the machine
	cpu   map[string]time.Duration // of each process of ours
	nodes meter.Stats              // summed over the nodes
}

func (b *bench) read(ctx context.Context) (*reading, error) {
	r := &reading{at: time.Now(), cpu: map[string]time.Duration{}, nodes: meter.Stats{}}
	for _, p := range b.cluster.Processes {
		cpu, err := meter.CPU(p.PID)
		if err != nil {
			return nil, b.explain(err)
		}
		r.cpu[p.Name] = cpu
	}
	var err error
	if r.cpu[self], err = meter.CPU(os.Getpid()); err != nil {
		return nil, err
	}
	if r.busy, err = meter.Busy(); err != nil {
		return nil, err
	}
	for _, p := range b.cluster.Nodes() {
		s, err := meter.ReadStats(ctx, p.Admin)
		if err != nil {
			return nil, b.explain(err)
		}
		r.nodes = r.nodes.Plus(s)
	}
	return r, nil
}

// explain puts the end of a process that died, if any did, before an error that may come of it.
func (b *bench) explain(err error) error {
	if died := b.cluster.Alive(); died != nil {
		return fmt.Errorf("%w (%w)", died, err)
	}
	return err
}

// usage is what was used between two readings, in seconds and counts.
type usage struct {
	Seconds float64            `json:"seconds"`
	Busy    float64            `json:"busy_cpu_s"`
	CPU     map[string]float64 `json:"cpu_s"`
	Nodes   meter.Stats        `json:"nodes"`
}

func between(a, z *reading) usage {
	u := usage{Seconds: z.at.Sub(a.at).Seconds(), Busy: (z.busy - a.busy).Seconds(),
		CPU: map[string]float64{}, Nodes: z.nodes.Minus(a.nodes)}
	for name, cpu := range z.cpu {
		u.CPU[name] = (cpu - a.cpu[name]).Seconds()
	}
	return u
}

// less takes off what an idle cluster uses in the same time.
func (u usage) less(idle usage) usage {
	if idle.Seconds == 0 {
		return u
	}
	share := u.Seconds / idle.Seconds
	out := usage{Seconds: u.Seconds, Busy: u.Busy, CPU: map[string]float64{}, Nodes: meter.Stats{}}
	for k, v := range u.CPU {
		out.CPU[k] = max(v-idle.CPU[k]*share, 0)
	}
	for k, v := range u.Nodes {
		out.Nodes[k] = v - idle.Nodes[k]*share
	}
	return out
}

// ours is the CPU time of the cluster, the client and the generator.
func (u usage) ours() (sum float64) {
	for _, v := range u.CPU {
		sum += v
	}
	return sum
}

// kernelCounts are system calls and context switches per operation, by process; the nodes' summed.
type kernelCounts struct {
	Case     string             `json:"case"`
	Ops      int64              `json:"ops"`
	Syscalls map[string]float64 `json:"syscalls_per_op"`
	Switches map[string]float64 `json:"context_switches_per_op"`
}

// countKernel runs a case once more while the kernel counts.
func (b *bench) countKernel(ctx context.Context, c *benchCase) (*kernelCounts, error) {
	names := map[int]string{os.Getpid(): self}
	pids := []int{os.Getpid()}
	for _, p := range b.cluster.Processes {
		pids = append(pids, p.PID)
		names[p.PID] = role(p)
	}
	counter, err := meter.NewCounter(pids)
	if err != nil {
		return nil, err
	}
	defer counter.Close()
	before, err := counter.Read()
	if err != nil {
		return nil, err
	}
	fig, err := c.run(ctx, b, c, 1000)
	if err != nil {
		return nil, b.explain(err)
	}
	after, err := counter.Read()
	if err != nil {
		return nil, err
	}
	k := &kernelCounts{Case: c.name, Ops: fig.Ops, Syscalls: map[string]float64{},
		Switches: map[string]float64{}}
	for pid, name := range names {
		k.Syscalls[name] += float64(after[pid].Syscalls-before[pid].Syscalls) / float64(fig.Ops)
		k.Switches[name] += float64(after[pid].Switches-before[pid].Switches) / float64(fig.Ops)
	}
	return k, nil
}

func role(p *rig.Process) string {
	if p.Role == "node" {
		return "nodes"
	}
	return p.Name
}
