package output

import (
	"cmp"
	"slices"
	"strconv"
	"time"

	"github.com/ashlar-storage/ashlar/perf/cost"
	"github.com/ashlar-storage/ashlar/perf/floor"
	"github.com/ashlar-storage/ashlar/perf/job"
	"github.com/ashlar-storage/ashlar/perf/load"
	"github.com/ashlar-storage/ashlar/perf/meter"
	"github.com/ashlar-storage/ashlar/perf/suite"
)

// Report is everything that is told of one run.
type Report struct {
	Version string // of this program
	At      time.Time
	Machine meter.Machine
	Floor   *floor.Floor // nil: not measured
	Entries []*Entry
}

// Entry is a job, or the jobs of a group together.
type Entry struct {
	Name    string
	Job     *job.Job
	Group   int
	Run     int // which repetition, from 0
	Jobs    int
	PID     int
	Err     error
	Result  *load.Result
	Usage   meter.Usage
	Took    time.Duration // the longest
	Total   time.Duration // summed over the jobs
	Elapsed time.Duration // since the run began
	Done    []*suite.Done

	Cost       *cost.PerOp // nil: not measured
	Efficiency []*floor.Against

	groupBytes [2]float64 // bytes/s of the whole group, by direction
}

// Collect makes the entries of an outcome: one for each clone, or one for a group that reports
// together.
func Collect(out *suite.Outcome, pid int) (entries []*Entry) {
	for _, d := range out.Done {
		if n := len(entries); d.Job.Grouped && n > 0 && entries[n-1].Group == d.Group &&
			entries[n-1].Job.Grouped {
			entries[n-1].join(d, out.Began)
			continue
		}
		e := &Entry{Name: d.Job.Name, Job: d.Job, Group: d.Group, PID: pid,
			Result: &load.Result{}}
		e.join(d, out.Began)
		entries = append(entries, e)
	}
	bytes := map[int][2]float64{}
	for _, e := range entries {
		sum := bytes[e.Group]
		for k := range sum {
			sum[k] += e.rate(k)
		}
		bytes[e.Group] = sum
	}
	for _, e := range entries {
		e.groupBytes = bytes[e.Group]
	}
	return entries
}

func (e *Entry) join(d *suite.Done, began time.Time) {
	e.Done = append(e.Done, d)
	e.Jobs++
	e.Result.Merge(d.Result)
	if e.Err == nil {
		e.Err = d.Err
	}
	if d.Took > e.Took {
		e.Took, e.Usage = d.Took, d.Usage
	}
	e.Total += d.Took
	e.Elapsed = max(e.Elapsed, d.Began.Add(d.Took).Sub(began))
}

// Beside lays the entry beside a floor. A job of several block sizes, or one that reads and writes,
// has none.
func (e *Entry) Beside(f *floor.Floor) {
	for d := range e.Result.Sides {
		s := &e.Result.Sides[d]
		if s.Ops == 0 || !e.Job.Has(d) || e.Job.Has(1-d) || len(e.Job.Blocks[d]) > 1 {
			continue
		}
		a := f.Compare(floor.Job{Engine: e.Job.Engine, Write: d == job.Write,
			Durable: e.Job.Sync != "none", Depth: e.Job.Depth * e.Jobs,
			Block: e.Job.Blocks[d][0].Bytes, P50: float64(s.Lat.Percentile(50)) / 1e3,
			IOPS: e.iops(d)})
		if a != nil {
			e.Efficiency = append(e.Efficiency, a)
		}
	}
}

// rate is bytes per second in one direction.
func (e *Entry) rate(direction int) float64 {
	s := &e.Result.Sides[direction]
	if s.Elapsed <= 0 {
		return 0
	}
	return float64(s.Bytes) / s.Elapsed.Seconds()
}

func (e *Entry) iops(direction int) float64 {
	s := &e.Result.Sides[direction]
	if s.Elapsed <= 0 {
		return 0
	}
	return float64(s.Ops) / s.Elapsed.Seconds()
}

// status is fio's number of an error: an errno.
func (e *Entry) status() int {
	if e.Err == nil {
		return 0
	}
	return errno(e.Err)
}

// levels are the shares of submissions by depth, in percent.
func (e *Entry) levels() (out [7]float64) {
	var all int64
	for _, n := range e.Result.Depths {
		all += n
	}
	for i, n := range e.Result.Depths {
		out[i] = percent(n, all)
	}
	return out
}

func percent(part, whole int64) float64 {
	if whole == 0 {
		return 0
	}
	return 100 * float64(part) / float64(whole)
}

// share is a percent of CPU time.
func share(part, whole time.Duration) float64 {
	if whole <= 0 {
		return 0
	}
	return 100 * part.Seconds() / whole.Seconds()
}

// distribution is fio's: the share of operations by latency, from 2 ns to 2 s, of reads and writes
// together.
type distribution struct{ ns, us, ms []float64 }

var steps = []uint64{2, 4, 10, 20, 50, 100, 250, 500, 750, 1000}

func (e *Entry) distribution() distribution {
	d := distribution{make([]float64, 10), make([]float64, 10), make([]float64, 12)}
	h := e.Result.Lat()
	for i := range buckets {
		n := h.Bucket(i)
		if n == 0 {
			continue
		}
		part := percent(int64(n), int64(h.Count()))
		switch v := valueOf(i); {
		case v < 1000:
			d.ns[step(v)] += part
		case v < 1_000_000:
			d.us[step(v/1000)] += part
		case v < 1_000_000_000:
			d.ms[step(v/1_000_000)] += part
		case v < 2_000_000_000:
			d.ms[10] += part
		default:
			d.ms[11] += part
		}
	}
	return d
}

func step(v uint64) int {
	i, found := slices.BinarySearchFunc(steps, v, cmp.Compare[uint64])
	if found {
		i++
	}
	return min(i, len(steps)-1)
}

// labels of the distributions.
func labels(n int) (out []string) {
	for _, s := range steps {
		out = append(out, strconv.FormatUint(s, 10))
	}
	if n > len(steps) {
		out = append(out, "2000", ">=2000")
	}
	return out
}

var depthLabels = []string{"1", "2", "4", "8", "16", "32", ">=64"}
var submitLabels = []string{"0", "4", "8", "16", "32", "64", ">=64"}

// submits says that operations are submitted and completed one by one.
func (e *Entry) submits() []float64 {
	out := make([]float64, 7)
	if e.Result.Ops() > 0 {
		out[1] = 100
	}
	return out
}
