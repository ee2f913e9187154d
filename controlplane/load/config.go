package load

import (
	"flag"
	"fmt"
	"io"
	"time"
)

// config is one run.
type config struct {
	nodes, replicas int           // of each node, which has one store
	zones           int           // in which the nodes lie in turn
	changing        float64       // per cent of the copysets, each second
	phase           time.Duration // of rest and of change; twice that after the death
	seed            uint64
	page            string // whose table is rewritten; empty: none
	serve           string // the directory of the metadata, in the process that is measured
}

const (
	interval  = 500 * time.Millisecond // between heartbeats of a node, as the control plane asks
	beatTime  = 30 * time.Second       // a heartbeat may wait for a commit on a slow disk
	lostAfter = 10 * time.Second
	fill      = 5 * time.Second // until a new replica has everything
	election  = time.Second     // until the copysets of a dead node have another leader
	behind    = time.Second     // for which a follower is behind
	step      = 100 * time.Millisecond
	settling  = 60 * time.Second // within which the takeover must be over
	capacity  = 16 << 40         // bytes of a store
	members   = 3                // of a copyset
	topology  = 1                // version of the copysets that the nodes know
)

func parse(args []string, log io.Writer) (c config, err error) {
	flags := flag.NewFlagSet("control-load", flag.ContinueOnError)
	flags.SetOutput(log)
	flags.IntVar(&c.nodes, "nodes", 1000, "nodes, with a store each")
	flags.IntVar(&c.replicas, "replicas", 1000, "replicas on each")
	flags.IntVar(&c.zones, "zones", 20, "zones")
	flags.Float64Var(&c.changing, "changing", 1, "per cent of the copysets that change in a second")
	flags.DurationVar(&c.phase, "phase", 30*time.Second, "how long each phase takes")
	flags.Uint64Var(&c.seed, "seed", 1, "of everything that is drawn")
	flags.StringVar(&c.page, "page", "", "rewrite the table in this page")
	flags.StringVar(&c.serve, "serve", "", "be the control plane of this directory: for itself")
	if err := flags.Parse(args); err != nil {
		return c, err
	}
	if c.zones < members || c.nodes < 2*c.zones || c.replicas < 1 || c.phase < step {
		return c, fmt.Errorf("load: %d nodes in %d zones with %d replicas for %v: want %d zones "+
			"or more, two nodes in each, and a replica", c.nodes, c.zones, c.replicas, c.phase,
			members)
	}
	return c, nil
}
