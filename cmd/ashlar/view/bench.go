package view

import (
	"fmt"

	"github.com/ashlar-storage/ashlar/perf/compare"
	"github.com/ashlar-storage/ashlar/perf/floor"
)

// Floor is what a machine can do at best.
type Floor struct{ floor.Floor }

// Tables implements Tabler.
func (f Floor) Tables() []Table {
	m := &f.Machine
	head := Table{Rows: [][]string{
		{"machine", fmt.Sprintf("%s, %d cores, %s, Linux %s", m.CPU, m.Cores, m.Memory, m.Kernel)},
		{"disk", fmt.Sprintf("%s, %s (%s)", m.FS, m.Disk, f.Dir)},
		{"block", fmt.Sprintf("%d bytes", f.Block)}}}
	t := Table{Heading: []string{"WHAT", "IOPS", "P50 US", "P99 US", "P99.9 US", "MEAN US"}}
	for _, r := range []struct {
		what string
		f    *floor.Figures
	}{{"read, depth 1", &f.Read}, {"durable write, depth 1", &f.Write},
		{"read, depth 32", &f.ReadQ}, {"durable write, depth 32", &f.WriteQ},
		{"round trip of a frame", &f.Trip}} {
		t.Rows = append(t.Rows, []string{r.what, fmt.Sprintf("%.0f", r.f.IOPS),
			fmt.Sprintf("%.1f", r.f.P50), fmt.Sprintf("%.1f", r.f.P99),
			fmt.Sprintf("%.1f", r.f.P999), fmt.Sprintf("%.1f", r.f.Mean)})
	}
	ns := func(v float64) string { return fmt.Sprintf("%.0f ns", v) }
	c := Table{Rows: [][]string{{"crc32c of 4 KiB", ns(f.CPU.CRC)},
		{"copy of 4 KiB", ns(f.CPU.Copy)}, {"system call", ns(f.CPU.Syscall)},
		{"switch to another goroutine", ns(f.CPU.Switch)}, {"reading the clock", ns(f.CPU.Clock)}}}
	return []Table{head, t, c}
}

// Comparison is two sides of several runs.
type Comparison []compare.Line

// Tables implements Tabler.
func (c Comparison) Tables() []Table {
	t := Table{Heading: []string{"JOB", "METRIC", "A", "B", "CHANGE", "P", "VERDICT"}}
	for _, l := range c {
		t.Rows = append(t.Rows, []string{l.Job, l.Metric, spread(l.A), spread(l.B),
			fmt.Sprintf("%+.1f %%", l.Change), fmt.Sprintf("%.3f", l.P), l.Verdict})
	}
	return []Table{t}
}

func spread(s compare.Spread) string {
	digits := 1
	if s.Median >= 1000 {
		digits = 0
	}
	if s.Runs == 1 {
		return fmt.Sprintf("%.*f", digits, s.Median)
	}
	return fmt.Sprintf("%.*f (%.*f-%.*f)", digits, s.Median, digits, s.Low, digits, s.High)
}
