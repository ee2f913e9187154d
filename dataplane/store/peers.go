package store

import (
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/ashlar-storage/ashlar/dataplane/copyset"
	"github.com/ashlar-storage/ashlar/io/buf"
	"github.com/ashlar-storage/ashlar/io/chunkfile"
	"github.com/ashlar-storage/ashlar/rpc/wire"
)

const (
	// repairTime is how long peers that have not applied enough yet are asked for a block again,
	// and repairPause how often. An idle follower learns what is committed from a heartbeat.
	repairTime  = time.Second
	repairPause = copyset.TickInterval / 2
)

// repair asks the other members for blocks that are bad here.
func (o *Owner) repair(job *copyset.RepairJob) {
	job.Good, job.CRCs = map[uint32]copyset.Payload{}, map[uint32]uint32{}
	group := job.Replica.ID()
	var peers []copyset.Peer
	o.Do(func() {
		for _, p := range job.Replica.Peers() {
			if p.ReplicaID != job.Replica.Self() {
				peers = append(peers, p)
			}
		}
	})
	for _, n := range job.Blocks {
		for end := time.Now().Add(repairTime); o.repairBlock(job, n, peers) &&
			time.Now().Before(end) && o.store.pause(repairPause); {
		}
	}
	o.queue.post(event{copyset: group, repair: job})
}

// repairBlock asks each peer for a block. It reports whether none gave it and one may soon: a
// follower learns a little later than the leader what is committed.
func (o *Owner) repairBlock(job *copyset.RepairJob, n uint32, peers []copyset.Peer) (again bool) {
	s, group := o.store, job.Replica.ID()
	for _, p := range peers {
		data, crcs, err := s.host.PeerBlocks(p, group, copyset.PeerRead{Chunk: job.Chunk, First: n,
			Count: 1, Applied: job.Applied})
		if err == nil {
			job.Good[n] = data
			if len(crcs) > 0 {
				job.CRCs[n] = crcs[0]
			}
			s.repaired.Add(1)
			s.log.Info("block repaired from a peer", "copyset", group, "chunk", job.Chunk,
				"block", n, "from", p.ReplicaID)
			return false
		}
		again = again || wire.StatusOf(err) == wire.StatusRetry
		s.log.Warn("no good copy there", "copyset", group, "block", n, "peer", p.ReplicaID,
			"err", err)
	}
	return again
}

// pause waits; false when the store stops meanwhile.
func (s *Store) pause(d time.Duration) bool {
	if d <= 0 {
		select {
		case <-s.stop:
			return false
		default:
			return true
		}
	}
	select {
	case <-s.stop:
		return false
	case <-time.After(d):
		return true
	}
}

// fetch brings the chunk files of a replica to the leader's state and makes them durable.
func (o *Owner) fetch(job *copyset.SnapshotJob) {
	job.Err = o.store.fetchChunks(job)
	o.queue.post(event{copyset: job.Replica.ID(), snap: job})
}

func (s *Store) fetchChunks(job *copyset.SnapshotJob) error {
	group := job.Replica.ID()
	theirs, err := s.host.PeerChunks(job.Leader, group)
	if err != nil {
		return err
	}
	keep := map[copyset.Chunk]bool{}
	for _, c := range theirs {
		keep[c] = true
		if err := s.fetchChunk(job, c); err != nil {
			return err
		}
	}
	for _, id := range s.chunks.List(group) {
		if !keep[copyset.Chunk{Volume: id.Volume, Index: id.Index}] {
			if err := s.chunks.Delete(id); err != nil {
				return err
			}
		}
	}
	s.log.Info("chunks fetched", "copyset", group, "chunks", len(theirs), "to", job.Index)
	return nil
}

// fetchChunk reads a chunk from the leader, a few reads at a time, and writes it here.
func (s *Store) fetchChunk(job *copyset.SnapshotJob, c copyset.Chunk) error {
	id := s.chunkID(job.Replica.ID(), c)
	chunk, ok := s.chunks.Get(id)
	if !ok {
		var err error
		if chunk, err = s.chunks.Create(id); err != nil {
			return err
		}
	}
	errs := make(chan error, fetchParallel)
	next := make(chan uint32)
	var workers sync.WaitGroup
	for range fetchParallel {
		workers.Add(1)
		go func() {
			defer workers.Done()
			for first := range next {
				if err := s.fetchBlocks(job, chunk, c, first); err != nil {
					errs <- err
					return
				}
			}
		}()
	}
	err := feed(next, errs, uint32(s.meta.ChunkSize/buf.BlockSize))
	close(next)
	workers.Wait()
	if err == nil && len(errs) > 0 {
		err = <-errs
	}
	if err != nil {
		return err
	}
	done := make(chan error, 1)
	chunk.Checkpoint(job.Index, func(err error) { done <- err })
	return <-done
}

func feed(next chan<- uint32, errs <-chan error, blocks uint32) error {
	for first := uint32(0); first < blocks; first += fetchBlocks {
		select {
		case next <- first:
		case err := <-errs:
			return err
		}
	}
	return nil
}

func (s *Store) fetchBlocks(job *copyset.SnapshotJob, chunk *chunkfile.Chunk, c copyset.Chunk,
	first uint32) error {
	count := min(fetchBlocks, uint32(chunk.Blocks())-first)
	data, crcs, err := s.host.PeerBlocks(job.Leader, job.Replica.ID(), copyset.PeerRead{Chunk: c,
		First: first, Count: count, Applied: job.Index})
	if err != nil {
		return err
	}
	if data.Len == 0 {
		chunk.Zero(int(first), int(count))
		return nil
	}
	defer data.Release()
	if len(crcs) != int(count) {
		return errors.New("store: peer sent another number of checksums than blocks")
	}
	done := make(chan error, 1)
	io := &chunkfile.IO{Block: int(first), Count: int(count), Vec: [][]byte{data.B}, CRCs: crcs,
		Done: func(io *chunkfile.IO) { done <- io.Err }}
	chunk.Write(io)
	s.disk.Flush()
	if err := <-done; err != nil {
		return fmt.Errorf("store: writing fetched blocks: %w", err)
	}
	return nil
}
