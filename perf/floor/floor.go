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
	turns     = 4
)

// Config says where and how long.
type Config struct {
	Dir   string // the file is made here
	Size  int64  // of the file
	Block int
	For   time.Duration // each measurement, all its turns together
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
	if err := c.turns(ctx, f, file.Name()); err != nil {
		return nil, err
	}
	f.CPU = measureCPU()
	return f, nil
}

// turns measures everything several times, and keeps of each the turn with the lowest median: what
// else the machine does comes and goes, and can only make figures worse.
func (c *Config) turns(ctx context.Context, f *Floor, name string) error {
	p, err := echo.Spawn(c.Echo...)
	if err != nil {
		return err
	}
	defer p.Close()
	measures := []struct {
		what         string
		reads, depth int // depth 0: the round trip
		to           *Figures
	}{{"read at depth 1", 100, 1, &f.Read}, {"durable write at depth 1", 0, 1, &f.Write},
		{"read at depth 32", 100, Depth, &f.ReadQ},
		{"durable write at depth 32", 0, Depth, &f.WriteQ}, {"round trip", 0, 0, &f.Trip}}
	for turn := range turns {
		for _, m := range measures {
			var got Figures
			if m.depth == 0 {
				got, err = c.trip(ctx, p.Addr)
			} else {
				got, err = c.random(ctx, name, m.reads, m.depth, uint64(turn))
			}
			if err != nil {
				return err
			}
			// A turn in which nothing ended has no median.
			if got.P50 > 0 && (m.to.P50 == 0 || got.P50 < m.to.P50) {
				*m.to = got
			}
		}
	}
	for _, m := range measures {
		c.Say("floor: %s: %.0f IOPS, p50 %.0f us", m.what, m.to.IOPS, m.to.P50)
	}
	return nil
}

// random is reads or durable writes at random offsets.
func (c *Config) random(ctx context.Context, name string, reads, depth int, seed uint64) (Figures,
	error) {
	r, err := c.file(ctx, name, load.Job{Reads: reads, Sizes: load.Blocks(c.Block), Random: true,
		Depth: depth, Size: c.Size, Duration: c.For / turns, Seed: seed}, "dsync")
	if err != nil {
		return Figures{}, err
	}
	return figures(r.Lat(), r.IOPS()), nil
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

func (c *Config) trip(ctx context.Context, addr string) (Figures, error) {
	h, err := echo.Measure(ctx, addr, c.Block, c.For/turns)
	if err != nil {
		return Figures{}, err
	}
	return figures(h, float64(h.Count())/(c.For/turns).Seconds()), nil
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
