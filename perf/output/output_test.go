package output

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/ashlar-storage/ashlar/perf/job"
	"github.com/ashlar-storage/ashlar/perf/suite"
)

// report runs a job file on engine null.
func report(t *testing.T, text string) *Report {
	t.Helper()
	jobs, err := job.Parse(job.Source{Name: "a.fio", Text: text}, job.Env{})
	if err != nil {
		t.Fatal(err)
	}
	out, err := suite.Run(context.Background(), jobs, suite.Config{})
	if err != nil {
		t.Fatal(err)
	}
	return &Report{Version: "v", At: time.Unix(1000, 0), Entries: Collect(out, 7)}
}

const twoGroups = `[global]
ioengine=null
size=1m
[a]
rw=randrw
iodepth=4
fsync=50
[b]
stonewall
rw=read
numjobs=3
group_reporting
`

type sideDoc struct {
	Bytes int64 `json:"io_bytes"`
	Ops   int64 `json:"total_ios"`
	IOPS  float64
	Clat  struct {
		N          int64
		Percentile map[string]float64
		Bins       map[string]int64
	} `json:"clat_ns"`
}

type document struct {
	Version string            `json:"fio version"`
	Global  map[string]string `json:"global options"`
	Jobs    []struct {
		Name        string            `json:"jobname"`
		Group       int               `json:"groupid"`
		Options     map[string]string `json:"job options"`
		Read, Write sideDoc
		Sync        struct {
			Ops int64 `json:"total_ios"`
		}
		Levels map[string]float64 `json:"iodepth_level"`
	}
}

func decode(t *testing.T, text []byte) (d document) {
	t.Helper()
	if err := json.Unmarshal(text, &d); err != nil {
		t.Fatalf("%v in %s", err, text)
	}
	return d
}

func TestDocumentSaysWhatTheJobsDid(t *testing.T) {
	text, err := report(t, twoGroups).JSON(true)
	if err != nil {
		t.Fatal(err)
	}
	d := decode(t, text)
	if len(d.Jobs) != 2 || d.Global["size"] != "1m" || !strings.HasPrefix(d.Version, "fio-3") {
		t.Fatalf("%+v", d)
	}
	a, b := d.Jobs[0], d.Jobs[1]
	if a.Name != "a" || a.Group != 0 || a.Read.Ops+a.Write.Ops != 256 ||
		a.Options["rw"] != "randrw" {
		t.Errorf("a: %+v", a)
	}
	if want := a.Write.Ops / 50; a.Sync.Ops != want {
		t.Errorf("a: %d flushes of %d writes", a.Sync.Ops, a.Write.Ops)
	}
	if b.Group != 1 || b.Read.Ops != 3*256 || b.Read.Bytes != 3<<20 || b.Read.IOPS <= 0 ||
		b.Options["numjobs"] != "3" {
		t.Errorf("b: %+v", b)
	}
	var binned int64
	for _, n := range b.Read.Clat.Bins {
		binned += n
	}
	if binned != b.Read.Clat.N || len(b.Read.Clat.Percentile) != 17 {
		t.Errorf("b: %d in bins of %d, %d percentiles", binned, b.Read.Clat.N,
			len(b.Read.Clat.Percentile))
	}
	if b.Levels["1"] != 100 {
		t.Errorf("b: depths %v", b.Levels)
	}
}

func TestOnlyTheLongFormHasBins(t *testing.T) {
	text, err := report(t, twoGroups).JSON(false)
	if err != nil || strings.Contains(string(text), `"bins"`) {
		t.Errorf("json has bins, or %v", err)
	}
}

func TestClonesReportAloneWithoutGroupReporting(t *testing.T) {
	r := report(t, "[a]\nioengine=null\nsize=1m\nnumjobs=3\n")
	if len(r.Entries) != 3 || r.Entries[2].Result.Ops() != 256 {
		t.Errorf("%d entries", len(r.Entries))
	}
}

func TestNumbersAreShortenedAsFioDoes(t *testing.T) {
	for want, v := range map[string]float64{"46": 46, "9999": 9999, "46.0k": 46000,
		"1360k": 1_360_000, "12.3M": 12_300_000, "8000k": 8_000_000} {
		if got := short(v, 1000, ""); got != want {
			t.Errorf("%v is %q, want %q", v, got, want)
		}
	}
	if got := short(5313*(1<<20), 1024, "B/s"); got != "5313MiB/s" {
		t.Errorf("%q", got)
	}
	if got := short(31.9*(1<<20), 1024, "B"); got != "31.9MiB" {
		t.Errorf("%q", got)
	}
}

func TestTextNamesEveryJobAndGroup(t *testing.T) {
	text := report(t, twoGroups).Normal()
	for _, want := range []string{"a: (g=0): rw=randrw, bs=(R) 4096B-4096B", "ashlar-v",
		"b: (g=1): rw=read", "a: (groupid=0, jobs=1): err= 0", "b: (groupid=1, jobs=3)",
		"clat percentiles", "99.99th=[", "Run status group 1", "issued rwts: total=768,0,0,0",
		"flush:", "IO depths"} {
		if !strings.Contains(text, want) {
			t.Errorf("the text does not say %q:\n%s", want, text)
		}
	}
}

func TestOpenLoopSaysWhenItsRateIsNotReached(t *testing.T) {
	r := report(t, "[a]\nioengine=null\nsize=1m\nrate_iops=2000\nrate_process=poisson\n"+
		"time_based\nruntime=200ms\n")
	r.Entries[0].Result.Unserved = 0 // what was due when it ended, on a busy machine
	if text := r.Normal(); !strings.Contains(text, "open loop") ||
		!strings.Contains(text, "    lat percentiles") || strings.Contains(text, "WARNING") {
		t.Errorf("%s", text)
	}
	r.Entries[0].Result.Unserved = 50
	if text := r.Normal(); !strings.Contains(text, "WARNING      : 50 operations were due") {
		t.Errorf("%s", text)
	}
}

func TestLogsHaveTheLinesOfFio(t *testing.T) {
	at := filepath.Join(t.TempDir(), "x")
	r := report(t, "[a]\nioengine=null\nsize=1m\nrw=write\nwrite_lat_log="+at+"\nwrite_bw_log="+at+
		"\nwrite_iops_log="+at+"\n[b]\nioengine=null\nsize=1m\nwrite_lat_log="+at+
		"\nlog_avg_msec=10\n")
	if err := r.WriteLogs(); err != nil {
		t.Fatal(err)
	}
	line := regexp.MustCompile(`^\d+, \d+, [01], \d+, 0$`)
	for name, least := range map[string]int{"x_lat.1.log": 256, "x_clat.1.log": 256,
		"x_bw.1.log": 1, "x_iops.1.log": 1, "x_lat.2.log": 1} {
		text, err := os.ReadFile(filepath.Join(filepath.Dir(at), name))
		lines := strings.Split(strings.TrimSpace(string(text)), "\n")
		if err != nil || len(lines) < least || !line.MatchString(lines[0]) {
			t.Errorf("%s: %v, %d lines, the first %q", name, err, len(lines), lines[0])
		}
	}
}
