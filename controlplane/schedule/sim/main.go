package sim

import (
	"flag"
	"fmt"
	"io"
	"runtime"
	"sync"
	"time"

	"github.com/ashlar-storage/ashlar/controlplane/schedule"
)

// Main runs the simulation that the arguments describe (-help lists them), writes the table to
// out and its progress to log, and rewrites the page that -page names, with its figure.
func Main(args []string, out, log io.Writer) error {
	base := config{capacity: 2 << 40, full: 0.5, diskAFR: 0.04, nodeAFR: 0.01, restarts: 4,
		fillRate: 16 << 20, writeRate: 100 << 20}
	flags := flag.NewFlagSet("control-sim", flag.ContinueOnError)
	flags.SetOutput(log)
	flags.Uint64Var(&base.seed, "seed", 1, "of everything that is drawn")
	flags.IntVar(&base.days, "days", 60, "how long")
	flags.IntVar(&base.zones, "zones", 20, "zones")
	flags.IntVar(&base.nodes, "nodes", 1000, "nodes, in turn in the zones")
	flags.IntVar(&base.stores, "stores", 10, "stores of each node")
	flags.IntVar(&base.copysets, "copysets", 60_000, "copysets of three replicas")
	page := flags.String("page", "", "rewrite the table in this page, and the figure beside it")
	if err := flags.Parse(args); err != nil {
		return err
	}
	base.addDay, base.addNodes = base.days/2, base.nodes/20
	base.outageDay = base.days * 3 / 4
	runs, err := simulate(variants(base), log)
	if err != nil {
		return err
	}
	text := table(runs)
	if _, err := io.WriteString(out, text); err != nil || *page == "" {
		return err
	}
	return publish(*page, text, draw(runs[0]))
}

// variants are the runs of the table: the defaults, and what matters beside them.
func variants(base config) []config {
	with := func(name string, change func(*schedule.Limits), more func(*config)) config {
		c := base
		c.name, c.limits = name, limits(change)
		if more != nil {
			more(&c)
		}
		return c
	}
	return []config{
		with("defaults", nil, nil),
		with("4 times the fill rate", nil, func(c *config) { c.fillRate *= 4 }),
		with("lost after 1 h", func(l *schedule.Limits) { l.LostAfter = time.Hour }, nil),
		with("3 zones", nil, func(c *config) { c.zones = replicas }),
	}
}

// simulate runs all, as many at a time as there are processors.
func simulate(runs []config, log io.Writer) ([]*world, error) {
	done := make([]*world, len(runs))
	for i, cfg := range runs {
		w, err := newWorld(cfg)
		if err != nil {
			return nil, fmt.Errorf("sim: %s: %w", cfg.name, err)
		}
		done[i] = w
	}
	var wait sync.WaitGroup
	slots := make(chan struct{}, runtime.NumCPU())
	for _, w := range done {
		wait.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			began := time.Now()
			w.run()
			fmt.Fprintf(log, "%s: %d days in %v, %d rounds of %v\n", w.cfg.name, w.cfg.days,
				time.Since(began).Round(time.Second), w.tally.rounds,
				(w.tally.took / time.Duration(max(1, w.tally.rounds))).Round(time.Millisecond))
		})
	}
	wait.Wait()
	return done, nil
}
