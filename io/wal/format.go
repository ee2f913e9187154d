package wal

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
)

// Everything in this file and in frame.go is part of the disk format: do not change it without
// a new version. Numbers are little-endian. Every structure starts with a crc32c (Castagnoli)
// of all that follows it, then magic and version, in every version there will be: so a reader
// tells a newer version from damage. Reserved bytes are zero, and checked.
//
// The log's directory:
//
//	log.id           identity: whose log, segment size, epoch of the last Open
//	00000001.seg     segment files, all of one size, never renamed; the number is only a name
//
// A segment file:
//
//	0        4096                                                    segment size
//	| header | frame | frame | frame | ... | stale bytes or zeroes   |
//
// Segment header, one block, all content in the first 512-byte sector, so that a rewrite is
// old or new:
//
//	 0 crc32c u32 of bytes 4..4095
//	 4 magic u32 "ASWS"
//	 8 version u16 | 10 reserved u16 | 12 reserved u32
//	16 store id, 16 bytes
//	32 segment sequence number u64 | 40 epoch u64
//	48 segment size u64
//	56 previous end LSN u64: where the log ends before this segment; 0 for the first
//	64 tail LSN u64: nothing below is needed
//	72 watermark LSN u64: everything below was durable when this was written
//	80 reserved to 4095
//
// Identity file, 64 bytes:
//
//	 0 crc32c u32 of bytes 4..63
//	 4 magic u32 "ASWI"
//	 8 version u16 | 10 reserved u16 | 12 reserved u32
//	16 store id, 16 bytes
//	32 epoch u64
//	40 segment size u64
//	48 watermark LSN u64: everything below was durable when this was written; 0 when unknown
//	56 reserved to 63
const (
	formatVersion = 1

	magicSegment  = 0x53575341 // "ASWS"
	magicFrame    = 0x46575341 // "ASWF"
	magicIdentity = 0x49575341 // "ASWI"

	identityName = "log.id"
	identitySize = 64
	segmentExt   = ".seg"

	segmentHeaderUsed = 80
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// stamp tells one use of a segment file from every other, before or after it.
type stamp struct {
	store      [16]byte
	seq, epoch uint64
}

// newer tells whether s was written after o. Within an epoch sequence numbers increase, and
// each epoch starts above every sequence number it found.
func (s stamp) newer(o stamp) bool {
	return s.seq > o.seq || s.seq == o.seq && s.epoch > o.epoch
}

// layout turns positions into places.
type layout struct {
	store [16]byte
	size  int64
}

func (y layout) lsn(seq uint64, off int64) LSN { return LSN(seq*uint64(y.size) + uint64(off)) }
func (y layout) seq(at LSN) uint64             { return uint64(at) / uint64(y.size) }
func (y layout) off(at LSN) int64              { return int64(uint64(at) % uint64(y.size)) }

// segmentHeader is the first block of a segment file.
type segmentHeader struct {
	stamp
	size                     int64
	prevEnd, tail, watermark LSN
}

// put encodes h into the block b.
func (h *segmentHeader) put(b []byte) {
	le := binary.LittleEndian
	clear(b[:BlockSize])
	le.PutUint32(b[4:], magicSegment)
	le.PutUint16(b[8:], formatVersion)
	copy(b[16:], h.store[:])
	le.PutUint64(b[32:], h.seq)
	le.PutUint64(b[40:], h.epoch)
	le.PutUint64(b[48:], uint64(h.size))
	le.PutUint64(b[56:], uint64(h.prevEnd))
	le.PutUint64(b[64:], uint64(h.tail))
	le.PutUint64(b[72:], uint64(h.watermark))
	le.PutUint32(b, crc32.Checksum(b[4:BlockSize], castagnoli))
}

// parse decodes the block b: ErrVersion, or ErrCorrupt for everything that is not a header.
func (h *segmentHeader) parse(b []byte) error {
	if len(b) < BlockSize {
		return fmt.Errorf("%w: segment header of %d bytes", ErrCorrupt, len(b))
	}
	b = b[:BlockSize]
	if err := checkPreamble(b, magicSegment, "segment header"); err != nil {
		return err
	}
	le := binary.LittleEndian
	copy(h.store[:], b[16:])
	h.seq, h.epoch = le.Uint64(b[32:]), le.Uint64(b[40:])
	h.size = int64(le.Uint64(b[48:]))
	h.prevEnd, h.tail = LSN(le.Uint64(b[56:])), LSN(le.Uint64(b[64:]))
	h.watermark = LSN(le.Uint64(b[72:]))
	if h.seq == 0 || h.epoch == 0 || !allZero(b[segmentHeaderUsed:]) {
		return fmt.Errorf("%w: segment header fields", ErrCorrupt)
	}
	return nil
}

// identity is the content of log.id.
type identity struct {
	store [16]byte
	epoch uint64
	size  int64
	// watermark is of the last Open or clean Close, and so names segments that recovery must find.
	// In between the header of the segment before the newest one does.
	watermark LSN
}

func (d *identity) encode() []byte {
	le := binary.LittleEndian
	b := make([]byte, identitySize)
	le.PutUint32(b[4:], magicIdentity)
	le.PutUint16(b[8:], formatVersion)
	copy(b[16:], d.store[:])
	le.PutUint64(b[32:], d.epoch)
	le.PutUint64(b[40:], uint64(d.size))
	le.PutUint64(b[48:], uint64(d.watermark))
	le.PutUint32(b, crc32.Checksum(b[4:], castagnoli))
	return b
}

func (d *identity) parse(b []byte) error {
	if len(b) != identitySize {
		return fmt.Errorf("%w: %s of %d bytes, want %d", ErrCorrupt, identityName, len(b),
			identitySize)
	}
	if err := checkPreamble(b, magicIdentity, identityName); err != nil {
		return err
	}
	le := binary.LittleEndian
	copy(d.store[:], b[16:])
	d.epoch, d.size = le.Uint64(b[32:]), int64(le.Uint64(b[40:]))
	d.watermark = LSN(le.Uint64(b[48:]))
	if d.epoch == 0 || checkSegmentSize(d.size) != nil || !allZero(b[56:]) {
		return fmt.Errorf("%w: %s fields", ErrCorrupt, identityName)
	}
	return nil
}

// checkPreamble verifies crc, magic, version and the reserved bytes before offset 16. The crc
// comes first: only an intact structure may claim a newer version.
func checkPreamble(b []byte, magic uint32, what string) error {
	le := binary.LittleEndian
	if got := le.Uint32(b[4:]); got != magic {
		return fmt.Errorf("%w: %s magic %#x, want %#x", ErrCorrupt, what, got, magic)
	}
	want, got := le.Uint32(b), crc32.Checksum(b[4:], castagnoli)
	if got != want {
		return fmt.Errorf("%w: %s crc %#x, want %#x", ErrCorrupt, what, got, want)
	}
	if v := le.Uint16(b[8:]); v > formatVersion {
		return fmt.Errorf("%w: %s has version %d, this program reads up to %d: upgrade it",
			ErrVersion, what, v, formatVersion)
	} else if v == 0 {
		return fmt.Errorf("%w: %s version 0", ErrCorrupt, what)
	}
	if magic != magicFrame && !allZero(b[10:16]) {
		return fmt.Errorf("%w: %s reserved bytes", ErrCorrupt, what)
	}
	return nil
}

func allZero(b []byte) bool {
	for len(b) >= 8 {
		if binary.LittleEndian.Uint64(b) != 0 {
			return false
		}
		b = b[8:]
	}
	for _, c := range b {
		if c != 0 {
			return false
		}
	}
	return true
}

func checkSegmentSize(n int64) error {
	if n < minSegment || n > maxSegment || n%BlockSize != 0 {
		return fmt.Errorf("%w: SegmentSize %d: give a multiple of %d from %d to %d",
			ErrInvalid, n, BlockSize, minSegment, int64(maxSegment))
	}
	return nil
}
