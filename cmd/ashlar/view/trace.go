package view

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/dustin/go-humanize"

	"github.com/ashlar-storage/ashlar/ebpf/mark"
	"github.com/ashlar-storage/ashlar/ebpf/trace"
)

// Text is a document of `ashlar trace`, which is written as bcc's tools do or as one line of JSON.
type Text interface{ Text(w io.Writer) error }

// WriteTrace writes a document.
func WriteTrace(w io.Writer, asJSON bool, t Text) error {
	if asJSON {
		return json.NewEncoder(w).Encode(t)
	}
	return t.Text(w)
}

// Stages is a report of `trace stages`.
type Stages trace.Report

// micros is a time in microseconds.
func micros(d time.Duration) string { return humanize.Comma(d.Microseconds()) }

// Text writes a table for each kind of requests.
func (s Stages) Text(w io.Writer) error {
	if len(s.Kinds) == 0 {
		fmt.Fprintln(w, "no requests")
	}
	for _, k := range s.Kinds {
		fmt.Fprintf(w, "%s: %s requests, %s failed; us: p50 %s, p99 %s, p99.9 %s, max %s\n", k.Name,
			humanize.Comma(int64(k.Total.Count)), humanize.Comma(int64(k.Failed)),
			micros(k.Total.P50), micros(k.Total.P99), micros(k.Total.P999), micros(k.Total.Max))
		if k.Total.Count == 0 {
			continue
		}
		if err := stageTable(w, k.Rows); err != nil {
			return err
		}
		fmt.Fprintf(w, "tail: the slowest %s, from %s us on\nverdict: %s\n\n",
			humanize.Comma(int64(k.Tail)), micros(k.From), k.Verdict)
	}
	if s.Skipped > 0 {
		fmt.Fprintf(w, "%d events found no room and are not in these figures\n", s.Skipped)
	}
	if s.Resent > 0 {
		fmt.Fprintf(w, "TCP sent %d segments again\n", s.Resent)
	}
	return nil
}

func stageTable(w io.Writer, rows []trace.Row) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "PART\tWHERE\tCOUNT\tP50(us)\tP99(us)\tP99.9(us)\tMAX(us)\tTAIL\t")
	for _, r := range rows {
		where := r.Where
		if where == "" {
			where = "all"
		}
		fmt.Fprintf(t, "%s\t%s\t%d\t%s\t%s\t%s\t%s\t%.0f%%\t\n", r.Part, where, r.Count,
			micros(r.P50), micros(r.P99), micros(r.P999), micros(r.Max), 100*r.Tail)
	}
	return t.Flush()
}

// Latency is a report of `trace latency`.
type Latency []LatencyHist

// LatencyHist is one histogram of it.
type LatencyHist struct {
	Where   string        `json:"where"`
	What    string        `json:"what"`
	Count   uint64        `json:"count"`
	Mean    time.Duration `json:"mean_ns"`
	P50     time.Duration `json:"p50_ns"`
	P99     time.Duration `json:"p99_ns"`
	P999    time.Duration `json:"p999_ns"`
	Buckets []uint64      `json:"log2_usecs"` // below 2 us, 4 us, 8 us, and so on
	hist    trace.Hist
}

// LatencyOf makes an entry of a histogram.
func LatencyOf(where, what string, h trace.Hist) LatencyHist {
	return LatencyHist{Where: where, What: what, Count: h.N, Mean: h.Mean(), P50: h.Quantile(0.5),
		P99: h.Quantile(0.99), P999: h.Quantile(0.999), Buckets: h.Powers(), hist: h}
}

// Text writes the histograms one below the other.
func (l Latency) Text(w io.Writer) error {
	for _, h := range l {
		fmt.Fprintf(w, "\n%s: %s (mean %s us, p50 %s, p99 %s, p99.9 %s)\n", h.Where, h.What,
			micros(h.Mean), micros(h.P50), micros(h.P99), micros(h.P999))
		h.hist.Print(w)
	}
	return nil
}

// Snoop is some requests, one after the other.
type Snoop struct {
	Head   bool        `json:"-"` // the columns' names come first
	Stages []string    `json:"-"`
	Lines  []SnoopLine `json:"requests"`
}

// SnoopLine is one of them.
type SnoopLine struct {
	At      time.Duration `json:"at_ns"` // its answer, since the beginning
	Node    string        `json:"node"`
	Kind    string        `json:"kind"`
	Volume  string        `json:"volume"`
	Took    time.Duration `json:"took_ns"`
	Request mark.Op       `json:"request"`
}

// Text writes a line for each.
func (s Snoop) Text(w io.Writer) error {
	var b []byte
	if s.Head {
		b = fmt.Appendf(b, "%-11s %-10s %-5s %-12s %12s %7s %7s %3s %9s", "TIME(s)", "NODE", "OP",
			"VOLUME", "OFFSET", "BYTES", "COPYSET", "ST", "LAT(us)")
		for _, name := range s.Stages {
			b = fmt.Appendf(b, " %8s", strings.ToUpper(name))
		}
		b = append(b, '\n')
	}
	for i := range s.Lines {
		l := &s.Lines[i]
		b = fmt.Appendf(b, "%-11.6f %-10s %-5s %-12s %12d %7d %7d %3d %9.1f", l.At.Seconds(),
			l.Node, l.Kind, l.Volume, l.Request.Offset, l.Request.Length, l.Request.Copyset,
			l.Request.Status, inMicros(l.Took))
		for _, ns := range l.Request.Spent {
			b = fmt.Appendf(b, " %8.1f", inMicros(time.Duration(ns)))
		}
		b = append(b, '\n')
	}
	_, err := w.Write(b)
	return err
}

func inMicros(d time.Duration) float64 { return float64(d) / float64(time.Microsecond) }

// Slow is one slow request.
type Slow struct {
	trace.Timeline
	Volume string        `json:"volume"`
	At     time.Duration `json:"at_ns"` // its arrival, since the beginning
}

// Text writes what happened, a line for each thing.
func (s Slow) Text(w io.Writer) error {
	fmt.Fprintf(w, "%.6f s: %s of %d bytes at %d of %s took %.0f us on %s (copyset %d, entry %d, "+
		"status %d)\n", s.At.Seconds(), s.Kind, s.Op.Length, s.Op.Offset, s.Volume,
		inMicros(s.Took), s.Node, s.Op.Copyset, s.Op.Index, s.Op.Status)
	for _, m := range s.Moments {
		took := ""
		if m.Took > 0 {
			took = fmt.Sprintf("%.0f", inMicros(m.Took))
		}
		fmt.Fprintf(w, "  %10.0f %9s  %-10s %s\n", inMicros(m.After), took, m.Where, m.What)
	}
	return nil
}
