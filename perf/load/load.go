package load

import (
	"context"
	"encoding/binary"
	"fmt"
	"math"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"
	"unsafe"
)

// source gives operations: a plan, or the review of what was written.
type source interface {
	next(op *Op, buffer []byte) bool
}

// run is a job under way.
type run struct {
	job    *Job
	engine Engine
	base   time.Time
	end    int64 // ns; nothing is submitted from here on
	stop   atomic.Bool
	live   sync.WaitGroup // slots that have not retired
	slots  []*slot
	ledger *ledger

	mu       sync.Mutex // guards what follows
	source   source
	tally    *tally // nil: nothing is counted
	underWay int
	arrive   *arrivals // nil: a closed loop
	free     []*slot   // of an open loop
	closing  bool
	err      error
	wrong    int64
	lie      error
}

// slot is one of the operations that are under way together.
type slot struct {
	run    *run
	op     Op
	rng    *rand.PCG
	buffer []byte
	state  atomic.Int32
	wake   chan struct{} // of a loop that pauses
	used   bool          // op is one that has ended
}

// The states of a slot whose completions drive it.
const (
	submitting = iota // Submit runs; a completion is left to the submitter
	waiting           // Submit has returned; the completion goes on
	ended             // completed before Submit returned
)

// Run does the job. It returns the first error of an operation, or that of ctx; a block that is
// wrong is ErrLied. There is a result also beside an error, unless that is ErrJob.
func Run(ctx context.Context, e Engine, j Job) (*Result, error) {
	if err := j.check(); err != nil {
		return nil, err
	}
	r := newRun(e, &j)
	defer context.AfterFunc(ctx, func() { r.stop.Store(true) })()
	res := r.tally.res
	r.serve()
	res.Elapsed = time.Duration(max(r.tally.last-r.tally.from, 0))
	for d := range res.Sides {
		res.Sides[d].Elapsed = res.Elapsed
	}
	if r.tally.logs != nil {
		res.Log = r.tally.logs.finish(r.tally.last - r.tally.from)
		r.tally.logs = nil
	}
	if j.SyncLast && r.err == nil {
		r.flush()
	}
	if j.Verify != nil && j.Verify.After && r.err == nil && j.Reads < 100 {
		r.review()
	}
	r.giveBack()
	res.Wrong, res.Lie = r.wrong, r.lie
	switch {
	case r.err != nil:
		return res, r.err
	case ctx.Err() != nil:
		return res, ctx.Err()
	case r.wrong > 0:
		return res, fmt.Errorf("%d blocks were wrong, the first: %w", r.wrong, r.lie)
	}
	return res, nil
}

func newRun(e Engine, j *Job) *run {
	p := newPlan(j)
	r := &run{job: j, engine: e, end: math.MaxInt64, source: p, ledger: p.ledger,
		tally: &tally{res: &Result{}, from: int64(j.Ramp), logs: newLogger(j.Logs)}}
	if j.Duration > 0 {
		r.end = int64(j.Ramp + j.Duration)
	}
	if j.openLoop() {
		r.arrive = newArrivals(j.Rate[Read]+j.Rate[Write], j.Poisson, j.Seed, float64(r.end))
	}
	for i := range j.Depth {
		r.slots = append(r.slots, r.newSlot(i))
	}
	r.base = time.Now() // what it took to get ready is none of the job's time
	return r
}

func (r *run) newSlot(i int) *slot {
	_, most := r.job.bounds()
	s := &slot{run: r, rng: rand.NewPCG(r.job.Seed, uint64(i)+3)}
	if l, ok := r.engine.(Lender); ok {
		s.buffer = l.Lend(&s.op, most)
	}
	if s.buffer == nil {
		s.buffer = aligned(most)
	}
	for k := 0; k+8 <= most; k += 8 {
		binary.LittleEndian.PutUint64(s.buffer[k:], s.rng.Uint64())
	}
	s.op.slot = s
	s.op.Done = (*Op).goOn
	if r.job.Depth == 1 && r.arrive == nil && r.job.Think > 0 {
		s.wake = make(chan struct{}, 1)
		s.op.Done = func(op *Op) { op.slot.wake <- struct{}{} }
	}
	return s
}

// giveBack ends the use of what an engine has lent.
func (r *run) giveBack() {
	if l, ok := r.engine.(Lender); ok {
		for _, s := range r.slots {
			l.Return(&s.op)
		}
	}
}

// aligned is memory for direct I/O.
func aligned(n int) []byte {
	const page = 4096
	b := make([]byte, n+page)
	skip := -int(uintptr(unsafe.Pointer(&b[0]))) & (page - 1)
	return b[skip : skip+n : skip+n]
}

func (r *run) now() int64 { return int64(time.Since(r.base)) }

// serve lets every slot work until the source or the time is at its end.
func (r *run) serve() {
	r.live.Add(len(r.slots))
	switch {
	case r.arrive != nil:
		r.free = append(r.free, r.slots...)
		r.pace()
	case r.slots[0].wake != nil:
		r.slots[0].loop()
	default:
		for _, s := range r.slots {
			if s.turn() {
				s.drive()
			}
		}
	}
	r.live.Wait()
}

// loop is a closed loop of depth 1 that pauses after each operation, on a goroutine of its own:
// completions must not wait for its pauses.
func (s *slot) loop() {
	for s.turn() {
		s.run.engine.Submit(&s.op)
		<-s.wake
		s.op.ended = s.run.now()
		nap(s.run.job.Think) // the runtime's timers are a millisecond coarse when it is idle
	}
}

// drive submits the slot's operation, and the ones after it as long as each ends before Submit
// returns: an engine that completes inside Submit must not pile up calls.
func (s *slot) drive() {
	for {
		s.state.Store(submitting)
		s.run.engine.Submit(&s.op)
		if s.state.CompareAndSwap(submitting, waiting) || !s.turn() {
			return
		}
	}
}

// goOn is called when the operation has completed.
func (op *Op) goOn() {
	s := op.slot
	op.ended = s.run.now()
	if !s.state.CompareAndSwap(submitting, ended) && s.turn() {
		s.drive()
	}
}

// turn counts the slot's operation that ended and makes the next one; false when there is none now.
func (s *slot) turn() bool {
	r, lie := s.run, error(nil)
	if s.used && s.op.Err == nil && s.op.Kind == Read && r.ledger != nil && r.checks(&s.op) {
		lie = r.ledger.check(s.op.Data, s.op.Off, s.op.stamp)
	}
	r.mu.Lock()
	if s.used {
		r.complete(&s.op, lie)
		s.used = false
	}
	ok, parked := r.begin(s)
	r.mu.Unlock()
	if ok {
		s.prepare()
	} else if !parked {
		r.live.Done()
	}
	return ok
}

// checks reports whether it is known what a read must return: in a job that writes too, not for
// blocks that it has not written yet.
func (r *run) checks(op *Op) bool { return op.stamp > 0 || r.job.Reads == 100 }

// complete counts an operation. r.mu is held.
func (r *run) complete(op *Op, lie error) {
	r.underWay--
	if op.Err != nil {
		r.fail(fmt.Errorf("load: %s at offset %d: %w", op.Kind, op.Off, op.Err))
		return
	}
	if r.ledger != nil && op.Kind != Sync {
		r.ledger.give(op.Off, op.Kind, op.stamp)
	}
	if lie != nil {
		if r.wrong++; r.lie == nil {
			r.lie = lie
		}
		if r.job.Verify.Fatal {
			r.fail(lie)
		}
	}
	if r.tally != nil {
		r.tally.completed(op, r.arrive != nil)
	}
	if p := r.job.Progress; p != nil && op.Kind != Sync {
		p.Ops[op.Kind].Add(1)
		p.Bytes[op.Kind].Add(int64(len(op.Data)))
	}
}

func (r *run) fail(err error) {
	if r.err == nil {
		r.err = err
	}
	r.stop.Store(true)
}

// begin gives the slot its next operation. When there is none, the slot retires, or is parked until
// something arrives. r.mu is held.
func (r *run) begin(s *slot) (ok, parked bool) {
	now := r.now()
	if now >= r.end || r.stop.Load() || r.closing {
		return false, false
	}
	s.op.intended = now
	if r.arrive != nil {
		r.arrive.advance(now)
		if s.op.intended, ok = r.arrive.pop(); !ok {
			r.free = append(r.free, s)
			return false, true
		}
	}
	if !r.source.next(&s.op, s.buffer) {
		r.closing = r.arrive != nil
		return false, false
	}
	r.underWay++
	if r.tally != nil {
		r.tally.submitted(now, r.underWay)
	}
	s.used = true
	return true, false
}

// prepare makes what is written, which is new each time, and starts the operation's clock.
func (s *slot) prepare() {
	r := s.run
	if s.op.Kind == Write {
		if r.ledger != nil {
			r.ledger.fill(s.op.Data, s.op.Off, s.op.stamp)
		} else if len(s.op.Data) >= 8 {
			binary.LittleEndian.PutUint64(s.op.Data, s.rng.Uint64())
		}
	}
	s.op.Err = nil
	s.op.began = r.now()
	if r.arrive == nil {
		s.op.intended = s.op.began
	}
}

func (k Kind) String() string { return [...]string{"read", "write", "flush"}[k] }
