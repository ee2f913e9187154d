package client

// window gives out the op ids of a session and knows the lowest one that is not finished. Ids
// begin at 1 and rise by one. Both operations are O(1) amortised and allocate only when the span
// of unfinished ids grows to a new maximum. The owner serialises the calls.
type window struct {
	low, next uint64   // unfinished ids lie in [low, next)
	done      []uint64 // ring of bits, id modulo its length: finished above low
}

func newWindow() window {
	return window{low: 1, next: 1, done: make([]uint64, 4)}
}

func (w *window) bits() uint64 { return uint64(len(w.done)) * 64 }

// start returns the next id.
func (w *window) start() uint64 {
	if w.next-w.low == w.bits() {
		w.grow()
	}
	id := w.next
	w.next++
	return id
}

// finish marks an id as finished for good: it will not be sent again. It reports whether the
// lowest unfinished id moved. Finishing an id twice, or one never started, breaks exactly-once.
func (w *window) finish(id uint64) bool {
	if id < w.low || id >= w.next || w.isDone(id) {
		panic("client: op id finished twice or never started")
	}
	w.set(id)
	if id != w.low {
		return false
	}
	for w.low < w.next && w.isDone(w.low) {
		w.clear(w.low)
		w.low++
	}
	return true
}

// span is the distance from the lowest unfinished id to the next one to be given out.
func (w *window) span() uint64 { return w.next - w.low }

func (w *window) isDone(id uint64) bool {
	i := id % w.bits()
	return w.done[i/64]&(1<<(i%64)) != 0
}

func (w *window) set(id uint64) {
	i := id % w.bits()
	w.done[i/64] |= 1 << (i % 64)
}

func (w *window) clear(id uint64) {
	i := id % w.bits()
	w.done[i/64] &^= 1 << (i % 64)
}

func (w *window) grow() {
	bigger := window{low: w.low, next: w.next, done: make([]uint64, 2*len(w.done))}
	for id := w.low; id < w.next; id++ {
		if w.isDone(id) {
			bigger.set(id)
		}
	}
	*w = bigger
}
