package compare

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"sort"
)

// ErrInvalid marks documents that cannot be compared.
var ErrInvalid = errors.New("compare: invalid")

const fileMax = 256 << 20

// Runs are the figures of one side: by job and metric, one value for each run.
type Runs struct {
	order []string // of jobs
	jobs  map[string]map[string][]float64
	count map[string]int
}

// metrics in the order of a table; higher says whether more is better.
var metrics = []struct {
	name   string
	higher bool
}{{"IOPS", true}, {"bandwidth MiB/s", true}, {"mean us", false}, {"p50 us", false},
	{"p99 us", false}, {"p99.9 us", false}}

type latencyDoc struct {
	Mean       float64            `json:"mean"`
	N          int64              `json:"N"`
	Percentile map[string]float64 `json:"percentile"`
}

type sideDoc struct {
	IOPS float64    `json:"iops"`
	BW   float64    `json:"bw_bytes"`
	Ops  int64      `json:"total_ios"`
	Clat latencyDoc `json:"clat_ns"`
	Lat  latencyDoc `json:"lat_ns"`
}

// Read reads the documents of one side.
func Read(names ...string) (*Runs, error) {
	r := &Runs{jobs: map[string]map[string][]float64{}, count: map[string]int{}}
	for _, name := range names {
		text, err := os.ReadFile(name)
		if err != nil {
			return nil, fmt.Errorf("compare: %w", err)
		}
		if err := r.add(name, text); err != nil {
			return nil, err
		}
	}
	return r, nil
}

func (r *Runs) add(name string, text []byte) error {
	var doc struct {
		Jobs []struct {
			Name        string `json:"jobname"`
			Error       int    `json:"error"`
			Read, Write sideDoc
		} `json:"jobs"`
	}
	if len(text) > fileMax {
		return fmt.Errorf("%w: %s: %d bytes, at most %d", ErrInvalid, name, len(text), fileMax)
	}
	if err := json.Unmarshal(text, &doc); err != nil {
		return fmt.Errorf("%w: %s: not fio's JSON: %w", ErrInvalid, name, err)
	}
	if len(doc.Jobs) == 0 {
		return fmt.Errorf("%w: %s: no jobs in it: write it with --output-format=json", ErrInvalid,
			name)
	}
	for _, j := range doc.Jobs {
		if j.Error != 0 {
			return fmt.Errorf("%w: %s: job %s failed (error %d)", ErrInvalid, name, j.Name, j.Error)
		}
		r.side(j.Name+" read", &j.Read)
		r.side(j.Name+" write", &j.Write)
	}
	return nil
}

func (r *Runs) side(job string, s *sideDoc) {
	if s.Ops == 0 {
		return
	}
	if r.jobs[job] == nil {
		r.jobs[job] = map[string][]float64{}
		r.order = append(r.order, job)
	}
	r.count[job]++
	put := func(metric string, v float64) {
		r.jobs[job][metric] = append(r.jobs[job][metric], v)
	}
	put("IOPS", s.IOPS)
	put("bandwidth MiB/s", s.BW/(1<<20))
	put("mean us", s.Lat.Mean/1e3)
	p := s.Lat.Percentile
	if p == nil {
		p = s.Clat.Percentile
	}
	for metric, key := range map[string]string{"p50 us": "50.000000", "p99 us": "99.000000",
		"p99.9 us": "99.900000"} {
		if v, ok := p[key]; ok {
			put(metric, v/1e3)
		}
	}
}

// Spread is a median and its range.
type Spread struct {
	Runs   int     `json:"runs"`
	Median float64 `json:"median"`
	Low    float64 `json:"low"`
	High   float64 `json:"high"`
}

// SpreadOf sums values up.
func SpreadOf(v []float64) Spread {
	if len(v) == 0 {
		return Spread{}
	}
	v = slices.Clone(v)
	sort.Float64s(v)
	mid := v[len(v)/2]
	if len(v)%2 == 0 {
		mid = (mid + v[len(v)/2-1]) / 2
	}
	return Spread{Runs: len(v), Median: mid, Low: v[0], High: v[len(v)-1]}
}

// Line compares one metric of one job.
type Line struct {
	Job     string  `json:"job"`
	Metric  string  `json:"metric"`
	A       Spread  `json:"a"`
	B       Spread  `json:"b"`
	Change  float64 `json:"change_percent"` // of the medians
	P       float64 `json:"p_value"`
	Verdict string  `json:"verdict"` // better, worse, or what is missing to say so
}

// significant is the level of the verdict.
const significant = 0.05

// Compare makes the lines of the jobs that both sides have.
func Compare(a, b *Runs) ([]Line, error) {
	var out []Line
	for _, job := range a.order {
		if b.jobs[job] == nil {
			continue
		}
		for _, m := range metrics {
			x, y := a.jobs[job][m.name], b.jobs[job][m.name]
			if len(x) == 0 || len(y) == 0 {
				continue
			}
			l := Line{Job: job, Metric: m.name, A: SpreadOf(x), B: SpreadOf(y), P: PValue(x, y)}
			if l.A.Median != 0 {
				l.Change = 100 * (l.B.Median/l.A.Median - 1)
			}
			l.Verdict = verdict(&l, m.higher)
			out = append(out, l)
		}
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("%w: no job is in both: jobs are matched by their names (%q and %q)",
			ErrInvalid, a.order, b.order)
	}
	return out, nil
}

func verdict(l *Line, higher bool) string {
	// The smallest p that so many runs can give.
	if least := exact(0, l.A.Runs, l.B.Runs); least > significant {
		return "too few runs"
	}
	switch {
	case l.P > significant:
		return "no difference shown"
	case l.B.Median > l.A.Median == higher:
		return "better"
	}
	return "worse"
}
