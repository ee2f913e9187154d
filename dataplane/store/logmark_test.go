package store

import (
	"slices"
	"testing"

	"github.com/ashlar-storage/ashlar/io/wal"
)

// Replicas whose logs grow alike must not drain together, again and again: marks of different
// stores, and those of one store after each checkpoint, lie apart and use all of their range.
func TestStoresDoNotBeginTheirCheckpointsTogether(t *testing.T) {
	const bound, least = 512 << 20, 192 << 20
	low, high, near := int64(bound), int64(0), 0
	last := [3]int64{}
	for turn := range 100 {
		var marks [3]int64
		for s := range marks {
			tail := wal.LSN(turn) * 200 << 20
			marks[s] = logMark([16]byte{byte(s), 7}, tail, bound)
			if m := marks[s]; m < least || m > bound/2 {
				t.Fatalf("mark %d of store %d, want %d to %d", m, s, least, bound/2)
			}
			if marks[s] == last[s] {
				t.Errorf("store %d has the mark of the turn before", s)
			}
			low, high = min(low, marks[s]), max(high, marks[s])
		}
		if slices.Max(marks[:])-slices.Min(marks[:]) < 4<<20 {
			near++
		}
		last = marks
	}
	if low > least+8<<20 || high < bound/2-8<<20 {
		t.Errorf("marks from %d to %d", low, high)
	}
	if near > 10 {
		t.Errorf("in %d of 100 turns all stores have nearly the same mark", near)
	}
}

func TestCheckpointsOfFullLogsLieApart(t *testing.T) {
	const bound = 512 << 20
	for _, c := range []struct{ mark, left, want int64 }{
		{mark: 200 << 20, left: 0, want: 200 << 20},         // nothing before
		{mark: 200 << 20, left: 130 << 20, want: 200 << 20}, // enough to come by itself
		{mark: 200 << 20, left: 180 << 20, want: 244 << 20}, // would press after 20 MiB
		{mark: 250 << 20, left: 180 << 20, want: 250 << 20},
		{mark: 200 << 20, left: 400 << 20, want: bound / 2}, // held by a replica: presses still
	} {
		if got := worthMark(c.mark, c.left, bound); got != c.want {
			t.Errorf("%+v: %d", c, got)
		}
	}
}
