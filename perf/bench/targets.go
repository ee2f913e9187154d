package main

import (
	"fmt"
	"strings"
)

// target is a figure that is to be reached, round by round.
type target struct {
	text   string
	digits int
	unit   string
	bound  float64
	least  bool // at least the bound; otherwise at most
	got    []float64
}

func (t *target) reached(v float64) bool {
	if t.least {
		return v >= t.bound
	}
	return v <= t.bound
}

// targets compares with what Ashlar is to reach on a machine of two cores.
func (r *results) targets(b *strings.Builder) {
	b.WriteString("\n### Targets\n\n| target | bound | measured | met |\n|---|--:|--:|---|\n")
	for _, t := range r.allTargets() {
		s := spreadOf(t.got)
		if len(t.got) == 0 {
			continue
		}
		worst := s.high
		if t.least {
			worst = s.low
		}
		fmt.Fprintf(b, "| %s | %s %s | %s %s | %s |\n", t.text,
			group(fmt.Sprintf("%.*f", t.digits, t.bound)), t.unit, s.format(t.digits), t.unit,
			met(t.reached(s.mid), t.reached(worst)))
	}
	three := sum(r.of(threeAtOnce, p50), r.of("net-echo-1", p50), 2)
	if s := spreadOf(ratios(r.of("native-write-1", p50), three)); s.mid > 0 {
		fmt.Fprintf(b, "\nThree replicas on one disk write at once. With three durable writes of "+
			"the raw file at once in place of one, the floor of a write at depth 1 is %s us, and "+
			"Ashlar's %s times that.\n", spreadOf(three).format(0), s.format(2))
	}
}

func (r *results) allTargets() []target {
	native := func(op string, f func(*sample) float64) []float64 { return r.of("native-"+op, f) }
	out := []target{
		{"write QD1 p50 against the floor", 2, "x", 1.5, false,
			ratios(native("write-1", p50), r.floorOf(true))},
		{"write QD1 p50 against the raw durable write", 2, "x", 2.2, false,
			ratios(native("write-1", p50), r.of("raw-write-1", p50))},
		{"write QD1 p99.9", 0, "us", 1000, false, native("write-1", p999)},
		{"write QD32", 0, "IOPS", 20000, true, native("write-32", iops)},
		{"write QD32 against the raw file", 2, "x", 0.3, true,
			ratios(native("write-32", iops), r.of("raw-write-32", iops))},
		{"write QD32, CPU of client and nodes", 0, "us", 80, false,
			r.perRound("native-write-32", cpuOf(self), cpuOf("nodes"))},
		{"write QD32, bytes written per user byte and replica", 2, "", 2.3, false,
			r.perRound("native-write-32", counter(1.0/replicas/block, "disk.write_bytes"))},
		{"write QD32 in order against random", 2, "x", 1, true,
			ratios(native("seqwrite-32", iops), native("write-32", iops))},
		{"128 KiB writes in order QD8", 0, "MB/s", 400, true, native("128k-write-8", mbps(large))},
		{"128 KiB reads in order QD8 against the raw file", 2, "x", 0.95, true,
			ratios(native("128k-read-8", iops), r.of("raw-128k-read-8", iops))},
		{"write QD32 against Ceph", 1, "x", 15, true,
			ratios(native("write-32", iops), r.of("ceph-write-32", iops))},
		{"4 volumes, write QD8 each, p99.9 against Ceph", 2, "x", 0.2, false,
			ratios(native("write-4x8", p999), r.of("ceph-write-4x8", p999))},
		{"read QD1 p50 above the raw read", 0, "us", 40, false,
			sum(native("read-1", p50), r.of("raw-read-1", p50), -1)},
		{"read QD32", 0, "IOPS", 45000, true, native("read-32", iops)},
		{"read QD32 against the raw file", 2, "x", 0.75, true,
			ratios(native("read-32", iops), r.of("raw-read-32", iops))},
		{"read, allocations in three nodes", 1, "", 0.05, false,
			r.perRound("native-read-32", counter(1, "runtime.mallocs"))},
		{"write, allocations in three nodes", 1, "", 0.05, false,
			r.perRound("native-write-32", counter(1, "runtime.mallocs"))},
		{fmt.Sprintf("node with %d idle copysets", quietCopysets), 2, "% of a core", 1, false,
			r.ofQuiet(func(q *quiet) float64 { return q.CPU })},
		{"its resident memory", 0, "MiB", 200, false,
			r.ofQuiet(func(q *quiet) float64 { return q.RSS })},
	}
	out = append(out, r.doorTargets(byOwnNBD)...)
	return append(out, r.doorTargets(byNBD)...)
}

// doorTargets compare the gateway with the way past it. fio's client costs the processors more than
// the native one, which counts against the gateway.
func (r *results) doorTargets(who string) []target {
	client := doorClients[who]
	rate := func(op string) []float64 {
		return ratios(r.of(who+"-"+op, iops), r.of("native-"+op, iops))
	}
	above := func(op string) []float64 {
		return sum(r.of(who+"-"+op, p50), r.of("native-"+op, p50), -1)
	}
	return []target{
		{"NBD write QD32 against native, " + client, 2, "x", 0.85, true, rate("write-32")},
		{"NBD read QD32 against native, " + client, 2, "x", 0.85, true, rate("read-32")},
		{"NBD write QD1 p50 above native, " + client, 0, "us", 40, false, above("write-1")},
		{"NBD read QD1 p50 above native, " + client, 0, "us", 40, false, above("read-1")},
	}
}

// met says whether the median reaches a target, and whether every round does.
func met(median, every bool) string {
	if median && !every {
		return "in the median, not in every round"
	}
	return yes(median)
}

func yes(ok bool) string {
	if ok {
		return "yes"
	}
	return "no"
}
