package cli

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestMistakesWithBenchNameTheFix(t *testing.T) {
	foreign := t.TempDir()
	bad := filepath.Join(foreign, "bad.json")
	if err := os.WriteFile(bad, []byte("name: a\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	const nobody, null = "127.0.0.1:1", "bench --ioengine=null --size=1g "
	for _, c := range []struct {
		args   string
		status int
		want   string
	}{
		{"bench", exitUsage, "--ioengine=null"},
		{null + "--floor=" + bad, exitUsage, "bench floor -o json"},
		{null + "--cluster=" + foreign, exitUsage, "ashlar up --data"},
		{"bench floor --for=0s", exitUsage, "above zero"},
		{"bench compare a", exitUsage, "A.json B.json"},
		{"bench compare " + bad + " " + bad, exitUsage, "not fio's JSON"},
		{"bench /nonexistent", exitUsage, "/nonexistent"},
		{"bench --rww=read", exitUsage, "did you mean rw?"},
		{"bench --mem=malloc", exitUsage, "not supported"},
		{null + "--rw=up", exitUsage, "randwrite"},
		{null + "--output-format=xml", exitUsage, "json+"},
		{null + "--runs=0", exitUsage, "--runs"},
		{"bench --ioengine=ashlar --volume=v", exitUsage, "--endpoint"},
		{"bench --ioengine=ashlar --volume=v --endpoint=" + nobody, exitUnavailable, nobody},
		{"bench --ioengine=uring --filename=" + foreign, exitUsage, "directory"},
		{"bench sweep --depths=0 " + strings.TrimPrefix(null, "bench "), exitUsage, "depth 0"},
		{"bench report x.json", exitUsage, "--output"},
		{"bench report -o x.html", exitUsage, "FILE.json"},
		{"bench report " + bad + " -o " + bad + ".html", exitUsage, "not fio's JSON"},
	} {
		mistake(t, c.args, c.status, c.want)
	}
}

// Options may come in any order and repeat; a name begins a job.
func TestBenchReportsInEveryForm(t *testing.T) {
	status, out, errOut := invoke(t, strings.Fields("bench --ioengine=null --size=1m --bs=4k "+
		"--name=a --rw=randread --name=b --rw=write --stonewall --runs=2 "+
		"--output-format=normal,json,terse --eta=never")...)
	if status != 0 || errOut != "" {
		t.Fatalf("status %d: %s", status, errOut)
	}
	for want, times := range map[string]int{"a: (groupid=0, jobs=1): err= 0": 2,
		"b: (groupid=1, jobs=1): err= 0": 2, "Run status group 1": 2, `"jobname": "b"`: 2,
		`"run": 1`: 2, "3;fio-3.33-format": 4} {
		if got := strings.Count(out, want); got != times {
			t.Errorf("%q is there %d times, want %d:\n%s", want, got, times, out)
		}
	}
}

func TestSweepBecomesAPage(t *testing.T) {
	dir := t.TempDir()
	sweep, page := filepath.Join(dir, "s.json"), filepath.Join(dir, "s.html")
	status, _, errOut := invoke(t, strings.Fields("bench sweep --depths=1,4 --ioengine=null "+
		"--size=1m --name=w --rw=randwrite --output-format=json --output="+sweep)...)
	if status != 0 {
		t.Fatalf("status %d: %s", status, errOut)
	}
	if status, _, errOut = invoke(t, "bench", "report", sweep, "-o", page); status != 0 {
		t.Fatalf("status %d: %s", status, errOut)
	}
	text, err := os.ReadFile(page)
	if err != nil || !strings.Contains(string(text), "w-qd4 write") {
		t.Errorf("%v: %s", err, text)
	}
}
