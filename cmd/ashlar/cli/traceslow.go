package cli

import (
	"time"

	"github.com/spf13/cobra"

	"github.com/ashlar-storage/ashlar/cmd/ashlar/view"
	"github.com/ashlar-storage/ashlar/ebpf/probe"
	"github.com/ashlar-storage/ashlar/ebpf/trace"
)

const (
	// slowWindow is how long a slow request waits for the events of others before it is told.
	slowWindow = 500 * time.Millisecond
	// slowParts of a request's least time are what a device or a processor must have taken to be
	// told beside it.
	slowParts = 8
)

func (r *traceRun) slowCommand() *cobra.Command {
	least := time.Millisecond
	cmd := r.verb("slow", "The full story of each slow request",
		[]probe.Feature{probe.Marks}, []probe.Feature{probe.RunQueue, probe.Block, probe.Ring},
		func() (delay, bio time.Duration) { return least / slowParts, least / slowParts },
		func() tracer {
			return &slowTracer{run: r, least: least, Span: trace.NewSpan(r.cfg), since: time.Now()}
		})
	cmd.Long = "What happened on all nodes while a request was under way that took --min or " +
		"longer: its stages, the logs' writes of its entry, followers' answers, and whatever " +
		"devices and processors kept these nodes waiting for an eighth of --min."
	cmd.Flags().DurationVar(&least, "min", least, "the shortest time that is slow")
	return cmd
}

// slowTracer tells of the requests of one stretch of time when the next is over.
type slowTracer struct {
	run    *traceRun
	least  time.Duration
	before *trace.Span
	*trace.Span
	since time.Time
}

func (t *slowTracer) pace() time.Duration { return tracePoll }

func (t *slowTracer) polled() error {
	if time.Since(t.since) < slowWindow {
		return nil
	}
	t.since = time.Now()
	err := t.tell(t.before, t.Span)
	t.before, t.Span = t.Span, t.Span.Next()
	return err
}

func (t *slowTracer) tell(s, later *trace.Span) (err error) {
	if s == nil {
		return nil
	}
	s.Slow(t.least, later, func(l trace.Timeline) {
		doc := view.Slow{Timeline: l, Volume: t.run.volumeName(l.Op.Volume),
			At: t.run.since(l.Op.Arrived)}
		if err == nil {
			err = view.WriteTrace(t.run.app.stdout, t.run.json, doc)
		}
	})
	return err
}

// report tells of what there is at the end.
func (t *slowTracer) report() error {
	err := t.tell(t.before, t.Span)
	if err == nil {
		err = t.tell(t.Span, nil)
	}
	t.before, t.Span = nil, t.Span.Next()
	return err
}
