package store

import (
	"fmt"
	"time"

	"github.com/ashlar-storage/ashlar/dataplane/copyset"
	"github.com/ashlar-storage/ashlar/io/chunkfile"
	"github.com/ashlar-storage/ashlar/io/wal"
)

// room is how many more chunks the store can take, and who was promised one. Writes to chunks that
// exist always go on; one that needs a new chunk is admitted only while there is room for it, since
// what is committed must be written one day. Where there is plenty nobody counts. What was admitted
// then, or by another store's leader, exists too while it awaits its file, and claims its room.
type room struct {
	scarce   bool
	chunks   int                        // that can still be made
	promised map[chunkfile.ID]time.Time // admitted, and not made yet
	refused  time.Time                  // when the device last had no space for one
}

// countRoom looks how much room there is. The device's own word that it is full holds for
// noSpaceTime, whatever it says of its free space.
func (s *Store) countRoom() {
	counted, st := s.chunks.Changes(), s.chunks.Stats()
	_, free, err := s.disk.Space()
	spare := free - s.spareBytes()
	if limit := st.LimitBytes; limit > 0 {
		spare = min(spare, limit-st.UsedBytes)
	}
	sp := s.Space()
	s.mu.Lock()
	r := &s.room
	r.chunks = st.Free
	if err == nil && time.Since(r.refused) > noSpaceTime {
		r.chunks += int(max(0, spare) / max(st.SlotBytes, 1))
	}
	for id, since := range r.promised { // also those of writes that were never committed
		if _, made := s.chunks.Get(id); made || time.Since(since) > promiseTime {
			delete(r.promised, id)
		}
	}
	r.chunks = min(r.chunks, sp.room())
	r.chunks -= int(s.chunks.Changes() - counted) // made since, and their promises are forgotten
	r.scarce = r.chunks < scarceChunks
	if r.chunks-len(r.promised) > keepChunks {
		s.full = nil
	}
	s.scarce.Store(r.scarce)
	s.mu.Unlock()
}

// claimsDue reports whether this tick is one in which chunks claim room: where that is scarce, as
// often as it is counted.
func (o *Owner) claimsDue(now int64) bool {
	if !o.store.scarce.Load() || now-o.claimed < int64(countEvery) {
		return false
	}
	o.claimed = now
	return true
}

// claimRoom has the chunks of a replica that await their files claim room for them.
func (o *Owner) claimRoom(m *member) {
	for c := range m.ChunksWithBytes() {
		o.store.claim(o.store.chunkID(m.ID(), c))
	}
}

// claim promises room to a chunk that nothing can refuse any more.
func (s *Store) claim(id chunkfile.ID) {
	if _, made := s.chunks.Get(id); made {
		return
	}
	s.mu.Lock()
	s.room.promised[id] = time.Now()
	s.mu.Unlock()
}

// spareBytes is what chunk files that nobody was promised leave to the log, which makes its files
// as it needs them.
func (s *Store) spareBytes() int64 { return spareSegments * s.segmentBytes() }

func (s *Store) segmentBytes() int64 {
	if s.cfg.SegmentSize > 0 {
		return s.cfg.SegmentSize
	}
	return wal.DefaultSegmentSize
}

// hasRoom reports whether a write to a chunk may be admitted.
func (o *Owner) hasRoom(m *member, c copyset.Chunk) bool {
	s := o.store
	return !s.scarce.Load() || m.HasBytes(c) || s.promise(s.chunkID(m.ID(), c))
}

// promise reports whether a chunk has a file, or room for one, which is its own from now on.
func (s *Store) promise(id chunkfile.ID) bool {
	if _, made := s.chunks.Get(id); made {
		return true
	}
	s.mu.Lock()
	r := &s.room
	if _, known := r.promised[id]; known {
		s.mu.Unlock()
		return true
	}
	ok := len(r.promised)+keepChunks < r.chunks
	if ok {
		r.promised[id] = time.Now()
	}
	have := r.chunks
	s.mu.Unlock()
	if !ok {
		s.setFull(s.fullErr(have))
	}
	return ok
}

// settled forgets a promise, as the chunk was made, with so many files, or needs none any more.
func (s *Store) settled(id chunkfile.ID, files int) {
	if !s.scarce.Load() {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, promised := s.room.promised[id]; promised {
		delete(s.room.promised, id)
		s.room.chunks -= files
	}
}

// noSpace notes that the device refused to make a chunk.
func (s *Store) noSpace(err error) {
	s.mu.Lock()
	s.room.refused, s.room.scarce, s.room.chunks = time.Now(), true, s.chunks.Stats().Free
	s.scarce.Store(true)
	s.mu.Unlock()
	s.setFull(err)
}

// setFull notes that writes to new chunks are refused, and lets those lead that may have room.
func (s *Store) setFull(err error) {
	s.mu.Lock()
	first := s.full == nil
	if first {
		s.full = fmt.Errorf("store: full: writes to new chunks are refused, all else goes on; "+
			"delete volumes or give it more space: %w", err)
	}
	s.mu.Unlock()
	if first {
		s.log.Error("store is full", "err", err)
		s.giveAway()
	}
}

// giveForRoom has a replica here hand over the leadership, as a write to it found no room. The
// store may have been full before it led, or have kept the leadership when it became so, for want
// of a follower in touch or since the one that was to have it did not take it in time. Those that
// are to lead may be full too: so it is done seldom. Room is that for a chunk, or in the log.
func (o *Owner) giveForRoom(m *member, now int64) {
	if m.gaveAt != 0 && now-m.gaveAt < int64(giveRest) {
		return
	}
	if m.HandOff() {
		m.gaveAt = now
	}
}
