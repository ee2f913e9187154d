package job

import (
	"fmt"
	"slices"
	"strconv"
)

// Sweep makes of each job one for each depth, which run one after the other and are named after
// their depth.
func Sweep(jobs []*Job, depths []int) (out []*Job, err error) {
	for _, j := range jobs {
		for _, d := range depths {
			if d < 1 || d > depthMax {
				return nil, fmt.Errorf("%w: depth %d of a sweep: use 1 to %d", ErrInvalid, d,
					depthMax)
			}
			one := *j
			one.Name, one.Depth, one.Wait = fmt.Sprintf("%s-qd%d", j.Name, d), d, true
			one.Own = append(slices.Clone(j.Own),
				Setting{Name: "iodepth", Value: strconv.Itoa(d), Where: "sweep"})
			if err := one.settle(); err != nil {
				return nil, err
			}
			out = append(out, &one)
		}
	}
	if len(out) > sectionsMax {
		return nil, fmt.Errorf("%w: %d jobs of a sweep, at most %d", ErrInvalid, len(out),
			sectionsMax)
	}
	return out, nil
}
