package page

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"

	"github.com/ashlar-storage/ashlar/perf/compare"
	"github.com/ashlar-storage/ashlar/perf/cost"
	"github.com/ashlar-storage/ashlar/perf/floor"
	"github.com/ashlar-storage/ashlar/perf/meter"
)

// ErrInvalid marks documents that no page can be made of.
var ErrInvalid = errors.New("page: invalid")

const fileMax = 256 << 20

// point is one job in one direction: the medians of its runs. Latencies in us.
type point struct {
	file, name, direction, rw, bs string
	depth                         int // of all clones together
	runs                          int
	iops, bandwidth, mean         float64
	percentiles                   map[float64]float64
	efficiency                    []*floor.Against
	cost                          *cost.PerOp

	all map[string][]float64 // the runs' figures by their name
}

// curve is the name that points of one curve share.
func (p *point) curve() string {
	return fmt.Sprintf("%s: %s, %s %s", p.file, depthEnd.ReplaceAllString(p.name, ""), p.rw, p.bs)
}

var depthEnd = regexp.MustCompile(`[-_]?(qd)?\d+$`)

// Data is what pages are made of.
type Data struct {
	points   []*point
	machines []string // one line for each file
}

type document struct {
	Version string            `json:"fio version"`
	Time    string            `json:"time"`
	Global  map[string]string `json:"global options"`
	Jobs    []struct {
		Name    string            `json:"jobname"`
		Error   int               `json:"error"`
		Options map[string]string `json:"job options"`
		Read    rawSide           `json:"read"`
		Write   rawSide           `json:"write"`
		Ashlar  struct {
			Efficiency []*floor.Against `json:"efficiency"`
			Cost       *cost.PerOp      `json:"cost"`
		} `json:"ashlar"`
	} `json:"jobs"`
	Ashlar struct {
		Machine meter.Machine `json:"machine"`
	} `json:"ashlar"`
}

// rawSide has fio's names.
type rawSide struct {
	IOPS float64    `json:"iops"`
	BW   float64    `json:"bw_bytes"`
	Ops  int64      `json:"total_ios"`
	Clat rawLatency `json:"clat_ns"`
	Lat  rawLatency `json:"lat_ns"`
}

type rawLatency struct {
	Mean       float64            `json:"mean"`
	Percentile map[string]float64 `json:"percentile"`
}

// Read reads documents.
func Read(names ...string) (*Data, error) {
	d := &Data{}
	for _, name := range names {
		text, err := os.ReadFile(name)
		if err != nil {
			return nil, fmt.Errorf("page: %w", err)
		}
		label := strings.TrimSuffix(filepath.Base(name), filepath.Ext(name))
		if err := d.add(label, text); err != nil {
			return nil, err
		}
	}
	return d, nil
}

func (d *Data) add(label string, text []byte) error {
	var doc document
	if len(text) > fileMax {
		return fmt.Errorf("%w: %s: %d bytes, at most %d", ErrInvalid, label, len(text), fileMax)
	}
	if err := json.Unmarshal(text, &doc); err != nil {
		return fmt.Errorf("%w: %s: not fio's JSON: %w", ErrInvalid, label, err)
	}
	if len(doc.Jobs) == 0 {
		return fmt.Errorf("%w: %s: no jobs in it: write it with --output-format=json", ErrInvalid,
			label)
	}
	at := len(d.points)
	for _, j := range doc.Jobs {
		option := func(name, other string) string {
			for _, m := range []map[string]string{j.Options, doc.Global} {
				if m[name] != "" {
					return m[name]
				}
			}
			return other
		}
		depth, _ := strconv.Atoi(option("iodepth", "1"))
		clones, _ := strconv.Atoi(option("numjobs", "1"))
		for k, s := range []*rawSide{&j.Read, &j.Write} {
			if s.Ops == 0 || j.Error != 0 {
				continue
			}
			p := d.point(at, point{file: label, name: j.Name,
				direction: []string{"read", "write"}[k], depth: max(depth, 1) * max(clones, 1),
				rw: option("rw", "read"), bs: option("bs", "4k")})
			p.put(s)
			p.cost = j.Ashlar.Cost
			p.efficiency = nil
			for _, a := range j.Ashlar.Efficiency {
				if a != nil && a.Direction == p.direction {
					p.efficiency = append(p.efficiency, a)
				}
			}
		}
	}
	if len(d.points) == at {
		return fmt.Errorf("%w: %s: no job in it did anything", ErrInvalid, label)
	}
	line := fmt.Sprintf("%s: %s, %s", label, doc.Version, doc.Time)
	if m := doc.Ashlar.Machine; m.Cores > 0 {
		line += fmt.Sprintf("; %s, %d cores, %s, Linux %s, %s, %s", m.CPU, m.Cores, m.Memory,
			m.Kernel, m.FS, m.Disk)
	}
	d.machines = append(d.machines, line)
	return nil
}

// point finds the point of a job among those from at on, or makes it.
func (d *Data) point(at int, like point) *point {
	for _, p := range d.points[at:] {
		if p.name == like.name && p.direction == like.direction && p.depth == like.depth {
			return p
		}
	}
	like.all = map[string][]float64{}
	d.points = append(d.points, &like)
	return &like
}

// put adds a run.
func (p *point) put(s *rawSide) {
	p.runs++
	lat := s.Lat
	if len(lat.Percentile) == 0 {
		lat.Percentile = s.Clat.Percentile
	}
	p.add("iops", s.IOPS, &p.iops)
	p.add("bw", s.BW, &p.bandwidth)
	p.add("mean", lat.Mean/1e3, &p.mean)
	if p.percentiles == nil {
		p.percentiles = map[float64]float64{}
	}
	for key, v := range lat.Percentile {
		if q, err := strconv.ParseFloat(key, 64); err == nil {
			var mid float64
			p.add(key, v/1e3, &mid)
			p.percentiles[q] = mid
		}
	}
}

func (p *point) add(figure string, v float64, median *float64) {
	p.all[figure] = append(p.all[figure], v)
	*median = compare.SpreadOf(p.all[figure]).Median
}
