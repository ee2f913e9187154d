package main

import (
	"errors"
	"strings"
	"testing"

	"github.com/ashlar-storage/ashlar/perf/meter"
)

func TestTableReplacesOnlyWhatIsBetweenTheMarkers(t *testing.T) {
	doc := "# a\n" + beginMark + "\nold\n" + endMark + "\nrest\n"
	got, err := replaceTable(doc, "new\n")
	if want := "# a\n" + beginMark + "\nnew\n" + endMark + "\nrest\n"; err != nil || got != want {
		t.Errorf("%q, %v", got, err)
	}
	for _, bad := range []string{"", beginMark, endMark + beginMark} {
		if _, err := replaceTable(bad, ""); !errors.Is(err, errMarkers) {
			t.Errorf("%q: error = %v", bad, err)
		}
	}
}

func TestMedianAndRange(t *testing.T) {
	for _, c := range []struct {
		v    []float64
		want string
	}{
		{nil, "-"}, {[]float64{1500}, "1,500"}, {[]float64{3, 1, 2}, "2 (1-3)"},
		{[]float64{4, 1, 2, 3}, "2 (1-4)"}, {[]float64{1234567}, "1,234,567"},
		{[]float64{-147, 147}, "0 (-147 to 147)"}, {[]float64{-1234, 0}, "-617 (-1,234 to 0)"},
	} {
		if got := spreadOf(c.v).format(0); got != c.want {
			t.Errorf("%v is shown as %q, want %q", c.v, got, c.want)
		}
	}
}

// Two rounds, in the second of which everything took twice as long.
func sampleResults() *results {
	r := &results{Rounds: 2, Seconds: 1, Size: 1 << 30,
		Quiet: []quiet{{CPU: 0.5, RSS: 90}, {Round: 1, CPU: 0.9, RSS: 210}}}
	for round := range 2 {
		k := float64(round + 1)
		add := func(name string, p50, iops float64, used *usage) {
			r.Samples = append(r.Samples, sample{Case: name, Round: round, Load: 1, Used: used,
				figures: figures{Ops: 1000, IOPS: iops, P50: p50 * k, P99: 1, P999: 1}})
		}
		add("net-echo-1", 25, 1, nil)
		add("raw-write-1", 150, 1, nil)
		add("raw-read-1", 50, 1, nil)
		add("native-write-1", 500, 2000, &usage{CPU: map[string]float64{"n1": 0.1, "n2": 0.1,
			"client": 0.05}, Nodes: meter.Stats{"log.writes": 3000, "log.write_bytes": 3000 * 8192,
			"disk.durable_writes": 3300, "runtime.mallocs": 42000}})
		add("native-read-1", 140, 7000, &usage{})
		add(threeAtOnce, 200, 1, nil)
		add("native-read-32", 700, 46000+2000*float64(round), &usage{})
		add("own-nbd-read-32", 800, 41400+1800*float64(round), &usage{})
		add("nbd-read-32", 1400, 23000+1000*float64(round), &usage{})
		add("raw-write-32", 900, 40000, nil)
		add("native-write-32", 2000, 12000, nil)
	}
	return r
}

func TestRatiosAreFormedInsideARound(t *testing.T) {
	text := sampleResults().markdown()
	for _, want := range []string{
		"| 2.50 x |",      // 500 / (150 + 2*25), in both rounds
		"| 1.87 x |",      // 140 / (50 + 25)
		"0.30 x raw IOPS", // 12000 / 40000
		"1.50 x | 2.50 x | no |",
		"20,000 IOPS | 12,000 IOPS | no |",
		"0.30 x | 0.30 x | yes |",
		"40 us | 135 (90-180) us | no |",                    // 140 - 50, and twice that
		"is 375 (250-500) us, and Ashlar's 2.00 times that", // 500 / (200 + 2*25)
		"45,000 IOPS | 47,000 (46,000-48,000) IOPS | yes |",
		"NBD read QD32 against native, own client | 0.85 x | 0.90 x | yes |",
		"NBD read QD32 against native, fio | 0.85 x | 0.50 x | no |",
		"node with 300 idle copysets | 1.00 % of a core | 0.70 (0.50-0.90) % of a core | yes |",
		"its resident memory | 200 MiB | 150 (90-210) MiB | in the median, not in every round |",
		"per replica | 1.0",   // log writes
		"nodes, us | 200.0 |", // CPU
		"three nodes | 42.0 |",
		"(checkpoints), per replica | 0.100 |",
		"user byte, per replica | 2.00 |",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("the report does not say %q:\n%s", want, text)
		}
	}
}

func TestTargetThatOneRoundMissesIsNotCalledMet(t *testing.T) {
	r := sampleResults()
	for i := range r.Samples {
		if s := &r.Samples[i]; s.Case == "native-read-32" && s.Round == 1 {
			s.IOPS = 44500
		}
	}
	if text := r.markdown(); !strings.Contains(text, "| in the median, not in every round |") {
		t.Errorf("46,000 and 44,500 IOPS against 45,000:\n%s", text)
	}
}

func TestOptionsThatMakeNoSenseAreRefused(t *testing.T) {
	for _, args := range [][]string{{"-size", "1KiB"}, {"-size", "x"}, {"-rounds", "0"},
		{"-only", "("}, {"-nosuch"}} {
		if _, err := parse(args); err == nil {
			t.Errorf("%v is taken", args)
		}
	}
	o, err := parse([]string{"-size", "256MiB"})
	if err != nil || o.size != 256<<20 || o.rounds != 5 {
		t.Errorf("%+v, %v", o, err)
	}
}
