package store

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/ashlar-storage/ashlar/dataplane/copyset"
	"github.com/ashlar-storage/ashlar/io/buf"
	"github.com/ashlar-storage/ashlar/io/wal"
	"github.com/ashlar-storage/ashlar/rpc/wire"
)

// Transfer asks the replica, if it leads, to hand the leadership to another member.
func (s *Store) Transfer(copysetID, to uint64) {
	s.with(copysetID, func(m *member) { m.Transfer(to) })
}

// Rouse has the replica look whether its leader is there, if it rests.
func (s *Store) Rouse(copysetID uint64) {
	s.with(copysetID, func(m *member) { m.Rouse(s.clock()) })
}

// HandOff has the replicas here give up the leaderships they hold, never to lead again, and waits
// until others lead in their place or ctx ends.
func (s *Store) HandOff(ctx context.Context) {
	s.each(func(_ *Owner, m *member) { m.Retire() })
	poll := time.NewTicker(handOffPoll)
	defer poll.Stop()
	for {
		needed := false
		s.each(func(_ *Owner, m *member) { needed = m.HandOff() || needed })
		if !needed {
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-poll.C:
		}
	}
}

// DeleteVolume has the replicas that lead drop the volume's chunks. It reports whether no replica
// on this store has any left. A store that has failed leads nothing and drops nothing any more:
// what it has goes with it, or is dropped when its replicas follow again.
func (s *Store) DeleteVolume(volume uint64) bool {
	if s.Failed() != nil {
		return true
	}
	for _, o := range s.owners {
		if o.silent() { // whoever asks has more to do than wait for it
			return false
		}
	}
	gone := true
	asked := s.each(func(_ *Owner, m *member) {
		if s.holds(m, volume) {
			gone = false
			m.DeleteVolume(volume)
		}
	})
	return gone && asked
}

// Erased tells the replicas that lead of volumes of which no copyset has anything.
func (s *Store) Erased(told []copyset.Volumes) {
	if len(told) == 0 {
		return
	}
	for _, o := range s.owners {
		if o.silent() { // it will be told again
			continue
		}
		o.queue.post(event{do: func() {
			for _, m := range o.replicas {
				if m.Erased(told) {
					o.touch(m)
				}
			}
		}})
	}
}

func (s *Store) holds(m *member, volume uint64) bool {
	for _, c := range m.Chunks() {
		if c.Volume == volume {
			return true
		}
	}
	for _, id := range s.chunks.List(m.ID()) {
		if id.Volume == volume {
			return true
		}
	}
	return false
}

// Unreachable tells the replicas with a member on the node that messages to it are lost.
func (s *Store) Unreachable(copysetID, replica uint64) {
	s.with(copysetID, func(m *member) { m.Unreachable(replica) })
}

func (s *Store) with(copysetID uint64, f func(m *member)) {
	o := s.Owner(copysetID)
	o.queue.post(event{do: func() {
		if m := o.replicas[copysetID]; m != nil {
			f(m)
			o.touch(m)
		}
	}})
}

// Replicas reports every replica of the store, those that do not run too. Of an owner that takes
// no turns it has what was so when it last did.
func (s *Store) Replicas() []copyset.Status {
	list, _ := s.ReplicasAtRest()
	return list
}

// ReplicasAtRest is Replicas, and what Rest was when they were so; 0 where that is not known.
func (s *Store) ReplicasAtRest() (list []copyset.Status, rest uint64) {
	all := s.statuses()
	return all.replicas, all.rest
}

// ReplicasNow is Replicas, and whether every owner answered: one that did not may have more by now.
func (s *Store) ReplicasNow() (list []copyset.Status, now bool) {
	all := s.statuses()
	return all.replicas, all.now
}

// statuses is what all owners say, and the replicas that do not run.
func (s *Store) statuses() (all said) {
	known := true
	all.now = true
	for _, o := range s.owners {
		said := o.statuses()
		all.replicas = append(all.replicas, said.replicas...)
		all.now, known = all.now && said.now, known && said.rest != 0
		all.rest += said.rest
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for id, l := range s.lost {
		if !l.replaced && !l.Retired {
			all.replicas = append(all.replicas, copyset.Status{Copyset: id, Replica: l.Replica,
				Err: l.err})
		}
	}
	if !known || len(s.lost) > 0 {
		all.rest = 0
	}
	return all
}

// Chunks lists what the replica of a copyset has, in chunk files and overlay, in order: as many as
// most of the chunks that do not come before from. One that has not applied so much, as after a
// restart, may lack a chunk, and one that drops a volume may still have some of its chunks: they
// are asked again later.
func (s *Store) Chunks(copysetID, applied uint64, from copyset.Chunk, most int) (
	list []copyset.ListedChunk, st wire.Status) {
	set := map[copyset.Chunk]bool{}
	o, status := s.Owner(copysetID), wire.StatusUnavailable
	o.Do(func() {
		m := o.replicas[copysetID]
		if m == nil {
			status = s.missing(copysetID)
			return
		}
		status = m.Lists(applied)
		for _, c := range m.Chunks() {
			set[c] = true
		}
		// The files come second: a chunk leaves the overlay when it has one.
		for _, id := range s.chunks.List(copysetID) {
			set[copyset.Chunk{Volume: id.Volume, Index: id.Index}] = true
		}
		for c := range set {
			if c.Before(from) {
				continue
			}
			list = append(list, copyset.ListedChunk{Chunk: c, LastWrite: m.LastWrite(c)})
		}
	})
	if status != wire.StatusOK {
		return nil, status
	}
	slices.SortFunc(list, func(a, b copyset.ListedChunk) int {
		return cmp.Or(cmp.Compare(a.Volume, b.Volume), cmp.Compare(a.Index, b.Index))
	})
	return list[:min(len(list), most)], wire.StatusOK
}

// Report is the state of the store for operators.
type Report struct {
	Capacity, Used          int64 // bytes
	Chunks                  int
	LogBytes                int64
	CorruptBlocks, Repaired uint64
	State                   State
	Why                     error // it is not up
	Space                   Space
	Waiting                 Waiting
	Late                    error // a request has waited for too long
}

// Report tells how the store is.
func (s *Store) Report() Report {
	sp := s.Space()
	r := Report{Capacity: sp.Capacity, Used: sp.Chunks, Chunks: int(sp.Chunks / sp.ChunkFile),
		LogBytes: s.wal.Usage(), CorruptBlocks: s.corrupt.Load(), Repaired: s.repaired.Load(),
		Space: sp, Waiting: s.Waiting()}
	r.State, r.Why = s.Health()
	r.Late = s.late(r.Waiting)
	return r
}

// ReadLog reads payload back from the log for a follower that lags, and checks it against the
// checksums of its command. Bad bytes are counted and never sent: the follower waits, until a
// flush has repaired the block from a peer and a checkpoint has the follower fetch the chunks. What
// was placed and then written over is not bad: the follower fetches the chunks at once, or after
// the next checkpoint.
func (s *Store) ReadLog(copysetID uint64, p *copyset.Payload, crcs []uint32, dst []byte) error {
	if len(dst) != len(crcs)*buf.BlockSize {
		return fmt.Errorf("store: log at %d: %w: %d bytes with %d checksums", p.At,
			wal.ErrInvalid, len(dst), len(crcs))
	}
	if err := s.readBack(p.At, dst); err != nil {
		return err
	}
	bad := 0
	for i, want := range crcs {
		if wire.CRC32C(dst[i*buf.BlockSize:][:buf.BlockSize]) != want {
			bad++
		}
	}
	if bad == 0 {
		return nil
	}
	if slot, _, placed := copyset.PlaceAt(p.At); placed {
		s.unreadable(copysetID, p.At)
		return fmt.Errorf("store: slot %d: %w: %d of %d blocks for a follower were written over",
			slot, wal.ErrReleased, bad, len(crcs))
	}
	err := fmt.Errorf("store: log at %d: %w: %d of %d blocks for a follower fail their checksum",
		p.At, wal.ErrCorrupt, bad, len(crcs))
	s.noteBad(err, bad)
	return err
}

// PinLog keeps the part of the log that holds a payload until release is called.
func (s *Store) PinLog(p *copyset.Payload) (release func()) { return s.wal.Pin(p.At) }
