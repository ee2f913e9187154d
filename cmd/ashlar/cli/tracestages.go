package cli

import (
	"time"

	"github.com/spf13/cobra"

	"github.com/ashlar-storage/ashlar/cmd/ashlar/view"
	"github.com/ashlar-storage/ashlar/ebpf/probe"
	"github.com/ashlar-storage/ashlar/ebpf/trace"
)

const (
	// stagesDelay is from which length on a thread's wait for a processor is looked for.
	stagesDelay = 500 * time.Microsecond
	// stagesPoll is how often events are fetched: each time finds the processor's caches cold.
	stagesPoll = 250 * time.Millisecond
)

func (r *traceRun) stagesCommand() *cobra.Command {
	cmd := r.verb("stages", "Time by stage and node, and what made the slow requests slow",
		[]probe.Feature{probe.Marks}, []probe.Feature{probe.RunQueue, probe.Resends},
		func() (delay, bio time.Duration) { return stagesDelay, time.Hour },
		func() tracer { return &stageTracer{run: r, Span: trace.NewSpan(r.cfg)} })
	cmd.Long = "Requests by the stages of docs/tracing.md: how long they were where, on each " +
		"node and between nodes. The column TAIL is a part's share in what made the slowest " +
		"hundredth slower than others, and the last line says what had the largest."
	return cmd
}

// stageTracer is a Span that begins again with every report.
type stageTracer struct {
	run *traceRun
	*trace.Span
}

func (t *stageTracer) polled() error { return nil }

func (t *stageTracer) pace() time.Duration { return stagesPoll }

func (t *stageTracer) report() error {
	r := t.Span.Report()
	t.Span.Begin()
	return view.WriteTrace(t.run.app.stdout, t.run.json, view.Stages(r))
}
