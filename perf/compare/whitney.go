package compare

import (
	"math"
	"slices"
)

// exactMax is the most values of both sides for which the exact distribution is counted.
const exactMax = 60

// PValue is the probability, two-sided, of values as different as a and b, or more, when both are
// drawn from the same; 1 when a side is empty.
func PValue(a, b []float64) float64 {
	n, m := len(a), len(b)
	if n == 0 || m == 0 {
		return 1
	}
	u, ties, tied := statistic(a, b)
	if !tied && n+m <= exactMax {
		return exact(u, n, m)
	}
	mean := float64(n*m) / 2
	all := float64(n + m)
	variance := float64(n*m) / 12 * (all + 1 - ties/(all*(all-1)))
	if variance <= 0 {
		return 1
	}
	z := max(math.Abs(u-mean)-0.5, 0) / math.Sqrt(variance)
	return math.Erfc(z / math.Sqrt2)
}

// statistic is Mann and Whitney's U of a: in how many pairs the value of a is the larger, equal
// ones as a half. ties is the sum of t^3-t over groups of t equal values.
func statistic(a, b []float64) (u, ties float64, tied bool) {
	for _, x := range a {
		for _, y := range b {
			switch {
			case x > y:
				u++
			case x == y:
				u += 0.5
			}
		}
	}
	all := slices.Concat(a, b)
	slices.Sort(all)
	for i := 0; i < len(all); {
		k := i
		for k < len(all) && all[k] == all[i] {
			k++
		}
		if t := float64(k - i); t > 1 {
			ties, tied = ties+t*t*t-t, true
		}
		i = k
	}
	return u, ties, tied
}

// exact counts, of all orders of n and m values, those with a U at least as far from its mean.
func exact(u float64, n, m int) float64 {
	// ways[i][s]: how many orders of i values of a among j of b have U = s, for j as it grows.
	ways := make([][]float64, n+1)
	for i := range ways {
		ways[i] = make([]float64, n*m+1)
		ways[i][0] = 1 // no value of b yet: U is 0
	}
	for j := 1; j <= m; j++ {
		next := make([][]float64, n+1)
		for i := range next {
			next[i] = make([]float64, n*m+1)
			if i == 0 {
				next[0][0] = 1
				continue
			}
			for s := range next[i] {
				next[i][s] = ways[i][s] // the largest is of b
				if s >= j {
					next[i][s] += next[i-1][s-j] // it is of a, and larger than all j of b
				}
			}
		}
		ways = next
	}
	var all, far float64
	mean := float64(n*m) / 2
	for s, w := range ways[n] {
		all += w
		if math.Abs(float64(s)-mean) >= math.Abs(u-mean) {
			far += w
		}
	}
	return far / all
}
