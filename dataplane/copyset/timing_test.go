package copyset

import (
	"math/bits"
	"testing"
	"time"

	"github.com/ashlar-storage/ashlar/rpc/wire"
)

// total is the time in all stages, and which a kind's requests were in.
func (t *Timing) total(k Kind) (ns int64, in []string) {
	for s := range Stages {
		if d := t.Of(k, s); d.N > 0 {
			ns += d.Sum
			in = append(in, s.String())
		}
	}
	return ns, in
}

// timed has one request answered and gives the time from its arrival, 5 ms before it is submitted,
// to its answer, and what was counted for it.
func (h *solo) timed(q *Request) (took int64, counted *Timing) {
	h.t.Helper()
	h.r.timing = new(Timing)
	q.Arrived = h.now
	h.now += 5 * int64(time.Millisecond)
	h.submit(q)
	for range 10 {
		if h.settle(); len(h.replies) > 0 {
			break
		}
		for _, job := range h.reads {
			h.now += int64(time.Millisecond)
			for i := range job.Parts {
				for k := range job.Parts[i].CRCs {
					job.Parts[i].CRCs[k] = wire.ZeroCRC
				}
				clear(job.Parts[i].Dst)
			}
			h.r.ReadDone(job, h.now, &h.fx)
		}
		h.reads = nil
	}
	took = h.replies[0].Request.at.since - q.Arrived
	if s := h.answer(); s != wire.StatusOK {
		h.t.Fatalf("answered %v", s)
	}
	return took, h.r.timing
}

func TestWhatARequestSpendsInItsStagesIsTheTimeItTakes(t *testing.T) {
	h := newSolo(t, 1)
	for _, c := range []struct {
		name   string
		q      *Request
		stages string
	}{
		{"write", h.request(KindWrite, 0, BlockSize, 1), "queue lane propose commit"},
		{"partial write", h.request(KindWrite, 8292, 100, 2), "queue lane read propose commit"},
		{"read from memory", h.request(KindRead, 0, BlockSize, 3), "queue read"},
		{"read from the device", h.request(KindRead, 9*BlockSize, BlockSize, 4),
			"queue lane read"},
		{"zero", h.request(KindZero, 0, BlockSize, 5), "queue lane propose commit"},
	} {
		took, counted := h.timed(c.q)
		sum, in := counted.total(c.q.Kind)
		names := ""
		for i, s := range in {
			if names += s; i < len(in)-1 {
				names += " "
			}
		}
		if sum != took || took < 5*int64(time.Millisecond) || names != c.stages {
			t.Errorf("%s: %v in %q, its stages add up to %v, want %q", c.name,
				time.Duration(took), names, time.Duration(sum), c.stages)
		}
		if d := counted.Of(c.q.Kind, StageQueue); d.N != 1 || d.Sum != 5*int64(time.Millisecond) {
			t.Errorf("%s: waited %v for its turn", c.name, time.Duration(d.Sum))
		}
	}
}

func TestRefusedRequestsAreNotCounted(t *testing.T) {
	h := newSolo(t, 1)
	q := h.request(KindRead, 0, BlockSize, 1)
	q.Length = 0
	h.submit(q)
	h.settle()
	if s := h.answer(); s != wire.StatusBadRequest {
		t.Fatal(s)
	}
	if ns, in := h.r.timing.total(KindRead); ns != 0 || len(in) > 0 {
		t.Errorf("%v counted in %v", ns, in)
	}
}

func TestDurationsAreCountedBelowTheirPowerOfTwo(t *testing.T) {
	var d, twice Durations
	values := []int64{-1, 0, 1023, 1024, 1025, 4095, 4096, 1 << 34, 1<<35 - 1, 1 << 35, 1 << 60}
	for _, v := range values {
		d.add(v, 2)
	}
	twice.merge(&d)
	twice.merge(&d)
	if d.N != uint64(2*len(values)) || twice.N != 2*d.N || twice.Sum != 2*d.Sum {
		t.Errorf("%d and %d counted, %d and %d ns", d.N, twice.N, d.Sum, twice.Sum)
	}
	last := uint64(0)
	d.Powers(func(bound, count uint64) {
		want := uint64(0)
		for _, v := range values {
			if uint64(max(v, 0)) < bound {
				want += 2
			}
		}
		if bits.OnesCount64(bound) != 1 || bound <= last || count != want {
			t.Errorf("%d below %d, want %d", count, bound, want)
		}
		last = bound
	})
	if last != 1<<34 {
		t.Errorf("the last bound is %d", last)
	}
}

func TestCountingARequestAllocatesNothing(t *testing.T) {
	var times Timing
	q := &Request{Kind: KindWrite}
	if n := testing.AllocsPerRun(100, func() {
		q.at = progress{since: 1}
		q.at.goes(StageCommit, 5000)
		q.at.goes(stageAnswered, 900_000)
		times.note(q)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkCountingARequest(b *testing.B) {
	var times Timing
	q := &Request{Kind: KindWrite}
	for i := range b.N {
		q.at = progress{since: 1}
		q.at.goes(StageLane, 3)
		q.at.goes(StagePropose, 4)
		q.at.goes(StageCommit, 5000)
		q.at.goes(stageAnswered, int64(i))
		times.note(q)
	}
}
