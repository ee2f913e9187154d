package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// measured is a document of fio's form, as far as is compared.
type measured struct {
	Jobs []struct {
		Name        string `json:"jobname"`
		Error       int
		Read, Write struct {
			IOPS float64
			Ops  int64 `json:"total_ios"`
		}
		Ashlar struct {
			Efficiency []struct{ Ratio float64 }
			Cost       struct {
				CPU     map[string]float64 `json:"cpu_us"`
				Written float64            `json:"written_bytes_per_user_byte"`
				Stages  []struct {
					Op, Stage string
					Count     int
					Mean      float64 `json:"mean_us"`
				}
			}
		}
	}
}

// bench runs the harness and decodes its document.
func bench(t *testing.T, args ...string) (m measured) {
	t.Helper()
	args = append([]string{"bench", "--output-format=json+", "--eta=never"}, args...)
	stdout, stderr, status := ashlar(args...)
	if status != 0 {
		t.Fatalf("ashlar %v: status %d: %s", args, status, stderr)
	}
	if err := json.Unmarshal([]byte(stdout), &m); err != nil {
		t.Fatalf("ashlar %v: %v in %s", args, err, stdout)
	}
	return m
}

// One cluster, the native client and the gateway, each verified, and the same job file through fio
// and through us against the same gateway.
func TestBenchMeasuresAClusterAsFioDoes(t *testing.T) {
	skipShort(t)
	c := start(t, filepath.Join(t.TempDir(), "data"), "--volume", "vol", "--size", "256MiB")
	floor := filepath.Join(t.TempDir(), "floor.json")
	text, said, status := ashlar("bench", "floor", "--dir", t.TempDir(), "--size=8MiB",
		"--for=50ms", "-o", "json")
	if err := os.WriteFile(floor, []byte(text), 0o600); err != nil || status != 0 {
		t.Fatalf("status %d: %s, %v", status, said, err)
	}
	m := bench(t, "--floor="+floor, "--ioengine=ashlar", "--data", c.dir, "--volume=vol",
		"--rw=randwrite", "--bs=4k", "--stages",
		"--iodepth=16", "--size=32m", "--number_ios=4000", "--verify=crc32c", "--verify_fatal")
	if j := m.Jobs[0]; j.Write.Ops != 4000 || j.Read.Ops == 0 {
		t.Errorf("native client: %+v", j)
	}
	// Three copies go to the logs, and each chunk is written in time.
	if a := m.Jobs[0].Ashlar; len(a.Efficiency) != 1 || a.Efficiency[0].Ratio <= 0 ||
		a.Cost.CPU["n1"] <= 0 || a.Cost.CPU["client"] <= 0 || a.Cost.Written < 3 {
		t.Errorf("efficiency and cost: %+v", a)
	}
	commits := 0
	for _, s := range m.Jobs[0].Ashlar.Cost.Stages {
		if s.Op == "write" && s.Stage == "commit" && s.Mean > 0 {
			commits = s.Count
		}
	}
	if commits != 4000 {
		t.Errorf("stages have %d commits of 4000 writes", commits)
	}
	bench(t, "--ioengine=nbd", "--uri", c.url, "--rw=write", "--bs=1m", "--iodepth=4",
		"--size=64m") // first writes are dearer
	jobs := filepath.Join(t.TempDir(), "a.fio")
	text = "[global]\nioengine=nbd\nuri=" + c.url + "\nbs=4k\nsize=64m\niodepth=8\n" +
		"norandommap=1\ntime_based=1\nruntime=2\n" +
		"[w]\nrw=randwrite\n[r]\nstonewall\nrw=randread\n"
	if err := os.WriteFile(jobs, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	ours := bench(t, jobs)
	need(t, "fio")
	var theirs measured
	out := run(t, "fio", "--output-format=json", jobs)
	if err := json.Unmarshal([]byte(out[strings.Index(out, "{"):]), &theirs); err != nil {
		t.Fatal(err)
	}
	for i, j := range ours.Jobs {
		f := theirs.Jobs[i]
		if j.Name != f.Name || j.Error+f.Error != 0 || j.Write.Ops+j.Read.Ops < 10 ||
			f.Write.Ops+f.Read.Ops < 10 || j.Write.Ops > 0 != (f.Write.Ops > 0) {
			t.Errorf("ours %+v, fio's %+v", j, f)
		}
		t.Logf("%s: ours %.0f IOPS, fio %.0f: %.2f", j.Name, j.Write.IOPS+j.Read.IOPS,
			f.Write.IOPS+f.Read.IOPS, (j.Write.IOPS+j.Read.IOPS)/(f.Write.IOPS+f.Read.IOPS))
	}
	c.stop()
}
