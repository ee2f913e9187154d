package cost

import (
	"context"
	"fmt"
	"io"
	"math"
	"net/http"
	"slices"
	"strings"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	prom "github.com/prometheus/common/model"
)

// The nodes' histograms of time: of requests by kind and stage, on the leader, and of appends to
// the log by stage, on every replica.
const (
	requestTimes = "ashlar_store_request_seconds"
	logTimes     = "ashlar_store_log_seconds"
)

// metricsMost bounds what a node may answer.
const metricsMost = 32 << 20

// Stage is the time that one kind of operation spent in one stage of the nodes, in us. Percentiles
// are read from buckets that end at powers of two, with a straight line inside each.
type Stage struct {
	Op    string  `json:"op"` // read, write, ... or log: an append to a replica's log
	Stage string  `json:"stage"`
	Count uint64  `json:"count"`
	Mean  float64 `json:"mean_us"`
	P50   float64 `json:"p50_us"`
	P99   float64 `json:"p99_us"`
	P999  float64 `json:"p999_us"`
}

// stageKey names a histogram, and stageTimes is one.
type stageKey struct{ op, stage string }

type stageTimes struct {
	count  uint64
	sum    float64            // s
	below  map[float64]uint64 // by the bound in s
	bounds []float64          // rising
}

// StageReading is what the nodes had counted at one time.
type StageReading struct {
	of    map[stageKey]*stageTimes
	order []stageKey
}

// ReadStages asks every node among the processes.
func ReadStages(ctx context.Context, processes []Process) (*StageReading, error) {
	r := &StageReading{of: map[stageKey]*stageTimes{}}
	for _, p := range processes {
		if p.Admin == "" {
			continue
		}
		if err := r.add(ctx, p.Admin); err != nil {
			return nil, fmt.Errorf("cost: stages of %s: %w", p.Name, err)
		}
	}
	return r, nil
}

func (r *StageReading) add(ctx context.Context, admin string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+admin+"/metrics", nil)
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	parser := expfmt.NewTextParser(prom.LegacyValidation)
	families, err := parser.TextToMetricFamilies(io.LimitReader(resp.Body, metricsMost))
	if err != nil {
		return err
	}
	if families[requestTimes] == nil {
		return fmt.Errorf("no %s at %s: is it an older version?", requestTimes, admin)
	}
	for _, name := range []string{requestTimes, logTimes} {
		for _, m := range families[name].GetMetric() {
			key := stageKey{op: "log"}
			for _, l := range m.GetLabel() {
				switch l.GetName() {
				case "op":
					key.op = l.GetValue()
				case "stage":
					key.stage = l.GetValue()
				}
			}
			r.count(key, m.GetHistogram())
		}
	}
	return nil
}

func (r *StageReading) count(key stageKey, h *dto.Histogram) {
	t := r.of[key]
	if t == nil {
		t = &stageTimes{below: map[float64]uint64{}}
		r.of[key] = t
		r.order = append(r.order, key)
	}
	t.count += h.GetSampleCount()
	t.sum += h.GetSampleSum()
	for _, b := range h.GetBucket() {
		bound := b.GetUpperBound()
		if _, known := t.below[bound]; !known && !math.IsInf(bound, 1) {
			t.bounds = append(t.bounds, bound)
		}
		t.below[bound] += b.GetCumulativeCount()
	}
	slices.Sort(t.bounds)
}

// stageOrder is the way of a request, and of an append.
var stageOrder = []string{"queue", "lane", "lease", "read", "propose", "commit", "reply", "wait",
	"write"}

// Since is what was counted after an earlier reading.
func (r *StageReading) Since(before *StageReading) []Stage {
	keys := slices.Clone(r.order)
	slices.SortStableFunc(keys, func(a, b stageKey) int {
		if a.op != b.op {
			return strings.Compare(a.op, b.op)
		}
		return slices.Index(stageOrder, a.stage) - slices.Index(stageOrder, b.stage)
	})
	var all []Stage
	for _, k := range keys {
		now := r.of[k].less(before.of[k])
		if now.count > 0 {
			all = append(all, Stage{Op: k.op, Stage: k.stage, Count: now.count,
				Mean: now.sum / float64(now.count) * 1e6, P50: now.quantile(0.5),
				P99: now.quantile(0.99), P999: now.quantile(0.999)})
		}
	}
	return all
}

func (t *stageTimes) less(before *stageTimes) *stageTimes {
	if before == nil {
		return t
	}
	d := &stageTimes{count: t.count - before.count, sum: t.sum - before.sum, bounds: t.bounds,
		below: map[float64]uint64{}}
	for bound, n := range t.below {
		d.below[bound] = n - before.below[bound]
	}
	return d
}

// quantile is in us.
func (t *stageTimes) quantile(q float64) float64 {
	want, low, under := q*float64(t.count), 0.0, uint64(0)
	for _, bound := range t.bounds {
		if n := t.below[bound]; float64(n) >= want {
			in := n - under
			if in == 0 {
				return low * 1e6
			}
			return (low + (bound-low)*(want-float64(under))/float64(in)) * 1e6
		}
		low, under = bound, t.below[bound]
	}
	return low * 1e6
}

// Breakdown is the lines of a report: a kind in each, with its stages.
func Breakdown(all []Stage) (lines []string) {
	for i := 0; i < len(all); {
		op, parts := all[i].Op, []string(nil)
		for ; i < len(all) && all[i].Op == op; i++ {
			s := &all[i]
			parts = append(parts, fmt.Sprintf("%s avg=%.1f p99=%.1f", s.Stage, s.Mean, s.P99))
		}
		lines = append(lines, fmt.Sprintf("%s (us): %s", op, strings.Join(parts, ", ")))
	}
	return lines
}
