package hist

import (
	"math"
	"math/bits"
)

const (
	subBits  = 6 // a group has 64 buckets
	subCount = 1 << subBits
	groups   = 29
	// Buckets is the number of counters.
	Buckets = groups * subCount
)

// Hist is a histogram of latencies in ns. The zero value is empty.
type Hist struct {
	counts   [Buckets]uint64
	n        uint64
	sum      float64
	squares  float64
	min, max uint64
}

// Index is the bucket that counts a value.
func Index(ns uint64) int {
	msb := bits.Len64(ns) - 1
	if msb <= subBits {
		return int(ns)
	}
	shift := msb - subBits
	return min((shift+1)<<subBits+int(ns>>shift&(subCount-1)), Buckets-1)
}

// Value is the middle of a bucket.
func Value(index int) uint64 {
	if index < 2*subCount {
		return uint64(index)
	}
	shift := index>>subBits - 1
	base := uint64(1) << (shift + subBits)
	return base + uint64((float64(index%subCount)+0.5)*float64(uint64(1)<<shift))
}

// Add counts one value.
func (h *Hist) Add(ns uint64) {
	h.counts[Index(ns)]++
	if h.n == 0 || ns < h.min {
		h.min = ns
	}
	h.max = max(h.max, ns)
	h.n++
	h.sum += float64(ns)
	h.squares += float64(ns) * float64(ns)
}

// Merge adds everything that o counted.
func (h *Hist) Merge(o *Hist) {
	if o.n == 0 {
		return
	}
	for i, c := range o.counts {
		h.counts[i] += c
	}
	if h.n == 0 || o.min < h.min {
		h.min = o.min
	}
	h.max = max(h.max, o.max)
	h.n += o.n
	h.sum += o.sum
	h.squares += o.squares
}

// Percentile is the value, in ns, that p percent of the counted ones do not pass; 0 when empty.
// p is above 0 and at most 100.
func (h *Hist) Percentile(p float64) uint64 {
	if h.n == 0 {
		return 0
	}
	want := max(uint64(math.Ceil(p/100*float64(h.n))), 1)
	var seen uint64
	for i, c := range h.counts {
		if seen += c; seen >= want {
			return min(Value(i), h.max)
		}
	}
	return h.max
}

// Count is how many values were added, Mean their mean, Min and Max the smallest and largest, in
// ns; 0 when empty.
func (h *Hist) Count() uint64 { return h.n }

// Mean is in ns.
func (h *Hist) Mean() float64 {
	if h.n == 0 {
		return 0
	}
	return h.sum / float64(h.n)
}

// Stddev is the standard deviation of what was added, in ns.
func (h *Hist) Stddev() float64 {
	if h.n < 2 {
		return 0
	}
	mean := h.Mean()
	return math.Sqrt(max(h.squares-float64(h.n)*mean*mean, 0) / float64(h.n-1))
}

// Min is in ns.
func (h *Hist) Min() uint64 { return h.min }

// Max is in ns.
func (h *Hist) Max() uint64 { return h.max }

// Bucket is the count of one bucket.
func (h *Hist) Bucket(index int) uint64 { return h.counts[index] }
