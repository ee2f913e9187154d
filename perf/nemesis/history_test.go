package nemesis

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ashlar-storage/ashlar/perf/linear"
	"github.com/ashlar-storage/ashlar/rpc/client"
)

const (
	hotVolume  = "hot"
	hotBlocks  = 4                    // that everybody writes and reads: of as many chunks
	hotApart   = 16 << 20             // bytes
	hotWriters = 3                    // through one attachment
	hotReaders = 2                    // through another, which may ask other replicas
	hotPause   = 3 * time.Millisecond // mean, between two operations of one
	hotMost    = 400_000              // operations of a history
	judgeTime  = time.Minute          // for each block
)

// hot is clients that write and read the same few blocks at the same time.
type hot struct {
	history *linear.History
	values  atomic.Uint64
	stop    chan struct{}
	all     sync.WaitGroup
	mu      sync.Mutex
	err     error
}

// heat begins to write through one volume and to read through both. values go on from those of the
// history before.
func heat(w, r io.ReaderAt, write io.WriterAt, from uint64) *hot {
	h := &hot{history: linear.NewHistory(hotMost), stop: make(chan struct{})}
	h.values.Store(from)
	for k := range hotWriters {
		h.all.Go(func() { h.run(k, func(b uint64) error { return h.writeOne(k, write, b) }) })
	}
	for k := range hotReaders {
		h.all.Go(func() { h.run(10+k, func(b uint64) error { return h.readOne(10+k, r, b) }) })
	}
	h.all.Go(func() { h.run(20, func(b uint64) error { return h.readOne(20, w, b) }) })
	return h
}

func (h *hot) run(k int, one func(block uint64) error) {
	rng := rand.New(rand.NewPCG(uint64(k), h.values.Load()))
	for {
		select {
		case <-h.stop:
			return
		case <-time.After(time.Duration(rng.ExpFloat64() * float64(hotPause))):
		}
		if err := one(uint64(rng.IntN(hotBlocks))); err != nil {
			h.mu.Lock()
			h.err = errors.Join(h.err, err)
			h.mu.Unlock()
			return
		}
	}
}

func (h *hot) writeOne(k int, w io.WriterAt, block uint64) error {
	data := make([]byte, blockSize)
	op := linear.Op{Client: k, Block: block, Write: true, Value: h.values.Add(1)}
	stamp(data, block, op.Value)
	op.Call = h.history.Now()
	_, err := w.WriteAt(data, int64(block)*hotApart)
	if errors.Is(err, client.ErrTimeout) {
		op.Unknown, err = true, nil
	}
	return errors.Join(err, h.history.Done(op))
}

func (h *hot) readOne(k int, r io.ReaderAt, block uint64) error {
	data := make([]byte, blockSize)
	op := linear.Op{Client: k, Block: block, Call: h.history.Now()}
	_, err := r.ReadAt(data, int64(block)*hotApart)
	if errors.Is(err, client.ErrTimeout) {
		return nil // it says nothing
	}
	if err == nil {
		op.Value, err = readStamp(data, block)
	}
	if err != nil {
		return err
	}
	return h.history.Done(op)
}

// judge ends the clients, and judges what they saw. What the blocks held at the start is written
// by a client of its own before all others.
func (h *hot) judge(first [hotBlocks]uint64) (ops int, last uint64, err error) {
	close(h.stop)
	h.all.Wait()
	if h.err != nil {
		return 0, 0, fmt.Errorf("nemesis: a client got an error: %w", h.err)
	}
	history := h.history.Ops()
	for block, value := range first {
		history = append(history, linear.Op{Client: 99, Block: uint64(block), Write: true,
			Value: value, Call: -2, Return: -1})
	}
	return len(history), h.values.Load(), linear.Check(history, judgeTime)
}

// firsts is what the blocks hold now; nobody may write.
func firsts(r io.ReaderAt) (values [hotBlocks]uint64, err error) {
	data := make([]byte, blockSize)
	for b := range values {
		if _, err = r.ReadAt(data, int64(b)*hotApart); err != nil {
			return values, err
		}
		if values[b], err = readStamp(data, uint64(b)); err != nil {
			return values, err
		}
	}
	return values, nil
}
