package store

import "github.com/ashlar-storage/ashlar/io/chunkfile"

// scrubWay is the chunks that the scrubber has before it. The pool is asked for many at a time: it
// has to look at all of its chunks to tell which come next.
type scrubWay struct {
	ids          []chunkfile.ID // not begun yet
	begun, total int            // chunks of the store
}

// nextChunk is the chunk to go on with: the one at hand while it has blocks left, else the first
// behind it that is still there. The lock is held, as for what follows.
func (s *Store) nextChunk(at chunkfile.ID, within bool) (chunkfile.ID, bool) {
	if within {
		if _, ok := s.chunks.Get(at); ok {
			return at, true
		}
	}
	w := &s.scrubWay
	for {
		if len(w.ids) == 0 {
			if s.lookAhead(at); len(w.ids) == 0 {
				return chunkfile.ID{}, false
			}
		}
		at, w.ids = w.ids[0], w.ids[1:]
		w.begun++
		if _, ok := s.chunks.Get(at); ok {
			return at, true
		}
	}
}

// lookAhead asks for the chunks behind one.
func (s *Store) lookAhead(at chunkfile.ID) {
	w := &s.scrubWay
	w.ids, w.begun, w.total = s.chunks.After(at, scrubAhead)
}

// percent is how much of the store's chunks the cycle has behind it.
func (s *Store) percent() int {
	w := s.scrubWay
	if s.scrub.Block > 0 {
		w.begun--
	}
	return max(0, w.begun) * 100 / max(w.total, 1)
}
