package probetest

import (
	"bufio"
	"fmt"
	"io"
	"os/exec"
	"path/filepath"
	"testing"
)

// Marked is a process that sends as many records as it is told.
type Marked struct {
	PID int
	in  io.Writer
	out *bufio.Scanner
}

// Start builds and starts one, for as long as the test runs.
func Start(t *testing.T, buildFlags ...string) *Marked {
	t.Helper()
	exe := filepath.Join(t.TempDir(), "marked")
	args := append([]string{"build"}, append(buildFlags, "-o", exe,
		"github.com/ashlar-storage/ashlar/ebpf/probe/testdata/marked")...)
	if out, err := exec.Command("go", args...).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	cmd := exec.Command(exe)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = in.Close() // which ends it
		if err := cmd.Wait(); err != nil {
			t.Error(err)
		}
	})
	return &Marked{cmd.Process.Pid, in, bufio.NewScanner(out)}
}

// Send has it send records, and says whether it knows of a probe.
func (m *Marked) Send(t *testing.T, what string, n int) (attached bool) {
	t.Helper()
	if _, err := fmt.Fprintln(m.in, what, n); err != nil {
		t.Fatal(err)
	}
	if !m.out.Scan() {
		t.Fatalf("it ended: %v", m.out.Err())
	}
	return m.out.Text() == "true"
}
