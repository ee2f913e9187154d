package compare

import (
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// The values are those of R's wilcox.test(a, b).
func TestPValuesAreThoseOfTheTables(t *testing.T) {
	for _, c := range []struct {
		a, b []float64
		want float64
	}{
		{[]float64{1, 2, 3, 4}, []float64{5, 6, 7, 8}, 2.0 / 70},
		{[]float64{1, 2, 3}, []float64{4, 5, 6}, 0.1},
		{[]float64{1, 3, 5, 7}, []float64{2, 4, 6, 8}, 48.0 / 70},
		{[]float64{0.80, 0.83, 1.89, 1.04, 1.45, 1.38, 1.91, 1.64, 0.73, 1.46},
			[]float64{1.15, 0.88, 0.90, 0.74, 1.21}, 0.2544},
		{nil, []float64{1}, 1},
		{[]float64{5, 5, 5, 5}, []float64{5, 5, 5, 5}, 1},
	} {
		if got := PValue(c.a, c.b); math.Abs(got-c.want) > 0.0005 {
			t.Errorf("%v and %v: p = %.4f, want %.4f", c.a, c.b, got, c.want)
		}
		if got := PValue(c.b, c.a); math.Abs(got-c.want) > 0.0005 {
			t.Errorf("%v and %v, the other way: p = %.4f, want %.4f", c.b, c.a, got, c.want)
		}
	}
}

func TestApproximationIsNearTheExactValue(t *testing.T) {
	var a, b []float64
	for i := range 20 {
		a = append(a, float64(2*i))
		b = append(b, float64(2*i)+9.5)
	}
	want := PValue(a, b)
	a, b = append(a, 1000, 1000), append(b, 1000, 1000)
	if got := PValue(a, b); math.Abs(got-want) > 0.05 {
		t.Errorf("with four equal values at the end: p = %.4f, without %.4f", got, want)
	}
}

// doc writes a document of fio's JSON with a run for each figure.
func doc(t *testing.T, name string, iops ...float64) string {
	t.Helper()
	var jobs []string
	for _, v := range iops {
		jobs = append(jobs, fmt.Sprintf(`{"jobname":"w","error":0,"read":{"total_ios":0},"write":{`+
			`"total_ios":9,"iops":%v,"bw_bytes":1048576,"lat_ns":{"mean":%v},"clat_ns":{`+
			`"percentile":{"50.000000":1000,"99.000000":2000}}}}`, v, 1e9/v))
	}
	path := filepath.Join(t.TempDir(), name)
	text := `{"jobs":[` + strings.Join(jobs, ",") + `]}`
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func compareFiles(t *testing.T, a, b string) map[string]Line {
	t.Helper()
	x, err := Read(a)
	if err != nil {
		t.Fatal(err)
	}
	y, err := Read(b)
	if err != nil {
		t.Fatal(err)
	}
	lines, err := Compare(x, y)
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]Line{}
	for _, l := range lines {
		out[l.Metric] = l
	}
	return out
}

func TestVerdictsFollowTheDirectionOfTheMetric(t *testing.T) {
	slow := doc(t, "a.json", 100, 101, 102, 103, 104)
	fast := doc(t, "b.json", 200, 201, 202, 203, 204)
	up := compareFiles(t, slow, fast)
	if l := up["IOPS"]; l.Verdict != "better" || l.Change < 97 || l.Change > 99 || l.A.Runs != 5 {
		t.Errorf("IOPS doubled: %+v", l)
	}
	if l := up["mean us"]; l.Verdict != "better" || l.Change > -49 {
		t.Errorf("the mean halved: %+v", l)
	}
	if l := up["p50 us"]; l.Verdict != "no difference shown" || l.A.Median != 1 {
		t.Errorf("equal medians: %+v", l)
	}
	if l := compareFiles(t, fast, slow)["IOPS"]; l.Verdict != "worse" {
		t.Errorf("IOPS halved: %+v", l)
	}
}

func TestFewRunsShowNothing(t *testing.T) {
	got := compareFiles(t, doc(t, "a.json", 1, 2, 3), doc(t, "b.json", 100, 200, 300))
	if l := got["IOPS"]; l.Verdict != "too few runs" {
		t.Errorf("%+v", l)
	}
}

func TestDocumentsThatCannotBeComparedAreRefused(t *testing.T) {
	for name, text := range map[string]string{"not JSON": "x", "no jobs": `{"jobs":[]}`,
		"failed": `{"jobs":[{"jobname":"a","error":5}]}`} {
		path := filepath.Join(t.TempDir(), "f")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := Read(path); !errors.Is(err, ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
