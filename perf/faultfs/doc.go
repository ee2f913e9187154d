// Package faultfs is a file system that behaves as a disk does on its worst day: power goes,
// sectors go bad, writes fail, the device stalls, the space ends. It is mounted through FUSE over a
// backing directory, so that whole processes can be run on it unchanged. It needs root and
// /dev/fuse.
//
// # The model
//
//	write            -> volatile cache, acknowledged; kept by sectors of 512 bytes
//	write with DSYNC -> its own sectors, and only those, go to the backing file
//	fsync, fdatasync -> every sector of the file, and its length
//	create, rename,  -> a journal in order; fsync of any directory makes all of it durable
//	  unlink, mkdir,     (a file's own fsync does not: its name may still be lost)
//	  rmdir
//	truncate,        -> durable at once
//	  fallocate
//
// Cut is a power cut: from one instant on nothing is answered and nothing becomes durable. Resume
// then decides with a seed what the disk had got round to: of every unsynced sector whether it was
// written, so that writes are lost, kept and torn in any subset; of the journal how much, always a
// prefix. A DSYNC write or an fsync that the cut met in the middle is half done. Only what was
// synced and answered is sure to be there, and that is what the program on top must live with.
//
// A disk may also write back of its own accord: so does this one, a file at a time, when the cache
// is full. Sectors are written whole and never go bad by themselves, and a sector that was
// overwritten twice before the cut is the newest version or the last durable one: states between
// those two are left to the simulated disk of io/disk, which counts all of them.
//
// Every file is opened past the page cache of the kernel, with or without O_DIRECT, so that what
// the kernel acknowledged is what this file system acknowledged. Shared mappings do not work.
//
// # Faults
//
// Rules match operations by path, kind and range: Fail answers with an error, BadSector fails reads
// until the sector is written again (as a disk with spare sectors does), Stall holds operations for
// a while, Full lets the space run out. Clear ends all of them. Hits counts what a rule did.
//
// # Limits
//
// limits.go. Links, symbolic links, extended attributes and devices are refused; locks are the
// kernel's own, so they end with the mount.
package faultfs
