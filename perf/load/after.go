package load

import (
	"fmt"
	"math"
	"time"
)

// flush makes durable what was written, at the end of a run.
func (r *run) flush() {
	done := make(chan struct{})
	op := Op{Kind: Sync, Done: func(*Op) { close(done) }}
	began := time.Now()
	r.engine.Submit(&op)
	<-done
	if op.Err != nil {
		r.fail(fmt.Errorf("load: flush at the end: %w", op.Err))
		return
	}
	r.tally.res.Syncs.Add(uint64(time.Since(began)))
}

// review reads every block that was written, in order, and checks it. In a job that only writes
// these are the reads of its result.
func (r *run) review() {
	began := r.now()
	res := r.tally.res
	r.end, r.arrive, r.closing = math.MaxInt64, nil, false
	r.source = &reviewer{ledger: r.ledger}
	r.tally.from, r.tally.last = began, began
	if r.job.Reads > 0 {
		r.tally = nil
	} else {
		// Depths are those of the job.
		depths := res.Depths
		defer func() { res.Depths = depths }()
	}
	r.serve()
	if r.tally != nil {
		res.Sides[Read].Elapsed = time.Duration(r.tally.last - began)
	}
}

// reviewer gives a read of each block that was written.
type reviewer struct {
	ledger *ledger
	at     int
}

func (v *reviewer) next(op *Op, buffer []byte) bool {
	i, ok := v.ledger.after(v.at)
	if !ok {
		return false
	}
	v.at = i + 1
	var off int64
	off, op.stamp = v.ledger.take(int64(i)*v.ledger.block, Read)
	op.Kind, op.Off, op.Data = Read, v.ledger.offset+off, buffer[:v.ledger.block]
	return true
}
