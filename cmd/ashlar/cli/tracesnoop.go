package cli

import (
	"cmp"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/ashlar-storage/ashlar/cmd/ashlar/view"
	"github.com/ashlar-storage/ashlar/ebpf/mark"
	"github.com/ashlar-storage/ashlar/ebpf/probe"
	"github.com/ashlar-storage/ashlar/ebpf/trace"
)

// deaf takes events and does nothing; tracers override what they want to hear.
type deaf struct{}

func (deaf) polled() error            { return nil }
func (deaf) pace() time.Duration      { return tracePoll }
func (deaf) report() error            { return nil }
func (deaf) Op(int, *mark.Op, int64)  {}
func (deaf) Append(int, *mark.Append) {}
func (deaf) Ack(int, *mark.Ack)       {}
func (deaf) Delay(int, trace.Delay)   {}
func (deaf) Bio(int, trace.Bio)       {}
func (deaf) Resend(int, trace.Resend) {}
func (deaf) Ring(int, trace.RingOp)   {}

func (r *traceRun) snoopCommand() *cobra.Command {
	cmd := r.verb("snoop", "A line for each request", []probe.Feature{probe.Marks}, nil, untold,
		func() tracer { return &snoopTracer{run: r} })
	cmd.Long = "A line for each request that a leader has answered: when, which block, how long " +
		"it took, and the time in each stage, in microseconds. Lines that came too fast are " +
		"counted."
	return cmd
}

// snoopTracer gathers the lines of a poll.
type snoopTracer struct {
	deaf
	run    *traceRun
	headed bool
	doc    view.Snoop
}

func (t *snoopTracer) Op(target int, o *mark.Op, _ int64) {
	t.doc.Lines = append(t.doc.Lines, view.SnoopLine{At: t.run.since(o.Arrived + o.Took()),
		Node: t.run.cfg.Targets[target].Name, Kind: t.run.kindName(o.Kind),
		Volume: t.run.volumeName(o.Volume), Request: *o, Took: time.Duration(o.Took())})
}

func (t *snoopTracer) polled() error {
	if len(t.doc.Lines) == 0 {
		return nil
	}
	// Each source has its own order.
	slices.SortStableFunc(t.doc.Lines, func(a, b view.SnoopLine) int {
		return cmp.Compare(a.At, b.At)
	})
	t.doc.Head, t.headed = !t.headed, true
	t.doc.Stages = t.run.cfg.Stages
	err := view.WriteTrace(t.run.app.stdout, t.run.json, t.doc)
	t.doc.Lines = t.doc.Lines[:0]
	return err
}
