package placement

import (
	"errors"
	"fmt"
	"math"
	"sort"
)

// ErrFull: no copyset has room for a segment on all of its stores.
var ErrFull = errors.New("placement: full")

// step is the fractional part of the root of 2. Its multiples, modulo 1, fill the interval evenly
// from the first few on, and so do those of 16 steps, as every 16th segment begins alike.
const step = 0.41421356237309503

// refreshes is how often, per pass over all copysets, their weights are computed anew. Room itself
// is always looked up.
const refreshes = 64

// Space is what a store has left, in bytes.
type Space struct {
	Left uint64 // that may still be given to volumes; 0 for a store that takes nothing new
	Free uint64 // of its disk, whatever was given
}

// Shape is how a segment is cut.
type Shape struct {
	Width      int    // copysets that its chunks interleave over, at most; at least 1
	Chunks     int    // of the segment, at least 1
	ChunkBytes uint64 // of each, at least 1
}

// Allocator gives segments to copysets by free space.
//
// A copyset's weight is what the fullest of its stores has, divided by that store's copysets, and a
// segment takes each copyset with a probability in proportion to it: the stores run full together,
// however unequal they are, and none waits until another has caught up. The draw is a systematic
// one (Madow, "On the theory of systematic sampling II", 1949): copysets lie on a line, each as
// long as its weight, and equidistant points pick; where they begin moves by an irrational step
// from segment to segment, so that counts stay within a few of their share, not within chance.
//
// Where few copysets or very unequal ones make that impossible for the whole width, a segment
// takes fewer, down to half the width. A copyset that has no room for its part on the disk of each
// of its stores is passed over as long as another has, and never takes more than is Left.
type Allocator struct {
	sets    [][]int32 // indexes of the stores
	index   map[uint64]int32
	space   []margin
	members []int     // copysets of a store
	line    []float64 // sum of the weights up to and with each copyset
	longest float64
	stale   int      // segments since the weights were computed
	taken   []uint64 // by copyset: the last draw that took it
	draws   uint64
}

// margin is a Space that reservations are taken from; free may fall below 0, left never does.
type margin struct{ left, free int64 }

// NewAllocator takes the copysets, and the space of every store; one that is not listed has none.
func NewAllocator(sets []Copyset, space map[uint64]Space) *Allocator {
	a := &Allocator{sets: make([][]int32, len(sets)), index: map[uint64]int32{},
		line: make([]float64, len(sets)), taken: make([]uint64, len(sets))}
	for i, set := range sets {
		a.Replace(i, set)
	}
	a.Refill(space)
	return a
}

// Replace has a copyset lie on other stores from the next Refill on, which must come before the
// next Segment.
func (a *Allocator) Replace(i int, set Copyset) {
	for _, s := range a.sets[i] {
		a.members[s]--
	}
	at := make([]int32, 0, len(set))
	for _, id := range set {
		s, known := a.index[id]
		if !known {
			s = int32(len(a.members))
			a.index[id] = s
			a.members, a.space = append(a.members, 0), append(a.space, margin{})
		}
		a.members[s]++
		at = append(at, s)
	}
	a.sets[i] = at
}

// Refill takes the space of every store anew. It looks at every copyset, for some nanoseconds.
func (a *Allocator) Refill(space map[uint64]Space) {
	for id, s := range a.index {
		a.space[s] = margin{clamp(space[id].Left), clamp(space[id].Free)}
	}
	a.weigh()
}

func clamp(bytes uint64) int64 { return int64(min(bytes, math.MaxInt64)) }

// weigh computes the weights of all copysets.
func (a *Allocator) weigh() {
	sum := 0.0
	a.longest, a.stale = 0, 0
	for i, set := range a.sets {
		weight := math.Inf(1)
		for _, id := range set {
			s := &a.space[id]
			weight = min(weight, float64(max(0, min(s.left, s.free)))/float64(a.members[id]))
		}
		if len(set) == 0 {
			weight = 0
		}
		sum += weight
		a.line[i], a.longest = sum, max(a.longest, weight)
	}
}

// Segment picks the copysets of a segment, as indexes: chunk i belongs to the one at i modulo their
// number. at numbers the segments of all volumes in the order of their making; it decides where the
// draw begins. ErrFull when no copyset has room.
func (a *Allocator) Segment(at uint64, shape Shape) ([]int, error) {
	if shape.Width < 1 || shape.Chunks < 1 || shape.ChunkBytes < 1 {
		return nil, fmt.Errorf("%w: segment %+v: want at least 1 of each", ErrImpossible, shape)
	}
	if a.stale >= max(1, len(a.sets)/refreshes) {
		a.weigh()
	}
	a.stale++
	bytes := func(chunks int) int64 { return clamp(uint64(chunks) * shape.ChunkBytes) }
	for width := a.width(shape.Width); width > 0; {
		each := bytes(ceil(shape.Chunks, width))
		picked := a.draw(at, width, each)
		for _, i := range picked {
			a.take(i, -each)
		}
		if len(picked) < width { // fewer have room, and each must take more then
			width = len(picked)
			continue
		}
		for k, i := range picked[:min(width, shape.Chunks)] {
			a.take(i, bytes(ceil(shape.Chunks-k, width)))
		}
		return picked, nil
	}
	return nil, fmt.Errorf("%w: none of %d copysets has room for %d chunks of %d bytes on all its "+
		"stores", ErrFull, len(a.sets), shape.Chunks, shape.ChunkBytes)
}

// width is how many copysets a segment takes: as many as can be drawn in proportion to weight.
func (a *Allocator) width(most int) int {
	most = min(most, len(a.sets))
	if a.longest == 0 {
		return most
	}
	fair := int(math.Round(a.line[len(a.line)-1] / a.longest))
	return max(min(fair, most), (most+1)/2)
}

// draw picks up to width copysets with room for each bytes, and takes them there.
func (a *Allocator) draw(at uint64, width int, each int64) (picked []int) {
	a.draws++
	_, start := math.Modf(float64(at%(1<<32)) * step)
	total := a.line[len(a.line)-1]
	for k := range width {
		x := (start + float64(k)) / float64(width) * total
		i := sort.Search(len(a.line)-1, func(i int) bool { return a.line[i] > x })
		if i = a.nextWithRoom(i, each); i < 0 {
			break
		}
		a.taken[i] = a.draws
		a.take(i, each)
		picked = append(picked, i)
	}
	if len(picked) == 0 {
		return nil
	}
	// The first chunks of volumes should not meet in one copyset.
	first := int(at % uint64(len(picked)))
	return append(picked[first:], picked[:first]...)
}

// nextWithRoom is the first copyset from i on, around the end, that is not taken yet and has room
// on its disks; where none has, one whose stores may be given more at least; else -1.
func (a *Allocator) nextWithRoom(i int, each int64) int {
	second := -1
	for k := range a.sets {
		j := (i + k) % len(a.sets)
		if a.taken[j] == a.draws || len(a.sets[j]) == 0 {
			continue
		}
		room := margin{math.MaxInt64, math.MaxInt64}
		for _, id := range a.sets[j] {
			s := &a.space[id]
			room = margin{min(room.left, s.left), min(room.free, s.free)}
		}
		if room.left >= each && room.free >= each {
			return j
		}
		if room.left >= each && second < 0 {
			second = j
		}
	}
	return second
}

// take takes bytes from every store of a copyset; less than 0 gives them back.
func (a *Allocator) take(i int, bytes int64) {
	for _, id := range a.sets[i] {
		a.space[id].left -= bytes
		a.space[id].free -= bytes
	}
}
