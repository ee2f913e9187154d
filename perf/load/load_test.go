package load

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// memory completes each operation on a goroutine of its own and watches what it is asked.
type memory struct {
	mu      sync.Mutex
	live    int
	most    int
	offsets map[int64]int
	fail    error
	inline  bool
}

func (m *memory) Submit(op *Op) {
	m.mu.Lock()
	m.live++
	m.most = max(m.most, m.live)
	m.offsets[op.Off]++
	m.mu.Unlock()
	done := func() {
		m.mu.Lock()
		m.live--
		op.Err = m.fail
		m.mu.Unlock()
		op.Done(op)
	}
	if m.inline {
		done()
		return
	}
	go func() { time.Sleep(100 * time.Microsecond); done() }()
}

func TestDepthIsKeptAndNeverPassed(t *testing.T) {
	for _, depth := range []int{1, 8} {
		m := &memory{offsets: map[int64]int{}}
		var seen atomic.Int64
		res, err := Run(context.Background(), m, Job{Block: 4096, Depth: depth, Size: 1 << 20,
			Duration: 50 * time.Millisecond, Progress: &seen})
		if err != nil {
			t.Fatal(err)
		}
		if m.most != depth {
			t.Errorf("depth %d: %d operations at one time", depth, m.most)
		}
		if m.live != 0 || res.Ops == 0 || res.Ops != seen.Load() {
			t.Errorf("depth %d: %d left, %d done, %d seen", depth, m.live, res.Ops, seen.Load())
		}
		if p := res.Hist.Percentile(50); p < 100_000 {
			t.Errorf("depth %d: p50 of %d ns for operations of 100 us", depth, p)
		}
	}
}

func TestLinearRunTouchesEveryBlockOnce(t *testing.T) {
	m := &memory{offsets: map[int64]int{}}
	_, err := Run(context.Background(), m, Job{Write: true, Block: 4096, Depth: 8, Size: 64 * 4096,
		Linear: true, Ops: 64})
	if err != nil {
		t.Fatal(err)
	}
	for b := range 64 {
		if m.offsets[int64(b)*4096] == 0 {
			t.Errorf("block %d was not touched", b)
		}
	}
}

func TestFirstFailureEndsTheRun(t *testing.T) {
	cause := errors.New("broken")
	m := &memory{offsets: map[int64]int{}, fail: cause}
	_, err := Run(context.Background(), m, Job{Block: 4096, Depth: 4, Size: 1 << 20,
		Duration: time.Minute})
	if !errors.Is(err, cause) {
		t.Fatalf("error = %v", err)
	}
}

func TestCancelledRunEnds(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Millisecond)
	defer cancel()
	m := &memory{offsets: map[int64]int{}}
	_, err := Run(ctx, m, Job{Block: 4096, Depth: 4, Size: 1 << 20, Duration: time.Hour})
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("error = %v", err)
	}
}

func TestJobsThatMakeNoSenseAreRefused(t *testing.T) {
	for _, j := range []Job{{}, {Block: 4096, Depth: 1, Size: 100, Ops: 1},
		{Block: 4096, Size: 4096, Ops: 1}, {Block: 4096, Depth: 1, Size: 4096}} {
		if _, err := Run(context.Background(), &memory{}, j); !errors.Is(err, ErrJob) {
			t.Errorf("%+v: error = %v", j, err)
		}
	}
}
