package trace

import (
	"fmt"
	"io"
	"math/bits"
	"strings"
	"time"
)

// The buckets of a Hist: four to each power of two, from 1.024 us to 34 s. The probes count in the
// same ones.
const (
	FirstPower = 10
	LastPower  = 35
	Buckets    = (LastPower-FirstPower)*4 + 1
)

// Hist counts times by size. Times below the first power share the first bucket, those above the
// last are in the last.
type Hist struct {
	N       uint64
	Sum     uint64 // ns
	Buckets [Buckets]uint64
}

// Add counts a time.
func (h *Hist) Add(ns uint64) {
	h.N++
	h.Sum += ns
	h.Buckets[bucketOf(ns)]++
}

func bucketOf(ns uint64) int {
	power := bits.Len64(ns) - 1
	if power < FirstPower {
		return 0
	}
	return min((power-FirstPower)*4+1+int(ns>>(power-2)&3), Buckets-1)
}

// bound is where bucket i ends, in ns.
func bound(i int) uint64 {
	if i == 0 {
		return 1 << FirstPower
	}
	power, part := FirstPower+(i-1)/4, uint64((i-1)%4)
	return (5 + part) << (power - 2)
}

// Merge adds what another counted.
func (h *Hist) Merge(o *Hist) {
	h.N += o.N
	h.Sum += o.Sum
	for i, n := range o.Buckets {
		h.Buckets[i] += n
	}
}

// Less is what was counted since an earlier state of the same histogram.
func (h *Hist) Less(o *Hist) Hist {
	d := Hist{N: h.N - o.N, Sum: h.Sum - o.Sum}
	for i := range d.Buckets {
		d.Buckets[i] = h.Buckets[i] - o.Buckets[i]
	}
	return d
}

// Quantile is the end of the bucket in which the share q of all times is reached, 0 to 1: at most a
// quarter above the true one.
func (h *Hist) Quantile(q float64) time.Duration {
	if h.N == 0 {
		return 0
	}
	want, seen := uint64(q*float64(h.N)), uint64(0)
	for i, n := range h.Buckets {
		if seen += n; seen > want || seen == h.N {
			return time.Duration(bound(i))
		}
	}
	return time.Duration(bound(Buckets - 1))
}

// Mean is the average.
func (h *Hist) Mean() time.Duration {
	if h.N == 0 {
		return 0
	}
	return time.Duration(h.Sum / h.N)
}

// starsMax is how wide the longest line of a printed histogram is.
const starsMax = 40

// Print writes the histogram as bcc's tools do: a line for each power of two, in microseconds, from
// the first to the last that has any.
func (h *Hist) Print(w io.Writer) {
	powers := h.Powers()
	last, most := -1, uint64(0)
	for i, n := range powers {
		if n > 0 {
			last = i
		}
		most = max(most, n)
	}
	if last < 0 {
		return
	}
	fmt.Fprintf(w, "%10s%-13s : count    distribution\n", "", "usecs")
	for i, n := range powers[:last+1] {
		low, high := uint64(0), uint64(1)
		if i > 0 {
			low, high = 1<<i, 2<<i-1
		}
		stars := int(n * starsMax / most)
		fmt.Fprintf(w, "%10d -> %-10d : %-8d |%-*s|\n", low, high, n, starsMax,
			strings.Repeat("*", stars))
	}
}

// Powers sums the buckets of each power of two up: times below 2 us (of 1,024 ns), 4 us, 8 us, ...
func (h *Hist) Powers() []uint64 {
	sums := make([]uint64, LastPower-FirstPower+1)
	for i, n := range h.Buckets {
		if i == 0 {
			sums[0] += n
			continue
		}
		sums[(i-1)/4] += n
	}
	return sums
}
