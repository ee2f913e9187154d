package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/ashlar-storage/ashlar/perf/cost"
	"github.com/ashlar-storage/ashlar/perf/meter"
	"github.com/ashlar-storage/ashlar/perf/rig"
)

const (
	quietCase     = "quiet-300"
	quietCopysets = 300
	// quietAfter without a record in any log the copysets are at rest: the control plane spreads
	// their leaders first, one or two in a second. They have quietWait for it.
	quietAfter = 12 * time.Second
	quietWait  = 10 * time.Minute
	// quietSpan is how long a node must be watched: processor time is told in steps of 10 ms,
	// which is a twentieth of what one percent of a core makes in that time.
	quietSpan = 20 * time.Second
)

// quiet is what nodes use with nothing to do, for many copysets: the largest of any node.
type quiet struct {
	Round int     `json:"round"`
	CPU   float64 `json:"cpu_percent"` // of a core
	RSS   float64 `json:"rss_mib"`
}

// runQuiet measures a cluster of its own, before the one that works is there.
func runQuiet(ctx context.Context, o options) (all []quiet, err error) {
	if !o.only.MatchString(quietCase) {
		return nil, nil
	}
	say("quiet cluster of %d copysets", quietCopysets)
	c, err := rig.Start(ctx, rig.Config{Binary: o.binary, Parent: o.dir, Copysets: quietCopysets})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, c.Close()) }()
	if err := awaitRest(ctx, c.Nodes()); err != nil {
		return nil, errors.Join(c.Alive(), err)
	}
	for round := range o.rounds {
		q, err := watchQuiet(ctx, c.Nodes())
		if err != nil {
			return nil, errors.Join(c.Alive(), err)
		}
		say("round %d  %-16s %9.2f %% of a core, %.0f MiB", round+1, quietCase, q.CPU, q.RSS)
		q.Round = round
		all = append(all, q)
	}
	return all, nil
}

// awaitRest waits until the logs of the nodes stand still.
func awaitRest(ctx context.Context, nodes []*rig.Process) error {
	ctx, cancel := context.WithTimeout(ctx, quietWait)
	defer cancel()
	for last := -1.0; ; {
		sum := 0.0
		for _, p := range nodes {
			s, err := meter.ReadStats(ctx, p.Admin)
			if err != nil {
				return err
			}
			sum += s["log.records"]
		}
		if sum == last {
			return nil
		}
		last = sum
		if err := pause(ctx, quietAfter); err != nil {
			return fmt.Errorf("bench: the logs of %d idle copysets still grow: %w",
				quietCopysets, err)
		}
	}
}

func watchQuiet(ctx context.Context, nodes []*rig.Process) (q quiet, err error) {
	var processes []cost.Process
	for _, p := range nodes { // without their counters, as to ask for them wakes a node
		processes = append(processes, cost.Process{Name: p.Name, PID: p.PID})
	}
	before, err := cost.Read(ctx, processes)
	if err != nil {
		return q, err
	}
	if err := pause(ctx, quietSpan); err != nil {
		return q, err
	}
	after, err := cost.Read(ctx, processes)
	if err != nil {
		return q, err
	}
	u := cost.Between(before, after)
	for _, p := range nodes {
		rss, err := meter.Resident(p.PID)
		if err != nil {
			return q, fmt.Errorf("bench: %w", err)
		}
		q.CPU = max(q.CPU, u.CPU[p.Name]/u.Seconds*100)
		q.RSS = max(q.RSS, float64(rss)/(1<<20))
	}
	return q, nil
}

// ofQuiet is a figure of the quiet nodes, round by round.
func (r *results) ofQuiet(f func(*quiet) float64) (out []float64) {
	for i := range r.Quiet {
		out = append(out, f(&r.Quiet[i]))
	}
	return out
}
