package floor

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ashlar-storage/ashlar/io/uring"
	"github.com/ashlar-storage/ashlar/perf/echo"
)

// The test binary becomes the echo when this is set.
const asEcho = "ASHLAR_TEST_AS_ECHO"

func TestMain(m *testing.M) {
	if os.Getenv(asEcho) == "" {
		os.Exit(m.Run())
	}
	err := echo.Serve(context.Background(), "127.0.0.1:0", func(a string) { fmt.Println(a) })
	if err != nil {
		os.Exit(1)
	}
}

func TestFloorIsMeasuredAndReadBack(t *testing.T) {
	if err := uring.Probe(); err != nil {
		t.Skip(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv(asEcho, "1")
	dir := t.TempDir()
	f, err := Measure(context.Background(), Config{Dir: dir, Size: 4 << 20, Block: 4096,
		For: 200 * time.Millisecond, Echo: []string{self}, Say: t.Logf})
	if err != nil {
		t.Fatal(err)
	}
	for what, v := range map[string]float64{"read": f.Read.P50, "write": f.Write.P50,
		"reads": f.ReadQ.IOPS, "writes": f.WriteQ.IOPS, "trip": f.Trip.P50, "crc": f.CPU.CRC,
		"copy": f.CPU.Copy, "call": f.CPU.Syscall, "switch": f.CPU.Switch, "clock": f.CPU.Clock} {
		if v <= 0 {
			t.Errorf("%s: %v", what, v)
		}
	}
	if left, _ := os.ReadDir(dir); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
	text, err := json.Marshal(f)
	if err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(dir, "floor.json")
	if err := os.WriteFile(name, text, 0o600); err != nil {
		t.Fatal(err)
	}
	if got, err := Load(name); err != nil || got.Read != f.Read {
		t.Errorf("%v: %+v", err, got)
	}
}

func TestFileThatIsNoFloorIsRefused(t *testing.T) {
	name := filepath.Join(t.TempDir(), "f")
	for _, text := range []string{"x", "{}", `{"jobs":[]}`} {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := Load(name); !errors.Is(err, ErrInvalid) {
			t.Errorf("%q: %v", text, err)
		}
	}
}

func TestFloorOfAnOperationIsItsDeviceAndItsTrips(t *testing.T) {
	f := &Floor{Block: 4096, Read: Figures{P50: 50}, Write: Figures{P50: 120},
		ReadQ: Figures{IOPS: 60000}, WriteQ: Figures{IOPS: 40000}, Trip: Figures{P50: 25}}
	for _, c := range []struct {
		j           Job
		floor, over float64
	}{
		{Job{Engine: "ashlar", Write: true, Depth: 1, P50: 340}, 170, 2},
		{Job{Engine: "ashlar", Depth: 1, P50: 150}, 75, 2},
		{Job{Engine: "nbd", Write: true, Depth: 1, P50: 195}, 195, 1},
		{Job{Engine: "net", Depth: 1, P50: 50}, 25, 2},
		{Job{Engine: "uring", Write: true, Durable: true, Depth: 1, P50: 120}, 120, 1},
		{Job{Engine: "ashlar", Write: true, Depth: 32, P50: 1, IOPS: 20000}, 40000, 0.5},
	} {
		c.j.Block = 4096
		a := f.Compare(c.j)
		if a == nil || math.Abs(a.Floor-c.floor) > 0.01 || math.Abs(a.Ratio-c.over) > 0.01 ||
			!strings.Contains(a.String(), fmt.Sprintf("%.2f", c.over)) {
			t.Errorf("%+v: %+v", c.j, a)
		}
	}
	for _, j := range []Job{{Engine: "null", Block: 4096, Depth: 1, P50: 1},
		{Engine: "ashlar", Block: 8192, Depth: 1, P50: 1},
		{Engine: "uring", Write: true, Block: 4096, Depth: 1, P50: 1}} {
		if a := f.Compare(j); a != nil {
			t.Errorf("%+v: %+v", j, a)
		}
	}
}
