package page

import (
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// sweep writes a document of jobs at several depths, each run twice.
func sweep(t *testing.T, name string) string {
	t.Helper()
	var jobs []string
	for _, depth := range []int{1, 4, 32} {
		for run := range 2 {
			jobs = append(jobs, fmt.Sprintf(`{"jobname":"w<-qd%d","job options":{"rw":"randwrite",`+
				`"bs":"4k","iodepth":"%d"},"read":{"total_ios":0},"write":{"total_ios":9,`+
				`"iops":%d,`+
				`"bw_bytes":1048576,"lat_ns":{"mean":%d},"clat_ns":{"percentile":{"50.000000":%d,`+
				`"99.000000":900000,"99.900000":1900000}}},"ashlar":{"cost":{"total_cpu_us":50,`+
				`"cpu_us":{"client":20,"n1":30},"stages":[`+
				`{"op":"write","stage":"queue","mean_us":7.5},`+
				`{"op":"write","stage":"commit","mean_us":400},`+
				`{"op":"log","stage":"wait","mean_us":9}]},`+
				`"efficiency":[{"direction":"write","ratio":2.5,"unit":"us"}]}}`, depth,
				depth, 1000*depth+run, 100000*depth, 100000*depth))
		}
	}
	path := filepath.Join(t.TempDir(), name+".json")
	text := `{"fio version":"v","time":"now","jobs":[` + strings.Join(jobs, ",") +
		`],"ashlar":{"machine":{"cores":2,"cpu":"X"}}}`
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestPageShowsCurvesAndNeedsNothingFromElsewhere(t *testing.T) {
	d, err := Read(sweep(t, "before"), sweep(t, "after"))
	if err != nil {
		t.Fatal(err)
	}
	if len(d.points) != 6 || d.points[0].runs != 2 || d.points[0].iops != 1000.5 {
		t.Fatalf("%d points, the first %+v", len(d.points), d.points[0])
	}
	text := string(d.HTML("A & B"))
	for want, times := range map[string]int{"<svg": 4, "Time inside the nodes": 1,
		"queue: 7.5 us": 6, "Latency against rate: writes": 1,
		"Latency against rate: reads": 0, "Percentiles: writes": 1, "A &amp; B": 2, "w&lt;": 1,
		"2.50 x latency":                   6,
		"before: w&lt;, randwrite 4k, p50": 1, ">32</text>": 2, "X, 2 cores": 2} {
		got := strings.Count(text, want)
		if got != times && (times != 1 || got == 0) {
			t.Errorf("%q is there %d times, want %d", want, got, times)
		}
	}
	for _, not := range []string{"http", "<script", "src=", "NaN", "Inf", "w<-"} {
		if strings.Contains(text, not) {
			t.Errorf("the page has %q", not)
		}
	}
	for part := range strings.SplitSeq(text, "<svg") {
		if svg, _, ok := strings.Cut(part, "</svg>"); ok && strings.HasPrefix(svg, " viewBox") {
			wellFormed(t, "<svg"+svg+"</svg>")
		}
	}
}

func wellFormed(t *testing.T, text string) {
	t.Helper()
	for d := xml.NewDecoder(strings.NewReader(text)); ; {
		if _, err := d.Token(); err == io.EOF {
			return
		} else if err != nil {
			t.Fatalf("a drawing is not well formed: %v", err)
		}
	}
}

func TestDocumentsWithoutFiguresAreRefused(t *testing.T) {
	for _, text := range []string{"x", "{}", `{"jobs":[]}`,
		`{"jobs":[{"jobname":"a","read":{"total_ios":0}}]}`} {
		path := filepath.Join(t.TempDir(), "f.json")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := Read(path); !errors.Is(err, ErrInvalid) {
			t.Errorf("%q: %v", text, err)
		}
	}
}

// Drawings of one value, of equal values and of very different ones have no holes.
func TestAxesTakeAnyValues(t *testing.T) {
	for _, values := range [][]float64{{5}, {0, 0}, {1e-9, 1e9}, {100, 100}} {
		for _, log := range []bool{false, true} {
			a := newAxis("x", values, log, count)
			a.from, a.to = 0, 100
			for _, v := range values {
				if at := a.at(v); !(at >= -1 && at <= 101) {
					t.Errorf("%v log %t: %v is at %v", values, log, v, at)
				}
			}
			if len(a.ticks) > 100 {
				t.Errorf("%v log %t: %d ticks", values, log, len(a.ticks))
			}
		}
	}
}
