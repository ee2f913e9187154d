package nemesis

import (
	"errors"
	"math/rand/v2"

	"github.com/ashlar-storage/ashlar/perf/rig"
)

// storm is two of the blows at once, drawn anew each time: both to one node, or a gentle one to
// another node, so that a majority answers all the time.
func storm(kinds []blow) blow {
	return blow{name: "struck by two blows at once", least: blowTime, whole: wholeWait,
		begin: func(s *struck) (func() error, error) {
			first, second := draw(s.rng, kinds)
			at := s.p
			if second.gentle && s.rng.IntN(2) == 0 {
				others := s.others()
				at = others[s.rng.IntN(len(others))]
			}
			s.t.Logf("%s is %s, and %s is %s", s.p.Name, first.name, at.Name, second.name)
			return s.both(first, second, at)
		}}
}

// draw takes two of the kinds that may be dealt beside another.
func draw(rng *rand.Rand, kinds []blow) (first, second *blow) {
	var list []*blow
	for i := range kinds {
		if !kinds[i].alone {
			list = append(list, &kinds[i])
		}
	}
	rng.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
	return list[0], list[1]
}

// both deals two blows, the second maybe to another node.
func (s *struck) both(first, second *blow, at *rig.Process) (end func() error, err error) {
	endFirst, err1 := first.begin(s)
	endSecond, err2 := second.begin(&struck{s.machine, at, s.rng})
	return func() error {
		var errs []error
		for _, end := range []func() error{endFirst, endSecond} {
			if end != nil {
				errs = append(errs, end())
			}
		}
		return errors.Join(errs...)
	}, errors.Join(err1, err2)
}
