package output

import (
	"fmt"
	"strings"

	"github.com/ashlar-storage/ashlar/perf/hist"
	"github.com/ashlar-storage/ashlar/perf/job"
	"github.com/ashlar-storage/ashlar/perf/load"
)

// Terse is fio's terse version 3: one line of fields for each job. Latencies are us.
func (r *Report) Terse() string {
	var b strings.Builder
	for _, e := range r.Entries {
		f := []string{"3", r.FormatVersion(), e.Name, fmt.Sprint(e.Group), fmt.Sprint(e.status())}
		for _, d := range []int{job.Read, job.Write} {
			f = append(f, e.terseSide(d)...)
		}
		f = append(f, fmt.Sprintf("%f%%", share(e.Usage.User, e.Took)),
			fmt.Sprintf("%f%%", share(e.Usage.System, e.Took)), fmt.Sprint(e.Usage.Switches),
			fmt.Sprint(e.Usage.MajorFaults), fmt.Sprint(e.Usage.MinorFaults))
		for _, v := range e.levels() {
			f = append(f, fmt.Sprintf("%3.1f%%", v))
		}
		d := e.distribution()
		// Version 3 knows nothing below 2 us.
		for _, v := range d.ns {
			d.us[0] += v
		}
		for _, v := range append(d.us, d.ms...) {
			f = append(f, fmt.Sprintf("%3.2f%%", v))
		}
		b.WriteString(strings.Join(f, ";") + "\n")
	}
	return b.String()
}

func (e *Entry) terseSide(d int) (f []string) {
	s := &e.Result.Sides[d]
	add := func(format string, v ...any) { f = append(f, fmt.Sprintf(format, v...)) }
	add("%d", s.Bytes>>10)
	add("%d", int64(e.rate(d))>>10)
	add("%d", int64(e.iops(d)))
	add("%d", s.Elapsed.Milliseconds())
	four := func(h *hist.Hist) {
		add("%d", h.Min()/1000)
		add("%d", h.Max()/1000)
		add("%f", h.Mean()/1000)
		add("%f", h.Stddev()/1000)
	}
	four(&hist.Hist{})
	four(&s.Clat)
	for i := range 20 {
		if i >= len(e.Job.Percentiles) || !e.Job.ClatPct {
			add("0%%=0")
			continue
		}
		p := e.Job.Percentiles[i]
		add("%f%%=%d", p, s.Clat.Percentile(p)/1000)
	}
	four(&s.Lat)
	add("%d", int64(s.BW.Min))
	add("%d", int64(s.BW.Max))
	add("%f%%", e.aggregate(d, s))
	add("%f", s.BW.Mean())
	add("%f", s.BW.Stddev())
	return f
}

// aggregate is the share of the group's bandwidth, in percent.
func (e *Entry) aggregate(d int, s *load.Side) float64 {
	if s.BW.N == 0 || e.groupBytes[d] == 0 {
		return 0
	}
	return min(100*s.BW.Mean()*1024/e.groupBytes[d], 100)
}
