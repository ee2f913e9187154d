package store

import (
	"time"

	"github.com/ashlar-storage/ashlar/dataplane/copyset"
	"github.com/ashlar-storage/ashlar/io/chunkfile"
	"github.com/ashlar-storage/ashlar/io/disk"
	"github.com/ashlar-storage/ashlar/io/wal"
)

// Stats counts what the store has done since it was opened.
type Stats struct {
	Disk     disk.Stats
	Log      wal.Stats
	LogBytes int64 // of the log that is not recycled yet
	Chunks   chunkfile.Stats
	Replicas ReplicaStats
	Waiting  Waiting
}

// ReplicaStats is the sum over the replicas of a store.
type ReplicaStats struct {
	Replicas, Leading, Serving int
	Lost, Restoring            int // of those that do not run; that fetch chunks from another
	OverlayBlocks              int
	OverlayBytes               int64
	Entries                    uint64 // applied, empty ones and those of earlier lives included
	Counters                   copyset.Counters
}

// Stats asks every owner, and waits for it, though not for one that takes no turns.
func (s *Store) Stats() Stats {
	st := Stats{Disk: s.disk.Stats(), Log: s.wal.Stats(), LogBytes: s.wal.Usage(),
		Chunks: s.chunks.Stats(), Waiting: s.Waiting()}
	for _, r := range s.Replicas() {
		st.Replicas.add(&r)
	}
	return st
}

// Timing is how long clients' requests took, stage by stage, since the store was opened.
func (s *Store) Timing() *copyset.Timing {
	sum := new(copyset.Timing)
	for _, o := range s.owners {
		o.addTiming(sum)
	}
	return sum
}

// LogWrites is how many durable writes the log has made since the store was opened, and how long
// they took together.
func (s *Store) LogWrites() (n uint64, took time.Duration) {
	st := s.wal.Stats()
	return st.Writes, st.WriteTime
}

func (t *ReplicaStats) add(r *copyset.Status) {
	t.Replicas++
	if r.Leading {
		t.Leading++
	}
	if r.Serving {
		t.Serving++
	}
	if r.Err != nil {
		t.Lost++
	}
	if r.Restoring {
		t.Restoring++
	}
	t.OverlayBlocks += r.OverlayBlocks
	t.OverlayBytes += r.OverlayBytes
	t.Entries += r.Applied
	c, d := &t.Counters, &r.Counters
	c.Reads += d.Reads
	c.Writes += d.Writes
	c.Zeroes += d.Zeroes
	c.ReadBytes += d.ReadBytes
	c.WriteBytes += d.WriteBytes
	c.Repeated += d.Repeated
	c.Fenced += d.Fenced
	c.FlushedBlocks += d.FlushedBlocks
	c.CorruptBlocks += d.CorruptBlocks
	c.Repaired += d.Repaired
}
