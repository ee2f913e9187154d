package nemesis

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ashlar-storage/ashlar/perf/hot"
)

const (
	blockSize = hot.BlockSize
	// spanMax is the longest write, in blocks.
	spanMax = 4
)

// errLost marks a byte that was acknowledged and is not there.
var errLost = errors.New("nemesis: acknowledged data is lost")

// readStamp returns the version of a block; blocks that were never written have version 0.
func readStamp(block []byte, number uint64) (version uint64, err error) {
	if version, err = hot.Read(block, number); err != nil {
		err = fmt.Errorf("%w: %w", errLost, err)
	}
	return version, err
}

// ledger remembers of each block the newest version that was sent and that was acknowledged.
type ledger struct {
	sent, acked []uint64 // of each block; its writer's alone while it runs
	writes      atomic.Int64
	longest     atomic.Int64 // ns of an acknowledged operation since quiet was called
}

func newLedger(blocks int) *ledger {
	return &ledger{sent: make([]uint64, blocks), acked: make([]uint64, blocks)}
}

// load runs workers that write, each to its own part of the ledger, until stop is closed or an
// operation fails. It returns when all have ended.
func (l *ledger) load(w io.WriterAt, workers int, seed uint64, stop <-chan struct{}) error {
	errs := make([]error, workers)
	var all sync.WaitGroup
	part := len(l.sent) / workers
	for k := range workers {
		all.Go(func() {
			rng := rand.New(rand.NewPCG(seed, uint64(k)))
			data := make([]byte, spanMax*blockSize)
			for errs[k] == nil {
				select {
				case <-stop:
					return
				default:
				}
				n := 1 + rng.IntN(spanMax)
				errs[k] = l.writeOne(w, k*part+rng.IntN(part-n+1), data[:n*blockSize])
			}
		})
	}
	all.Wait()
	return errors.Join(errs...)
}

// writeOne writes the next version of some blocks.
func (l *ledger) writeOne(w io.WriterAt, first int, data []byte) error {
	count := len(data) / blockSize
	for i := range count {
		l.sent[first+i]++
		hot.Stamp(data[i*blockSize:(i+1)*blockSize], uint64(first+i), l.sent[first+i])
	}
	began := time.Now()
	if _, err := w.WriteAt(data, int64(first)*blockSize); err != nil {
		return err
	}
	hot.Raise(&l.longest, int64(time.Since(began)))
	copy(l.acked[first:first+count], l.sent[first:first+count])
	l.writes.Add(1)
	return nil
}

// check reads every block back: at least what was acknowledged, at most what was sent, never torn.
// What it finds counts as acknowledged from then on. Nobody may write meanwhile.
func (l *ledger) check(r io.ReaderAt) error {
	const step = 256
	data := make([]byte, step*blockSize)
	for first := 0; first < len(l.sent); first += step {
		part := data[:min(step, len(l.sent)-first)*blockSize]
		began := time.Now()
		if _, err := r.ReadAt(part, int64(first)*blockSize); err != nil {
			return fmt.Errorf("nemesis: read at block %d: %w", first, err)
		}
		hot.Raise(&l.longest, int64(time.Since(began)))
		if err := l.judge(first, part); err != nil {
			return err
		}
	}
	return nil
}

func (l *ledger) judge(first int, data []byte) error {
	var bad []error
	for i := range len(data) / blockSize {
		n := first + i
		version, err := readStamp(data[i*blockSize:(i+1)*blockSize], uint64(n))
		if err == nil && (version < l.acked[n] || version > l.sent[n]) {
			err = fmt.Errorf("%w: block %d has version %d: %d was acknowledged, %d sent", errLost,
				n, version, l.acked[n], l.sent[n])
		}
		if err != nil {
			bad = append(bad, err)
			continue
		}
		l.acked[n], l.sent[n] = version, version
	}
	if len(bad) > 3 {
		bad = append(bad[:3], fmt.Errorf("and %d blocks more of %d", len(bad)-3, len(l.sent)))
	}
	return errors.Join(bad...)
}
