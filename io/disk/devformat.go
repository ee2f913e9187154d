package disk

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"
)

// Everything in this file is part of the disk format: do not change it without a new version.
// Numbers are little-endian. Reserved bytes are zero, and checked.
//
// A device holds two copies of its superblock and of its directory, far from each other, and the
// files between them. The first 64 KiB are the first superblock and zeroes:
//
//	0          64 KiB                                             size - 4 KiB        size
//	| superblock | directory | blocks of files ...  | directory again | superblock again |
//
// Superblock, written when the device is formatted and never changed:
//
//	  0 crc32c u32 of bytes 4..511
//	  4 magic u32 "ASDV"
//	  8 version u16 | 10 reserved u16 | 12 block size u32 = 4096
//	 16 uuid of the device, 16 bytes
//	 32 size u64: bytes that are used, a multiple of the block size
//	 40 entries u64 of the directory, a multiple of 8
//	 48 reserved to 511, then zeroes to the end of the block
//
// Entry of the directory, one sector, so that writing it is one change that happens or not. Its
// block is written as a whole, and nothing of that but the sector is new:
//
//	  0 crc32c u32 of bytes 4..511
//	  4 magic u32 "ASDE"
//	  8 version u16 | 10 kind u8: 0 free, 1 file, 2 directory | 11 bytes of the name u8
//	 12 reserved u32
//	 16 uuid of the device, 16 bytes
//	 32 slot u64: which entry this is
//	 40 generation u64: of two copies of an entry, or two entries of a name, the higher counts
//	 48 first block u64 of the file
//	 56 size u64 of the file in bytes
//	 64 name, then zeroes to 511

const (
	deviceVersion = 1
	entryVersion  = 1
	magicDevice   = 'A' | 'S'<<8 | 'D'<<16 | 'V'<<24
	magicEntry    = 'A' | 'S'<<8 | 'D'<<16 | 'E'<<24

	entrySize       = SectorSize
	entriesPerBlock = BlockSize / entrySize
	entryName       = 64
	superblockUsed  = 48
	deviceHead      = 64 << 10
)

var (
	le       = binary.LittleEndian
	crcTable = crc32.MakeTable(crc32.Castagnoli)
)

// deviceID tells a device from every other, and from its own life before it was formatted anew.
type deviceID [16]byte

// superblock is what makes a device one of ours, and the places of what it holds.
type superblock struct {
	id      deviceID
	size    int64
	entries int64
}

func (s *superblock) directory() int64 { return s.entries * entrySize }
func (s *superblock) firstCopy() int64 { return deviceHead }
func (s *superblock) again() int64     { return s.size - BlockSize }

// secondCopy is where the second directory begins.
func (s *superblock) secondCopy() int64 { return s.again() - s.directory() }

// blocks are those that files may have.
func (s *superblock) blocks() extent {
	first := (s.firstCopy() + s.directory()) / BlockSize
	return extent{first: first, count: s.secondCopy()/BlockSize - first}
}

// layOut decides how many files a device of a size has room for.
func layOut(id deviceID, size int64) (s superblock, err error) {
	if size < minDevice {
		return s, fmt.Errorf("%w: a device of %d bytes: it needs %d or more", ErrInvalid, size,
			minDevice)
	}
	entries := max(minEntries, size/bytesPerEntry)
	return superblock{id: id, size: size / BlockSize * BlockSize,
		entries: (entries + entriesPerBlock - 1) / entriesPerBlock * entriesPerBlock}, nil
}

// encode returns the superblock's block.
func (s *superblock) encode() []byte {
	page := aligned(BlockSize)
	le.PutUint32(page[4:], magicDevice)
	le.PutUint16(page[8:], deviceVersion)
	le.PutUint32(page[12:], BlockSize)
	copy(page[16:], s.id[:])
	le.PutUint64(page[32:], uint64(s.size))
	le.PutUint64(page[40:], uint64(s.entries))
	le.PutUint32(page, crc32.Checksum(page[4:SectorSize], crcTable))
	return page
}

// decodeSuperblock reads a sector: ErrForeign where there is no superblock, ErrVersion for one of
// a newer program, ErrCorrupt for one that says what cannot be.
func decodeSuperblock(page []byte) (s superblock, err error) {
	if err := checkSector(page, magicDevice); err != nil {
		return s, fmt.Errorf("%w: superblock: %w", ErrForeign, err)
	}
	if v := le.Uint16(page[8:]); v != deviceVersion {
		return s, fmt.Errorf("%w: superblock of version %d, this program knows %d", ErrVersion, v,
			deviceVersion)
	}
	copy(s.id[:], page[16:])
	size, entries := le.Uint64(page[32:]), le.Uint64(page[40:])
	s.size, s.entries = int64(size), int64(entries)
	switch {
	case le.Uint16(page[10:]) != 0 || !blank(page[superblockUsed:SectorSize]):
		err = fmt.Errorf("%w: superblock: reserved bytes are not zero", ErrCorrupt)
	case le.Uint32(page[12:]) != BlockSize:
		err = fmt.Errorf("%w: superblock: blocks of %d bytes", ErrCorrupt, le.Uint32(page[12:]))
	case size > maxDevice || size < minDevice || size%BlockSize != 0:
		err = fmt.Errorf("%w: superblock: a size of %d bytes", ErrCorrupt, size)
	case entries < entriesPerBlock || entries%entriesPerBlock != 0 || entries > size/entrySize ||
		s.blocks().count <= 0:
		err = fmt.Errorf("%w: superblock: %d entries", ErrCorrupt, entries)
	}
	return s, err
}

// entryKind is what a slot of the directory holds.
type entryKind uint8

const (
	entryFree entryKind = iota
	entryFile
	entryDir
)

// entry is a slot of the directory.
type entry struct {
	kind  entryKind
	slot  int64
	gen   uint64
	name  string
	first int64 // block
	size  int64 // bytes
}

// put writes the entry over a sector.
func (e *entry) put(page []byte, id deviceID) {
	clear(page[:entrySize])
	le.PutUint32(page[4:], magicEntry)
	le.PutUint16(page[8:], entryVersion)
	page[10] = byte(e.kind)
	page[11] = byte(len(e.name))
	copy(page[16:], id[:])
	le.PutUint64(page[32:], uint64(e.slot))
	le.PutUint64(page[40:], e.gen)
	le.PutUint64(page[48:], uint64(e.first))
	le.PutUint64(page[56:], uint64(e.size))
	copy(page[64:], e.name)
	le.PutUint32(page, crc32.Checksum(page[4:entrySize], crcTable))
}

// decodeEntry reads the sector of a slot. Every error is ErrCorrupt, but for a newer version's.
func decodeEntry(page []byte, s *superblock, slot int64) (e entry, err error) {
	bad := func(format string, args ...any) (entry, error) {
		return entry{}, fmt.Errorf("%w: "+format, append([]any{ErrCorrupt}, args...)...)
	}
	if err := checkSector(page, magicEntry); err != nil {
		return bad("%w", err)
	}
	if v := le.Uint16(page[8:]); v != entryVersion {
		return e, fmt.Errorf("%w: entry of version %d, this program knows %d", ErrVersion, v,
			entryVersion)
	}
	e = entry{kind: entryKind(page[10]), slot: slot, gen: le.Uint64(page[40:])}
	rest, n := page[entryName:entrySize], int(page[11])
	first, size := le.Uint64(page[48:]), le.Uint64(page[56:])
	switch {
	case deviceID(page[16:32]) != s.id:
		return bad("it is of another device")
	case le.Uint64(page[32:]) != uint64(slot):
		return bad("it is entry %d", le.Uint64(page[32:]))
	case le.Uint32(page[12:]) != 0 || !blank(rest[n:]):
		return bad("reserved bytes are not zero")
	case e.kind > entryDir:
		return bad("kind %d", e.kind)
	case e.kind != entryFile && first|size != 0, e.kind == entryFree && n != 0:
		return bad("kind %d with a name or blocks", e.kind)
	case first > maxDevice/BlockSize || size > maxDevice:
		return bad("block %d, %d bytes", first, size)
	}
	e.name, e.first, e.size = string(rest[:n]), int64(first), int64(size)
	if e.kind == entryFree {
		return e, nil
	}
	if err := checkName(e.name); err != nil {
		return bad("%w", err)
	}
	if all := s.blocks(); e.kind == entryFile && !all.holds(e.extent()) {
		return bad("block %d, %d bytes, outside of the blocks for files", first, size)
	}
	return e, nil
}

// extent is where the file lies.
func (e *entry) extent() extent {
	return extent{first: e.first, count: (e.size + BlockSize - 1) / BlockSize}
}

// checkSector verifies the checksum and the magic number of a sector.
func checkSector(page []byte, magic uint32) error {
	if got := le.Uint32(page[4:]); got != magic {
		return fmt.Errorf("magic %08x, want %08x", got, magic)
	}
	want, got := le.Uint32(page), crc32.Checksum(page[4:SectorSize], crcTable)
	if got != want {
		return fmt.Errorf("crc %08x, want %08x", got, want)
	}
	return nil
}

func blank(p []byte) bool {
	zero := zeroes()
	for len(p) > 0 {
		n := min(len(p), len(zero))
		if !bytes.Equal(p[:n], zero[:n]) {
			return false
		}
		p = p[n:]
	}
	return true
}
