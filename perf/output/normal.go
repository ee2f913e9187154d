package output

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/ashlar-storage/ashlar/perf/cost"
	"github.com/ashlar-storage/ashlar/perf/hist"
	"github.com/ashlar-storage/ashlar/perf/job"
)

// short is fio's num2str: at most four digits and a prefix.
func short(v float64, thousand float64, unit string) string {
	prefixes := []string{"", "k", "M", "G", "T", "P"}
	if thousand == 1024 {
		prefixes = []string{"", "Ki", "Mi", "Gi", "Ti", "Pi"}
	}
	i := 0
	for v >= 9999.5 && i < len(prefixes)-1 {
		v /= thousand
		i++
	}
	digits := 0
	switch {
	case i == 0 || v >= 99.95:
	case v >= 9.995:
		digits = 1
	default:
		digits = 2
	}
	return strconv.FormatFloat(v, 'f', digits, 64) + prefixes[i] + unit
}

func bandwidth(bytes float64) string {
	return short(bytes, 1024, "B/s") + " (" + short(bytes, 1000, "B/s") + ")"
}

// scale picks the unit of latencies as fio does.
func scale(h *hist.Hist) (unit string, by float64) {
	switch low, high := float64(h.Min()), float64(h.Max()); {
	case low > 2e6 && high > 99999e3 && h.Stddev() > 1e6:
		return "msec", 1e6
	case low > 2e3 && high > 99999 && h.Stddev() > 1e3:
		return "usec", 1e3
	}
	return "nsec", 1
}

// header is the line that fio writes of each job before it runs.
func header(j *job.Job, group int) string {
	rw := map[bool]string{true: "rand", false: ""}[j.Random]
	switch j.Reads {
	case 100:
		rw += "read"
	case 0:
		rw += "write"
	default:
		rw += "rw"
	}
	of := func(d int) string {
		low, high := j.Blocks[d][0].Bytes, 0
		for _, s := range j.Blocks[d] {
			low, high = min(low, s.Bytes), max(high, s.Bytes)
		}
		return fmt.Sprintf("%dB-%dB", low, high)
	}
	return fmt.Sprintf("%s: (g=%d): rw=%s, bs=(R) %s, (W) %s, ioengine=%s, iodepth=%d", j.Name,
		group, rw, of(job.Read), of(job.Write), j.Engine, j.Depth)
}

// Normal is fio's text for people.
func (r *Report) Normal() string {
	var b strings.Builder
	var before *job.Job
	for _, e := range r.Entries {
		if e.Run == 0 && e.Job != before {
			b.WriteString(header(e.Job, e.Group) + "\n")
		}
		before = e.Job
	}
	m := &r.Machine
	fmt.Fprintf(&b, "ashlar-%s, %s\n%s, %d cores, %s, Linux %s; here: %s, %s\n", r.Version, m.Go,
		m.CPU, m.Cores, m.Memory, m.Kernel, m.FS, m.Disk)
	for _, e := range r.Entries {
		e.normal(&b, r.At)
	}
	r.groups(&b)
	return b.String()
}

func (e *Entry) normal(b *strings.Builder, at time.Time) {
	fmt.Fprintf(b, "\n%s: (groupid=%d, jobs=%d): err=%2d: pid=%d: %s\n", e.Name, e.Group, e.Jobs,
		e.status(), e.PID, at.Format(time.ANSIC))
	for d, name := range []string{"  read", "  write"} {
		if e.Result.Sides[d].Ops > 0 {
			e.directionLines(b, d, name)
		}
	}
	if s := &e.Result.Syncs; s.Count() > 0 {
		fmt.Fprintf(b, "  flush: %d\n", s.Count())
		latencyLine(b, "sync", s)
	}
	d := e.distribution()
	for i, values := range [][]float64{d.ns, d.us, d.ms} {
		spreadLines(b, []string{"nsec", "usec", "msec"}[i], labels(len(values)), values)
	}
	fmt.Fprintf(b, "  cpu          : usr=%.2f%%, sys=%.2f%%, ctx=%d, majf=%d, minf=%d\n",
		share(e.Usage.User, e.Took), share(e.Usage.System, e.Took), e.Usage.Switches,
		e.Usage.MajorFaults, e.Usage.MinorFaults)
	levels := e.levels()
	fmt.Fprintf(b, "  IO depths    : %s\n", shares(depthLabels, levels[:]))
	s := &e.Result.Sides
	fmt.Fprintf(b, "     issued rwts: total=%d,%d,0,%d short=0,0,0,0 dropped=%d,%d,0,0\n",
		s[job.Read].Ops, s[job.Write].Ops, e.Result.Syncs.Count(), e.dropped(job.Read),
		e.dropped(job.Write))
	e.notes(b)
}

func (e *Entry) dropped(direction int) int64 {
	if e.Job.Has(direction) {
		return e.Result.Dropped
	}
	return 0
}

func shares(keys []string, values []float64) string {
	var parts []string
	for i, k := range keys {
		parts = append(parts, fmt.Sprintf("%s=%.1f%%", k, values[i]))
	}
	return strings.Join(parts, ", ")
}

func (e *Entry) directionLines(b *strings.Builder, d int, name string) {
	s := &e.Result.Sides[d]
	rate := e.rate(d)
	fmt.Fprintf(b, "%s: IOPS=%s, BW=%s(%s/%dmsec)\n", name, short(e.iops(d), 1000, ""),
		bandwidth(rate), short(float64(s.Bytes), 1024, "B"), s.Elapsed.Milliseconds())
	latencyLine(b, "clat", &s.Clat)
	latencyLine(b, " lat", &s.Lat)
	if e.Job.ClatPct {
		percentileLines(b, "clat", &s.Clat, e.Job.Percentiles)
	}
	if e.Job.LatPct {
		percentileLines(b, "lat", &s.Lat, e.Job.Percentiles)
	}
	if w := &s.BW; w.N > 0 {
		fmt.Fprintf(b, "   bw (  KiB/s): min=%5.0f, max=%5.0f, per=%.2f%%, avg=%5.2f, "+
			"stdev=%5.2f, samples=%d\n", w.Min, w.Max,
			e.aggregate(d, s), w.Mean(), w.Stddev(), w.N)
	}
	if w := &s.IOPS; w.N > 0 {
		fmt.Fprintf(b, "   iops        : min=%5.0f, max=%5.0f, avg=%5.2f, stdev=%5.2f, "+
			"samples=%d\n", w.Min, w.Max, w.Mean(), w.Stddev(), w.N)
	}
}

func latencyLine(b *strings.Builder, name string, h *hist.Hist) {
	unit, by := scale(h)
	fmt.Fprintf(b, "    %s (%s): min=%.0f, max=%s, avg=%5.2f, stdev=%5.2f\n", name, unit,
		float64(h.Min())/by, long(float64(h.Max())/by), h.Mean()/by, h.Stddev()/by)
}

// long is a number of up to six digits.
func long(v float64) string {
	if v < 999_999.5 {
		return strconv.FormatFloat(v, 'f', 0, 64)
	}
	return short(v, 1000, "")
}

func percentileLines(b *strings.Builder, name string, h *hist.Hist, list []float64) {
	unit, by := scale(h)
	fmt.Fprintf(b, "    %s percentiles (%s):\n", name, unit)
	wide := 0
	for _, p := range list {
		wide = max(wide, len(strconv.FormatFloat(float64(h.Percentile(p))/by, 'f', 0, 64)))
	}
	for i, p := range list {
		if i%4 == 0 {
			b.WriteString("     | ")
		}
		fmt.Fprintf(b, "%5.2fth=[%*.0f]", p, wide, float64(h.Percentile(p))/by)
		switch {
		case i == len(list)-1:
			b.WriteString("\n")
		case i%4 == 3:
			b.WriteString(",\n")
		default:
			b.WriteString(", ")
		}
	}
}

func spreadLines(b *strings.Builder, unit string, keys []string, values []float64) {
	var parts []string
	for i, k := range keys {
		if values[i] >= 0.01 {
			parts = append(parts, fmt.Sprintf("%s=%.2f%%", k, values[i]))
		}
	}
	for len(parts) > 0 {
		n := min(len(parts), 5)
		fmt.Fprintf(b, "  lat (%s)   : %s\n", unit, strings.Join(parts[:n], ", "))
		parts = parts[n:]
	}
}

// notes are what fio has no line for.
func (e *Entry) notes(b *strings.Builder) {
	if e.Job.OpenLoop() {
		l := &e.Result.Late
		fmt.Fprintf(b, "  open loop    : lat counts from the intended start; submitted late by "+
			"avg=%.1fus, p99=%.1fus\n", l.Mean()/1e3, float64(l.Percentile(99))/1e3)
		if n := e.Result.Unserved + e.Result.Dropped; n > int64(e.Job.Depth*e.Jobs) {
			fmt.Fprintf(b, "  WARNING      : %d operations were due and never begun (%d found the "+
				"backlog full): the rate is above what the target can do, and the latencies are "+
				"those of the rest\n", n, e.Result.Dropped)
		}
	}
	switch {
	case e.Job.Verify == "none":
	case e.Result.Wrong > 0:
		fmt.Fprintf(b, "  VERIFY       : %d blocks were wrong, the first: %v\n", e.Result.Wrong,
			e.Result.Lie)
	case e.Err == nil:
		fmt.Fprintf(b, "  verify       : every block was what was written\n")
	}
	for _, a := range e.Efficiency {
		fmt.Fprintf(b, "  efficiency   : %v\n", a)
	}
	if e.Cost != nil {
		fmt.Fprintf(b, "  cost per op  : %v\n", e.Cost)
		for _, line := range cost.Breakdown(e.Cost.Stages) {
			fmt.Fprintf(b, "  in the nodes : %s\n", line)
		}
	}
	if e.Err != nil {
		fmt.Fprintf(b, "  ERROR        : %v\n", e.Err)
	}
}

func (r *Report) groups(b *strings.Builder) {
	for i := 0; i < len(r.Entries); {
		group, run := r.Entries[i].Group, r.Entries[i].Run
		last := i
		for last < len(r.Entries) && r.Entries[last].Group == group && r.Entries[last].Run == run {
			last++
		}
		fmt.Fprintf(b, "\nRun status group %d (all jobs):\n", group)
		for d, name := range []string{"   READ", "  WRITE"} {
			groupLine(b, d, name, r.Entries[i:last])
		}
		i = last
	}
}

func groupLine(b *strings.Builder, d int, name string, entries []*Entry) {
	var bytes int64
	var low, high float64
	var shortest, longest time.Duration
	for _, e := range entries {
		s := &e.Result.Sides[d]
		if s.Ops == 0 {
			continue
		}
		if rate := e.rate(d); bytes == 0 {
			low, high, shortest, longest = rate, rate, s.Elapsed, s.Elapsed
		} else {
			low, high = min(low, rate), max(high, rate)
			shortest, longest = min(shortest, s.Elapsed), max(longest, s.Elapsed)
		}
		bytes += s.Bytes
	}
	if bytes == 0 {
		return
	}
	fmt.Fprintf(b, "%s: bw=%s, %s-%s (%s-%s), io=%s (%s), run=%d-%dmsec\n", name,
		bandwidth(entries[0].groupBytes[d]), short(low, 1024, "B/s"), short(high, 1024, "B/s"),
		short(low, 1000, "B/s"), short(high, 1000, "B/s"), short(float64(bytes), 1024, "B"),
		short(float64(bytes), 1000, "B"), shortest.Milliseconds(), longest.Milliseconds())
}
