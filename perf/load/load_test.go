package load

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/ashlar-storage/ashlar/perf/job"
)

// memory keeps what is written, completes each operation on a goroutine of its own and watches what
// it is asked.
type memory struct {
	mu      sync.Mutex
	live    int
	most    int
	syncs   int
	offsets map[int64]int
	content map[int64][]byte
	fail    error
	inline  bool
	delay   time.Duration
	lie     func(m *memory, op *Op)
}

func newMemory() *memory {
	return &memory{offsets: map[int64]int{}, content: map[int64][]byte{},
		delay: 100 * time.Microsecond}
}

func (m *memory) Submit(op *Op) {
	m.mu.Lock()
	m.live++
	m.most = max(m.most, m.live)
	m.mu.Unlock()
	done := func() {
		m.mu.Lock()
		m.live--
		op.Err = m.fail
		m.serve(op)
		m.mu.Unlock()
		op.Done(op)
	}
	if m.inline {
		done()
		return
	}
	go func() { time.Sleep(m.delay); done() }()
}

func (m *memory) serve(op *Op) {
	if op.Kind == Sync {
		m.syncs++
		return
	}
	m.offsets[op.Off]++
	switch {
	case m.lie != nil:
		m.lie(m, op)
	case op.Kind == Write:
		m.content[op.Off] = append([]byte(nil), op.Data...)
	default:
		copy(op.Data, m.content[op.Off])
	}
}

func reads(depth int, d time.Duration) Job {
	return Job{Reads: 100, Sizes: Blocks(4096), Random: true, Depth: depth, Size: 1 << 20,
		Duration: d}
}

func TestDepthIsKeptAndNeverPassed(t *testing.T) {
	for _, depth := range []int{1, 8} {
		m := newMemory()
		j := reads(depth, 50*time.Millisecond)
		j.Progress = new(Progress)
		res, err := Run(context.Background(), m, j)
		if err != nil {
			t.Fatal(err)
		}
		if m.most != depth {
			t.Errorf("depth %d: %d operations at one time", depth, m.most)
		}
		if seen := j.Progress.Ops[Read].Load(); m.live != 0 || res.Ops() == 0 || res.Ops() != seen {
			t.Errorf("depth %d: %d left, %d done, %d seen", depth, m.live, res.Ops(), seen)
		}
		if p := res.Lat().Percentile(50); p < 100_000 {
			t.Errorf("depth %d: p50 of %d ns for operations of 100 us", depth, p)
		}
	}
}

func TestEngineThatCompletesAtOncePilesUpNoCalls(t *testing.T) {
	m := newMemory()
	m.inline = true
	for _, depth := range []int{1, 4} {
		j := reads(depth, 0)
		j.Ops = 300_000
		res, err := Run(context.Background(), m, j)
		if err != nil || res.Ops() != j.Ops {
			t.Errorf("depth %d: %d operations, %v", depth, res.Ops(), err)
		}
	}
}

func TestEveryBlockIsTouchedOnce(t *testing.T) {
	for _, random := range []bool{false, true} {
		m := newMemory()
		_, err := Run(context.Background(), m, Job{Sizes: Blocks(4096), Depth: 8, Random: random,
			Distinct: true, Offset: 8192, Size: 61 * 4096, Bytes: 61 * 4096})
		if err != nil {
			t.Fatal(err)
		}
		for b := range 61 {
			if m.offsets[8192+int64(b)*4096] != 1 {
				t.Errorf("random %t: block %d was touched %d times", random, b,
					m.offsets[8192+int64(b)*4096])
			}
		}
	}
}

func TestMixSizesAndFlushesFollowTheJob(t *testing.T) {
	m := newMemory()
	m.inline = true
	j := Job{Reads: 70, Random: true, Depth: 2, Size: 1 << 20, Ops: 10_000, SyncEvery: 100,
		SyncLast: true}
	j.Sizes[Read] = []job.Share{{Bytes: 4096, Weight: 25}, {Bytes: 8192, Weight: 75}}
	j.Sizes[Write] = []job.Share{{Bytes: 4096, Weight: 1}}
	res, err := Run(context.Background(), m, j)
	if err != nil {
		t.Fatal(err)
	}
	r, w := res.Sides[Read], res.Sides[Write]
	if r.Ops+w.Ops != 10_000 || r.Ops < 6800 || r.Ops > 7200 {
		t.Errorf("%d reads, %d writes", r.Ops, w.Ops)
	}
	if mean := float64(r.Bytes) / float64(r.Ops); mean < 7000 || mean > 7350 {
		t.Errorf("reads of %.0f bytes in the mean, not 7168", mean)
	}
	if want := int(w.Ops/100) + 1; m.syncs != want || int(res.Syncs.Count()) != want {
		t.Errorf("%d flushes, %d counted, want %d", m.syncs, res.Syncs.Count(), want)
	}
}

func TestFirstFailureEndsTheRun(t *testing.T) {
	cause := errors.New("broken")
	m := newMemory()
	m.fail = cause
	_, err := Run(context.Background(), m, reads(4, time.Minute))
	if !errors.Is(err, cause) {
		t.Fatalf("error = %v", err)
	}
}

func TestCancelledRunEnds(t *testing.T) {
	for _, rate := range []float64{0, 1000} {
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Millisecond)
		j := reads(4, time.Hour)
		j.Rate[Read] = rate
		_, err := Run(ctx, newMemory(), j)
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("rate %v: error = %v", rate, err)
		}
		cancel()
	}
}

func TestRampIsNotCounted(t *testing.T) {
	m := newMemory()
	j := reads(2, 40*time.Millisecond)
	j.Ramp = 40 * time.Millisecond
	res, err := Run(context.Background(), m, j)
	if err != nil {
		t.Fatal(err)
	}
	total := 0
	for _, n := range m.offsets {
		total += n
	}
	if res.Ops() == 0 || res.Ops() >= int64(total) {
		t.Errorf("%d counted of %d", res.Ops(), total)
	}
}

func TestJobsThatMakeNoSenseAreRefused(t *testing.T) {
	one := Blocks(4096)
	for _, j := range []Job{{}, {Sizes: one, Depth: 1, Size: 100, Ops: 1},
		{Sizes: one, Size: 4096, Ops: 1}, {Sizes: one, Depth: 1, Size: 4096},
		{Sizes: one, Depth: 2, Size: 4096, Ops: 1, Verify: &Verify{}},
		{Sizes: Blocks(16), Depth: 1, Size: 4096, Ops: 1, Verify: &Verify{}}} {
		if _, err := Run(context.Background(), newMemory(), j); !errors.Is(err, ErrJob) {
			t.Errorf("%+v: error = %v", j, err)
		}
	}
}

func TestDistributionsPreferSomeBlocks(t *testing.T) {
	for kind, theta := range map[string]float64{"zipf": 1.2, "pareto": 0.2} {
		p := newPlan(&Job{Reads: 100, Sizes: Blocks(4096), Random: true, Depth: 1,
			Size: 1000 * 4096, Ops: 1 << 40, Spread: job.Spread{Kind: kind, Theta: theta}})
		hits := map[int64]int{}
		for range 20_000 {
			var op Op
			p.next(&op, make([]byte, 4096))
			if op.Off < 0 || op.Off >= 1000*4096 || op.Off%4096 != 0 {
				t.Fatalf("%s: offset %d", kind, op.Off)
			}
			hits[op.Off]++
		}
		most := 0
		for _, n := range hits {
			most = max(most, n)
		}
		if most < 200 || len(hits) < 50 {
			t.Errorf("%s: %d blocks, the most popular %d times of 20000", kind, len(hits), most)
		}
	}
}
