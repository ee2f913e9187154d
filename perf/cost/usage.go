package cost

import (
	"context"
	"fmt"
	"time"

	"github.com/ashlar-storage/ashlar/perf/meter"
)

// Process is one whose use is read.
type Process struct {
	Name  string
	PID   int
	Admin string // host:port of a node's admin listener; empty: it has no counters
	// Counters, for this process, reads those of its clients; nil: there are none.
	Counters func() meter.Stats
}

// Reading is what everything had used at one time.
type Reading struct {
	At    time.Time
	Busy  time.Duration            // of the machine
	CPU   map[string]time.Duration // of each process
	Nodes meter.Stats              // summed over the nodes
	Own   meter.Stats              // of this process' clients
}

// Read asks for all of it.
func Read(ctx context.Context, processes []Process) (r *Reading, err error) {
	r = &Reading{At: time.Now(), CPU: map[string]time.Duration{}, Nodes: meter.Stats{},
		Own: meter.Stats{}}
	for _, p := range processes {
		if r.CPU[p.Name], err = meter.CPU(p.PID); err != nil {
			return nil, fmt.Errorf("cost: process %s (pid %d): %w", p.Name, p.PID, err)
		}
	}
	if r.Busy, err = meter.Busy(); err != nil {
		return nil, err
	}
	for _, p := range processes {
		if p.Counters != nil {
			r.Own = r.Own.Plus(p.Counters())
		}
		if p.Admin == "" {
			continue
		}
		s, err := meter.ReadStats(ctx, p.Admin)
		if err != nil {
			return nil, err
		}
		r.Nodes = r.Nodes.Plus(s)
	}
	return r, nil
}

// Usage is what was used between two readings, in seconds and counts.
type Usage struct {
	Seconds float64            `json:"seconds"`
	Busy    float64            `json:"busy_cpu_s"`
	CPU     map[string]float64 `json:"cpu_s"`
	Nodes   meter.Stats        `json:"nodes"`
	Own     meter.Stats        `json:"own"`
}

// Between is what was used from a to z.
func Between(a, z *Reading) Usage {
	u := Usage{Seconds: z.At.Sub(a.At).Seconds(), Busy: (z.Busy - a.Busy).Seconds(),
		CPU: map[string]float64{}, Nodes: z.Nodes.Minus(a.Nodes), Own: z.Own.Minus(a.Own)}
	for name, cpu := range z.CPU {
		u.CPU[name] = (cpu - a.CPU[name]).Seconds()
	}
	return u
}

// Less takes off what is used idle in the same time.
func (u Usage) Less(idle Usage) Usage {
	if idle.Seconds == 0 {
		return u
	}
	share := u.Seconds / idle.Seconds
	out := Usage{Seconds: u.Seconds, Busy: u.Busy, CPU: map[string]float64{}, Nodes: meter.Stats{}}
	for k, v := range u.CPU {
		out.CPU[k] = max(v-idle.CPU[k]*share, 0)
	}
	for k, v := range u.Nodes {
		out.Nodes[k] = v - idle.Nodes[k]*share
	}
	return out
}

// Total is the CPU time of all processes.
func (u Usage) Total() (sum float64) {
	for _, v := range u.CPU {
		sum += v
	}
	return sum
}
