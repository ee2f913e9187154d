package copyset

import (
	"cmp"
	"encoding/binary"
	"math"
	"slices"
)

// A volume that was deleted leaves a mark in the exactly-once table, for a write of it may still be
// on its way. One for each there ever was would fill the table in the end. Numbers of volumes are
// never given out twice, so those that are erased lie close together: the control plane tells
// leaders of runs of them, and one run takes the place of all marks in it. There are at most as
// many runs as volumes that live between them.

// Volumes is a run of volume numbers, both ends included.
type Volumes struct{ First, Last uint64 }

// The bytes that runs add to a state: their count, and each.
const (
	runsHead = 4
	runBytes = 16
)

const (
	// foldVolumes is how many volumes a table has before a leader makes runs of those erased.
	foldVolumes = 1024
	// foldMarks is how many marks a run must take the place of, to be smaller than they are.
	foldMarks = 2
)

// runs are erased volumes: rising, none within or next to another. They are replaced, never
// changed: states share them.
type runs []Volumes

func (rs runs) has(volume uint64) bool {
	_, found := slices.BinarySearchFunc(rs, volume, func(r Volumes, v uint64) int {
		if v >= r.First && v <= r.Last {
			return 0
		}
		return cmp.Compare(r.First, v)
	})
	return found
}

// with is the runs and one more, which may touch or overlap some.
func (rs runs) with(v Volumes) runs {
	out := make(runs, 0, len(rs)+1)
	at := 0
	for _, r := range rs {
		switch {
		case r.Last < v.First && r.Last+1 < v.First:
			out = append(out, r)
			at = len(out)
		case v.Last < r.First && v.Last+1 < r.First:
			out = append(out, r)
		default:
			v = Volumes{min(r.First, v.First), max(r.Last, v.Last)}
		}
	}
	return slices.Insert(out, at, v)
}

// size is what runs add to a state, in bytes.
func (rs runs) size() int {
	if len(rs) == 0 {
		return 0
	}
	return runsHead + len(rs)*runBytes
}

// erase makes a run of volumes whose data is gone everywhere: nothing of them is taken any more.
// It reports whether there was room for it.
func (t *sessions) erase(v Volumes) bool {
	size, within := t.size-t.erased.size(), t.within(v)
	for _, id := range within {
		size -= t.volumes[id].size()
	}
	next := t.erased.with(v)
	if size += next.size(); size > maxTableBytes {
		return false
	}
	for _, id := range within {
		delete(t.volumes, id)
	}
	t.erased, t.size = next, size
	return true
}

// size is the bytes that a volume has in the table.
func (a *attachment) size() int {
	n := volumeBytes
	for _, s := range a.sessions {
		n += sessionBytes + len(s.done)*operationBytes
	}
	return n
}

// many says whether there are so many volumes that those erased should be runs.
func (t *sessions) many() bool { return len(t.volumes) >= foldVolumes }

// worthARun says whether a run of erased volumes would make the table smaller.
func (t *sessions) worthARun(v Volumes) bool {
	marks := 0
	for _, id := range t.within(v) {
		if t.volumes[id].epoch == math.MaxUint64 {
			marks++
		}
	}
	return marks >= foldMarks
}

// within is the volumes of the table that are in a run. Runs come by the hundred and are short
// mostly, where the table may have tens of thousands.
func (t *sessions) within(v Volumes) (ids []uint64) {
	if v.Last-v.First < uint64(len(t.volumes)) {
		for n := range v.Last - v.First + 1 {
			if id := v.First + n; t.volumes[id] != nil {
				ids = append(ids, id)
			}
		}
		return ids
	}
	for id := range t.volumes {
		if id >= v.First && id <= v.Last {
			ids = append(ids, id)
		}
	}
	return ids
}

// Erased tells of volumes that no copyset has anything of. A leader whose table is large proposes
// those runs that make it smaller, and reports whether it did; it may be told again at any time.
func (r *Replica) Erased(told []Volumes) (proposed bool) {
	if r.err != nil || !r.sessions.many() || !r.Serving() {
		return false
	}
	for _, v := range told {
		if v.First <= anyVolume || v.First > v.Last || !r.sessions.worthARun(v) {
			continue
		}
		r.wake()
		c := Command{Kind: CmdErased, Volume: v.First, Chunk: v.Last}
		r.ignore(r.node.Propose(c.AppendTo(nil)))
		proposed = true
	}
	return proposed
}

// load takes the table and the runs from a state.
func (t *sessions) load(s *State) error {
	if _, err := t.decode(s.Sessions); err != nil {
		return err
	}
	t.erased = s.Erased
	t.size += t.erased.size()
	return nil
}

// appendTo encodes runs, where there are any.
func (rs runs) appendTo(dst []byte) []byte {
	if len(rs) == 0 {
		return dst
	}
	le := binary.LittleEndian
	dst = le.AppendUint32(dst, uint32(len(rs)))
	for _, v := range rs {
		dst = le.AppendUint64(le.AppendUint64(dst, v.First), v.Last)
	}
	return dst
}

// runs reads what appendTo wrote where there were some. Next to each other they would be one.
func (r *reader) runs() (list runs) {
	end := uint64(anyVolume)
	for range r.count(runBytes) {
		v := Volumes{First: r.u64(), Last: r.u64()}
		if v.First <= end || v.First > v.Last || len(list) > 0 && v.First == end+1 {
			r.err, r.b = cmp.Or(r.err, errOrder), nil
		}
		list, end = append(list, v), v.Last
	}
	if len(list) == 0 && r.err == nil {
		r.err = errOrder
	}
	return list
}
