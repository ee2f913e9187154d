package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/ashlar-storage/ashlar/perf/echo"
	"github.com/ashlar-storage/ashlar/perf/engine"
	"github.com/ashlar-storage/ashlar/perf/fio"
	"github.com/ashlar-storage/ashlar/perf/load"
	"github.com/ashlar-storage/ashlar/perf/rig"
	"github.com/ashlar-storage/ashlar/rpc/client"
)

const (
	nativeVolume, nbdVolume = "native", "nbd"

	fillBlock = 256 << 10
	fillDepth = 8
	// settle is how long nothing is asked of the cluster after writes: blocks that wait in the
	// overlays are flushed a second after the last commit.
	settle = 2500 * time.Millisecond
)

// bench is everything that is measured, set up.
type bench struct {
	o       options
	dir     string
	raw     string // file that fio works on
	cluster *rig.Cluster
	client  *client.Client
	volume  *client.Volume
	echo    *echo.Process
}

func newBench(ctx context.Context, o options) (b *bench, err error) {
	if err := fio.Find(); err != nil {
		return nil, err
	}
	b = &bench{o: o}
	defer func() {
		if err != nil {
			err = errors.Join(err, b.close())
		}
	}()
	if b.dir, err = os.MkdirTemp(o.dir, "ashlar-bench-"); err != nil {
		return b, fmt.Errorf("bench: %w", err)
	}
	say("raw file of %d MiB", o.size>>20)
	if err := b.makeRaw(ctx); err != nil {
		return b, err
	}
	if err := b.startEcho(); err != nil {
		return b, err
	}
	say("cluster of three nodes")
	rc := rig.Config{Binary: o.binary, Parent: b.dir}
	if o.settings != "" {
		rc.NodeSettings = strings.ReplaceAll(o.settings, ";", "\n") + "\n"
	}
	if o.env != "" {
		rc.Env = []string{o.env}
	}
	if b.cluster, err = rig.Start(ctx, rc); err != nil {
		return b, err
	}
	return b, b.makeVolumes(ctx)
}

// makeRaw writes the raw file once, so that no later write changes its metadata.
func (b *bench) makeRaw(ctx context.Context) error {
	b.raw = filepath.Join(b.dir, "raw")
	_, err := fio.Run(ctx, fio.Job{Options: []string{"ioengine=io_uring", "direct=1",
		"filename=" + b.raw, "end_fsync=1", "fallocate=none"}, RW: "write", Block: 1 << 20,
		Depth: 8, Size: b.o.size})
	return err
}

// startEcho starts this program again as the other end of the round trips.
func (b *bench) startEcho() error {
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("bench: %w", err)
	}
	b.echo, err = echo.Spawn(self, "-echo-server")
	return err
}

// makeVolumes makes one volume for the native client and one for the gateway, which would fence
// each other on the same one, and writes both once.
func (b *bench) makeVolumes(ctx context.Context) (err error) {
	b.client, err = client.Connect(ctx, client.Config{Endpoint: b.cluster.Endpoint, Name: "bench"})
	if err != nil {
		return err
	}
	for _, name := range []string{nbdVolume, nativeVolume} {
		say("volume %s of %d MiB, written once", name, b.o.size>>20)
		if err := b.cluster.CreateVolume(ctx, name, b.o.size); err != nil {
			return err
		}
		if b.volume, err = b.client.OpenVolume(ctx, name); err != nil {
			return err
		}
		if err := b.fill(ctx); err != nil {
			return err
		}
		if name == nbdVolume {
			b.volume.Close()
		}
	}
	return b.cluster.StartGateway(ctx)
}

func (b *bench) fill(ctx context.Context) error {
	began := time.Now()
	_, err := load.Run(ctx, engine.Volume{V: b.volume}, load.Job{Sizes: load.Blocks(fillBlock),
		Depth: fillDepth, Size: b.o.size, Bytes: b.o.size, Seed: 1})
	if err != nil {
		return errors.Join(err, b.cluster.Alive())
	}
	say("  %.0f MB/s", float64(b.o.size)/1e6/time.Since(began).Seconds())
	return nil
}

func (b *bench) close() error {
	var errs []error
	if b.client != nil {
		errs = append(errs, b.client.Close())
	}
	if b.cluster != nil {
		errs = append(errs, b.cluster.Close())
	}
	if b.echo != nil {
		b.echo.Close()
	}
	if b.dir != "" {
		errs = append(errs, os.RemoveAll(b.dir))
	}
	return errors.Join(errs...)
}

// say tells progress, on standard error: standard output is for the report.
func say(format string, args ...any) {
	fmt.Fprintf(os.Stderr, format+"\n", args...)
}
