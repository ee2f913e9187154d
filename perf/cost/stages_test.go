package cost

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"testing"
)

// stageNode serves histograms that grow with each reading: 10 writes more, of which all but one
// took less than 4 ms to commit.
func stageNode(t *testing.T) Process {
	t.Helper()
	n := 0
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		n++
		fmt.Fprint(w, "# TYPE ashlar_store_request_seconds histogram\n")
		for _, stage := range []string{"reply", "commit"} {
			labels := fmt.Sprintf(`store="a",op="write",stage=%q`, stage)
			fmt.Fprintf(w, "ashlar_store_request_seconds_bucket{%s,le=\"0.002\"} 0\n"+
				"ashlar_store_request_seconds_bucket{%[1]s,le=\"0.004\"} %[2]d\n"+
				"ashlar_store_request_seconds_bucket{%[1]s,le=\"0.008\"} %[3]d\n"+
				"ashlar_store_request_seconds_bucket{%[1]s,le=\"+Inf\"} %[3]d\n"+
				"ashlar_store_request_seconds_sum{%[1]s} %[4]g\n"+
				"ashlar_store_request_seconds_count{%[1]s} %[3]d\n", labels, n*9, n*10,
				float64(n)*0.035)
		}
	}))
	t.Cleanup(s.Close)
	return Process{Name: "n1", Admin: strings.TrimPrefix(s.URL, "http://")}
}

func TestStagesAreThoseBetweenTwoReadings(t *testing.T) {
	nodes := []Process{stageNode(t), stageNode(t), {Name: "control"}}
	before, err := ReadStages(context.Background(), nodes)
	if err != nil {
		t.Fatal(err)
	}
	after, err := ReadStages(context.Background(), nodes)
	if err != nil {
		t.Fatal(err)
	}
	stage := func(name string) Stage {
		return Stage{Op: "write", Stage: name, Count: 20, Mean: 3500, P50: 2000 + 2000*10./18,
			P99: 4000 + 4000*1.8/2, P999: 4000 + 4000*1.98/2}
	}
	got := after.Since(before)
	for i := range got {
		got[i].P50, got[i].P99, got[i].P999 = round(got[i].P50), round(got[i].P99),
			round(got[i].P999)
		got[i].Mean = round(got[i].Mean)
	}
	want := []Stage{stage("commit"), stage("reply")}
	for i := range want {
		want[i].P50, want[i].P99, want[i].P999 = round(want[i].P50), round(want[i].P99),
			round(want[i].P999)
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("stages %+v\nwant %+v", got, want)
	}
	if none := after.Since(after); len(none) != 0 {
		t.Errorf("nothing happened: %+v", none)
	}
	lines := Breakdown(got)
	if len(lines) != 1 || lines[0] != "write (us): commit avg=3500.0 p99=7600.0, "+
		"reply avg=3500.0 p99=7600.0" {
		t.Errorf("%q", lines)
	}
}

func round(x float64) float64 { return float64(int(x + 0.5)) }

func TestNodeWithoutStagesIsNamed(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintln(w, "something 1")
	}))
	defer s.Close()
	_, err := ReadStages(context.Background(), []Process{{Name: "n7",
		Admin: strings.TrimPrefix(s.URL, "http://")}})
	if err == nil || !strings.Contains(err.Error(), "n7") {
		t.Errorf("error %v", err)
	}
}
