//go:build rdma && cgo && linux

package ibv

import (
	"testing"
	"time"

	"github.com/ashlar-storage/ashlar/rpc/rdma/verbs"
)

func TestOneCompletionFreesAllPlacesBeforeIt(t *testing.T) {
	r := newSendRing(4)
	for round := range uint64(100) {
		var ids []uint64
		for i := range uint64(4) {
			ids = append(ids, r.put(sendSlot{id: 10*round + i, op: verbs.OpRead, bytes: int(i)}))
		}
		if r.room() != 0 {
			t.Fatalf("room for %d", r.room())
		}
		s, seen := r.complete(ids[2])
		if !seen || s.id != 10*round+2 || s.bytes != 2 || r.room() != 3 {
			t.Fatalf("round %d: %+v, %v, room for %d", round, s, seen, r.room())
		}
		if _, seen := r.complete(ids[1]); seen {
			t.Fatal("completed what was done")
		}
		if s, _ := r.complete(ids[3]); s.id != 10*round+3 || r.room() != 4 {
			t.Fatalf("round %d: %+v, room for %d", round, s, r.room())
		}
	}
}

func TestWhatWasRefusedCompletesUnseen(t *testing.T) {
	r := newSendRing(4)
	first := r.put(sendSlot{id: 1})
	taken, refused := r.put(sendSlot{id: 2}), r.put(sendSlot{id: 3})
	r.unput(1) // the card took the one and not the other
	r.hide(1)
	if _, seen := r.complete(first); !seen {
		t.Error("what was posted before is not seen")
	}
	if _, seen := r.complete(taken); seen {
		t.Error("what the caller was told is not taken is seen")
	}
	if _, seen := r.complete(refused); seen || r.room() != 4 {
		t.Errorf("what the card did not take is seen, or takes room (%d left)", r.room())
	}
}

func TestTimeoutCodesGrowWithPatience(t *testing.T) {
	const unit = 4096 * time.Nanosecond
	last := 0
	for _, patience := range []time.Duration{time.Microsecond, 10 * time.Millisecond, time.Second,
		time.Minute, 24 * time.Hour} {
		code := timeoutCode(patience)
		all := unit << code * (retries + 1)
		if code < last || code < 1 || code > 31 || code < 31 && all < patience ||
			code > 1 && all >= 2*patience {
			t.Errorf("%v: code %d, %v in all", patience, code, all)
		}
		last = code
	}
}

func TestKeysOfAWindowDifferInTheirLowByteOnly(t *testing.T) {
	if got := nextKey(0x1234ff); got != 0x123400 {
		t.Errorf("after 0x1234ff comes %#x", got)
	}
	if got := nextKey(0x123400); got != 0x123401 {
		t.Errorf("after 0x123400 comes %#x", got)
	}
}
