package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"time"

	"github.com/ashlar-storage/ashlar/perf/cost"
	"github.com/ashlar-storage/ashlar/perf/meter"
)

// sample is one case in one round.
type sample struct {
	Case  string  `json:"case"`
	Round int     `json:"round"`
	Load  float64 `json:"load"`
	// Others is how many cores everything else on the machine used meanwhile.
	Others float64 `json:"other_cores"`
	figures
	Used *usage `json:"used,omitempty"` // by the cluster, without what it uses idle
}

// results is everything that a run found; its JSON is the report's source.
type results struct {
	When    time.Time       `json:"when"`
	Machine meter.Machine   `json:"machine"`
	Version string          `json:"version"` // of the program that is measured
	Rounds  int             `json:"rounds"`
	Seconds int             `json:"seconds"`
	Size    int64           `json:"volume_bytes"`
	Peers   []string        `json:"peers"`
	Samples []sample        `json:"samples"`
	Idle    usage           `json:"idle"`
	Quiet   []quiet         `json:"quiet"`
	Kernel  []*kernelCounts `json:"kernel_counts"`
	Notes   []string        `json:"notes"`
}

func run(ctx context.Context, o options) (err error) {
	still, err := runQuiet(ctx, o)
	if err != nil {
		return err
	}
	b, err := newBench(ctx, o)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.close()) }()
	res := &results{When: time.Now().UTC(), Machine: meter.Describe(b.dir),
		Version: versionOf(ctx, o.binary), Rounds: o.rounds, Seconds: o.seconds, Size: o.size,
		Quiet: still}
	for i := range o.peers {
		res.Peers = append(res.Peers, o.peers[i].name)
	}
	if err := b.measure(ctx, res); err != nil {
		return b.explain(err)
	}
	if o.profile != "" {
		if err := b.profiles(ctx, o.profile); err != nil {
			return b.explain(err)
		}
	}
	return report(res, o)
}

func (b *bench) measure(ctx context.Context, res *results) error {
	if err := pause(ctx, settle); err != nil {
		return err
	}
	say("idle")
	idle, err := b.idle(ctx)
	if err != nil {
		return err
	}
	res.Idle = idle
	for round := range b.o.rounds {
		for _, c := range b.selected() {
			s, err := b.sample(ctx, &c, round, idle)
			if err != nil {
				return fmt.Errorf("bench: %s: %w", c.name, err)
			}
			say("round %d  %-16s %9.0f IOPS  p50 %7.0f  p99 %7.0f  p99.9 %7.0f us  load %.1f",
				round+1, c.name, s.IOPS, s.P50, s.P99, s.P999, s.Load)
			res.Samples = append(res.Samples, *s)
		}
	}
	return b.kernelRound(ctx, res)
}

func versionOf(ctx context.Context, binary string) string {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	out, err := exec.CommandContext(ctx, binary, "version").Output()
	if err != nil {
		return "unknown"
	}
	first, _, _ := strings.Cut(string(out), "\n")
	return strings.TrimSpace(first)
}

func (b *bench) selected() (out []benchCase) {
	for _, c := range cases(b.o.peers) {
		if b.o.only.MatchString(c.name) {
			out = append(out, c)
		}
	}
	return out
}

func (b *bench) idle(ctx context.Context) (usage, error) {
	before, err := b.read(ctx)
	if err != nil {
		return usage{}, err
	}
	if err := pause(ctx, time.Duration(b.o.seconds)*time.Second); err != nil {
		return usage{}, err
	}
	after, err := b.read(ctx)
	if err != nil {
		return usage{}, err
	}
	return cost.Between(before, after), nil
}

// sample measures a case. What writes leave to be done later is awaited before the cost is read.
func (b *bench) sample(ctx context.Context, c *benchCase, round int, idle usage) (*sample, error) {
	before, err := b.read(ctx)
	if err != nil {
		return nil, err
	}
	s := &sample{Case: c.name, Round: round, Load: meter.Load()}
	if s.figures, err = c.run(ctx, b, c, round); err != nil {
		return nil, err
	}
	after, err := b.read(ctx)
	if err != nil {
		return nil, err
	}
	u := cost.Between(before, after)
	s.Others = max(u.Busy-u.Total(), 0) / u.Seconds
	if !c.cluster {
		return s, nil
	}
	if c.write {
		if err := pause(ctx, settle); err != nil {
			return nil, err
		}
		if after, err = b.read(ctx); err != nil {
			return nil, err
		}
	}
	u = cost.Between(before, after).Less(idle)
	s.Used = &u
	return s, nil
}

// kernelRound counts system calls, apart from the rounds: counting slows them down.
func (b *bench) kernelRound(ctx context.Context, res *results) error {
	for _, c := range b.selected() {
		if !c.costs {
			continue
		}
		k, err := b.countKernel(ctx, &c)
		if err != nil && b.cluster.Alive() == nil && ctx.Err() == nil {
			res.Notes = append(res.Notes, "System calls were not counted: "+err.Error())
			return nil
		}
		if err != nil {
			return err
		}
		say("counted  %-16s %.1f system calls in the nodes per operation", c.name,
			k.Syscalls["nodes"])
		res.Kernel = append(res.Kernel, k)
		if err := pause(ctx, settle); err != nil {
			return err
		}
	}
	return nil
}

func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// report writes what was asked for, and the tables to standard output.
func report(res *results, o options) error {
	if o.json != "" {
		text, err := json.MarshalIndent(res, "", " ")
		if err == nil {
			err = os.WriteFile(o.json, append(text, '\n'), 0o644)
		}
		if err != nil {
			return fmt.Errorf("bench: %w", err)
		}
	}
	text := res.markdown()
	fmt.Print(text)
	if o.write == "" {
		return nil
	}
	old, err := os.ReadFile(o.write)
	if err != nil {
		return fmt.Errorf("bench: %w", err)
	}
	text, err = replaceTable(string(old), text)
	if err != nil {
		return fmt.Errorf("%s: %w", o.write, err)
	}
	return os.WriteFile(o.write, []byte(text), 0o644)
}
