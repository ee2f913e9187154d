package store

import (
	"context"
	"fmt"
	"slices"
	"testing"

	"github.com/ashlar-storage/ashlar/io/disk"
	"github.com/ashlar-storage/ashlar/io/wal"
)

// Replicas whose logs grow alike must not drain together, again and again: ages of different
// stores, and those of one store after each release, lie apart and use all of their range.
func TestStoresKeepTheirLogsForDifferentTimes(t *testing.T) {
	const bound = 512 << 20
	const least, most = bound / 8 * 5, bound / 4 * 3
	low, high, near := int64(bound), int64(0), 0
	last := [3]int64{}
	for turn := range 100 {
		var ages [3]int64
		for s := range ages {
			tail := wal.LSN(turn) * 200 << 20
			ages[s] = logAge([16]byte{byte(s), 7}, tail, bound)
			if a := ages[s]; a < least || a > most {
				t.Fatalf("age %d of store %d, want %d to %d", a, s, least, most)
			}
			if ages[s] == last[s] {
				t.Errorf("store %d has the age of the turn before", s)
			}
			low, high = min(low, ages[s]), max(high, ages[s])
		}
		if slices.Max(ages[:])-slices.Min(ages[:]) < 4<<20 {
			near++
		}
		last = ages
	}
	if low > least+8<<20 || high < most-8<<20 {
		t.Errorf("ages from %d to %d", low, high)
	}
	if near > 10 {
		t.Errorf("in %d of 100 turns all stores have nearly the same age", near)
	}
}

// turnLog is a log that copysets need, and what came of their turns.
type turnLog struct {
	turns  turns
	part   int64
	most   int // had a turn at the same time
	oldest int64
	lags   []int64 // how old what somebody needed was at each turn
}

// grow has a part of the log written, and then the turns of those who are next. Each needs
// nothing before the place where the log ended then.
func (l *turnLog) grow() {
	l.turns.head += wal.LSN(l.part)
	next := l.turns.next(func(id uint64) uint64 { return id })
	l.most = max(l.most, len(next))
	for i := range l.turns.needs {
		n := &l.turns.needs[i]
		lag := int64(l.turns.head - n.at)
		l.oldest = max(l.oldest, lag)
		if slices.Contains(next, n.copyset) {
			l.lags = append(l.lags, lag)
			n.at = l.turns.head
		}
	}
}

func TestTurnsComeApartAndKeepTheLogBelowItsAge(t *testing.T) {
	const age = 800
	for _, n := range []int{1, 2, 3, 6, 8, 12, 100, 300} {
		t.Run(fmt.Sprint(n, " copysets"), func(t *testing.T) {
			l := turnLog{turns: turns{age: age}, part: age / logParts}
			for id := range n {
				l.turns.needs = append(l.turns.needs, need{copyset: uint64(id)})
			}
			for range 10 * logParts {
				l.grow()
			}
			if l.oldest > age {
				t.Errorf("log as old as %d was needed, of %d", l.oldest, age)
			}
			if most := (n + logParts - 1) / logParts; l.most > most {
				t.Errorf("%d of %d had their turn at once, want %d at most", l.most, n, most)
			}
			later := l.lags[2*n:]
			if slices.Min(later) < age/4*3 {
				t.Errorf("turns after %d of %d, once they have come apart", slices.Min(later), age)
			}
		})
	}
}

func TestAllThatAreLateHaveTheirTurn(t *testing.T) {
	r := turns{head: 1000, age: 400}
	for id := range uint64(16) {
		r.needs = append(r.needs, need{copyset: id, at: wal.LSN(500 + id*20)})
	}
	next := r.next(func(id uint64) uint64 { return id })
	// A part is 50: what is needed from below 650 on would be older than 400 after the next one.
	if want := []uint64{0, 1, 2, 3, 4, 5, 6, 7}; !slices.Equal(next, want) {
		t.Errorf("%d have their turn, want %d", next, want)
	}
}

func TestMemoryThatRunsShortMakesItATurnOfThoseThatHaveSome(t *testing.T) {
	r := turns{head: 1000, age: 10_000, short: true}
	for id := range uint64(10) {
		r.needs = append(r.needs, need{copyset: id, at: wal.LSN(900 - id*20), bytes: turnBytes / 2})
	}
	tie := func(id uint64) uint64 { return id }
	if next := r.next(tie); !slices.Equal(next, []uint64{9, 8}) {
		t.Errorf("%d have their turn, want the two that need the oldest log", next)
	}
	for i := range r.needs {
		r.needs[i].bytes = turnBytes/2 - 1
	}
	if next := r.next(tie); len(next) > 0 {
		t.Errorf("%d have their turn, and hardly any memory", next)
	}
}

// Stores that hold the same copysets, all of which need the same log, begin with different ones.
func TestStoresBeginTheirTurnsWithDifferentCopysets(t *testing.T) {
	firsts := map[uint64]bool{}
	for store := range 8 {
		r := turns{head: 1000, age: 1000}
		for id := range uint64(6) {
			r.needs = append(r.needs, need{copyset: id})
		}
		next := r.next(func(id uint64) uint64 { return seedOf([16]byte{byte(store)}, id) })
		firsts[next[0]] = true
	}
	if len(firsts) < 3 {
		t.Errorf("eight stores begin with %v", firsts)
	}
}

func TestCheckpointOfOneCopysetKeepsTheLogThatAnotherNeeds(t *testing.T) {
	r := newRig(t, 1, nil)
	want := pattern(7, 3)
	r.mustWrite(2, 0, 4*block, want)
	for i := range uint32(15) { // more than is kept for followers, less than is old
		r.mustWrite(1, 0, i%4*60*block, pattern(byte(i), 60))
		if i%5 == 4 {
			r.store(0).checkpoint(context.Background(), func(id uint64) bool { return id == 1 })
		}
	}
	if at := r.status(0, 1); at.OverlayBlocks > 0 {
		t.Errorf("%d blocks wait after a checkpoint", at.OverlayBlocks)
	}
	r.mustWrite(1, 0, 0, pattern(60, 1)) // carries what was released
	r.cutPower(0, disk.CrashPlan{Keep: disk.KeepNothing})
	r.open(0)
	r.wantRead(2, 0, 4*block, want)
	r.wantRead(1, 0, 2*60*block, pattern(14, 60))
}
