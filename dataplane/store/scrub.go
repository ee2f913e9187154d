package store

import (
	"fmt"
	"time"

	"github.com/ashlar-storage/ashlar/dataplane/copyset"
	"github.com/ashlar-storage/ashlar/io/chunkfile"
	"github.com/ashlar-storage/ashlar/rpc/wire"
)

// The scrubber reads every block of the store, over and over, so that rot is found while another
// good copy exists and not when the last is needed. It asks the replica for its blocks as another
// replica would: in the lane, so that no write is under way to them, what the overlay has newer
// left out, each block checked, and bad ones replaced by what another replica has.

// scrubber is the scrubber's goroutine, until the store stops.
func (s *Store) scrubber() {
	if s.cfg.ScrubBytes < 0 {
		return
	}
	pace := scrubPace{rate: s.cfg.ScrubBytes}
	saved := time.Now()
	for s.pause(s.scrubTurn(&pace)) {
		if now := time.Now(); now.Sub(saved) > scrubSave {
			saved = now
			s.saveScrub()
		}
	}
	s.saveScrub()
}

// scrubTurn reads a piece if it is time, and tells how long to wait then.
func (s *Store) scrubTurn(p *scrubPace) time.Duration {
	if s.Failed() != nil {
		return scrubRest
	}
	if wait := s.windowClosed(); wait > 0 {
		return wait
	}
	if s.cycleRests() {
		return scrubRest
	}
	p.clients(s.clock(), s.clientOps.Load(), s.disk.Oldest() > 0)
	if wait := p.step(s.clock(), s.scrubPatience()); wait > 0 {
		return wait
	}
	bytes, ok := s.scrubPiece()
	if p.spend(s.clock(), bytes); !ok {
		return scrubRetry
	}
	return 0
}

// scrubPiece reads the next piece of the cycle, or ends the cycle. It tells how many bytes it read,
// and whether it was let.
func (s *Store) scrubPiece() (bytes int64, ok bool) {
	s.scrubMu.Lock()
	at := s.scrub
	id, ok := s.nextChunk(at.ID, at.Block > 0)
	s.scrubMu.Unlock()
	if !ok {
		s.endCycle()
		return 0, true
	}
	if id != at.ID {
		at.Block = 0
	}
	blocks := uint32(s.meta.ChunkSize / copyset.BlockSize)
	count := min(scrubBlocks, blocks-at.Block)
	p, status := s.scrubRead(id, at.Block, count)
	if status == wire.StatusOK && at.Block == 0 { // the read has brought the table into memory
		s.scrubMeta(id)
	}
	s.scrubMu.Lock()
	if status != wire.StatusOK && len(p.Bad) == 0 {
		s.refused(id, at.Block, blocks, status)
		s.scrubMu.Unlock()
		return 0, false
	}
	c, end := &s.scrub, at.Block+count
	s.scrubTried = 0
	c.ID, c.Block = id, end%blocks // 0: the next piece is of the next chunk
	c.Checked += uint64(p.Checked)
	c.note(id, p)
	s.scrubMu.Unlock()
	if end%crossBlocks == 0 || end == blocks {
		from := (end - 1) / crossBlocks * crossBlocks
		s.crossCheck(id, from, end-from)
	}
	return int64(p.Checked) * copyset.BlockSize, true
}

// refused is for a piece that could not be read: its replica starts, restores a snapshot, is lost,
// or the store stops. It is tried again, so that a cycle that ends has read what it passed; but a
// chunk whose replica never answers is left out and counted, or the cycle would not end.
func (s *Store) refused(id chunkfile.ID, block, blocks uint32, why wire.Status) {
	if s.scrubTried++; s.scrubTried < scrubTries {
		return
	}
	s.scrubTried = 0
	c := &s.scrub
	c.ID, c.Block = id, 0
	c.Skipped += uint64(blocks - block)
	c.find(id, fmt.Sprintf("left out from block %d on: its replica does not read: %v", block, why))
}

// scrubRead has the replica read blocks, and waits.
func (s *Store) scrubRead(id chunkfile.ID, first, count uint32) (*copyset.PeerRead, wire.Status) {
	p := &copyset.PeerRead{Chunk: copyset.Chunk{Volume: id.Volume, Index: id.Index}, First: first,
		Count: count, Mend: true}
	_, st := s.ask(id.Group, p)
	if st == wire.StatusUnavailable { // it may still be under way
		p = &copyset.PeerRead{}
	}
	return p, st
}

// ask has the replica here answer what another one might ask, and waits.
func (s *Store) ask(group uint64, p *copyset.PeerRead) (crcs []uint32, st wire.Status) {
	type answer struct {
		crcs []uint32
		st   wire.Status
	}
	done := make(chan answer, 1)
	p.Done = func(st wire.Status, _ [][]byte, crcs []uint32, hold []copyset.Payload) {
		for i := range hold {
			hold[i].Release()
		}
		done <- answer{crcs, st}
	}
	s.Owner(group).PeerRead(group, p)
	select {
	case a := <-done:
		return a.crcs, a.st
	case <-s.stop: // the answer comes when nobody waits any more
		return nil, wire.StatusUnavailable
	}
}

// endCycle ends a cycle. The next one begins a period after this one did.
func (s *Store) endCycle() {
	s.scrubMu.Lock()
	c := &s.scrub
	c.Finished = max(time.Now().UnixNano(), c.Started+1) // the clock may have been set back
	c.forget(func(b badBlock) bool { _, ok := s.chunks.Get(b.Chunk); return !ok })
	s.log.Info("scrubbed", "cycle", c.Cycle, "blocks", c.Checked, "skipped", c.Skipped, "bad",
		c.CycleBad, "unrepaired", c.unrepaired(),
		"took", time.Duration(c.Finished-c.Started).Round(time.Second))
	s.scrubMu.Unlock()
	s.saveScrub()
}

// cycleRests reports whether the last cycle has ended and the next need not begin yet. It begins
// the next one when it is time.
func (s *Store) cycleRests() bool {
	s.scrubMu.Lock()
	defer s.scrubMu.Unlock()
	c := &s.scrub
	if c.Finished < c.Started {
		return false
	}
	now := time.Now().UnixNano()
	if now >= c.Started && now-c.Started < int64(s.cfg.ScrubPeriod) {
		return true
	}
	c.Cycle, c.Started, c.Finished = c.Cycle+1, now, min(c.Finished, now-1)
	c.ID, c.Block, c.Checked, c.Skipped, c.CycleBad = chunkfile.ID{}, 0, 0, 0, 0
	c.Compared = 0
	s.scrubWay = scrubWay{}
	return false
}
