package trace

import (
	"cmp"
	"slices"
	"sort"

	"github.com/ashlar-storage/ashlar/ebpf/mark"
)

// entries are what is known of the entries of one copyset's log: the appends of each process, and
// the followers' words. They come nearly in order, so that hardly anything is ever sorted.
type entries struct {
	copyset  uint64
	appends  []run // by target
	acks     []mark.Ack
	unsorted bool // acks are not by time
	near     int  // where in acks was found what was asked for last
}

// run is the appends of one process by their first entries.
type run struct {
	all      []mark.Append
	reach    []uint64 // the highest index behind those up to each; see stretches
	unsorted bool
	near     int // where was found what was asked for last
}

func (e *entries) begin() {
	e.acks, e.unsorted = e.acks[:0], false
	for i := range e.appends {
		r := &e.appends[i]
		r.all, r.reach, r.unsorted = r.all[:0], r.reach[:0], false
	}
}

func (e *entries) append(target int, a *mark.Append) {
	r := &e.appends[target]
	far := appendEnd(a)
	if n := len(r.all); n > 0 {
		r.unsorted = r.unsorted || r.all[n-1].First > a.First
		far = max(far, r.reach[n-1])
	}
	r.all, r.reach = append(r.all, *a), append(r.reach, far)
}

func (e *entries) ack(a *mark.Ack) {
	if n := len(e.acks); n > 0 && e.acks[n-1].At > a.At {
		e.unsorted = true
	}
	e.acks = append(e.acks, *a)
}

// appendEnd is the index behind an append's entries.
func appendEnd(a *mark.Append) uint64 { return a.First + uint64(a.Count) }

// with gives the appends that brought an entry to the log of this process.
func (r *run) with(term, index uint64, each func(*mark.Append)) {
	if r.unsorted {
		r.sort()
	}
	r.near = search(len(r.all), r.near, func(i int) bool { return r.all[i].First > index })
	for i := r.near - 1; i >= 0 && r.reach[i] > index; i-- {
		if a := &r.all[i]; a.Term == term && appendEnd(a) > index {
			each(a)
		}
	}
}

func (r *run) sort() {
	r.unsorted = false
	slices.SortStableFunc(r.all, func(a, b mark.Append) int {
		return cmp.Compare(a.First, b.First)
	})
	far := uint64(0)
	for i := range r.all {
		far = max(far, appendEnd(&r.all[i]))
		r.reach[i] = far
	}
}

// since are the followers' words from a time on.
func (e *entries) since(at int64) []mark.Ack {
	if e.unsorted {
		e.unsorted = false
		slices.SortStableFunc(e.acks, func(a, b mark.Ack) int { return cmp.Compare(a.At, b.At) })
	}
	e.near = search(len(e.acks), e.near, func(i int) bool { return e.acks[i].At >= at })
	return e.acks[e.near:]
}

// nearSteps is how far from the last place the next is looked for step by step.
const nearSteps = 8

// search is sort.Search that begins at a place near which it was the last time: requests are asked
// for in their order, or nearly.
func search(n, near int, found func(int) bool) int {
	near = min(near, n)
	for range nearSteps {
		switch {
		case near < n && !found(near):
			near++
		case near > 0 && found(near-1):
			near--
		default:
			return near
		}
	}
	return sort.Search(n, found)
}
