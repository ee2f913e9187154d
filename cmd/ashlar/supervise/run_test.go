package supervise

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func quiet() *slog.Logger { return slog.New(slog.NewTextHandler(io.Discard, nil)) }

// options runs shell scripts as children; a child serves when its file exists.
func options(t *testing.T, scripts map[string]string) (Options, string) {
	dir := t.TempDir()
	stop := make(chan struct{}, 2)
	return Options{
		Children: trio,
		Launch: func(c Child) (*exec.Cmd, func(), error) {
			script := scripts[c.ID]
			if script == "" {
				script = "trap 'echo $0 >>stops; exit 0' TERM; touch $0; " +
					"while :; do sleep 0.01; done"
			}
			cmd := exec.Command("sh", "-c", script, c.ID)
			cmd.Dir = dir
			return cmd, func() {}, nil
		},
		Probe: func(_ context.Context, c Child, _ int) bool {
			_, err := os.Stat(filepath.Join(dir, c.ID))
			return err == nil
		},
		Volume:  func(context.Context) error { return nil },
		Explain: func(c Child) string { return "last words of " + c.ID },
		OnReady: func() { stop <- struct{}{} },
		Stop:    stop,
		Logger:  quiet(),
	}, dir
}

func TestProcessesStopInOrderWhenAsked(t *testing.T) {
	opt, dir := options(t, nil)
	if err := Run(opt); err != nil {
		t.Fatal(err)
	}
	stops, err := os.ReadFile(filepath.Join(dir, "stops"))
	words := strings.Fields(string(stops))
	if err != nil || len(words) != 4 || words[0] != "gw" || words[3] != "c" {
		t.Errorf("stopped in the order %q, %v", words, err)
	}
}

func TestFailedStartNamesTheChildAndItsLastWords(t *testing.T) {
	opt, _ := options(t, map[string]string{"n1": "exit 7"})
	err := Run(opt)
	if !errors.Is(err, ErrRefused) || !errors.Is(err, ErrFailed) {
		t.Fatal(err)
	}
	for _, want := range []string{"node n1", "exit status 7", "last words of n1"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q does not say %q", err, want)
		}
	}
}

func TestStubbornProcessIsKilledInTheEnd(t *testing.T) {
	opt, _ := options(t, map[string]string{
		"gw": "trap '' TERM; touch $0; while :; do sleep 0.01; done"})
	opt.Config.StopWait = 200 * time.Millisecond
	if err := Run(opt); err != nil {
		t.Fatal(err)
	}
}

func TestKilledProcessIsStartedAgain(t *testing.T) {
	opt, _ := options(t, nil)
	stop := make(chan struct{}, 1)
	opt.Config.RestartDelay = 10 * time.Millisecond
	opt.Stop = stop
	var mu sync.Mutex
	var launched []*exec.Cmd
	inner := opt.Launch
	opt.Launch = func(c Child) (*exec.Cmd, func(), error) {
		cmd, started, err := inner(c)
		mu.Lock()
		defer mu.Unlock()
		if c.ID == "n1" {
			launched = append(launched, cmd)
			if len(launched) == 2 {
				stop <- struct{}{}
			}
		}
		return cmd, started, err
	}
	opt.OnReady = func() {
		mu.Lock()
		defer mu.Unlock()
		_ = launched[0].Process.Kill()
	}
	if err := Run(opt); err != nil {
		t.Fatal(err)
	}
	if len(launched) != 2 {
		t.Errorf("n1 was launched %d times", len(launched))
	}
}

func TestCommandThatCannotRunEndsTheStart(t *testing.T) {
	opt, dir := options(t, nil)
	opt.Config.RestartDelay = time.Millisecond
	opt.Launch = func(Child) (*exec.Cmd, func(), error) {
		return exec.Command(filepath.Join(dir, "absent")), func() {}, nil
	}
	if err := Run(opt); !errors.Is(err, ErrFailed) || !strings.Contains(err.Error(), "absent") {
		t.Error(err)
	}
}

func TestVolumeFailureIsTheReason(t *testing.T) {
	opt, _ := options(t, nil)
	opt.Volume = func(context.Context) error { return fmt.Errorf("the pool holds 1 GiB") }
	if err := Run(opt); err == nil || !strings.Contains(err.Error(), "the pool holds 1 GiB") {
		t.Error(err)
	}
}
