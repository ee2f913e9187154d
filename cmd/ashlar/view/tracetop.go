package view

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/dustin/go-humanize"
)

// Top says who was busy in an interval.
type Top struct {
	Seconds float64             `json:"seconds"`
	Busy    map[string][]TopRow `json:"busy"` // by volume, copyset and store, the busiest first
	rows    map[topKey]*TopRow
}

// TopRow is one volume, copyset or store, and one kind of requests.
type TopRow struct {
	Name  string        `json:"name"`
	Kind  string        `json:"kind"`
	Count uint64        `json:"count"`
	Bytes uint64        `json:"bytes"`
	Time  time.Duration `json:"time_ns"` // of all requests together
	Max   time.Duration `json:"max_ns"`
}

type topKey struct{ dimension, name, kind string }

// topDimensions are the tables, in order.
var topDimensions = []string{"volume", "copyset", "store"}

// NewTop begins an interval.
func NewTop() *Top { return &Top{Busy: map[string][]TopRow{}, rows: map[topKey]*TopRow{}} }

// Add counts a request.
func (t *Top) Add(dimension, name, kind string, bytes uint64, took time.Duration) {
	key := topKey{dimension, name, kind}
	r := t.rows[key]
	if r == nil {
		r = &TopRow{Name: name, Kind: kind}
		t.rows[key] = r
	}
	r.Count++
	r.Bytes += bytes
	r.Time += took
	r.Max = max(r.Max, took)
}

// Finish ends the interval and keeps so many rows of each table, those with the most time.
func (t *Top) Finish(interval time.Duration, rows int) {
	t.Seconds = interval.Seconds()
	for key, r := range t.rows {
		t.Busy[key.dimension] = append(t.Busy[key.dimension], *r)
	}
	for d, all := range t.Busy {
		slices.SortFunc(all, func(a, b TopRow) int {
			if a.Time != b.Time {
				return int(min(1, max(-1, b.Time-a.Time)))
			}
			return strings.Compare(a.Name+a.Kind, b.Name+b.Kind)
		})
		t.Busy[d] = all[:min(len(all), rows)]
	}
}

// Text writes the tables.
func (t *Top) Text(w io.Writer) error {
	for _, d := range topDimensions {
		if len(t.Busy[d]) == 0 {
			continue
		}
		out := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
		fmt.Fprintf(out, "%s\tOP\tIOPS\tBYTES/s\tAVG(us)\tMAX(us)\tIN FLIGHT\t\n",
			strings.ToUpper(d))
		for _, r := range t.Busy[d] {
			fmt.Fprintf(out, "%s\t%s\t%.0f\t%s\t%s\t%s\t%.2f\t\n", r.Name, r.Kind,
				float64(r.Count)/t.Seconds, humanize.IBytes(uint64(float64(r.Bytes)/t.Seconds)),
				micros(r.Time/time.Duration(r.Count)), micros(r.Max),
				r.Time.Seconds()/t.Seconds)
		}
		if err := out.Flush(); err != nil {
			return err
		}
		fmt.Fprintln(w)
	}
	return nil
}
