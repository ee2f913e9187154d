package disk

import (
	"cmp"
	"slices"
)

// extent is a run of blocks of a device.
type extent struct{ first, count int64 }

func (e extent) end() int64 { return e.first + e.count }

// holds reports whether o lies within e. An empty o lies anywhere.
func (e extent) holds(o extent) bool {
	return o.count == 0 || o.first >= e.first && o.end() <= e.end()
}

// space is the free blocks of a device: gaps in ascending order that do not adjoin.
//
// A file has one extent. Files of a store are of two sizes, each of which fits where one of its
// kind was before; large files fill the device from its beginning and small ones from its end,
// so that one of these does not split the room of one of those.
type space struct {
	gaps []extent
	free int64 // blocks
}

// newSpace returns what the extents in use leave of all, which they must not leave or share:
// then ok is false, and at is the extent that does.
func newSpace(all extent, used []extent) (s *space, at extent, ok bool) {
	slices.SortFunc(used, func(a, b extent) int { return cmp.Compare(a.first, b.first) })
	s = &space{}
	next := all.first
	for _, e := range used {
		if e.count == 0 {
			continue
		}
		if e.first < next || !all.holds(e) {
			return nil, e, false
		}
		s.append(extent{next, e.first - next})
		next = e.end()
	}
	s.append(extent{next, all.end() - next})
	return s, extent{}, true
}

func (s *space) append(gap extent) {
	if gap.count > 0 {
		s.gaps = append(s.gaps, gap)
		s.free += gap.count
	}
}

// take allocates blocks, from the end of the device or from its beginning.
func (s *space) take(count int64, fromEnd bool) (e extent, ok bool) {
	if count == 0 {
		return extent{}, true
	}
	fits := func(gap extent) bool { return gap.count >= count }
	i := slices.IndexFunc(s.gaps, fits)
	if fromEnd {
		for i = len(s.gaps) - 1; i >= 0 && !fits(s.gaps[i]); i-- {
		}
	}
	if i < 0 {
		return extent{}, false
	}
	gap := &s.gaps[i]
	e = extent{gap.first, count}
	if fromEnd {
		e.first = gap.end() - count
	} else {
		gap.first += count
	}
	if gap.count -= count; gap.count == 0 {
		s.gaps = slices.Delete(s.gaps, i, i+1)
	}
	s.free -= count
	return e, true
}

// give returns blocks that were taken.
func (s *space) give(e extent) {
	if e.count == 0 {
		return
	}
	s.free += e.count
	i, _ := slices.BinarySearchFunc(s.gaps, e.first, func(gap extent, first int64) int {
		return cmp.Compare(gap.first, first)
	})
	before := i > 0 && s.gaps[i-1].end() == e.first
	after := i < len(s.gaps) && e.end() == s.gaps[i].first
	switch {
	case before && after:
		s.gaps[i-1].count += e.count + s.gaps[i].count
		s.gaps = slices.Delete(s.gaps, i, i+1)
	case before:
		s.gaps[i-1].count += e.count
	case after:
		s.gaps[i] = extent{e.first, e.count + s.gaps[i].count}
	default:
		s.gaps = slices.Insert(s.gaps, i, e)
	}
}

// largest is the size of the largest gap in blocks.
func (s *space) largest() (count int64) {
	for _, gap := range s.gaps {
		count = max(count, gap.count)
	}
	return count
}
