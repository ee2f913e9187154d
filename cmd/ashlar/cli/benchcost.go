package cli

import (
	"context"
	"fmt"
	"strings"

	"github.com/ashlar-storage/ashlar/cmd/ashlar/datadir"
	"github.com/ashlar-storage/ashlar/perf/cost"
	"github.com/ashlar-storage/ashlar/perf/load"
	"github.com/ashlar-storage/ashlar/perf/output"
	"github.com/ashlar-storage/ashlar/perf/suite"
	"github.com/ashlar-storage/ashlar/rpc/admin"
	ashlar "github.com/ashlar-storage/ashlar/rpc/admin/kitex_gen/ashlar/v1"
)

// costs are what the jobs of a run cost, as far as it can be read.
type costs struct {
	run    *benchRun
	ctx    context.Context
	others []cost.Process
	of     map[*suite.Done]*cost.PerOp
}

// newCosts finds the processes that are to be watched beside this one.
func (r *benchRun) newCosts(ctx context.Context, data string) (*costs, error) {
	c := &costs{run: r, ctx: ctx, of: map[*suite.Done]*cost.PerOp{}}
	for _, pid := range r.pids {
		c.others = append(c.others, cost.Process{Name: fmt.Sprintf("pid-%d", pid), PID: pid})
	}
	if data == "" {
		return c, nil
	}
	found, err := r.app.clusterProcesses(ctx, data)
	c.others = append(c.others, found...)
	return c, err
}

// clusterProcesses are those of `ashlar up --data`.
func (a *app) clusterProcesses(ctx context.Context, data string) (out []cost.Process, err error) {
	layout, err := datadir.Read(data)
	if err != nil {
		return nil, err
	}
	clients, err := admin.Dial(layout.Control)
	if err != nil {
		return nil, err
	}
	defer clients.Close()
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	st, err := clients.Admin.ClusterStatus(ctx, &ashlar.ClusterStatusRequest{})
	if err != nil {
		return nil, fmt.Errorf("bench: processes of %s: %w", data, err)
	}
	for _, p := range st.GetProcesses() {
		name := p.GetRole()
		x := cost.Process{Name: name, PID: int(p.GetPid())}
		for _, n := range layout.Nodes {
			if name == "node" && n.Listen == p.GetAddr() {
				x.Name, x.Admin = n.Name, n.Admin
			}
		}
		if x.PID > 0 && name != "supervisor" {
			out = append(out, x)
		}
	}
	return out, nil
}

// around watches a wave. What cannot be read is said, and ends nothing.
func (c *costs) around(done []*suite.Done) func() {
	self := cost.Self()
	self.Counters = done[0].Counters
	w, err := cost.Start(c.ctx, append([]cost.Process{self}, c.others...), c.run.syscalls)
	if err != nil {
		c.say(err)
		return func() {}
	}
	before := c.readStages()
	return func() {
		after := c.readStages()
		var ops, moved, written int64
		for _, d := range done {
			for k := range d.Load.Progress.Ops {
				ops += d.Load.Progress.Ops[k].Load()
			}
			written += d.Load.Progress.Bytes[load.Write].Load()
			moved += d.Load.Progress.Bytes[load.Read].Load()
		}
		p, err := w.Stop(c.ctx, ops, moved+written, written)
		if err != nil {
			c.say(err)
			return
		}
		p.Shared = len(done)
		if before != nil && after != nil {
			p.Stages = after.Since(before)
		}
		for _, d := range done {
			c.of[d] = p
		}
	}
}

// readStages is nil when nobody asked, or nobody answers.
func (c *costs) readStages() *cost.StageReading {
	if !c.run.stages {
		return nil
	}
	s, err := cost.ReadStages(c.ctx, c.others)
	if err != nil {
		c.say(err)
		return nil
	}
	return s
}

func (c *costs) say(err error) {
	fmt.Fprintf(c.run.app.stderr, "bench: cost not measured: %s\n", oneLine(err))
}

// give puts what was found into the entries. An entry that is all of its wave shares with nobody.
func (c *costs) give(entries []*output.Entry) {
	for _, e := range entries {
		p := c.of[e.Done[0]]
		if p == nil {
			continue
		}
		own := *p
		if own.Shared == e.Jobs {
			own.Shared = 1
		}
		e.Cost = &own
	}
}

// dataOf is the directory of the cluster that is measured, if there is one on this machine.
func (r *benchRun) dataOf(dirs []string) (string, error) {
	if r.cluster != "" {
		return r.cluster, nil
	}
	found := ""
	for _, d := range dirs {
		if d != "" && found != "" && d != found {
			return "", usage("bench: jobs name two clusters, %s: say with --cluster whose "+
				"processes to watch", strings.Join(dirs, ", "))
		}
		if d != "" {
			found = d
		}
	}
	return found, nil
}
