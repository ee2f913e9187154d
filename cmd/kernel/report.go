package main

import (
	"errors"
	"fmt"
	"time"

	"github.com/ashlar-storage/ashlar/internal/evidence"
)

// report prints the table, leaves the evidence, and fails on any violation, on a block operation
// too many, and on a lane that checked too little to say anything.
func (r *result) report(took time.Duration) error {
	var errs []error
	if len(r.violations) > 0 {
		errs = append(errs, fmt.Errorf("kernel: %d violations", len(r.violations)))
	}
	if len(r.windows) != windowsWanted {
		errs = append(errs, fmt.Errorf("kernel: %d windows of block operations, want %d",
			len(r.windows), windowsWanted))
	}
	for i := range r.windows {
		errs = append(errs, r.windows[i].judge(windowWrites))
	}
	if r.points < windowWrites || r.held == 0 || r.done == 0 || uint64(r.done) != r.sent {
		errs = append(errs, fmt.Errorf("kernel: %d points, %d of %d operations acknowledged: the "+
			"lane looked at too little", r.points, r.done, r.sent))
	}
	if r.states[stale] == 0 || r.caught != r.states[stale] {
		errs = append(errs, fmt.Errorf("kernel: canary: %d disks that had forgotten flushes were "+
			"judged, %d found wrong: the lane does not see losses", r.states[stale], r.caught))
	}
	row := func(name string, value any) { fmt.Printf("  %-44s %10v\n", name, value) }
	fmt.Println("kernel: power cuts of a store on ext4, in a real kernel")
	row("replay points (flushes and FUA writes)", r.points)
	row("states recovered", r.statesAll())
	row("  whole: all that was written", r.states[whole])
	row("  bare: only what was flushed", r.states[bare])
	row("  part: that and some of the rest", r.states[part])
	row("canaries: disks that forgot flushes", r.states[stale])
	row("  found wrong, as they must be", r.caught)
	row("operations acknowledged", r.done)
	row("blocks judged", r.blocks)
	row("  that had to hold an acknowledged write", r.held)
	row("violations", len(r.violations))
	n, client := r.counted()
	per := func(count int64) string { return fmt.Sprintf("%.3f", float64(count)/float64(client)) }
	fmt.Printf("kernel: block operations per lone 4 KiB write, warm store, %d writes\n", client)
	row("data writes", per(n.data))
	row("  bytes each", n.dataBytes/max(n.data, 1))
	row("flushes", per(n.flushes))
	row("FUA writes", per(n.fua))
	row("writes of the file system's own", per(n.fs))
	row("discards", per(n.discards))
	row("seconds", int(took.Seconds()))
	if err := errors.Join(append(errs, r.leaveEvidence())...); err != nil {
		return err
	}
	fmt.Println("kernel: ok")
	return nil
}

// counted is the sum over the windows, and how many writes of a client they had.
func (r *result) counted() (sum window, client int64) {
	for _, n := range r.windows {
		sum.data += n.data
		sum.dataBytes += n.dataBytes
		sum.fs += n.fs
		sum.flushes += n.flushes
		sum.fua += n.fua
		sum.discards += n.discards
	}
	return sum, int64(len(r.windows)) * windowWrites
}

// leaveEvidence keeps the counts for the document that quotes them.
func (r *result) leaveEvidence() error {
	n, client := r.counted()
	var errs []error
	for name, counts := range map[string]map[string]int64{
		"replay of a recorded device": {"points": int64(r.points), "states": r.statesAll(),
			"blocks": r.blocks, "blocks acknowledged": r.held, "canaries": r.states[stale],
			"canaries caught": r.caught, "operations": int64(r.done),
			"violations": int64(len(r.violations))},
		"block operations": {"client writes": client, "data writes": n.data,
			"flushes": n.flushes, "fua writes": n.fua, "file system writes": n.fs,
			"discards": n.discards},
	} {
		item := evidence.Item{Lane: "kernel", Name: name, Promises: []string{"P1", "P3"},
			Test: "make kernel", Counts: counts}
		errs = append(errs, item.Leave())
	}
	return errors.Join(errs...)
}
