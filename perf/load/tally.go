package load

import (
	"math"
	"time"

	"github.com/ashlar-storage/ashlar/perf/hist"
)

// Side is what was done in one direction.
type Side struct {
	Ops, Bytes int64
	// Lat is from the intended start, Clat from the submission to the completion; they are the
	// same in a closed loop.
	Lat, Clat hist.Hist
	// BW is KiB/s and IOPS operations/s in windows of half a second.
	BW, IOPS Samples
	Elapsed  time.Duration

	window       int64 // number of the window that counts now
	wBytes, wOps int64
	seen         bool
}

// Samples are mean and range of values that came one by one.
type Samples struct {
	N             int64
	Min, Max, Sum float64
	squares       float64
}

// Add counts one value.
func (s *Samples) Add(v float64) {
	if s.N == 0 || v < s.Min {
		s.Min = v
	}
	s.Max = max(s.Max, v)
	s.N++
	s.Sum += v
	s.squares += v * v
}

// Merge adds the values of o.
func (s *Samples) Merge(o Samples) {
	if o.N == 0 {
		return
	}
	if s.N == 0 || o.Min < s.Min {
		s.Min = o.Min
	}
	s.Max = max(s.Max, o.Max)
	s.N += o.N
	s.Sum += o.Sum
	s.squares += o.squares
}

// Mean of the values.
func (s *Samples) Mean() float64 { return s.Sum / float64(max(s.N, 1)) }

// Stddev of the values.
func (s *Samples) Stddev() float64 {
	if s.N < 2 {
		return 0
	}
	m := s.Mean()
	return math.Sqrt(max(s.squares-float64(s.N)*m*m, 0) / float64(s.N-1))
}

// Result is what a run did after its ramp.
type Result struct {
	Sides   [2]Side
	Syncs   hist.Hist
	Elapsed time.Duration
	// Depths counts submissions by how many operations were under way then: 1, 2-3, 4-7, 8-15,
	// 16-31, 32-63, 64 and more.
	Depths [7]int64
	// Late is, of an open loop, how long after their intended start operations were submitted.
	// Dropped found the backlog full, Unserved still waited when the time was over: neither is in
	// any latency.
	Late              hist.Hist
	Dropped, Unserved int64
	// Wrong counts blocks that were not what was written; Lie is the first.
	Wrong int64
	Lie   error
	Log   *Log
}

// Ops is the number of operations.
func (r *Result) Ops() int64 { return r.Sides[Read].Ops + r.Sides[Write].Ops }

// Lat is the latency of reads and writes together.
func (r *Result) Lat() *hist.Hist {
	h := r.Sides[Read].Lat
	h.Merge(&r.Sides[Write].Lat)
	return &h
}

// IOPS is operations per second.
func (r *Result) IOPS() float64 {
	if r.Elapsed <= 0 {
		return 0
	}
	return float64(r.Ops()) / r.Elapsed.Seconds()
}

// Merge adds another run that went on at the same time.
func (r *Result) Merge(o *Result) {
	for d := range r.Sides {
		a, b := &r.Sides[d], &o.Sides[d]
		a.Ops += b.Ops
		a.Bytes += b.Bytes
		a.Lat.Merge(&b.Lat)
		a.Clat.Merge(&b.Clat)
		a.BW.Merge(b.BW)
		a.IOPS.Merge(b.IOPS)
		a.Elapsed = max(a.Elapsed, b.Elapsed)
	}
	r.Syncs.Merge(&o.Syncs)
	r.Elapsed = max(r.Elapsed, o.Elapsed)
	for i := range r.Depths {
		r.Depths[i] += o.Depths[i]
	}
	r.Late.Merge(&o.Late)
	r.Dropped += o.Dropped
	r.Unserved += o.Unserved
	r.Wrong += o.Wrong
	if r.Lie == nil {
		r.Lie = o.Lie
	}
}

// tally counts. It is pure; times are ns from the beginning of the run.
type tally struct {
	res  *Result
	from int64 // the end of the ramp
	logs *logger
	last int64 // the newest completion
}

// submitted counts a submission at which so many operations were under way.
func (t *tally) submitted(now int64, underWay int) {
	if now < t.from {
		return
	}
	level := 0
	for n := underWay; n > 1 && level < len(t.res.Depths)-1; n >>= 1 {
		level++
	}
	t.res.Depths[level]++
}

// completed counts an operation that ended.
func (t *tally) completed(op *Op, open bool) {
	t.last = max(t.last, op.ended)
	if op.ended < t.from {
		return
	}
	lat, clat := uint64(max(op.ended-op.intended, 0)), uint64(max(op.ended-op.began, 0))
	if op.Kind == Sync {
		t.res.Syncs.Add(clat)
		return
	}
	s := &t.res.Sides[op.Kind]
	s.Ops++
	s.Bytes += int64(len(op.Data))
	s.Lat.Add(lat)
	s.Clat.Add(clat)
	if open {
		t.res.Late.Add(uint64(max(op.began-op.intended, 0)))
	}
	s.sample(op.ended-t.from, int64(len(op.Data)))
	if t.logs != nil {
		t.logs.add(op, op.ended-t.from, lat, clat)
	}
}

// sample puts an operation into its window, and the windows before it among the samples.
func (s *Side) sample(at, n int64) {
	w := at / int64(sampleEvery)
	if !s.seen {
		s.seen = true
		s.window = w
	}
	for ; s.window < w; s.window++ {
		s.BW.Add(float64(s.wBytes) / 1024 / sampleEvery.Seconds())
		s.IOPS.Add(float64(s.wOps) / sampleEvery.Seconds())
		s.wBytes, s.wOps = 0, 0
	}
	s.wBytes += n
	s.wOps++
}
