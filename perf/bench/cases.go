package main

import (
	"context"
	"fmt"
	"time"

	"github.com/ashlar-storage/ashlar/perf/echo"
	"github.com/ashlar-storage/ashlar/perf/engine"
	"github.com/ashlar-storage/ashlar/perf/fio"
	"github.com/ashlar-storage/ashlar/perf/load"
)

const (
	block     = 4096
	queue     = 32 // the deeper of the two depths
	warmUp    = 300 * time.Millisecond
	echoShare = 2 // round trips are measured for 1/echoShare of a case's time
)

// figures of one case in one round. Latencies in us.
type figures struct {
	Ops  int64   `json:"ops"`
	IOPS float64 `json:"iops"`
	P50  float64 `json:"p50_us"`
	P99  float64 `json:"p99_us"`
	P999 float64 `json:"p999_us"`
	Mean float64 `json:"mean_us"`
}

// benchCase is one thing that is measured in every round.
type benchCase struct {
	name    string // who-operation-depth
	who     string // raw, native, nbd or net
	write   bool
	depth   int
	copies  int // so many jobs at once, of the raw file; 0: one
	run     func(ctx context.Context, b *bench, c *benchCase, round int) (figures, error)
	cluster bool // its cost is that of the cluster
}

// cases in the order of a round: what is compared stands side by side.
func cases() []benchCase {
	out := []benchCase{{name: "net-echo-1", who: "net", depth: 1, run: runEcho}}
	for _, depth := range []int{1, queue} {
		for _, op := range []string{"write", "read"} {
			for _, who := range []string{"raw", "native", "nbd"} {
				c := benchCase{name: fmt.Sprintf("%s-%s-%d", who, op, depth), who: who,
					write: op == "write", depth: depth, run: runFio, cluster: who != "raw"}
				if who == "native" {
					c.run = runNative
				}
				out = append(out, c)
				if c.name == "raw-write-1" {
					c.name, c.copies = threeAtOnce, replicas
					out = append(out, c)
				}
			}
		}
	}
	return out
}

// threeAtOnce is what the replicas' logs do with one disk at depth 1.
const threeAtOnce = "raw-write-1x3"

func runEcho(ctx context.Context, b *bench, _ *benchCase, _ int) (figures, error) {
	d := time.Duration(b.o.seconds) * time.Second / echoShare
	h, err := echo.Measure(ctx, b.echo.Addr, block, d)
	if err != nil {
		return figures{}, err
	}
	return figures{Ops: int64(h.Count()), IOPS: float64(h.Count()) / d.Seconds(),
		P50: us(h.Percentile(50)), P99: us(h.Percentile(99)), P999: us(h.Percentile(99.9)),
		Mean: h.Mean() / 1e3}, nil
}

func us(ns uint64) float64 { return float64(ns) / 1e3 }

func (b *bench) nativeJob(c *benchCase, round int, d time.Duration) load.Job {
	j := load.Job{Reads: 100, Sizes: load.Blocks(block), Random: true, Depth: c.depth,
		Size: b.o.size, Duration: d, Seed: uint64(round)<<8 + uint64(c.depth)}
	if c.write {
		j.Reads = 0
	}
	return j
}

func runNative(ctx context.Context, b *bench, c *benchCase, round int) (figures, error) {
	r, err := load.Run(ctx, engine.Volume{V: b.volume},
		b.nativeJob(c, round, time.Duration(b.o.seconds)*time.Second))
	if err != nil {
		return figures{}, err
	}
	h := r.Lat()
	return figures{Ops: r.Ops(), IOPS: r.IOPS(), P50: us(h.Percentile(50)),
		P99: us(h.Percentile(99)), P999: us(h.Percentile(99.9)), Mean: h.Mean() / 1e3}, nil
}

// runFio runs fio on the raw file, every write durable, or on the gateway's export.
func runFio(ctx context.Context, b *bench, c *benchCase, _ int) (figures, error) {
	rw := "randread"
	if c.write {
		rw = "randwrite"
	}
	options := []string{"ioengine=nbd", "uri=nbd://" + b.cluster.NBD + "/" + nbdVolume}
	if c.who == "raw" {
		options = []string{"ioengine=io_uring", "direct=1", "filename=" + b.raw}
		if c.write {
			options = append(options, "sync=dsync")
		}
		if c.copies > 1 {
			options = append(options, fmt.Sprintf("numjobs=%d", c.copies))
		}
	}
	r, err := fio.Run(ctx, fio.Job{Options: options, RW: rw, Block: block, Depth: c.depth,
		Size: b.o.size, Seconds: b.o.seconds})
	if err != nil {
		return figures{}, err
	}
	return figures{Ops: r.Ops, IOPS: r.IOPS, P50: r.P50 / 1e3, P99: r.P99 / 1e3,
		P999: r.P999 / 1e3, Mean: r.Mean / 1e3}, nil
}
