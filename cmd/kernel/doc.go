// Command kernel proves with a real kernel what a store promises about power cuts: it runs the
// production store in User-Mode Linux, on ext4 over a disk whose every write is recorded, and then
// recovers it from every state that a power cut could have left on that disk.
//
//	kernel run        everything below, in order; needs root, linux.uml and loop devices
//	kernel replay     the second half again, on what "run -keep" has left
//	kernel guest      what runs inside the virtual machine, started by guest.sh; so does load
//
// # What it promises
//
// The workload is a pure function of its seed: operation n writes, or trims, known blocks with the
// number n in each of them. Before an operation is sent the log is marked with its number, and when
// it is acknowledged the log is marked again, so at each point of the log it is known which
// operations were under way and which were acknowledged. At every flush up to three disks are made:
//
//	bare      only what earlier flushes and FUA writes had made durable
//	whole     everything recorded up to the flush; where that is the bare disk of the next flush
//	          it is judged there, by all that was acknowledged until then
//	part      that, and a random part of the rest: data by sector of 512 bytes, blocks of the
//	          file system itself whole, as ext4 asks of its device
//
// Each is mounted (ext4 recovers its journal), the store recovers on it and is read in full. Every
// block must hold its last acknowledged operation, or a later one that was under way; all of it or
// nothing. Then ext4 must be clean.
//
// Now and then the disk of some flushes before is judged as well, as a device would leave it that
// forgets flushes: the lane fails unless it finds that acknowledged writes are missing there.
//
// The log also counts: of a warm store, a lone client write of 4 KiB must be one write of data and
// one flush (or one FUA write), and no write of the file system's own.
//
// # Limits
//
// A disk of 64 MiB, two copysets, six chunks of 1 MiB: limits.go. A window of block operations that
// takes longer than the five seconds after which ext4 writes its journal on its own is measured
// again. Without root, loop devices or User-Mode Linux nothing is skipped: it fails and says what
// is missing.
package main
