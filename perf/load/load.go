package load

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ashlar-storage/ashlar/perf/hist"
)

// ErrJob marks a job that makes no sense.
var ErrJob = errors.New("load: bad job")

// Op is one operation for an engine.
type Op struct {
	Write bool
	Off   int64
	Data  []byte
	// Done is called once, from any goroutine, also from inside Submit.
	Done func(*Op)
	Err  error
	// Engine is the engine's own, kept from use to use.
	Engine any

	began time.Time
	slot  *slot
}

// Engine completes operations.
type Engine interface {
	Submit(op *Op)
}

// Job says what to do.
type Job struct {
	Write  bool
	Block  int   // bytes of an operation
	Depth  int   // operations at one time
	Size   int64 // region in bytes, from offset 0; offsets are multiples of Block
	Linear bool  // one after the other instead of random
	Ops    int64 // ends the run after so many; 0: only Duration does
	// Duration is from the first submission to the last.
	Duration time.Duration
	Seed     uint64
	// Progress, when set, counts completed operations while the run goes on.
	Progress *atomic.Int64
}

// Result is what a run did.
type Result struct {
	Hist    hist.Hist
	Ops     int64
	Elapsed time.Duration
}

// IOPS is operations per second.
func (r *Result) IOPS() float64 {
	if r.Elapsed <= 0 {
		return 0
	}
	return float64(r.Ops) / r.Elapsed.Seconds()
}

// slot is one of the operations that are under way together.
type slot struct {
	run  *run
	op   Op
	rng  *rand.PCG
	hist hist.Hist
	wake chan struct{} // depth 1
}

type run struct {
	job     Job
	engine  Engine
	blocks  uint64
	end     time.Time
	stop    atomic.Bool
	started atomic.Int64
	next    atomic.Int64 // block of a linear run
	live    sync.WaitGroup
	err     atomic.Pointer[error]
}

func (j *Job) check() error {
	if j.Block <= 0 || j.Depth <= 0 || j.Size < int64(j.Block) || j.Duration <= 0 && j.Ops <= 0 {
		return fmt.Errorf("%w: block %d, depth %d, size %d, duration %v, operations %d", ErrJob,
			j.Block, j.Depth, j.Size, j.Duration, j.Ops)
	}
	return nil
}

// Run does the job. It returns the first error of an operation, or that of ctx.
func Run(ctx context.Context, e Engine, job Job) (*Result, error) {
	if err := job.check(); err != nil {
		return nil, err
	}
	r := &run{job: job, engine: e, blocks: uint64(job.Size / int64(job.Block))}
	defer context.AfterFunc(ctx, func() { r.stop.Store(true) })()
	slots := make([]*slot, job.Depth)
	for i := range slots {
		slots[i] = r.newSlot(i)
	}
	began := time.Now()
	r.end = began.Add(job.Duration)
	for _, s := range slots {
		r.live.Add(1)
		if s.wake != nil {
			go s.loop()
		} else {
			s.submit()
		}
	}
	r.live.Wait()
	res := &Result{Elapsed: time.Since(began)}
	for _, s := range slots {
		res.Hist.Merge(&s.hist)
	}
	res.Ops = int64(res.Hist.Count())
	if p := r.err.Load(); p != nil {
		return res, *p
	}
	return res, ctx.Err()
}

func (r *run) newSlot(i int) *slot {
	s := &slot{run: r, rng: rand.NewPCG(r.job.Seed, uint64(i))}
	s.op = Op{Write: r.job.Write, Data: make([]byte, r.job.Block), slot: s}
	for k := 0; k+8 <= len(s.op.Data); k += 8 {
		put64(s.op.Data[k:], s.rng.Uint64())
	}
	s.op.Done = func(op *Op) {
		if op.slot.finish() {
			op.slot.submit()
		} else {
			op.slot.run.live.Done()
		}
	}
	if r.job.Depth == 1 {
		s.wake = make(chan struct{}, 1)
		s.op.Done = func(op *Op) { op.slot.wake <- struct{}{} }
	}
	return s
}

func put64(b []byte, v uint64) {
	for i := range 8 {
		b[i] = byte(v >> (8 * i))
	}
}

func (s *slot) loop() {
	defer s.run.live.Done()
	for {
		s.submit()
		<-s.wake
		if !s.finish() {
			return
		}
	}
}

// submit starts the slot's next operation. What it writes is new each time.
func (s *slot) submit() {
	block := s.rng.Uint64() % s.run.blocks
	if s.run.job.Linear {
		block = uint64(s.run.next.Add(1)-1) % s.run.blocks
	}
	if s.op.Write && len(s.op.Data) >= 8 {
		put64(s.op.Data, s.rng.Uint64())
	}
	s.op.Off, s.op.Err = int64(block)*int64(s.run.job.Block), nil
	s.run.started.Add(1)
	s.op.began = time.Now()
	s.run.engine.Submit(&s.op)
}

// finish counts the operation that ended and reports whether there is to be another.
func (s *slot) finish() bool {
	r, now := s.run, time.Now()
	if err := s.op.Err; err != nil {
		err = fmt.Errorf("load: offset %d: %w", s.op.Off, err)
		r.err.CompareAndSwap(nil, &err)
		r.stop.Store(true)
		return false
	}
	s.hist.Add(uint64(now.Sub(s.op.began)))
	if p := r.job.Progress; p != nil {
		p.Add(1)
	}
	if r.job.Ops > 0 && r.started.Load() >= r.job.Ops || r.stop.Load() {
		return false
	}
	return r.job.Duration <= 0 || now.Before(r.end)
}
