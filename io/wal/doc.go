// Package wal is the write-ahead log of a store, shared by all its copysets.
//
// # What it promises
//
// When Done reports no error, the records of the append and of every earlier append survive
// power loss. An append is all or nothing. After a crash Open replays, in the order of the
// Append calls, every acknowledged record of the segments that were not released, and at most
// a prefix of what was appended and not acknowledged; nothing that was not appended, nothing
// from an earlier life of the log. Opening again without writing replays the same.
//
// Bytes that were durable and are wrong now are never replayed and never cut off: they are
// listed in Recovery.Damage, with the groups that lost records when the descriptor still tells
// them, and everything around them is replayed. What to do about a damaged copyset is the
// store's decision.
//
// Wrong bytes that cost no record, as others say the same (a segment header, log.id), are listed in
// Recovery.Repaired. So every byte of a header, a descriptor, a payload and the padding in them is
// guarded. Bytes behind the last frame of a segment are free: zeroes, or frames of an earlier use
// of the file. No record of this use lies there, since a frame is taken only with the stamp of the
// segment and at its own position, and a write overwrites them whatever they are.
//
// One fault is beyond a log on one disk: the very last write, damaged after a crash and before
// any other write, looks like an interrupted one. A clean Close records the end, so that the
// next recovery can tell. In the same way the newest segment, gone with all its frames, is missed
// something else tells of it: log.id, after a clean Close or an Open, or the header of the segment
// before it, which the background goroutine writes again soon after its first frame. What is left
// is a segment lost with the power within the moment before that write.
//
// # How to drive it
//
//	l, rec, err := wal.Open(cfg, func(r *wal.Record) error { ... })
//	for _, d := range rec.Damage { ... }       // declare copysets damaged
//	l.Append(&wal.Append{Records: records, Done: func(a *wal.Append) { ... }})
//	l.Release(before)                          // after a checkpoint
//	err = l.Close()
//
// Inspect looks at a log with the code of recovery and changes nothing, for tools that run while
// no store does.
//
// Put everything that must become durable together into one Append: more makes more of a
// frame, not more writes. Done runs on the writer's goroutine, between two writes: hand the
// result over and return; AfterBatch tells when the appends of a write have been told. Release is
// remembered with the next write; after a crash before that some released records are replayed
// again, so replay must be idempotent.
//
// # Writing
//
// A frame is one descriptor with all records of a batch, followed by their payload blocks from
// where they lie in memory: one vectored durable write, of 8 KiB for a lone 4 KiB block. The
// write starts at once when the log is idle; what is appended while it is in flight makes the
// next batch, up to MaxBatch. There is no timer.
//
// Who writes is the log's goroutine, or in its place, while that has nothing to do, the caller of
// Write, when append after append came alone: at depth one the hand-over costs as much as half the
// device write. It never waits for a segment, nor for longer than the disk's FlushHere does; a
// write that takes longer ends on a goroutine of the disk.
//
// One write is in flight at a time. On a device that must flush its cache the second would
// wait for the flush of the first, and batches would be half as large. The format does not
// depend on it: every frame carries the watermark below which everything was durable when it
// was written, and recovery cuts by watermarks alone. A batch holds all that belongs to one
// write, so a second one needs a second batch and completion in order, nothing else.
//
// A segment begins with a header, which is written together with the first frame: entering a
// segment costs no further write. Segment files are written with zeroes by a background
// goroutine before use, so that no write changes file metadata. A released file is used again
// as it is, once a tail beyond it is durable in some later frame: from then on recovery
// ignores its old stamp, so nothing need be erased.
//
// # Recovery
//
// Every frame carries the stamp of its segment (store, sequence number, epoch), its own
// position, the watermark, the tail, and where the log ended before its segment; a crc covers
// them all. A frame of another store, another use of the file or another place is therefore no
// frame, and a lost header loses nothing. What happens at each position is decided by a table
// over named facts (verdict.go). Its heart:
//
//   - An unreadable frame below the highest watermark was durable: damage. Reading goes on at
//     the next intact frame of the same stamp.
//   - An unreadable frame at or above it was never acknowledged, for completions come in order
//     and a later watermark would cover it: the log is cut there.
//
// With one write in flight an intact frame beyond an unreadable one always has a watermark
// that covers it, as its write began after the other had completed. An intact frame beyond an
// unreadable one that no watermark covers can exist only if two writes were in flight when the
// power went: the second reached the device, the first did not. Neither was acknowledged, so
// cutting at the first loses nothing (verdictHole). Writers of this version never leave it.
//
// After recovery the log goes on in a fresh segment, with the first append. Bytes after the cut
// are never overwritten piecemeal: the new segment says where the log ended before it, so later
// recoveries do not look beyond. Until that append the bytes stay as they are, so that a crash
// in between finds the same cut.
//
// The new segment's epoch is one that no earlier Open used, made durable in log.id before the
// first write. It matters when the power goes twice. With one write in flight, an interrupted
// first write to a segment leaves an intact descriptor, and then recovery counts its sequence
// number as used, or none, and then nothing can pass for a frame later. With two in flight the
// second may be left alone, further on, where recovery does not look; the next life would use
// the same file and number, and if its own first write has the same length, the stale frame
// would lie exactly where its second belongs: a record that the recovery between did not have.
// The epoch tells them apart.
//
// Recovery syncs every segment file before it reads: a process killed in the middle of a write
// leaves bytes that read back well from a cache and are gone after a power cut.
//
// # Failure
//
// A failed durable write stops the log for good (ErrFailed): the state of the device is unknown
// and a retry may report success for bytes it has dropped. Every later append completes with
// the same error. Reading goes on. A full device does not stop the log: appends wait for
// Release when no segment can be made ready, and Room tells how much may be appended before that.
package wal
