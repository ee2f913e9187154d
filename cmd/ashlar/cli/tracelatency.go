package cli

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/ashlar-storage/ashlar/cmd/ashlar/view"
	"github.com/ashlar-storage/ashlar/ebpf/probe"
	"github.com/ashlar-storage/ashlar/ebpf/trace"
)

func (r *traceRun) latencyCommand() *cobra.Command {
	cmd := r.verb("latency", "Histograms of devices, rings, sockets and processors",
		[]probe.Feature{probe.RunQueue, probe.Block},
		[]probe.Feature{probe.Ring, probe.TCP}, untold,
		func() tracer { return &latencyTracer{run: r, before: map[string]trace.Hist{}} })
	cmd.Long = "Power-of-two histograms, counted in the kernel: what each device takes for " +
		"requests of anybody, and for each node its reads, writes and flushes of devices, its " +
		"operations on io_uring, how long data lay in its sockets, and how long its threads " +
		"waited for a processor."
	return cmd
}

// latencyTracer prints what the kernel has counted since the report before.
type latencyTracer struct {
	deaf
	run    *traceRun
	before map[string]trace.Hist
}

var timeNames = []struct {
	kind probe.Times
	name string
}{
	{probe.TimesRead, "device reads"}, {probe.TimesWrite, "device writes"},
	{probe.TimesFlush, "device flushes"}, {probe.TimesRing, "io_uring operations"},
	{probe.TimesReceive, "age of data in sockets"}, {probe.TimesRunQueue, "run queue"},
}

func (t *latencyTracer) report() error {
	devices, err := t.run.sources.devices()
	if err != nil {
		return err
	}
	var doc view.Latency
	for _, d := range devices {
		doc = t.add(doc, d.Device, d.Class.String()+" requests", d.Hist)
	}
	for i, target := range t.run.cfg.Targets {
		for _, k := range timeNames {
			h, err := t.run.sources.times(i, k.kind)
			if err != nil {
				return err
			}
			doc = t.add(doc, target.Name, k.name, h)
		}
	}
	return view.WriteTrace(t.run.app.stdout, t.run.json, doc)
}

// add puts a histogram's growth into a document, if it grew.
func (t *latencyTracer) add(doc view.Latency, where, what string, now trace.Hist) view.Latency {
	key := fmt.Sprint(where, what)
	old := t.before[key]
	t.before[key] = now
	if h := now.Less(&old); h.N > 0 {
		doc = append(doc, view.LatencyOf(where, what, h))
	}
	return doc
}
