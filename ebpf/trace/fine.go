package trace

import (
	"math/bits"
	"slices"
)

// fine counts times for quantiles: in buckets of which each power of two has 32, so that the middle
// of one is at most a sixty-fourth from what it counts. To count so takes a part of the time of
// keeping each and sorting them.
type fine struct {
	n       int
	max     int64
	buckets [fineBuckets]uint32
}

const (
	fineBits    = 5
	finePowers  = 40 // longer ones, from 18 min on, are counted as that; max is right all the same
	fineBuckets = (finePowers - fineBits + 1) << fineBits
)

func (f *fine) add(ns int64) {
	f.n++
	f.max = max(f.max, ns)
	f.buckets[fineOf(ns)]++
}

// fineOf is a time's bucket: below 32 ns itself, then by its power and the five bits that follow.
func fineOf(ns int64) int {
	v := uint64(min(max(ns, 0), 1<<finePowers-1))
	power := max(bits.Len64(v)-1-fineBits, 0)
	return power<<fineBits + int(v>>power)
}

// middle is the time in the middle of a bucket.
func middle(bucket int) int64 {
	power := max(bucket>>fineBits-1, 0)
	return int64(bucket-power<<fineBits)<<power + 1<<power>>1
}

func (f *fine) merge(o *fine) {
	f.n += o.n
	f.max = max(f.max, o.max)
	for i, n := range o.buckets {
		f.buckets[i] += n
	}
}

// rank is the time that so many are below, from 0 to n-1; the last is the longest itself.
func (f *fine) rank(r int) int64 {
	if r >= f.n-1 {
		return f.max
	}
	for i, n := range f.buckets {
		if r -= int(n); r < 0 {
			return min(middle(i), f.max)
		}
	}
	return f.max
}

// totals are times whose ranks are exact: all are kept, and those of one bucket sorted when one of
// them is asked for.
type totals struct {
	all   []int64
	count fine
	room  []int64
}

func (t *totals) add(ns int64) {
	t.all = append(t.all, ns)
	t.count.add(ns)
}

// rank is the time that so many are below, from 0 to one less than there are.
func (t *totals) rank(r int) int64 {
	bucket := 0
	for ; r >= int(t.count.buckets[bucket]); bucket++ {
		r -= int(t.count.buckets[bucket])
	}
	t.room = t.room[:0]
	for _, ns := range t.all {
		if fineOf(ns) == bucket {
			t.room = append(t.room, ns)
		}
	}
	slices.Sort(t.room)
	return t.room[r]
}
