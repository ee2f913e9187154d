package nemesis

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/ashlar-storage/ashlar/perf/faultfs"
	"github.com/ashlar-storage/ashlar/perf/hot"
	"github.com/ashlar-storage/ashlar/perf/rig"
	"github.com/ashlar-storage/ashlar/rpc/client"
)

const (
	fillMiB     = 4096 // of the volume, all of which the replicas of a node must be given
	fillWriters = 4
	fillStep    = 1 << 20
	workBytes   = 64 << 20 // behind it: what the client is busy with
	workWorkers = 2
	workPause   = 2 * time.Millisecond // mean, between two operations of one
	quietWork   = 8 * time.Second
	fillWait    = 15 * time.Minute
)

// writeAll writes version 1 of every block of a part of the volume.
func writeAll(v *client.Volume, size int64) error {
	errs := make([]error, fillWriters)
	var all sync.WaitGroup
	for k := range fillWriters {
		all.Go(func() {
			data := make([]byte, fillStep)
			const stride = fillWriters * fillStep
			for off := int64(k) * fillStep; off < size && errs[k] == nil; off += stride {
				for b := 0; b < fillStep; b += blockSize {
					hot.Stamp(data[b:b+blockSize], uint64(off+int64(b))/blockSize, 1)
				}
				_, errs[k] = v.WriteAt(data, off)
			}
		})
	}
	all.Wait()
	return errors.Join(errs...)
}

// readAll sees that every block is there.
func readAll(v *client.Volume, size int64) error {
	data := make([]byte, fillStep)
	for off := int64(0); off < size; off += fillStep {
		if _, err := v.ReadAt(data, off); err != nil {
			return fmt.Errorf("nemesis: read at %d: %w", off, err)
		}
		for b := 0; b < fillStep; b += blockSize {
			number := uint64(off+int64(b)) / blockSize
			if version, err := readStamp(data[b:b+blockSize], number); err != nil || version != 1 {
				return fmt.Errorf("%w: block %d has version %d: %w", errLost, number, version, err)
			}
		}
	}
	return nil
}

// work writes and reads single blocks behind the part that is filled until stop, and gives the
// times of both.
func work(v *client.Volume, from int64, stop <-chan struct{}) (took []time.Duration, err error) {
	var mu sync.Mutex
	var all sync.WaitGroup
	for k := range workWorkers {
		all.Go(func() {
			rng := rand.New(rand.NewPCG(uint64(k), 1))
			data := make([]byte, blockSize)
			for i := 0; ; i++ {
				select {
				case <-stop:
					return
				case <-time.After(time.Duration(rng.ExpFloat64() * float64(workPause))):
				}
				off := from + rng.Int64N(workBytes/blockSize)*blockSize
				began, e := time.Now(), error(nil)
				if i%2 == 0 {
					_, e = v.WriteAt(data, off)
				} else {
					_, e = v.ReadAt(data, off)
				}
				mu.Lock()
				took, err = append(took, time.Since(began)), errors.Join(err, e)
				mu.Unlock()
				if e != nil {
					return
				}
			}
		})
	}
	all.Wait()
	return took, err
}

func p99(took []time.Duration) time.Duration {
	if len(took) == 0 {
		return 0
	}
	slices.Sort(took)
	return took[len(took)*99/100]
}

func TestReplicasAreFilledBesideClients(t *testing.T) {
	binary := prepared(t)
	if os.Getenv(environment) != "required" {
		t.Skip("writes some GiB: runs in `make fill`")
	}
	size := int64(number(t, "FILL_MIB", fillMiB)) << 20
	m := newMachine(t, rig.Config{Binary: binary, NodeSettings: smallLog}, faultfs.Config{})
	m.timeout = processTimeout
	if err := m.cluster.CreateVolume(t.Context(), volumeName, size+workBytes); err != nil {
		t.Fatal(err)
	}
	if err := m.attach(); err != nil {
		t.Fatal(err)
	}
	f := &filling{machine: m, size: size}
	if err := f.run(); err != nil {
		t.Fatal(err)
	}
	ratio := float64(f.during) / float64(f.quiet)
	fmt.Printf("fill: %d MiB given to the replicas of a node, killed once on the way, in %.0f s: "+
		"%.0f MiB/s; p99 of a client beside it %v, without it %v: %.2f times\n", size>>20,
		f.took.Seconds(), float64(size>>20)/f.took.Seconds(), f.during, f.quiet, ratio)
}

// filling is a node that was away while everything was written.
type filling struct {
	*machine
	size          int64
	quiet, during time.Duration // p99 of the client
	took          time.Duration // from the node's return until it has everything
}

func (f *filling) run() error {
	nodes := f.cluster.Nodes()
	if err := f.awaitWhole(wholeWait); err != nil {
		return err
	}
	for range 2 { // the first time, chunks are made
		stop := make(chan struct{})
		time.AfterFunc(quietWork, func() { close(stop) })
		took, err := work(f.volume, f.size, stop)
		if err != nil {
			return err
		}
		f.quiet = p99(took)
	}
	if err := f.kill(nodes[2]); err != nil {
		return err
	}
	if err := writeAll(f.volume, f.size); err != nil {
		return err
	}
	if err := f.fill(nodes[2]); err != nil {
		return err
	}
	// Without the first node every block comes through a majority that needs what was filled.
	if err := f.kill(nodes[0]); err != nil {
		return err
	}
	return readAll(f.volume, f.size)
}

// fill brings the node back under load, kills it once on the way, and waits until it has all.
func (f *filling) fill(p *rig.Process) error {
	stop, ended := make(chan struct{}), make(chan error, 1)
	go func() {
		took, err := work(f.volume, f.size, stop)
		f.during = p99(took)
		ended <- err
	}()
	began := time.Now()
	err := f.cluster.Restart()
	if err == nil {
		time.Sleep(5 * time.Second)
		err = f.kill(p)
	}
	if err == nil {
		err = f.await(fillWait, full)
	}
	f.took = time.Since(began)
	close(stop)
	return errors.Join(err, <-ended)
}

func (f *filling) kill(p *rig.Process) error {
	if err := syscall.Kill(p.PID, syscall.SIGKILL); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(f.t.Context(), reapWait)
	defer cancel()
	return f.cluster.ReapOne(ctx, p)
}
