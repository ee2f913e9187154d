package main

import (
	"context"
	"fmt"
	"os"

	"github.com/ashlar-storage/ashlar/perf/cost"
	"github.com/ashlar-storage/ashlar/perf/meter"
	"github.com/ashlar-storage/ashlar/perf/rig"
)

// self is the name of this process among those whose use is read: native client and generator.
const self = "client"

// usage is what was used between two readings.
type usage = cost.Usage

func (b *bench) read(ctx context.Context) (*cost.Reading, error) {
	processes := []cost.Process{{Name: self, PID: os.Getpid()}}
	for _, p := range b.cluster.Processes {
		processes = append(processes, cost.Process{Name: p.Name, PID: p.PID, Admin: p.Admin})
	}
	r, err := cost.Read(ctx, processes)
	if err != nil {
		return nil, b.explain(err)
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
