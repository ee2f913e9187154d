// Package chunkfile keeps the chunks of a store in slot files: one file, one slot, one chunk.
// A slot file is written once with zeroes before it is used, so that later writes of a chunk
// change no metadata of the file system. format.go draws the file.
//
// # Driving it
//
//	p, err := chunkfile.Open(chunkfile.Config{Disk: d, Dir: "chunks", StoreID: id})
//	for _, lost := range p.Damage() { ... }        // before trusting that a chunk is absent
//	c, ok := p.Get(id)                             // or p.Create(id)
//	c.Write(&chunkfile.IO{Block: 7, Count: 2, Vec: vec, CRCs: crcs, Done: done})
//	d.Flush()                                      // the caller sends, many at once
//	c.Checkpoint(applied, func(err error) { ... }) // now it survives a power cut
//
// Create, Write, Zero change memory and unsynced bytes only; the caller's log redoes them
// after a power cut. Checkpoint and Delete are durable when they are done.
//
// # What it promises
//
//   - A read returns bytes that fit the crc on record, zeroes for a block never written or
//     zeroed, or an error that lists the bad blocks. What a slot held before it was recycled
//     is never read: the new chunk's bitmap starts empty.
//   - After a power cut at any point a chunk opens at the last metadata version that was
//     durable or at the one being written, never at a mix. Every block of that version that
//     was not written to since is intact; one that was may be newer than its crc, and is then
//     reported as corrupt until the log has redone it.
//   - Applied of a version is trustworthy: the data is synced before the version is written.
//   - Metadata that was durable and is lost later (a bad sector, a write the device lost or
//     misdirected, an older half returned) is reported as damage, at Open or at the first use
//     of the chunk: see scan.go. It does not lead back to the version before. The slot is not
//     used again until its chunk is deleted, or Discard; one that is known to have held no
//     chunk is made anew by Open. Of a chunk whose table is in memory CheckMeta finds the loss
//     before that, and makes it good.
//   - A block of metadata that the device cannot read costs what its rot would: nothing in the
//     superseded half, the slot's chunk in the newest.
//   - A file of another store, or in the wrong place, is refused.
//   - The payload is not copied, and an IO used again allocates nothing.
//
// A chunk can have a second slot for a while, its twin, which takes large writes before they are in
// the caller's log: twin.go and move.go. Bytes that the log names there stay until Unkeep.
//
// # Its limits
//
// It does not know of chunks that never had a checkpoint, and cannot tell a slot file that is
// gone from the end of the sequence. A write the device lost in a block is found when the
// block is read. When all metadata of a slot is unreadable, Damage cannot say which chunk it
// was: then the absence of a chunk proves nothing, and the caller must compare with what the
// copyset knows.
//
// Open reads 48 KiB of every slot when there is room in memory for the tables of all, else 28 KiB,
// on several goroutines. An Inspector looks at everything, for tools that run while no store does.
//
// A clean chunk needs 0.7 KiB of memory and one file of the disk, which has a descriptor while
// the process has enough; 16.5 KiB more while its table is in memory (4096 blocks). Without it
// the next use costs one more device read, of 24 KiB. Dirty chunks always have their table,
// beyond Config.CacheChunks too: see limits.go.
//
// # How it fails
//
// Damage stops no other chunk. A failed write or sync is returned and never tried again here;
// the store stops. When no slot can be made, Create says what the limit is and what is used,
// and chunks that exist go on.
package chunkfile
