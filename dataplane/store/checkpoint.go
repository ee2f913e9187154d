package store

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/ashlar-storage/ashlar/dataplane/copyset"
	"github.com/ashlar-storage/ashlar/io/chunkfile"
	"github.com/ashlar-storage/ashlar/io/wal"
)

// checkpointer takes checkpoints when the log presses or changes have waited for long.
func (s *Store) checkpointer(beats <-chan struct{}) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go func() {
		select {
		case <-s.stop:
			cancel()
		case <-ctx.Done():
		}
	}()
	wait := func(d time.Duration) { s.nextAsk.Store(s.clock() + int64(d)) }
	for {
		select {
		case <-s.stop:
			return
		case <-beats:
		}
		if s.Failed() != nil {
			continue
		}
		switch asked := s.timeToAsk(); {
		case s.hurry.Swap(false) || s.logShort() || asked && s.due():
			s.Checkpoint(ctx)
			wait(checkpointEvery)
		case s.turnDue() && s.checkpointOldest(ctx):
			wait(checkpointEvery)
		case asked:
			wait(checkpointAgain)
		}
	}
}

// timeToAsk reports whether changes may have waited for long.
func (s *Store) timeToAsk() bool { return s.clock() > s.nextAsk.Load() }

// nothingToCheckpoint reports whether the checkpointer need not even ask.
func (s *Store) nothingToCheckpoint() bool {
	return s.Failed() != nil ||
		!s.hurry.Load() && !s.timeToAsk() && !s.logShort() && !s.turnDue()
}

// each runs f for every replica, on its owner, and lets it decide what comes of that. It is false
// when an owner has stopped, whose replicas were not asked: then nothing may be concluded from what
// the others said.
func (s *Store) each(f func(o *Owner, m *member)) bool {
	return s.look(func(o *Owner, m *member) {
		f(o, m)
		o.touch(m)
	})
}

// look is each for an f that changes nothing.
func (s *Store) look(f func(o *Owner, m *member)) bool {
	for _, o := range s.owners {
		ran := o.Do(func() {
			for _, m := range o.replicas {
				f(o, m)
			}
		})
		if !ran {
			return false
		}
	}
	return true
}

func (s *Store) due() bool {
	due := false
	return s.look(func(_ *Owner, m *member) { due = due || m.CheckpointDue() }) && due
}

// Checkpoint makes the chunk files hold everything that was applied when it began, and recycles
// the log before that. A copyset that cannot drain in time keeps its part of the log.
func (s *Store) Checkpoint(ctx context.Context) {
	s.checkpoint(ctx, func(uint64) bool { return true })
}

// checkpoint takes one of some copysets.
func (s *Store) checkpoint(ctx context.Context, of func(copyset uint64) bool) {
	s.ckptMu.Lock()
	defer s.ckptMu.Unlock()
	s.closePlaces(ctx, of)
	states := s.statesBefore()
	begin := func(_ *Owner, m *member) {
		if of(m.ID()) && m.CheckpointHelps(states) {
			m.BeginCheckpoint()
		}
	}
	if !s.each(begin) {
		return // stopping
	}
	s.awaitAll(ctx, func(m *member) bool { return m.Drained() })
	s.each(func(_ *Owner, m *member) {
		if !m.Drained() {
			m.CancelCheckpoint()
		}
	})
	lost, err := s.syncChunks()
	if err != nil {
		s.fail(err)
		return
	}
	if !s.condemnLost(lost) {
		return
	}
	s.each(func(o *Owner, m *member) { m.EndCheckpoint(&o.fx) })
	s.awaitAll(ctx, func(m *member) bool { return !m.Checkpointing() })
	s.release()
	s.logLeft.Store(s.logUsed())
}

// awaitAll waits until cond holds for every replica that still runs.
func (s *Store) awaitAll(ctx context.Context, cond func(m *member) bool) {
	ctx, cancel := context.WithTimeout(ctx, drainTime)
	defer cancel()
	for {
		all := true
		asked := s.each(func(_ *Owner, m *member) { all = all && (m.Err() != nil || cond(m)) })
		if all || !asked {
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(drainPoll):
		}
	}
}

// chunkSync is the chunks of a checkpoint on their way to the device.
type chunkSync struct {
	slots chan struct{}
	wait  sync.WaitGroup
	mu    sync.Mutex
	lost  map[*member]error // whose chunks were found to be gone
	err   error             // the first one that the store does not outlive
}

// syncChunks makes every changed chunk durable of the copysets whose checkpoint is on its way.
// Their states may name what was applied when they began; the chunk files may already have more,
// which replay repeats. It returns the replicas that have lost a chunk: a change of theirs is
// nowhere but in the log.
func (s *Store) syncChunks() (lost map[*member]error, err error) {
	applied := map[*member]uint64{}
	s.each(func(_ *Owner, m *member) {
		if index, ok := m.CheckpointIndex(); ok {
			applied[m] = index
		}
	})
	c := &chunkSync{slots: make(chan struct{}, chunkSyncs), lost: map[*member]error{}}
	for m, index := range applied {
		for _, id := range s.chunks.List(m.ID()) {
			if chunk, ok := s.chunks.Get(id); ok && chunk.Dirty() {
				c.sync(chunk, m, index)
			}
		}
	}
	c.wait.Wait()
	return c.lost, c.err
}

func (c *chunkSync) sync(chunk *chunkfile.Chunk, m *member, applied uint64) {
	c.slots <- struct{}{}
	c.wait.Add(1)
	chunk.Checkpoint(applied, func(err error) {
		c.note(m, err)
		<-c.slots
		c.wait.Done()
	})
}

// note takes what came of one chunk. One that was deleted meanwhile has nothing left to be made
// durable: that it was is, and replay repeats what came after.
func (c *chunkSync) note(m *member, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case err == nil, errors.Is(err, chunkfile.ErrDeleted):
	case lostChunk(err, 0):
		c.lost[m] = err
	case c.err == nil:
		c.err = err
	}
}

// condemnLost ends replicas that have lost a chunk, as a flush does that finds it, and makes that
// durable: from then on nobody keeps their part of the log. False: the checkpoint is not to go on.
func (s *Store) condemnLost(lost map[*member]error) bool {
	if len(lost) == 0 {
		return true
	}
	asked := s.each(func(o *Owner, m *member) {
		if why := lost[m]; why != nil {
			o.condemnUnsaved(m, fmt.Errorf("%w: %w", copyset.ErrDamaged, why))
		}
	})
	return s.saveCondemned() == nil && asked
}

// placedBound is how many bytes of slots are kept for followers: none where space runs short.
func (s *Store) placedBound() int64 {
	if s.scarce.Load() {
		return 0
	}
	return s.cfg.LogBytes / 4
}

// release recycles the log that no replica needs for a restart, but for a rest that lets followers
// that were away for a short time catch up from it. When a replica cannot be asked what it needs,
// because its owner has stopped, nothing is released.
func (s *Store) release() {
	oldest := s.wal.Head()
	if retain := wal.LSN(s.logRetained()); oldest > retain {
		oldest -= retain
	} else {
		oldest = 0
	}
	oldest = max(oldest, s.placed.keepFrom(s.placedBound()))
	if !s.each(func(_ *Owner, m *member) { oldest = min(oldest, m.Needs()) }) {
		return
	}
	s.wal.Release(oldest)
	gone := s.wal.Tail()
	for _, slot := range s.placed.release(oldest) {
		gone = oldest
		s.chunks.Unkeep(slot)
	}
	s.each(func(_ *Owner, m *member) { m.Released(gone) })
}
