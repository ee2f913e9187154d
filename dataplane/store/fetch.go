package store

import (
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/ashlar-storage/ashlar/dataplane/copyset"
	"github.com/ashlar-storage/ashlar/io/buf"
	"github.com/ashlar-storage/ashlar/io/chunkfile"
	"github.com/ashlar-storage/ashlar/io/disk"
	"github.com/ashlar-storage/ashlar/rpc/wire"
)

// errHere marks an error of the chunk files here, as against one of who is asked.
var errHere = errors.New("store: filling a replica")

func here(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%w: %w", errHere, err)
}

// fetch brings the chunk files of a replica to the leader's state and makes them durable.
func (o *Owner) fetch(job *copyset.SnapshotJob) {
	s := o.store
	select {
	case s.fetches <- struct{}{}:
		job.Err = s.fetchChunks(job)
		<-s.fetches
		s.noteFetch(job.Err)
	case <-job.Ended():
		job.Err = errEnded
	case <-s.stop:
		job.Err = errStopping
	}
	o.queue.post(event{copyset: job.Replica.ID(), snap: job})
}

// errEnded ends the fill of a replica that has been stopped meanwhile: it is not to be filled any
// more, and its place, its chunks and its space are for another.
var errEnded = errors.New("store: the replica has ended")

func ended(job *copyset.SnapshotJob) error {
	select {
	case <-job.Ended():
		return errEnded
	default:
		return nil
	}
}

// noteFetch takes what the chunk files here said to a fetch as what they say to a flush. The next
// try would meet a disk that fails again, and have it read from the leader once more.
func (s *Store) noteFetch(err error) {
	switch {
	case !errors.Is(err, errHere): // the leader's; it is tried again
	case lostChunk(err, 0): // the owner ends the replica
	case errors.Is(err, chunkfile.ErrDeleted), errors.Is(err, chunkfile.ErrInvalid):
	case errors.Is(err, disk.ErrNoSpace):
		s.noSpace(err)
	default:
		s.fail(err)
	}
}

func (s *Store) fetchChunks(job *copyset.SnapshotJob) error {
	group := job.Replica.ID()
	theirs, err := s.host.PeerChunks(job.Leader, group, job.Index)
	if err != nil {
		return err
	}
	keep := map[copyset.Chunk]bool{}
	fetched := 0
	for _, c := range theirs {
		keep[c.Chunk] = true
		if err := ended(job); err != nil {
			return err
		}
		if _, ok := s.chunks.Get(s.chunkID(group, c.Chunk)); ok && job.UpToDate(c) {
			continue
		}
		if err := s.fetchChunk(job, c.Chunk); err != nil {
			return err
		}
		fetched++
	}
	for _, id := range s.chunks.List(group) {
		if !keep[copyset.Chunk{Volume: id.Volume, Index: id.Index}] {
			err := s.chunks.Delete(id)
			if err != nil && !errors.Is(err, chunkfile.ErrNotExist) {
				return here(err)
			}
		}
	}
	s.log.Info("chunks fetched", "copyset", group, "chunks", fetched, "of", len(theirs),
		"to", job.Index)
	return nil
}

// fetchChunk reads a chunk from the leader, a few reads at a time, and writes it here.
func (s *Store) fetchChunk(job *copyset.SnapshotJob, c copyset.Chunk) error {
	id := s.chunkID(job.Replica.ID(), c)
	chunk, ok := s.chunks.Get(id)
	if !ok {
		var err error
		if chunk, err = s.chunks.Create(id); err != nil {
			return here(err)
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
	return here(<-done)
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
	err := s.fetchRange(job, chunk, c, first, count)
	if wire.StatusOf(err) != wire.StatusCorrupt {
		return err
	}
	for n := first; n < first+count; n++ {
		err := s.fetchRange(job, chunk, c, n, 1)
		if wire.StatusOf(err) == wire.StatusCorrupt {
			err = s.fetchRecord(job, chunk, c, n)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// fetchRange is fetchBlocks for blocks of which the leader has every one.
func (s *Store) fetchRange(job *copyset.SnapshotJob, chunk *chunkfile.Chunk, c copyset.Chunk,
	first, count uint32) error {
	data, crcs, err := s.askBlocks(job, copyset.PeerRead{Chunk: c, First: first, Count: count,
		Applied: job.Index, Urgent: job.Urgent})
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
	return s.keepFetched(chunk, first, data.B, crcs)
}

// askBlocks asks the leader, again and again while it has clients to serve first.
func (s *Store) askBlocks(job *copyset.SnapshotJob, r copyset.PeerRead) (data copyset.Payload,
	crcs []uint32, err error) {
	for range fetchTries {
		if err := ended(job); err != nil {
			return data, nil, err
		}
		data, crcs, err = s.host.PeerBlocks(job.Leader, job.Replica.ID(), r)
		if wire.StatusOf(err) != wire.StatusOverloaded {
			break
		}
		select {
		case <-time.After(fetchPause):
		case <-job.Ended():
			return data, nil, errEnded
		case <-s.stop:
			return data, nil, errStopping
		}
	}
	return data, crcs, err
}

// fetchRecord takes over a block that the leader cannot make good, not even from the others: its
// checksum alone. A replica that waited for the block would wait for good, and without it the
// copyset may be one disk from losing all. What is here stays if it is what the checksum says, and
// then the leader can be repaired from it. Otherwise the block is bad here as it is there: nobody
// answers it, and a write makes it good.
func (s *Store) fetchRecord(job *copyset.SnapshotJob, chunk *chunkfile.Chunk, c copyset.Chunk,
	n uint32) error {
	group := job.Replica.ID()
	crcs, err := s.host.PeerSums(job.Leader, group, copyset.PeerRead{Chunk: c, First: n, Count: 1,
		Applied: job.Index})
	if err != nil {
		return err
	}
	b, err := s.pool.Get(buf.BlockSize)
	if err != nil {
		return err
	}
	defer b.Release()
	if s.hasBlock(chunk, n, b.Bytes(), crcs[0]) {
		s.log.Warn("the leader has lost a block that is here", "copyset", group, "chunk", c,
			"block", n)
		return nil
	}
	if s.hadBlock(job, c, n, b.Bytes(), crcs[0]) {
		s.log.Warn("the leader has lost a block that is here in memory or in the log",
			"copyset", group, "chunk", c, "block", n)
		return s.keepFetched(chunk, n, b.Bytes(), crcs)
	}
	s.log.Error("a block is bad in the replica that is copied, and stays so in the copy",
		"copyset", group, "chunk", c, "block", n, "leader", job.Leader.ReplicaID)
	clear(b.Bytes())
	return s.keepFetched(chunk, n, b.Bytes(), crcs)
}

// hasBlock reports whether a block here is good and has a checksum; it is read into p.
func (s *Store) hasBlock(chunk *chunkfile.Chunk, n uint32, p []byte, crc uint32) bool {
	done := make(chan struct{})
	io := &chunkfile.IO{Block: int(n), Count: 1, Vec: [][]byte{p},
		Done: func(*chunkfile.IO) { close(done) }}
	chunk.Read(io)
	s.disk.Flush()
	<-done
	return io.Err == nil && io.CRCs[0] == crc
}

// hadBlock reports whether the replica has the block with a checksum in its overlay or its log,
// which the snapshot will take the place of; it is copied into p.
func (s *Store) hadBlock(job *copyset.SnapshotJob, c copyset.Chunk, n uint32, p []byte,
	want uint32) bool {
	var own copyset.Payload
	had := false
	if !s.Owner(job.Replica.ID()).Do(func() { own, had = job.Replica.Held(c, n, want) }) {
		return false
	}
	defer own.Release()
	switch {
	case !had:
		return false
	case own.B != nil:
		copy(p, own.B)
	case own.At != 0:
		return s.readLogBlock(own.At, p, want) == nil
	default:
		clear(p)
	}
	return true
}

func (s *Store) keepFetched(chunk *chunkfile.Chunk, first uint32, data []byte,
	crcs []uint32) error {
	done := make(chan error, 1)
	io := &chunkfile.IO{Block: int(first), Count: len(crcs), Vec: [][]byte{data}, CRCs: crcs,
		Done: func(io *chunkfile.IO) { done <- io.Err }}
	chunk.Write(io)
	s.disk.Flush()
	if err := <-done; err != nil {
		return here(fmt.Errorf("writing fetched blocks: %w", err))
	}
	return nil
}
