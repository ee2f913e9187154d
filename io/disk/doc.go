// Package disk is the seam between the store and its device.
//
// A Disk is a directory of files of fixed size, read and written in whole aligned blocks. Three
// of them exist, and one test suite holds for all:
//
//   - OpenDir: a real directory, used through direct I/O, with submitted operations on an
//     io_uring (or on worker goroutines where the kernel refuses one; the log says why).
//   - OpenDevice: a block device without a file system, or a large file in its place, that
//     FormatDevice prepared. I/O goes the same way; the names are kept on the device itself
//     (devformat.go: the format, devnames.go: how a change of them is one sector).
//   - NewSim: a disk in memory that knows which sectors a power cut may lose.
//
// Open picks the first or the second by what the path is. OpenReadOnly opens either for tools
// that look and change nothing; ReadOnly makes any disk such a one.
//
// # Promises
//
// A file made by Create was written once, so overwriting it changes no metadata and a durable
// write costs one device write and one flush. What Create, Rename, Remove, MkdirAll and
// WriteFile did is durable when they return, and a power cut within them leaves the state
// before or the state after. A write is durable once a WriteVec or Op with durable set has
// succeeded, or a Sync begun after it completed. Anything else may be lost sector by sector.
//
// Operations move all their bytes or fail. The blocking calls are one system call on the
// calling goroutine, the fastest way at depth one. Submit queues, Flush sends a whole batch
// with one system call; neither waits. Done runs on a goroutine of the disk, exactly once for
// each operation and never within Submit; it may submit and flush, but neither block nor close
// the file or the disk, which wait for it. There is no order between operations in flight.
// Steady reads, writes and submits allocate nothing.
//
// At depth one a completion that goes through a goroutine of the disk costs two hand-overs, half
// as much again as the read. FlushHere is Flush by a caller that would only wait: the operation
// that is alone on the ring is reaped by the caller itself (here.go). AfterBatch tells when a row
// of Dones has ended, so that what they brought is dealt with at once, on the same goroutine.
//
// # Limits
//
// Blocks of 4 KiB: addresses, lengths and offsets; MaxVec slices, MaxIO bytes. Requests past
// the end are refused, files do not grow. At most 1024 operations are sent at once and 2048
// are in flight; more wait in a list, and when 65536 wait there Submit completes with
// ErrOverloaded. Files beyond three quarters of what the process may have open give their
// descriptor up while they are idle (descriptors.go). Names are clean relative paths;
// components that begin with a dot, and LOCK in the root, are the disk's own. On a device a name
// has 255 bytes at most, directories included, a file lies in one run of blocks, and there is
// room for one file per 8 MiB.
//
// # Failure
//
// Errors belong to one class (ErrNoSpace, ErrIO, ...) and name the file and the offset. A
// failed durable write is for the caller to treat as final: the kernel does not try again what
// it reported; the names of a device do not change any more after one. A full device leaves no
// part of a new file behind. When the ring fails later on, operations go on without it, slower.
//
// # Power
//
// All of this holds where a flush reaches the medium. CacheOf says whether one does: a memory file
// system, a mount without barriers or a layer that ends flushes above a volatile write cache make a
// directory unfit for a store, and nothing else here would notice before the power goes.
//
// # Drive
//
//	d, err := disk.Open("/srv/store0", disk.Config{Arena: pool.Arena(), Logger: log})
//	f, err := d.Create("wal/000001", 64<<20)
//	err = f.WriteVec([][]byte{header, payload}, 0, true) // durable on return
//
//	f.Submit(&disk.Op{Kind: disk.Read, Vec: [][]byte{p}, Off: 8192, Done: done})
//	f.Submit(...)
//	d.Flush()
//
// # Faults
//
// A simulated disk fails as devices do, when a test says so: FailReads, FailWrites, FailSyncs and
// SetBytes (a full device) give errors, ShortReads moves too little, BadSectors cannot be read
// until they are written again, FlipBit and Corrupt change bytes behind the disk's back,
// RedirectWrites loses writes or puts them elsewhere, StaleWrites serves the version before again
// after a while, and Stall answers nothing until it is released.
//
// Simulated power cuts, at every boundary of a workload:
//
//	sim := disk.NewSim(disk.SimConfig{Inline: true})
//	sim.OnStep(func(disk.Step) {
//		few := disk.Subsets{All: 8, Each: 16, Random: 16}
//		for _, plan := range few.Plans(sim.Unsynced(), rng) {
//			recoverAndCheck(sim.Crash(plan))
//		}
//	})
package disk
