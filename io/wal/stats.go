package wal

import (
	"math/bits"
	"time"
)

// Stats counts since Open.
type Stats struct {
	// Writes are durable device writes of frames, each one system call; HeaderWrites those
	// of a header alone.
	Writes, HeaderWrites uint64
	// Alone are the Writes of one append that the caller of Write began itself.
	Alone uint64
	// WriteTime is how long the writes of frames took.
	WriteTime time.Duration
	// WriteBytes went to the device, PayloadBytes of them are callers' payload.
	WriteBytes, PayloadBytes uint64
	// Appends and Records that became durable.
	Appends, Records uint64
	// Batches[i] counts writes of 2^i to 2^(i+1)-1 records; the last takes the rest.
	Batches [batchBuckets]uint64
	// Rotations are segments begun; Starved those for which the log had to wait.
	Rotations, Starved uint64
	// Created and Recycled are segments made ready; Removed were surplus.
	Created, Recycled, Removed uint64
	// LiveSegments hold records or wait for a durable tail, ReadySegments may be written.
	LiveSegments, ReadySegments int
	// Queued are the appends that wait for the log's goroutine now.
	Queued int
}

// Stats returns counters since Open.
func (l *Log) Stats() Stats {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := l.stats
	s.LiveSegments, s.ReadySegments = len(l.segs.live), len(l.segs.ready)
	s.Queued = l.queue.n
	return s
}

// count adds a durable batch, with the lock held.
func (l *Log) count(b *batch) {
	s := &l.stats
	s.Writes++
	s.WriteTime += b.took
	s.WriteBytes += uint64(b.bytes)
	s.PayloadBytes += uint64(b.extent.blocks) * BlockSize
	s.Records += uint64(b.extent.records)
	s.Batches[min(bits.Len(uint(b.extent.records))-1, batchBuckets-1)]++
}
