package store

import (
	"errors"
	"fmt"
	"time"

	"github.com/ashlar-storage/ashlar/io/chunkfile"
	"github.com/ashlar-storage/ashlar/io/wal"
)

// State is how a store is, in the words of listings.
type State string

// The states, from best to worst. A store that is stalled or full serves what it can, but leads
// nothing where another replica can.
const (
	StateUp      State = "up"
	StateFull    State = "full"    // no room for new chunks
	StateStalled State = "stalled" // the device does not answer
	StateFailed  State = "failed"  // a durable write failed
)

// ErrStalled is why a store is stalled.
var ErrStalled = errors.New("store: stalled")

// Health tells the state of the store, and why it is not up.
func (s *Store) Health() (State, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.failure != nil:
		return StateFailed, s.failure
	case s.stalled != nil:
		return StateStalled, s.stalled
	case s.full != nil:
		return StateFull, s.full
	}
	return StateUp, nil
}

// stall decides from the age of the oldest operation whether the device answers. It is on from the
// first one that is older than the bound until for stallCalm none was older than half of it: a
// device that hangs once hangs again, and leaders that go back and forth help nobody.
type stall struct {
	bound time.Duration
	on    bool
	calm  time.Duration // since when all is well, as long as it is on
}

func (t *stall) step(age, elapsed time.Duration) (changed bool) {
	was := t.on
	switch {
	case age >= t.bound:
		t.on, t.calm = true, 0
	case age >= t.bound/2:
		t.calm = 0
	default:
		if t.calm += elapsed; t.calm >= stallCalm {
			t.on = false
		}
	}
	return t.on != was
}

// watchdog looks after the device until the store stops.
func (s *Store) watchdog(beats <-chan struct{}) {
	t := stall{bound: s.cfg.StallBound}
	last := s.clock()
	for {
		select {
		case <-s.stop:
			return
		case <-beats:
		}
		now, age := s.clock(), s.disk.Oldest()
		if t.step(age, time.Duration(now-last)) || t.on {
			s.setStalled(t.on, age)
		}
		if t.on {
			s.giveAway()
		}
		if last = now; now >= s.nextCount.Load() {
			s.nextCount.Store(now + int64(countEvery))
			s.countRoom()
		}
	}
}

// deviceIsWell reports whether the watchdog would find nothing to do.
func (s *Store) deviceIsWell() bool {
	return s.clock() < s.nextCount.Load() && s.disk.Oldest() < s.cfg.StallBound && !s.isStalled()
}

func (s *Store) isStalled() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.stalled != nil
}

func (s *Store) setStalled(on bool, age time.Duration) {
	s.mu.Lock()
	was := s.stalled != nil
	s.stalled = nil
	if on {
		s.stalled = fmt.Errorf("%w: %s: the device let an operation wait for %v; its leaders were "+
			"moved away: look at the device's health and at the kernel's log", ErrStalled,
			s.cfg.Path, max(age, s.cfg.StallBound).Round(100*time.Millisecond))
	}
	err := s.stalled
	s.mu.Unlock()
	switch {
	case on && !was:
		s.log.Error("the device does not answer: leaderships are given away", "err", err)
	case !on && was:
		s.log.Warn("the device answers again")
	}
}

// giveAway has the replicas here hand over the leaderships they hold. It waits for nobody.
func (s *Store) giveAway() {
	for _, o := range s.owners {
		o.queue.post(event{do: func() {
			for _, m := range o.replicas {
				if m.HandOff() {
					o.touch(m)
				}
			}
		}})
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

// room is how many more chunks the store can take, and who was promised one. Writes to chunks that
// exist always go on; one that needs a new chunk is admitted only while there is room for it, since
// what is committed must be written one day. Where there is plenty nobody counts.
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
func (s *Store) hasRoom(id chunkfile.ID) bool {
	if !s.scarce.Load() {
		return true
	}
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
