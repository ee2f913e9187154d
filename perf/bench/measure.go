package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/ashlar-storage/ashlar/perf/echo"
	"github.com/ashlar-storage/ashlar/perf/engine"
	"github.com/ashlar-storage/ashlar/perf/fio"
	"github.com/ashlar-storage/ashlar/perf/hist"
	"github.com/ashlar-storage/ashlar/perf/load"
)

func runEcho(ctx context.Context, b *bench, _ *benchCase, _ int) (figures, error) {
	d := time.Duration(b.o.seconds) * time.Second / echoShare
	h, err := echo.Measure(ctx, b.echo.Addr, block, d)
	if err != nil {
		return figures{}, err
	}
	return figuresOf(h, int64(h.Count()), float64(h.Count())/d.Seconds()), nil
}

func us(ns uint64) float64 { return float64(ns) / 1e3 }

func figuresOf(h *hist.Hist, ops int64, iops float64) figures {
	return figures{Ops: ops, IOPS: iops, P50: us(h.Percentile(50)), P99: us(h.Percentile(99)),
		P999: us(h.Percentile(99.9)), Mean: h.Mean() / 1e3}
}

func (b *bench) nativeJob(c *benchCase, round int, d time.Duration) load.Job {
	j := load.Job{Reads: 100, Sizes: load.Blocks(c.block), Random: !c.inOrder, Depth: c.depth,
		Size: b.o.size, Duration: d, Seed: uint64(round)<<8 + uint64(c.depth)}
	if c.write {
		j.Reads = 0
	}
	return j
}

func (b *bench) span() time.Duration { return time.Duration(b.o.seconds) * time.Second }

func runNative(ctx context.Context, b *bench, c *benchCase, round int) (figures, error) {
	return runLoad(ctx, engine.Volume{V: b.volume}, b.nativeJob(c, round, b.span()))
}

// runOwnNBD does through the gateway what runNative does past it: the two differ in nothing else.
func runOwnNBD(ctx context.Context, b *bench, c *benchCase, round int) (figures, error) {
	t, err := engine.NewOpener().Open(ctx, engine.Spec{Kind: "nbd", URI: b.exportURI(),
		Depth: c.depth, Block: c.block, Write: c.write, Sync: "none"})
	if err != nil {
		return figures{}, err
	}
	f, err := runLoad(ctx, t, b.nativeJob(c, round, b.span()))
	return f, errors.Join(err, t.Close())
}

func (b *bench) exportURI() string { return "nbd://" + b.cluster.NBD + "/" + nbdVolume }

func runLoad(ctx context.Context, e load.Engine, j load.Job) (figures, error) {
	r, err := load.Run(ctx, e, j)
	if err != nil {
		return figures{}, err
	}
	h := r.Lat()
	return figuresOf(h, r.Ops(), r.IOPS()), nil
}

// runMany writes to all volumes of many at the same time.
func runMany(ctx context.Context, b *bench, c *benchCase, round int) (figures, error) {
	var wg sync.WaitGroup
	results, errs := make([]*load.Result, many), make([]error, many)
	for i, v := range b.many {
		j := b.nativeJob(c, round, b.span())
		j.Size, j.Seed = b.manySize(), j.Seed+uint64(i)<<32
		wg.Go(func() { results[i], errs[i] = load.Run(ctx, engine.Volume{V: v}, j) })
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		return figures{}, err
	}
	var h hist.Hist
	ops, iops := int64(0), 0.0
	for _, r := range results {
		h.Merge(r.Lat())
		ops, iops = ops+r.Ops(), iops+r.IOPS()
	}
	return figuresOf(&h, ops, iops), nil
}

// runFio runs fio on the raw file, every write durable, on the gateway's export or on a peer.
func runFio(ctx context.Context, b *bench, c *benchCase, _ int) (figures, error) {
	job := fio.Job{RW: c.rw(), Block: c.block, Depth: c.depth, Size: b.o.size, Seconds: b.o.seconds}
	switch c.who {
	case byNBD:
		job.Options = []string{"ioengine=nbd", "uri=" + b.exportURI()}
	case onRaw:
		job.Options = []string{"ioengine=io_uring", "direct=1", "filename=" + b.raw}
		if c.write {
			job.Options = append(job.Options, "sync=dsync")
		}
		if c.copies > 1 {
			job.Options = append(job.Options, fmt.Sprintf("numjobs=%d", c.copies))
		}
	default:
		b.onPeer(c, &job)
	}
	r, err := fio.Run(ctx, job)
	if err != nil {
		return figures{}, err
	}
	return figures{Ops: r.Ops, IOPS: r.IOPS, P50: r.P50 / 1e3, P99: r.P99 / 1e3,
		P999: r.P999 / 1e3, Mean: r.Mean / 1e3}, nil
}

// rw is fio's word for what the case does.
func (c *benchCase) rw() string {
	op := "read"
	if c.write {
		op = "write"
	}
	if c.inOrder {
		return op
	}
	return "rand" + op
}
