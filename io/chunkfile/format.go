package chunkfile

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"
)

// A slot file is two metadata halves and the data of one chunk:
//
//	0           metaSize      2*metaSize                 2*metaSize+ChunkSize
//	| half A    | half B      | block 0 | block 1 | ...  |
//
// A half is a header page, the bitmap of written blocks and the table of their crcs, each
// padded with zeroes to 4 KiB. At 16 MiB chunks: 4 + 4 + 16 = 24 KiB.
//
//	  0 magic "ASHLCHNK"
//	  8 format version u16 = 1 | 10 half u8: 0 A, 1 B | 11 state u8: 1 free, 2 used
//	 12 crc32c of bitmap and table u32
//	 16 store uuid, 16 bytes
//	 32 slot number u64
//	 40 metadata version u64
//	 48 applied index u64
//	 56 chunk size u64
//	 64 copyset u64 | 72 volume u64 | 80 chunk of the volume u64
//	 88 written blocks u32
//	 92 next: state u8 | 93 reserved, 3 bytes
//	 96 next: version u64
//	104 next: copyset u64 | 112 volume u64 | 120 chunk u64
//	128 moved from: version u64, 0: not | 136 its slot u64
//	144 reserved
//	508 crc32c of bytes 0..507 u32
//	512 reserved
//	4096 bitmap: block b is bit b%8 of byte b/8, padded to 4 KiB
//	     table: crc32c u32 per block, 0 where the bit is 0, padded to 4 KiB
//
// All integers are little-endian and reserved bytes are zero. These values are part of the
// disk format and must not be changed.
//
// Everything that identifies the half lies in its first sector of 512 bytes and has its own
// crc there, so a power cut leaves an old or a new header, never a mix; the crc of bitmap and
// table in it tells a half whose later sectors did not arrive.
//
// A chunk that moves to another slot (twin.go) has, in its versions there until the old slot is
// free again, which slot and which version of that it had before: when both say that they have the
// chunk, and the old one has that very version, it is the new one's. Two slots that have one chunk
// in any other way are damage.
//
// Versions alternate between the halves. Once version v+1 is durable in one half, the header
// of the other (version v) is written again with "next" naming v+1: it is sealed. A sealed
// half is never the truth: when its successor cannot be read, the successor was lost after it
// was durable, and going back to v would return old data as if it were current.

const (
	headerPage   = BlockSize
	headerSector = 512
	headerCRCAt  = 508
	formatV1     = 1
)

var magic = [8]byte{'A', 'S', 'H', 'L', 'C', 'H', 'N', 'K'}

// castagnoli is the polynomial of every checksum on disk and on the wire.
var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// zeroBlockCRC is the crc32c of 4 KiB of zeroes, the checksum of a block never written.
var zeroBlockCRC = crc32.Checksum(zeroes[:], castagnoli)

var zeroes [BlockSize]byte

// slotState is what a slot is used for.
type slotState uint8

const (
	stateNone slotState = 0 // in "next" only: no successor
	stateFree slotState = 1
	stateUsed slotState = 2
)

// geometry is what the chunk size decides.
type geometry struct {
	chunkSize  int64
	blocks     int
	bitmapSize int // padded bytes of the bitmap
	tableSize  int // padded bytes of the crc table
	metaSize   int // bytes of a half
}

func newGeometry(chunkSize int64) geometry {
	blocks := int(chunkSize / BlockSize)
	g := geometry{chunkSize: chunkSize, blocks: blocks}
	g.bitmapSize = roundUp((blocks+7)/8, BlockSize)
	g.tableSize = roundUp(blocks*4, BlockSize)
	g.metaSize = headerPage + g.bitmapSize + g.tableSize
	return g
}

func roundUp(n, unit int) int { return (n + unit - 1) / unit * unit }

// halfOffset is where a half starts in the file.
func (g geometry) halfOffset(half uint8) int64 { return int64(half) * int64(g.metaSize) }

// dataOffset is where a block starts in the file.
func (g geometry) dataOffset(block int) int64 {
	return 2*int64(g.metaSize) + int64(block)*BlockSize
}

// slotBytes is the size of a slot file.
func (g geometry) slotBytes() int64 { return 2*int64(g.metaSize) + g.chunkSize }

// successor is what a sealed header says of the version after it.
type successor struct {
	state   slotState
	version uint64
	id      ID
}

// origin is the slot that a chunk was in before, and the newest version there; zero: it did not
// move.
type origin struct{ version, slot uint64 }

// header is the first sector of a half.
type header struct {
	half      uint8
	state     slotState
	bodyCRC   uint32
	store     [16]byte
	slot      uint64
	version   uint64
	applied   uint64
	chunkSize int64
	id        ID
	written   uint32
	next      successor
	from      origin
}

// sealed says that a newer version was durable.
func (h *header) sealed() bool { return h.next.state != stateNone }

// follower is what the header before h says of h.
func (h *header) follower() successor {
	return successor{state: h.state, version: h.version, id: h.id}
}

// encodeHeader fills a header page.
func encodeHeader(page []byte, h *header) {
	clear(page[:headerPage])
	le := binary.LittleEndian
	copy(page, magic[:])
	le.PutUint16(page[8:], formatV1)
	page[10] = h.half
	page[11] = byte(h.state)
	le.PutUint32(page[12:], h.bodyCRC)
	copy(page[16:], h.store[:])
	le.PutUint64(page[32:], h.slot)
	le.PutUint64(page[40:], h.version)
	le.PutUint64(page[48:], h.applied)
	le.PutUint64(page[56:], uint64(h.chunkSize))
	putID(page[64:], h.id)
	le.PutUint32(page[88:], h.written)
	page[92] = byte(h.next.state)
	le.PutUint64(page[96:], h.next.version)
	putID(page[104:], h.next.id)
	le.PutUint64(page[128:], h.from.version)
	le.PutUint64(page[136:], h.from.slot)
	le.PutUint32(page[headerCRCAt:], crc32.Checksum(page[:headerCRCAt], castagnoli))
}

func putID(b []byte, id ID) {
	binary.LittleEndian.PutUint64(b, id.Group)
	binary.LittleEndian.PutUint64(b[8:], id.Volume)
	binary.LittleEndian.PutUint64(b[16:], id.Index)
}

func getID(b []byte) ID {
	le := binary.LittleEndian
	return ID{Group: le.Uint64(b), Volume: le.Uint64(b[8:]), Index: le.Uint64(b[16:])}
}

// fault is what is wrong with a half: the region of it, and the checksums where the fault is
// one. It becomes a CorruptError where disk and file are known.
type fault struct {
	class     error // ErrForeign, ErrVersion or nil
	at, n     int
	want, got uint32
	reason    string
}

func (f *fault) Error() string {
	return fmt.Sprintf("chunkfile: byte %d, %d bytes: %s (want %08x, got %08x)",
		f.at, f.n, f.reason, f.want, f.got)
}

// decodeHeader reads a header page. The result is meaningful when the error is nil.
func decodeHeader(page []byte) (header, *fault) {
	var h header
	if len(page) < headerPage {
		return h, &fault{n: len(page), reason: "header page cut short"}
	}
	le := binary.LittleEndian
	if [8]byte(page[:8]) != magic {
		return h, &fault{n: 8, reason: "no slot header here (magic)"}
	}
	want, got := le.Uint32(page[headerCRCAt:]), crc32.Checksum(page[:headerCRCAt], castagnoli)
	if want != got {
		return h, &fault{n: headerSector, want: want, got: got, reason: "header checksum"}
	}
	if v := le.Uint16(page[8:]); v != formatV1 {
		return h, &fault{class: ErrVersion, at: 8, n: 2, reason: fmt.Sprintf(
			"format version %d, this release reads %d; upgrade the release", v, formatV1)}
	}
	if !allZero(page[93:96]) || !allZero(page[144:headerCRCAt]) ||
		!allZero(page[headerSector:headerPage]) {
		return h, &fault{at: 93, n: headerPage - 93, reason: "reserved bytes are not zero"}
	}
	h = header{
		half: page[10], state: slotState(page[11]), bodyCRC: le.Uint32(page[12:]),
		store: [16]byte(page[16:32]), slot: le.Uint64(page[32:]),
		version: le.Uint64(page[40:]), applied: le.Uint64(page[48:]),
		chunkSize: int64(le.Uint64(page[56:])), id: getID(page[64:]),
		written: le.Uint32(page[88:]),
		next: successor{state: slotState(page[92]), version: le.Uint64(page[96:]),
			id: getID(page[104:])},
		from: origin{le.Uint64(page[128:]), le.Uint64(page[136:])},
	}
	if reason := h.inconsistent(); reason != "" {
		return h, &fault{n: headerSector, reason: reason}
	}
	return h, nil
}

// inconsistent names what no writer of this format writes; "" when all fits.
func (h *header) inconsistent() string {
	switch {
	case h.half > 1:
		return "half is neither A nor B"
	case h.state != stateFree && h.state != stateUsed:
		return "unknown state"
	case h.version == 0:
		return "version zero"
	case h.state == stateFree && (h.id != ID{} || h.written != 0 || h.applied != 0):
		return "a free slot that names a chunk"
	case h.next.state > stateUsed:
		return "unknown state of the next version"
	case h.next.state == stateNone && h.next != successor{}:
		return "a next version without a state"
	case h.next.state != stateNone && h.next.version != h.version+1:
		return "next version does not follow"
	case h.next.state == stateFree && h.next.id != ID{}:
		return "a free next version that names a chunk"
	case h.from != origin{} && (h.from.version == 0 || h.state == stateFree):
		return "moved from a slot without a version, or without a chunk"
	}
	return ""
}

// place is where a half must say it is.
type place struct {
	store [16]byte
	slot  uint64
	half  uint8
}

// verifyHalf checks a whole half: header, identity, and the checksum of bitmap and table.
func verifyHalf(image []byte, g geometry, at place) (header, *fault) {
	h, f := verifyHeader(image, g, at)
	if f != nil {
		return h, f
	}
	if got := crc32.Checksum(image[headerPage:g.metaSize], castagnoli); got != h.bodyCRC {
		return h, &fault{at: headerPage, n: g.metaSize - headerPage,
			want: h.bodyCRC, got: got, reason: "checksum of bitmap and table"}
	}
	return h, nil
}

// verifyHeader checks the header page of a half and that it belongs where it is. It says
// nothing of bitmap and table.
func verifyHeader(page []byte, g geometry, at place) (header, *fault) {
	h, f := decodeHeader(page)
	if f != nil {
		return h, f
	}
	switch {
	case h.store != at.store:
		return h, &fault{class: ErrForeign, at: 16, n: 16, reason: fmt.Sprintf(
			"slot of store %x, this is store %x", h.store, at.store)}
	case h.slot != at.slot || h.half != at.half:
		return h, &fault{class: ErrForeign, at: 32, n: 8, reason: fmt.Sprintf(
			"header of slot %d half %d found in slot %d half %d",
			h.slot, h.half, at.slot, at.half)}
	case h.chunkSize != g.chunkSize:
		return h, &fault{at: 56, n: 8, reason: fmt.Sprintf(
			"chunk size %d, the pool is opened with %d", h.chunkSize, g.chunkSize)}
	}
	return h, nil
}

func allZero(b []byte) bool {
	for len(b) > 0 {
		n := min(len(b), len(zeroes))
		if !bytes.Equal(b[:n], zeroes[:n]) {
			return false
		}
		b = b[n:]
	}
	return true
}
