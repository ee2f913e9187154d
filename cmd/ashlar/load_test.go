package main

import (
	"io"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ashlar-storage/ashlar/perf/hot"
)

const blockSize = hot.BlockSize

// ledger remembers of each block the newest version that was sent and that was acknowledged.
type ledger struct {
	blocks      int
	sent, acked []atomic.Uint64
	writes      atomic.Int64
	longest     atomic.Int64 // ns of an acknowledged write
}

func newLedger(blocks int) *ledger {
	return &ledger{blocks: blocks, sent: make([]atomic.Uint64, blocks),
		acked: make([]atomic.Uint64, blocks)}
}

// write sends versions to random blocks, each worker to its own, until stop is closed or an error
// ends a worker. It returns when all have ended.
func (l *ledger) write(w io.WriterAt, workers int, stop <-chan struct{}) (failed error) {
	var wg sync.WaitGroup
	var once sync.Once
	for k := range workers {
		wg.Go(func() {
			rng := rand.New(rand.NewPCG(uint64(k), uint64(l.writes.Load())))
			block := make([]byte, blockSize)
			for {
				select {
				case <-stop:
					return
				default:
				}
				n := rng.IntN(l.blocks/workers)*workers + k
				v := l.sent[n].Add(1)
				hot.Stamp(block, uint64(n), v)
				began := time.Now()
				if _, err := w.WriteAt(block, int64(n)*blockSize); err != nil {
					once.Do(func() { failed = err })
					return
				}
				l.acked[n].Store(v)
				l.writes.Add(1)
				hot.Raise(&l.longest, int64(time.Since(began)))
			}
		})
	}
	wg.Wait()
	return failed
}

// check reads every block back: at least what was acknowledged, at most what was sent, never torn.
// What it finds counts as acknowledged from then on.
func (l *ledger) check(t *testing.T, r io.ReaderAt) {
	t.Helper()
	const step = 256
	buffer := make([]byte, step*blockSize)
	for first := 0; first < l.blocks; first += step {
		count := min(step, l.blocks-first)
		part := buffer[:count*blockSize]
		if _, err := r.ReadAt(part, int64(first)*blockSize); err != nil {
			t.Fatalf("read at block %d: %v", first, err)
		}
		for i := range count {
			n := first + i
			version, err := hot.Read(part[i*blockSize:(i+1)*blockSize], uint64(n))
			if err != nil {
				t.Error(err)
				continue
			}
			acked, sent := l.acked[n].Load(), l.sent[n].Load()
			if version < acked || version > sent {
				t.Errorf("block %d has version %d: %d was acknowledged, %d sent", n, version,
					acked, sent)
			}
			l.acked[n].Store(version)
			l.sent[n].Store(version)
		}
	}
}
