package starve

import (
	"errors"
	"os/exec"
	"testing"
	"time"

	"github.com/ashlar-storage/ashlar/perf/meter"
)

// busy starts a process that takes all it gets, and gives what it gets of a processor.
func busy(t *testing.T) (pid int, share func() float64) {
	t.Helper()
	cmd := exec.Command("sh", "-c", "while :; do :; done")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	pid = cmd.Process.Pid
	return pid, func() float64 {
		t.Helper()
		before, err := meter.CPU(pid)
		began := time.Now()
		time.Sleep(time.Second)
		after, err2 := meter.CPU(pid)
		if err := errors.Join(err, err2); err != nil {
			t.Fatal(err)
		}
		return float64(after-before) / float64(time.Since(began))
	}
}

func TestAStarvedProcessGetsItsShareUntilItIsFed(t *testing.T) {
	if testing.Short() {
		t.Skip("keeps a processor busy for seconds; not with -short")
	}
	pid, share := busy(t)
	feed, err := Starve(pid, 5)
	if errors.Is(err, ErrUnable) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	starved := share()
	if err := feed(); err != nil {
		t.Fatal(err)
	}
	if starved > 0.1 {
		t.Errorf("starved to 5 %%, it got %.0f %% of a processor", starved*100)
	}
	// Others may want the machine as well.
	if fed := share(); fed < 2*starved {
		t.Errorf("fed again, it got %.0f %% of a processor, after %.0f %%", fed*100, starved*100)
	}
}

func TestAProcessThatEndedStarvingLeavesNothing(t *testing.T) {
	cmd := exec.Command("sleep", "60")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	feed, err := Starve(cmd.Process.Pid, 5)
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
	if errors.Is(err, ErrUnable) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	if err := feed(); err != nil {
		t.Error(err)
	}
}
