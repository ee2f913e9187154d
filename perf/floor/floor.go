package floor

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/ashlar-storage/ashlar/perf/echo"
	"github.com/ashlar-storage/ashlar/perf/engine"
	"github.com/ashlar-storage/ashlar/perf/hist"
	"github.com/ashlar-storage/ashlar/perf/load"
	"github.com/ashlar-storage/ashlar/perf/meter"
)

// ErrInvalid marks a file that is no floor.
var ErrInvalid = errors.New("floor: invalid")

// Depth is the deeper of the two depths.
const Depth = 32

const (
	fillBlock = 1 << 20
	fillDepth = 8
)

// Config says where and how long.
type Config struct {
	Dir   string // the file is made here
	Size  int64  // of the file
	Block int
	For   time.Duration // each measurement
	Echo  []string      // a command that serves frames (echo.Spawn)
	Say   func(format string, args ...any)
}

// Figures of one measurement. Latencies in us.
type Figures struct {
	IOPS float64 `json:"iops"`
	P50  float64 `json:"p50_us"`
	P99  float64 `json:"p99_us"`
	P999 float64 `json:"p999_us"`
	Mean float64 `json:"mean_us"`
}

// Floor is what the machine can do.
type Floor struct {
	When    time.Time     `json:"when"`
	Machine meter.Machine `json:"machine"`
	Dir     string        `json:"dir"`
	Block   int           `json:"block_bytes"`
	Read    Figures       `json:"read_1"`
	Write   Figures       `json:"durable_write_1"`
	ReadQ   Figures       `json:"read_32"`
	WriteQ  Figures       `json:"durable_write_32"`
	Trip    Figures       `json:"round_trip"`
	CPU     CPU           `json:"cpu"`
}

// Measure measures all of it, which takes a little more than five times For.
func Measure(ctx context.Context, c Config) (*Floor, error) {
	f := &Floor{When: time.Now().UTC(), Machine: meter.Describe(c.Dir), Dir: c.Dir, Block: c.Block}
	file, err := os.CreateTemp(c.Dir, "ashlar-floor-")
	if err != nil {
		return nil, fmt.Errorf("floor: %w", err)
	}
	defer os.Remove(file.Name())
	if err := file.Close(); err != nil {
		return nil, fmt.Errorf("floor: %w", err)
	}
	c.Say("floor: a file of %d MiB in %s", c.Size>>20, c.Dir)
	if _, err := c.file(ctx, file.Name(), load.Job{Sizes: load.Blocks(fillBlock), Depth: fillDepth,
		Size: c.Size, Bytes: c.Size, SyncLast: true}, "none"); err != nil {
		return nil, err
	}
	for _, m := range []struct {
		what         string
		reads, depth int
		to           *Figures
	}{{"read", 100, 1, &f.Read}, {"durable write", 0, 1, &f.Write},
		{"read", 100, Depth, &f.ReadQ}, {"durable write", 0, Depth, &f.WriteQ}} {
		r, err := c.file(ctx, file.Name(), load.Job{Reads: m.reads, Sizes: load.Blocks(c.Block),
			Random: true, Depth: m.depth, Size: c.Size, Duration: c.For,
			Seed: uint64(f.When.UnixNano())}, "dsync")
		if err != nil {
			return nil, err
		}
		*m.to = figures(r.Lat(), r.IOPS())
		c.Say("floor: %s at depth %d: %.0f IOPS, p50 %.0f us", m.what, m.depth, m.to.IOPS, m.to.P50)
	}
	if err := c.trip(ctx, f); err != nil {
		return nil, err
	}
	f.CPU = measureCPU()
	return f, nil
}

func figures(h *hist.Hist, iops float64) Figures {
	us := func(p float64) float64 { return float64(h.Percentile(p)) / 1e3 }
	return Figures{IOPS: iops, P50: us(50), P99: us(99), P999: us(99.9), Mean: h.Mean() / 1e3}
}

func (c *Config) file(ctx context.Context, name string, j load.Job, sync string) (r *load.Result,
	err error) {
	o := engine.NewOpener()
	defer func() { err = errors.Join(err, o.Close()) }()
	t, err := o.Open(ctx, engine.Spec{Kind: "uring", File: name, Direct: true, Depth: j.Depth,
		Write: j.Reads < 100, Sync: sync, Reach: j.Size})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, t.Close()) }()
	return load.Run(ctx, t, j)
}

func (c *Config) trip(ctx context.Context, f *Floor) error {
	p, err := echo.Spawn(c.Echo...)
	if err != nil {
		return err
	}
	defer p.Close()
	h, err := echo.Measure(ctx, p.Addr, c.Block, c.For)
	if err != nil {
		return err
	}
	f.Trip = figures(h, float64(h.Count())/c.For.Seconds())
	c.Say("floor: round trip of %d bytes: p50 %.0f us", c.Block, f.Trip.P50)
	return nil
}

// Load reads a floor from a file.
func Load(name string) (*Floor, error) {
	text, err := os.ReadFile(name)
	if err != nil {
		return nil, fmt.Errorf("floor: %w", err)
	}
	f := new(Floor)
	if err := json.Unmarshal(text, f); err != nil {
		return nil, fmt.Errorf("%w: %s: %w: write one with `ashlar bench floor -o json`",
			ErrInvalid, filepath.Base(name), err)
	}
	if f.Read.P50 <= 0 || f.Write.P50 <= 0 || f.Trip.P50 <= 0 || f.Block <= 0 {
		return nil, fmt.Errorf("%w: %s: no floor: write one with `ashlar bench floor -o json`",
			ErrInvalid, filepath.Base(name))
	}
	return f, nil
}
