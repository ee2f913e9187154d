package output

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"
	"time"

	"github.com/ashlar-storage/ashlar/perf/cost"
	"github.com/ashlar-storage/ashlar/perf/floor"
	"github.com/ashlar-storage/ashlar/perf/hist"
	"github.com/ashlar-storage/ashlar/perf/job"
	"github.com/ashlar-storage/ashlar/perf/load"
	"github.com/ashlar-storage/ashlar/perf/meter"
)

// Float is a number with fio's six decimals.
type Float float64

// MarshalJSON implements json.Marshaler.
func (f Float) MarshalJSON() ([]byte, error) {
	return strconv.AppendFloat(nil, float64(f), 'f', 6, 64), nil
}

// pair is one entry of a map whose order counts.
type pair struct {
	key   string
	value any
}

type ordered []pair

// MarshalJSON implements json.Marshaler.
func (o ordered) MarshalJSON() ([]byte, error) {
	b := bytes.NewBufferString("{")
	for i, p := range o {
		if i > 0 {
			b.WriteByte(',')
		}
		k, err := json.Marshal(p.key)
		if err != nil {
			return nil, err
		}
		v, err := json.Marshal(p.value)
		if err != nil {
			return nil, err
		}
		b.Write(k)
		b.WriteByte(':')
		b.Write(v)
	}
	b.WriteByte('}')
	return b.Bytes(), nil
}

func mapOf(keys []string, values []float64) (o ordered) {
	for i, k := range keys {
		o = append(o, pair{k, Float(values[i])})
	}
	return o
}

// latency is one of fio's *_ns objects; with bins when json+ is asked for.
func latency(h *hist.Hist, percentiles []float64, bins bool) ordered {
	o := ordered{{"min", h.Min()}, {"max", h.Max()}, {"mean", Float(h.Mean())},
		{"stddev", Float(h.Stddev())}, {"N", h.Count()}}
	if len(percentiles) == 0 || h.Count() == 0 {
		return o
	}
	var list ordered
	for _, p := range percentiles {
		list = append(list, pair{fmt.Sprintf("%f", p), h.Percentile(p)})
	}
	o = append(o, pair{"percentile", list})
	if bins {
		var list ordered
		for i := range hist.Buckets {
			if n := h.Bucket(i); n > 0 {
				list = append(list, pair{strconv.FormatUint(hist.Value(i), 10), n})
			}
		}
		o = append(o, pair{"bins", list})
	}
	return o
}

func settings(list []job.Setting) (o ordered) {
	seen := map[string]int{}
	for _, s := range list {
		value := s.Value
		if value == "" {
			continue // as fio, which does not list flags
		}
		if at, again := seen[s.Name]; again {
			o[at].value = value
			continue
		}
		seen[s.Name] = len(o)
		o = append(o, pair{s.Name, value})
	}
	if o == nil {
		o = ordered{}
	}
	return o
}

// own is a job's options. For a job of the command line its name is one of them, as in fio.
func (e *Entry) own() ordered {
	list := e.Job.Own
	if e.Job.Where == "" || e.Job.Where == "command line" {
		list = append([]job.Setting{{Name: "name", Value: e.Name}}, list...)
	}
	return settings(list)
}

func (e *Entry) side(direction int, plus bool) ordered {
	var empty load.Side
	s, iops := &empty, 0.0
	if direction < 2 {
		s, iops = &e.Result.Sides[direction], e.iops(direction)
	}
	var clat, lat []float64
	if e.Job.ClatPct {
		clat = e.Job.Percentiles
	}
	if e.Job.LatPct {
		lat = e.Job.Percentiles
	}
	bw := int64(0)
	if s.Elapsed > 0 {
		bw = int64(e.rate(direction))
	}
	var dropped int64
	if direction < 2 && e.Job.Has(direction) {
		dropped = e.Result.Dropped
	}
	agg := 0.0
	if direction < 2 {
		agg = e.aggregate(direction, s)
	}
	return ordered{{"io_bytes", s.Bytes}, {"io_kbytes", s.Bytes >> 10}, {"bw_bytes", bw},
		{"bw", bw >> 10}, {"iops", Float(iops)}, {"runtime", s.Elapsed.Milliseconds()},
		{"total_ios", s.Ops}, {"short_ios", 0}, {"drop_ios", dropped},
		{"slat_ns", latency(&hist.Hist{}, nil, false)},
		{"clat_ns", latency(&s.Clat, clat, plus)}, {"lat_ns", latency(&s.Lat, lat, plus)},
		{"bw_min", int64(s.BW.Min)}, {"bw_max", int64(s.BW.Max)}, {"bw_agg", Float(agg)},
		{"bw_mean", Float(s.BW.Mean())}, {"bw_dev", Float(s.BW.Stddev())},
		{"bw_samples", s.BW.N}, {"iops_min", int64(s.IOPS.Min)}, {"iops_max", int64(s.IOPS.Max)},
		{"iops_mean", Float(s.IOPS.Mean())}, {"iops_stddev", Float(s.IOPS.Stddev())},
		{"iops_samples", s.IOPS.N}}
}

// Extra is what fio has no place for, of one job. Latencies in ns.
type Extra struct {
	Run      int       `json:"run"` // which repetition, from 0
	OpenLoop *OpenLoop `json:"open_loop,omitempty"`
	Verify   *Checked  `json:"verify,omitempty"`
	Error    string    `json:"error,omitempty"`
	// Efficiency is beside the floor, Cost what an operation used; absent when not measured.
	Efficiency []*floor.Against `json:"efficiency,omitempty"`
	Cost       *cost.PerOp      `json:"cost,omitempty"`
}

// OpenLoop says how well operations kept their time.
type OpenLoop struct {
	Intended float64 `json:"intended_iops"`
	LateMean float64 `json:"late_mean_ns"`
	Late99   uint64  `json:"late_p99_ns"`
	Dropped  int64   `json:"dropped"`
	Unserved int64   `json:"unserved"`
}

// Checked says what verification found.
type Checked struct {
	Wrong int64  `json:"wrong_blocks"`
	First string `json:"first,omitempty"`
}

func (e *Entry) extra() Extra {
	x := Extra{Run: e.Run, Cost: e.Cost, Efficiency: e.Efficiency}
	if e.Err != nil {
		x.Error = e.Err.Error()
	}
	if e.Job.OpenLoop() {
		l := &e.Result.Late
		x.OpenLoop = &OpenLoop{LateMean: l.Mean(), Late99: l.Percentile(99),
			Dropped: e.Result.Dropped, Unserved: e.Result.Unserved,
			Intended: float64(e.Jobs) * (e.Job.Rate[job.Read] + e.Job.Rate[job.Write])}
	}
	if e.Job.Verify != "none" {
		x.Verify = &Checked{Wrong: e.Result.Wrong}
		if e.Result.Lie != nil {
			x.Verify.First = e.Result.Lie.Error()
		}
	}
	return x
}

func (e *Entry) json(plus bool) ordered {
	levels, d := e.levels(), e.distribution()
	sync := &e.Result.Syncs
	return ordered{{"jobname", e.Name}, {"groupid", e.Group}, {"error", e.status()}, {"eta", 0},
		{"elapsed", int64(e.Elapsed.Seconds()) + 1}, {"job options", e.own()},
		{"read", e.side(job.Read, plus)}, {"write", e.side(job.Write, plus)},
		{"trim", e.side(2, plus)},
		{"sync", ordered{{"total_ios", sync.Count()},
			{"lat_ns", latency(sync, e.Job.Percentiles, plus)}}},
		{"job_runtime", e.Total.Milliseconds()},
		{"usr_cpu", Float(share(e.Usage.User, e.Took))},
		{"sys_cpu", Float(share(e.Usage.System, e.Took))}, {"ctx", e.Usage.Switches},
		{"majf", e.Usage.MajorFaults}, {"minf", e.Usage.MinorFaults},
		{"iodepth_level", mapOf(depthLabels, levels[:])},
		{"iodepth_submit", mapOf(submitLabels, e.submits())},
		{"iodepth_complete", mapOf(submitLabels, e.submits())},
		{"latency_ns", mapOf(labels(10), d.ns)}, {"latency_us", mapOf(labels(10), d.us)},
		{"latency_ms", mapOf(labels(12), d.ms)}, {"latency_depth", e.Job.Depth},
		{"latency_target", 0}, {"latency_percentile", Float(100)}, {"latency_window", 0},
		{"ashlar", e.extra()}}
}

// Document is what the key "ashlar" of the document holds.
type Document struct {
	Version string        `json:"version"`
	Machine meter.Machine `json:"machine"`
	Floor   *floor.Floor  `json:"floor,omitempty"`
}

// FormatVersion is what "fio version" says: which fio's format this is, and whose document.
func (r *Report) FormatVersion() string { return "fio-3.33-format ashlar-" + r.Version }

// JSON is the document of a run; plus adds the histograms.
func (r *Report) JSON(plus bool) ([]byte, error) {
	var jobs []ordered
	for _, e := range r.Entries {
		jobs = append(jobs, e.json(plus))
	}
	doc := ordered{{"fio version", r.FormatVersion()}, {"timestamp", r.At.Unix()},
		{"timestamp_ms", r.At.UnixMilli()}, {"time", r.At.Format(time.ANSIC)}}
	if len(r.Entries) > 0 && len(r.Entries[0].Job.Global) > 0 {
		doc = append(doc, pair{"global options", settings(r.Entries[0].Job.Global)})
	}
	doc = append(doc, pair{"jobs", jobs}, pair{"ashlar", Document{Version: r.Version,
		Machine: r.Machine, Floor: r.Floor}})
	text, err := json.MarshalIndent(doc, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("output: %w", err)
	}
	return append(text, '\n'), nil
}
