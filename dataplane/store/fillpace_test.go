package store

import (
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/ashlar-storage/ashlar/dataplane/copyset"
	"github.com/ashlar-storage/ashlar/rpc/wire"
)

func TestFillsKeepToTheirRateBesideClientsOnly(t *testing.T) {
	const rate, piece = 16 << 20, 256 << 10
	p := fillPace{rate: rate}
	now, ops := int64(time.Hour), uint64(0)
	for range 1000 {
		if wait, ok := p.turn(now, piece, ops); wait != 0 || !ok {
			t.Fatalf("waits %v though no client is there", wait)
		}
	}
	// Four requests under way at any time, as of one replica, and a client every millisecond.
	given, end := int64(0), now+int64(10*time.Second)
	for at := []int64{now, now, now, now}; ; {
		slices.Sort(at)
		if now = at[0]; now > end {
			break
		}
		ops++
		wait, ok := p.turn(now, piece, ops)
		if !ok {
			t.Fatal("sent away though so little waits")
		}
		given += piece
		at[0] = now + max(int64(wait), int64(time.Millisecond))
	}
	if got := float64(given) / 10; got < 0.95*rate || got > 1.05*rate {
		t.Errorf("%.1f MiB in a second, want %d", got/(1<<20), rate>>20)
	}
	now = end + int64(2*fillCalm)
	if wait, _ := p.turn(now, piece, ops); wait != 0 {
		t.Errorf("waits %v though the client has gone", wait)
	}
}

func TestWhatWaitsToBeFilledIsBounded(t *testing.T) {
	const rate, piece = 16 << 20, 1 << 20
	p := fillPace{rate: rate}
	now, taken := int64(time.Hour), 0
	for ops := uint64(1); ops < 1000; ops++ {
		wait, ok := p.turn(now, piece, ops)
		if ok {
			taken++
		}
		if wait > fillQueue {
			t.Fatalf("waits %v", wait)
		}
	}
	if most := int(fillQueue/time.Second)*rate/piece + 1; taken != most {
		t.Errorf("%d of them wait, want %d", taken, most)
	}
}

func TestUrgentFillsWaitForNoClients(t *testing.T) {
	r := newRig(t, 1, func(r *rig) {
		r.adapt = func(_ int, cfg *Config) { cfg.FillBytes = 1 }
	})
	r.mustWrite(1, 7, 0, pattern(3, 1))
	s := r.store(0)
	for urgent, want := range map[bool]bool{false: false, true: true} {
		done := make(chan struct{})
		now := s.clock()
		s.fill.mu.Lock() // there is a client, and somebody before it
		s.fill.client, s.fill.next = now+int64(time.Minute), now+int64(2*time.Second)
		s.fill.mu.Unlock()
		s.Owner(1).Fill(1, &copyset.PeerRead{Chunk: copyset.Chunk{Volume: 1, Index: 7}, Count: 2,
			Urgent: urgent, Done: func(_ wire.Status, _ [][]byte, _ []uint32,
				hold []copyset.Payload) {
				for i := range hold {
					hold[i].Release()
				}
				close(done)
			}})
		began := time.Now()
		<-done
		if got := time.Since(began) < time.Second; got != want {
			t.Errorf("urgent %v: answered after %v", urgent, time.Since(began))
		}
	}
}

// A replica that was away is given what was touched meanwhile, and not all that there is.
func TestOnlyChunksThatWereTouchedAreFetched(t *testing.T) {
	r := newRig(t, 3, nil)
	for chunk := range uint64(4) {
		r.mustWrite(1, chunk, 0, pattern(byte(chunk), 1))
	}
	r.settle(1) // a checkpoint of each
	away := (r.leader(1) + 1) % 3
	r.close(away)
	r.mustWrite(1, 5, 0, pattern(15, 1))
	for i := range uint32(60) { // more than the log keeps
		r.mustWrite(1, 2, i*block, pattern(byte(i), 60))
	}
	r.recycle(away)
	r.comesBack(away)
	r.mu.Lock()
	got := slices.Sorted(maps.Keys(r.asked))
	r.mu.Unlock()
	if !slices.Equal(got, []uint64{2, 5}) {
		t.Errorf("fetched the chunks %v, want 2 and 5", got)
	}
	r.closeOther(away) // what was fetched must carry on with one other
	for chunk, want := range map[uint64][]byte{0: pattern(0, 1), 1: pattern(1, 1),
		2: pattern(0, 1), 3: pattern(3, 1), 5: pattern(15, 1)} {
		r.wantRead(1, chunk, 0, want)
	}
}
