package hist

import (
	"math/rand/v2"
	"sort"
	"testing"
)

func TestEveryValueFallsIntoABucketNearIt(t *testing.T) {
	for v := uint64(0); v < 17e9; v = v + 1 + v/97 {
		i := Index(v)
		got := Value(i)
		if d := max(got, v) - min(got, v); d > v/64 {
			t.Fatalf("%d counts in bucket %d, which stands for %d", v, i, got)
		}
		if i > 0 && Value(i-1) >= got {
			t.Fatalf("bucket %d stands for %d, the one before for %d", i, got, Value(i-1))
		}
	}
}

// The numbers are fio's: plat_val_to_idx of fio 3.33.
func TestBucketsAreThoseOfFio(t *testing.T) {
	for v, want := range map[uint64]int{0: 0, 63: 63, 127: 127, 128: 128, 129: 128, 130: 129,
		1000: 317, 100000: 737, 1000000: 954, 1 << 62: Buckets - 1} {
		if got := Index(v); got != want {
			t.Errorf("Index(%d) = %d, want %d", v, got, want)
		}
	}
}

func TestPercentilesFollowTheSortedValues(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	var all []uint64
	var a, b Hist
	for i := range 20000 {
		v := rng.Uint64N(5_000_000) + 40_000
		all = append(all, v)
		if i%2 == 0 {
			a.Add(v)
		} else {
			b.Add(v)
		}
	}
	a.Merge(&b)
	sort.Slice(all, func(i, j int) bool { return all[i] < all[j] })
	for _, p := range []float64{1, 50, 99, 99.9, 100} {
		want := all[min(int(p/100*float64(len(all)))+0, len(all)-1)]
		got := a.Percentile(p)
		if d := max(got, want) - min(got, want); d > want/50 {
			t.Errorf("p%v = %d, sorted %d", p, got, want)
		}
	}
	if a.Count() != 20000 || a.Min() != all[0] || a.Max() != all[len(all)-1] {
		t.Errorf("count %d, min %d, max %d", a.Count(), a.Min(), a.Max())
	}
}

func TestDeviationIsThatOfTheValuesAlsoAfterMerging(t *testing.T) {
	var a, b Hist
	a.Add(100)
	a.Add(300)
	b.Add(500)
	a.Merge(&b)
	if got := a.Stddev(); got < 199.9 || got > 200.1 || a.Mean() != 300 {
		t.Errorf("100, 300 and 500: mean %v, deviation %v", a.Mean(), got)
	}
}

func TestEmptyHistogramHasNoFigures(t *testing.T) {
	var h Hist
	h.Merge(new(Hist))
	if h.Percentile(99) != 0 || h.Mean() != 0 || h.Count() != 0 {
		t.Error("an empty histogram has figures")
	}
}

func BenchmarkAdd(b *testing.B) {
	var h Hist
	for i := range b.N {
		h.Add(uint64(i) & 0xfffff)
	}
}
