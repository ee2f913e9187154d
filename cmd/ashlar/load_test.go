package main

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

const blockSize = 4096

// stamp fills a block with its number and a version, so that a block of another place, of another
// time, or torn between two versions shows.
func stamp(block []byte, number, version uint64) {
	for i := 0; i+16 <= len(block); i += 16 {
		binary.LittleEndian.PutUint64(block[i:], number)
		binary.LittleEndian.PutUint64(block[i+8:], version)
	}
}

// readStamp returns the version of a block; never written blocks have version 0.
func readStamp(block []byte, number uint64) (version uint64, err error) {
	version = binary.LittleEndian.Uint64(block[8:])
	want := make([]byte, blockSize)
	if version != 0 {
		stamp(want, number, version)
	}
	if !bytes.Equal(block, want) {
		return 0, fmt.Errorf("block %d is torn, or holds another: it begins % x", number,
			block[:32])
	}
	return version, nil
}

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
				stamp(block, uint64(n), v)
				began := time.Now()
				if _, err := w.WriteAt(block, int64(n)*blockSize); err != nil {
					once.Do(func() { failed = err })
					return
				}
				l.acked[n].Store(v)
				l.writes.Add(1)
				raise(&l.longest, int64(time.Since(began)))
			}
		})
	}
	wg.Wait()
	return failed
}

func raise(max *atomic.Int64, v int64) {
	for {
		old := max.Load()
		if v <= old || max.CompareAndSwap(old, v) {
			return
		}
	}
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
			version, err := readStamp(part[i*blockSize:(i+1)*blockSize], uint64(n))
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
