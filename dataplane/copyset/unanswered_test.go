package copyset

import (
	"testing"
	"time"
)

func TestOldestIsTheRequestThatCameFirstUntilItIsAnswered(t *testing.T) {
	h := newSolo(t, 1)
	none := func(when string) {
		t.Helper()
		if w, ok := h.r.Oldest(); ok {
			t.Fatalf("%s: %+v waits", when, w)
		}
	}
	none("at first")
	at := h.now
	h.submit(h.request(KindWrite, 0, BlockSize, 1))
	h.now += int64(time.Second)
	h.submit(h.request(KindWrite, 5*BlockSize+100, 100, 2)) // reads the rest of its block
	h.submit(h.request(KindRead, 9*BlockSize, BlockSize, 0))
	h.turn()
	want := Waiting{Copyset: 1, Kind: KindWrite, Stage: StageCommit, Arrived: at}
	if w, ok := h.r.Oldest(); !ok || w != want {
		t.Errorf("%+v %v, want %+v", w, ok, want)
	}
	h.settle() // the first is answered, the device has not read for the second yet
	want = Waiting{Copyset: 1, Kind: KindWrite, Stage: StageRead, Arrived: at + int64(time.Second)}
	if w, ok := h.r.Oldest(); !ok || w != want {
		t.Errorf("%+v %v, want %+v", w, ok, want)
	}
	h.submit(h.request(KindZero, 0, 0, 3)) // refused at once
	h.turn()
	if w, _ := h.r.Oldest(); w != want {
		t.Errorf("after one that is refused: %+v, want %+v", w, want)
	}
	for range 5 {
		for _, job := range h.reads {
			h.r.ReadDone(job, h.now, &h.fx)
		}
		h.reads = nil
		h.settle()
	}
	if len(h.replies) != 4 {
		t.Fatalf("%d answers, want 4", len(h.replies))
	}
	none("when all are answered")
}

func TestUnansweredForgetsInWhateverOrderAnswersCome(t *testing.T) {
	for _, order := range [][]int{{0, 1, 2}, {2, 1, 0}, {1, 0, 2}, {1, 2, 0}, {0, 2, 1},
		{2, 0, 1}} {
		var p unanswered
		qs := make([]Request, 3)
		left := map[*Request]bool{}
		for i := range qs {
			p.add(&qs[i])
			left[&qs[i]] = true
		}
		for _, i := range order {
			p.drop(&qs[i])
			p.drop(&qs[i]) // nobody drops twice; it would do no harm
			delete(left, &qs[i])
			n := 0
			for q := p.head; q != nil; q = q.near.next {
				if n++; !left[q] {
					t.Fatalf("%v: one that was dropped is still there", order)
				}
			}
			if n != len(left) {
				t.Fatalf("%v: %d are left, want %d", order, n, len(left))
			}
		}
		if p != (unanswered{}) {
			t.Errorf("%v: %+v is left", order, p)
		}
	}
}

// BenchmarkKeepingARequest is what a request pays for being known while it waits, with 64 others.
func BenchmarkKeepingARequest(b *testing.B) {
	var p unanswered
	qs := make([]Request, 64)
	for i := range qs {
		p.add(&qs[i])
	}
	for i := range b.N {
		q := &qs[i%len(qs)]
		p.drop(q)
		p.add(q)
	}
}
