package daemon

import (
	"context"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/ashlar-storage/ashlar/cmd/ashlar/config"
)

// supervisor takes what a daemon tells, as systemd does.
func supervisor(t *testing.T, watchdog time.Duration) <-chan string {
	t.Helper()
	addr := &net.UnixAddr{Net: "unixgram", Name: filepath.Join(t.TempDir(), "notify")}
	conn, err := net.ListenUnixgram("unixgram", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("NOTIFY_SOCKET", addr.Name)
	if watchdog > 0 {
		t.Setenv("WATCHDOG_USEC", strconv.FormatInt(watchdog.Microseconds(), 10))
		t.Setenv("WATCHDOG_PID", strconv.Itoa(os.Getpid()))
	}
	said := make(chan string, 1024)
	go func() {
		defer close(said)
		b := make([]byte, 4096)
		for {
			n, err := conn.Read(b)
			if err != nil {
				return
			}
			said <- string(b[:n])
		}
	}()
	t.Cleanup(func() {
		conn.Close()
		for range said {
		}
	})
	return said
}

func wantNext(t *testing.T, said <-chan string, want string) {
	t.Helper()
	select {
	case got := <-said:
		if got != want {
			t.Fatalf("told %q, want %q", got, want)
		}
	case <-time.After(20 * time.Second):
		t.Fatalf("never told %q", want)
	}
}

func TestControlPlaneTellsItsSupervisorWhenItServesLivesAndStops(t *testing.T) {
	said := supervisor(t, 100*time.Millisecond)
	cfg := config.DefaultControl()
	cfg.Listen, cfg.Data = "127.0.0.1:0", t.TempDir()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		ended <- RunControl(ctx, cfg, Env{Version: "test", Logger: slog.New(slog.DiscardHandler)})
	}()
	wantNext(t, said, "READY=1")
	for range 5 {
		wantNext(t, said, "WATCHDOG=1")
	}
	cancel()
	for got := ""; got != "STOPPING=1"; {
		select {
		case got = <-said:
		case <-time.After(20 * time.Second):
			t.Fatal("never told that it stops")
		}
	}
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
}

func TestNodeServesAndSaysSoAlsoWithoutAControlPlane(t *testing.T) {
	said := supervisor(t, 100*time.Millisecond)
	cfg := config.DefaultNode()
	cfg.Listen, cfg.Control, cfg.Memory = "127.0.0.1:0", "127.0.0.1:1", 64<<20
	cfg.Stores, cfg.AllowVolatileCache = []string{t.TempDir()}, true
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		ended <- RunNode(ctx, cfg, Env{Version: "test", Logger: slog.New(slog.DiscardHandler)})
	}()
	wantNext(t, said, "READY=1")
	wantNext(t, said, "WATCHDOG=1")
	wantNext(t, said, "WATCHDOG=1")
	cancel()
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
}

func TestDaemonThatIsNotAliveLetsTheWatchdogAct(t *testing.T) {
	before := goleak.IgnoreCurrent()
	t.Cleanup(func() { goleak.VerifyNone(t, before) }) // after the supervisor is gone
	said := supervisor(t, 50*time.Millisecond)
	var dead atomic.Bool
	var told atomic.Int32 // how often it said that it is alive
	end := announce(t.Context(), slog.New(slog.DiscardHandler), func() bool {
		if dead.Load() {
			return false
		}
		told.Add(1)
		return true
	})
	defer end()
	wantNext(t, said, "READY=1")
	wantNext(t, said, "WATCHDOG=1")
	dead.Store(true)
	quiet := time.NewTimer(300 * time.Millisecond)
	for fed := int32(1); ; fed++ {
		if fed > told.Load() {
			t.Fatalf("told %d times that it is alive, and it said so %d times", fed, told.Load())
		}
		select {
		case <-said:
		case <-quiet.C:
			return
		}
	}
}

func TestWithoutASupervisorNobodyIsTold(t *testing.T) {
	t.Setenv("NOTIFY_SOCKET", "")
	end := announce(t.Context(), slog.New(slog.DiscardHandler), func() bool {
		t.Error("asked")
		return true
	})
	end()
}
