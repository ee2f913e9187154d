package cli

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/ashlar-storage/ashlar/cmd/ashlar/view"
	"github.com/ashlar-storage/ashlar/ebpf/mark"
	"github.com/ashlar-storage/ashlar/ebpf/probe"
)

func (r *traceRun) topCommand() *cobra.Command {
	rows := 10
	cmd := r.verb("top", "Which volumes, copysets and stores are busy",
		[]probe.Feature{probe.Marks}, nil, untold, func() tracer {
			if r.interval == 0 {
				r.interval = time.Second
			}
			return newTop(r, rows)
		})
	cmd.Flags().IntVarP(&rows, "rows", "r", rows, "lines of each table")
	return cmd
}

// topTracer sums the requests of an interval up.
type topTracer struct {
	deaf
	run  *traceRun
	rows int
	last time.Time
	doc  *view.Top
}

func newTop(r *traceRun, rows int) *topTracer {
	return &topTracer{run: r, rows: rows, last: time.Now(), doc: view.NewTop()}
}

func (t *topTracer) Op(target int, o *mark.Op, _ int64) {
	kind := t.run.kindName(o.Kind)
	took, bytes := time.Duration(o.Took()), uint64(o.Length)
	t.doc.Add("volume", t.run.volumeName(o.Volume), kind, bytes, took)
	t.doc.Add("copyset", fmt.Sprint(o.Copyset), kind, bytes, took)
	t.doc.Add("store", fmt.Sprintf("%d of %s", o.Store, t.run.cfg.Targets[target].Name), kind,
		bytes, took)
}

func (t *topTracer) report() error {
	now := time.Now()
	t.doc.Finish(now.Sub(t.last), t.rows)
	err := view.WriteTrace(t.run.app.stdout, t.run.json, t.doc)
	t.last, t.doc = now, view.NewTop()
	return err
}
