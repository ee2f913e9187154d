package main

import (
	"encoding/json"
	"fmt"
	"math"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

const (
	// agreement is by how much figures of fio and ours may differ where the server sets the pace.
	agreement = 0.05
	// agreeTries is how often each may run: on a busy machine two runs of either differ.
	agreeTries = 6
)

// pacedServer is an NBD server that takes a set time for every operation, whoever asks.
func pacedServer(t *testing.T, delay time.Duration) (uri string) {
	t.Helper()
	need(t, "nbdkit")
	socket := filepath.Join(t.TempDir(), "sock")
	cmd := exec.Command("nbdkit", "-f", "-U", socket, "--filter=delay", "memory", "size=64M",
		fmt.Sprintf("rdelay=%dms", delay.Milliseconds()),
		fmt.Sprintf("wdelay=%dms", delay.Milliseconds()))
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		_ = cmd.Wait()
	})
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		nc, err := net.Dial("unix", socket)
		if err == nil {
			_ = nc.Close()
			return "nbd+unix:///?socket=" + socket
		}
		if time.Now().After(end) {
			t.Fatalf("nbdkit does not serve: %v", err)
		}
	}
}

// sideFigures are the figures of a job's reads or writes that both report.
type sideFigures struct {
	IOPS  float64
	BW    float64 `json:"bw_bytes"`
	Ops   int64   `json:"total_ios"`
	Clat  latency `json:"clat_ns"`
	Total latency `json:"lat_ns"`
}

type latency struct {
	Mean       float64
	Percentile map[string]float64
}

func (s *sideFigures) list() map[string]float64 {
	return map[string]float64{"iops": s.IOPS, "bw": s.BW, "operations": float64(s.Ops),
		"mean clat": s.Clat.Mean, "mean lat": s.Total.Mean,
		"median clat": s.Clat.Percentile["50.000000"]}
}

func figuresOf(t *testing.T, text string) map[string]map[string]float64 {
	t.Helper()
	var doc struct {
		Jobs []struct {
			Name        string `json:"jobname"`
			Read, Write sideFigures
		}
	}
	if err := json.Unmarshal([]byte(text[strings.Index(text, "{"):]), &doc); err != nil {
		t.Fatalf("%v in %s", err, text)
	}
	out := map[string]map[string]float64{}
	for i := range doc.Jobs {
		j := &doc.Jobs[i]
		side := &j.Read
		if j.Write.Ops > j.Read.Ops {
			side = &j.Write
		}
		out[j.Name] = side.list()
	}
	return out
}

// One job file, fio and us, and a server whose operations take 20 ms: what differs then is how time
// is measured and figures are formed, not what either costs.
func TestFioAndBenchAgreeOnAServerThatSetsThePace(t *testing.T) {
	skipShort(t)
	need(t, "fio")
	uri := pacedServer(t, 20*time.Millisecond)
	jobs := filepath.Join(t.TempDir(), "paced.fio")
	text := "[global]\nioengine=nbd\nuri=" + uri + "\nbs=4k\nsize=32m\nnorandommap=1\n" +
		"time_based=1\nruntime=2\n" +
		"[write-8]\nrw=randwrite\niodepth=8\n" +
		"[read-1]\nstonewall\nrw=randread\niodepth=1\n" +
		"[read-4]\nstonewall\nrw=read\nbs=16k\niodepth=4\n" +
		"[paced]\nstonewall\nrw=randwrite\niodepth=8\nrate_iops=100\n"
	if err := os.WriteFile(jobs, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	var apart []string
	theirs, ours := map[string]map[string]float64{}, map[string]map[string]float64{}
	for range agreeTries {
		best(theirs, figuresOf(t, run(t, "fio", "--output-format=json", jobs)))
		stdout, said, status := ashlar("bench", "--output-format=json", "--eta=never", jobs)
		if status != 0 {
			t.Fatalf("status %d: %s", status, said)
		}
		best(ours, figuresOf(t, stdout))
		if apart = disagreements(t, theirs, ours); len(apart) == 0 {
			return
		}
	}
	t.Errorf("the best of %d times each: %s", agreeTries, strings.Join(apart, "; "))
}

// best keeps the better of each figure: what others do on the machine makes latencies longer and
// rates lower, never the other way.
func best(kept, next map[string]map[string]float64) {
	for job, figures := range next {
		if kept[job] == nil {
			kept[job] = figures
			continue
		}
		for what, v := range figures {
			if strings.HasSuffix(what, "lat") {
				kept[job][what] = min(kept[job][what], v)
			} else {
				kept[job][what] = max(kept[job][what], v)
			}
		}
	}
}

func disagreements(t *testing.T, theirs, ours map[string]map[string]float64) (apart []string) {
	t.Helper()
	for _, job := range []string{"write-8", "read-1", "read-4", "paced"} {
		if len(theirs[job]) == 0 {
			t.Fatalf("fio did not do %s", job)
		}
		for what, want := range theirs[job] {
			got := ours[job][what]
			t.Logf("%-8s %-12s fio %12.0f, ours %12.0f", job, what, want, got)
			if want <= 0 || math.Abs(got/want-1) > agreement {
				apart = append(apart, fmt.Sprintf("%s: %s is %.0f, fio's %.0f", job, what, got,
					want))
			}
		}
	}
	return apart
}
