package main

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/ashlar-storage/ashlar/perf/compare"
)

const (
	beginMark = "<!-- bench:begin -->"
	endMark   = "<!-- bench:end -->"
	replicas  = 3
)

// errMarkers: the document has no place for the table.
var errMarkers = errors.New("bench: the document has no markers " + beginMark + " and " + endMark)

// replaceTable puts text between the markers of a document.
func replaceTable(doc, text string) (string, error) {
	head, rest, ok := strings.Cut(doc, beginMark)
	_, tail, ok2 := strings.Cut(rest, endMark)
	if !ok || !ok2 {
		return "", errMarkers
	}
	return head + beginMark + "\n" + text + endMark + tail, nil
}

// spread is the median of some figures and their range.
type spread struct{ mid, low, high float64 }

func spreadOf(v []float64) spread {
	s := compare.SpreadOf(v)
	return spread{s.Median, s.Low, s.High}
}

func (s spread) format(digits int) string {
	if s == (spread{}) {
		return "-"
	}
	f := func(v float64) string { return group(fmt.Sprintf("%.*f", digits, v)) }
	if f(s.low) == f(s.high) {
		return f(s.mid)
	}
	to := "-"
	if s.low < 0 {
		to = " to "
	}
	return fmt.Sprintf("%s (%s%s%s)", f(s.mid), f(s.low), to, f(s.high))
}

// group puts commas between the thousands.
func group(s string) string {
	whole, frac, _ := strings.Cut(s, ".")
	digits := strings.IndexAny(whole, "0123456789") // behind a sign
	for i := len(whole) - 3; i > digits; i -= 3 {
		whole = whole[:i] + "," + whole[i:]
	}
	if frac != "" {
		whole += "." + frac
	}
	return whole
}

// of collects a figure of a case over the rounds.
func (r *results) of(name string, f func(*sample) float64) (out []float64) {
	for i := range r.Samples {
		if s := &r.Samples[i]; s.Case == name {
			out = append(out, f(s))
		}
	}
	return out
}

func p50(s *sample) float64  { return s.P50 }
func p99(s *sample) float64  { return s.P99 }
func p999(s *sample) float64 { return s.P999 }
func iops(s *sample) float64 { return s.IOPS }

// ratios of a case's figure to a floor of the same round.
func ratios(figure []float64, floor []float64) (out []float64) {
	for i := range min(len(figure), len(floor)) {
		if floor[i] > 0 {
			out = append(out, figure[i]/floor[i])
		}
	}
	return out
}

func sum(a, b []float64, times float64) (out []float64) {
	for i := range min(len(a), len(b)) {
		out = append(out, a[i]+times*b[i])
	}
	return out
}

// floorOf is what a case at depth 1 cannot go below, round by round: the durable write or the read
// of the raw file, and two round trips or one.
func (r *results) floorOf(write bool) []float64 {
	echo := r.of("net-echo-1", p50)
	if write {
		return sum(r.of("raw-write-1", p50), echo, 2)
	}
	return sum(r.of("raw-read-1", p50), echo, 1)
}

func (r *results) markdown() string {
	var b strings.Builder
	m := &r.Machine
	fmt.Fprintf(&b, "Measured %s with %s, %s: %d rounds of %d s per case, volumes of %d MiB.\n",
		r.When.Format("2006-01-02 15:04 UTC"), r.Version, m.Go, r.Rounds, r.Seconds, r.Size>>20)
	fmt.Fprintf(&b, "Machine: %s, %d cores, %s; Linux %s; %s, %s.\n", m.CPU, m.Cores, m.Memory,
		m.Kernel, m.FS, m.Disk)
	r.latencies(&b)
	r.beside(&b)
	r.targets(&b)
	r.costs(&b)
	r.kernel(&b)
	for _, n := range r.Notes {
		fmt.Fprintf(&b, "\n%s\n", n)
	}
	return b.String()
}

// latencies is the table of cases.
func (r *results) latencies(b *strings.Builder) {
	b.WriteString("\n### Latency and rate, 4 KiB random, beside the raw file\n\n" +
		"| case | IOPS | p50 us | p99 us | p99.9 us | against the floor | load | other cores |\n" +
		"|---|--:|--:|--:|--:|--:|--:|--:|\n")
	for _, c := range r.cases() {
		if !c.main() {
			continue
		}
		load := spreadOf(r.of(c.name, func(s *sample) float64 { return s.Load }))
		others := spreadOf(r.of(c.name, func(s *sample) float64 { return s.Others }))
		fmt.Fprintf(b, "| %s | %s | %s | %s | %s | %s | %.1f | %.1f |\n", c.title(),
			spreadOf(r.of(c.name, iops)).format(0), spreadOf(r.of(c.name, p50)).format(0),
			spreadOf(r.of(c.name, p99)).format(0), spreadOf(r.of(c.name, p999)).format(0),
			r.against(&c), load.mid, others.mid)
	}
}

func (c *benchCase) title() string {
	op := map[bool]string{true: "write", false: "read"}[c.write]
	who := whose(c.who)
	switch c.who {
	case onRaw:
		who = "raw file, fio"
	case byNative:
		who = "**Ashlar, native client**"
	}
	if c.who == onNet {
		return "round trip of a 4 KiB frame"
	}
	if c.who == onRaw && c.write {
		op = "durable write"
	}
	if c.copies > 1 {
		op = fmt.Sprintf("%d durable writes at once, each", c.copies)
	}
	return fmt.Sprintf("%s QD%d: %s", op, c.depth, who)
}

func (r *results) against(c *benchCase) string {
	if !c.cluster {
		return ""
	}
	if c.depth == 1 {
		s := spreadOf(ratios(r.of(c.name, p50), r.floorOf(c.write)))
		return s.format(2) + " x"
	}
	return spreadOf(ratios(r.of(c.name, iops), r.of(c.like(onRaw), iops))).format(2) +
		" x raw IOPS"
}

// perOp is a cost of a case for each operation, over the rounds.
func (r *results) perOp(name string, f func(*usage) float64) spread {
	return spreadOf(r.perRound(name, f))
}

// perRound is what the costs of an operation of a case add up to, round by round.
func (r *results) perRound(name string, costs ...func(*usage) float64) (out []float64) {
	for i := range r.Samples {
		s := &r.Samples[i]
		if s.Case != name || s.Used == nil || s.Ops == 0 {
			continue
		}
		total := 0.0
		for _, f := range costs {
			total += f(s.Used) / float64(s.Ops)
		}
		out = append(out, total)
	}
	return out
}

// costRow is a line of the cost table.
type costRow struct {
	title  string
	digits int
	f      func(u *usage) float64 // for all operations of a case
}

func counter(scale float64, names ...string) func(*usage) float64 {
	return func(u *usage) (sum float64) {
		for i, n := range names {
			sign := 1.0
			if i > 0 && strings.HasPrefix(n, "-") {
				sign, n = -1, n[1:]
			}
			sum += sign * u.Nodes[n]
		}
		return sum * scale
	}
}

func cpuOf(names ...string) func(*usage) float64 {
	return func(u *usage) (sum float64) {
		for name, v := range u.CPU {
			if slices.Contains(names, name) || len(names) == 1 && names[0] == "nodes" &&
				strings.HasPrefix(name, "n") {
				sum += v * 1e6
			}
		}
		return sum
	}
}

var costRows = []costRow{
	{"log writes (durable), per replica", 3, counter(1.0/replicas, "log.writes")},
	{"chunk writes (lazy), per replica", 3, counter(1.0/replicas, "chunks.device_writes")},
	{"other durable writes (checkpoints), per replica", 3,
		counter(1.0/replicas, "disk.durable_writes", "-log.writes")},
	{"device reads, all replicas", 3, counter(1, "disk.reads")},
	{"log bytes per user byte, per replica", 2, counter(1.0/replicas/block, "log.write_bytes")},
	{"chunk bytes per user byte, per replica", 2, counter(1.0/replicas, "chunks.write_blocks")},
	{"bytes written in all per user byte, per replica", 2,
		counter(1.0/replicas/block, "disk.write_bytes")},
	{"CPU of the client with the load, us", 1, cpuOf(self)},
	{"CPU of the gateway, us", 1, cpuOf("gateway")},
	{"CPU of the three nodes, us", 1, cpuOf("nodes")},
	{"allocations, three nodes", 1, counter(1, "runtime.mallocs")},
	{"allocated bytes, three nodes", 0, counter(1, "runtime.total_alloc_bytes")},
	{"garbage collections per 1,000 operations", 2, counter(1000, "runtime.num_gc")},
	{"socket reads of the nodes' servers", 2, counter(1, "transport.reads")},
	{"socket writes of the nodes' servers", 2, counter(1, "transport.writes")},
}

// costs is a table of one column for each case that asks something of the cluster.
func (r *results) costs(b *strings.Builder) {
	b.WriteString("\n### Cost of one 4 KiB operation\n\n")
	cols := r.clusterCases()
	header(b, cols)
	for _, row := range costRows {
		fmt.Fprintf(b, "| %s |", row.title)
		for _, c := range cols {
			mid := r.perOp(c, row.f).mid
			if math.Abs(mid) < 0.5*math.Pow10(-row.digits) {
				mid = 0 // also what the idle share took below zero
			}
			if mid == 0 {
				b.WriteString(" 0 |")
				continue
			}
			fmt.Fprintf(b, " %s |", group(fmt.Sprintf("%.*f", row.digits, mid)))
		}
		b.WriteString("\n")
	}
	idle := r.Idle.CPU
	if s := r.Idle.Seconds; s > 0 {
		fmt.Fprintf(b, "\nIdle, taken off above: nodes %.1f / %.1f / %.1f %% of a core each, "+
			"control plane %.1f %%, client %.1f %%.\n", idle["n1"]/s*100, idle["n2"]/s*100,
			idle["n3"]/s*100, idle["control"]/s*100, idle[self]/s*100)
	}
}

func (r *results) clusterCases() (out []string) {
	for _, c := range r.cases() {
		if c.costs {
			out = append(out, c.name)
		}
	}
	return out
}

func header(b *strings.Builder, cols []string) {
	b.WriteString("| each |")
	for _, c := range cols {
		fmt.Fprintf(b, " %s |", strings.ReplaceAll(c, "-", " "))
	}
	b.WriteString("\n|---|" + strings.Repeat("--:|", len(cols)) + "\n")
}

// kernel is the table of system calls.
func (r *results) kernel(b *strings.Builder) {
	if len(r.Kernel) == 0 {
		return
	}
	b.WriteString("\n### System calls and context switches per operation\n\n")
	var cols []string
	for _, k := range r.Kernel {
		cols = append(cols, k.Case)
	}
	header(b, cols)
	for _, who := range []string{self, "gateway", "nodes"} {
		fmt.Fprintf(b, "| system calls, %s |", whoTitle(who))
		for _, k := range r.Kernel {
			fmt.Fprintf(b, " %.2f |", k.Syscalls[who])
		}
		fmt.Fprintf(b, "\n| context switches, %s |", whoTitle(who))
		for _, k := range r.Kernel {
			fmt.Fprintf(b, " %.2f |", k.Switches[who])
		}
		b.WriteString("\n")
	}
}

func whoTitle(who string) string {
	if who == "nodes" {
		return "three nodes"
	}
	return who
}
