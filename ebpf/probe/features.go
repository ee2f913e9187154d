package probe

import (
	"github.com/cilium/ebpf"
)

// Feature is a group of probes.
type Feature string

// The features.
const (
	// Marks are requests, appends and acks, from the data path itself.
	Marks Feature = "marks"
	// RunQueue is how long threads wait for a processor.
	RunQueue Feature = "run queue"
	// Block is the processes' device operations, and what each device takes for anybody's.
	Block Feature = "block"
	// Ring is operations on an io_uring from submission to completion.
	Ring Feature = "ring"
	// TCP is how long data lay in a socket before it was read, and what was sent again.
	TCP Feature = "tcp"
	// Resends is only what was sent again, of TCP, for less.
	Resends Feature = "resends"
)

// Claim says from which kernel on a feature works.
type Claim struct {
	Feature      Feature
	Major, Minor int
	What         string // it tells
	Needs        string // beside the version
	programs     []string
}

// Claims are all features. The versions are those in which the tracepoints got the arguments that
// the programs read.
var Claims = []Claim{
	{Marks, 5, 15, "requests by stage, appends to the log, acks", "amd64; symbols in the binary",
		[]string{"mark_ops", "mark_appends", "mark_acks"}},
	{RunQueue, 5, 18, "time awake without a processor",
		"BTF, CONFIG_SCHED_INFO, CONFIG_FAIR_GROUP_SCHED",
		[]string{"run_switch"}},
	{Block, 5, 18, "device operations by process, requests by device", "BTF",
		[]string{"block_bio_queue", "block_bio_complete", "block_rq_issue",
			"block_rq_complete"}},
	{Ring, 6, 3, "operations on an io_uring", "BTF", []string{"ring_submit", "ring_complete"}},
	{TCP, 6, 3, "age of data in sockets, segments sent again", "BTF",
		[]string{"tcp_ready", "tcp_read", "tcp_resend"}},
	{Resends, 6, 3, "segments sent again", "BTF", []string{"tcp_resend"}},
}

// All are the features that do not do the same twice.
func All() []Feature {
	var all []Feature
	for _, c := range Claims {
		if c.Feature != Resends {
			all = append(all, c.Feature)
		}
	}
	return all
}

// Known reports whether there is such a feature.
func Known(f Feature) bool { return claimOf(f) != nil }

func claimOf(f Feature) *Claim {
	for i := range Claims {
		if Claims[i].Feature == f {
			return &Claims[i]
		}
	}
	return nil
}

// only leaves a feature's programs in a copy of the object.
func (c *Claim) only(spec *ebpf.CollectionSpec) *ebpf.CollectionSpec {
	spec = spec.Copy()
	keep := map[string]*ebpf.ProgramSpec{}
	for _, name := range c.programs {
		keep[name] = spec.Programs[name]
	}
	spec.Programs = keep
	return spec
}
