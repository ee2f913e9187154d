package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
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
	many    []*client.Volume
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
	b.raw = filepath.Join(b.dir, "raw")
	if err := writeFile(ctx, b.raw, o.size); err != nil {
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
	if err := b.makeVolumes(ctx); err != nil {
		return b, err
	}
	for i := range o.peers {
		if err := o.peers[i].start(ctx, b.dir, o.size); err != nil {
			return b, err
		}
	}
	return b, nil
}

// writeFile makes a file that is written once, so that no later write changes its metadata.
func writeFile(ctx context.Context, name string, size int64) error {
	_, err := fio.Run(ctx, fio.Job{Options: []string{"ioengine=io_uring", "direct=1",
		"filename=" + name, "end_fsync=1", "fallocate=none"}, RW: "write", Block: 1 << 20,
		Depth: 8, Size: size})
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
		if b.volume, err = b.makeVolume(ctx, name, b.o.size); err != nil {
			return err
		}
		if name == nbdVolume {
			b.volume.Close()
		}
	}
	if slices.ContainsFunc(b.selected(), func(c benchCase) bool { return c.volumes > 0 }) {
		for i := range many {
			v, err := b.makeVolume(ctx, fmt.Sprintf("many%d", i+1), b.manySize())
			if err != nil {
				return err
			}
			b.many = append(b.many, v)
		}
	}
	return b.cluster.StartGateway(ctx)
}

// manySize is the size of each of many volumes, in bytes: together as large as the one.
func (b *bench) manySize() int64 { return b.o.size / many }

// makeVolume makes a volume, opens it and writes it once.
func (b *bench) makeVolume(ctx context.Context, name string, size int64) (*client.Volume, error) {
	say("volume %s of %d MiB, written once", name, size>>20)
	if err := b.cluster.CreateVolume(ctx, name, size); err != nil {
		return nil, err
	}
	v, err := b.client.OpenVolume(ctx, name)
	if err != nil {
		return nil, err
	}
	began := time.Now()
	_, err = load.Run(ctx, engine.Volume{V: v}, load.Job{Sizes: load.Blocks(fillBlock),
		Depth: fillDepth, Size: size, Bytes: size, Seed: 1})
	if err != nil {
		return nil, errors.Join(err, b.cluster.Alive())
	}
	say("  %.0f MB/s", float64(size)/1e6/time.Since(began).Seconds())
	return v, nil
}

func (b *bench) close() error {
	var errs []error
	if b.client != nil {
		errs = append(errs, b.client.Close())
	}
	if b.cluster != nil {
		errs = append(errs, b.cluster.Close())
	}
	for i := range b.o.peers {
		errs = append(errs, b.o.peers[i].close())
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
