package wal

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
)

// A frame is what one write carries: one or more whole appends. Its descriptor is whole
// blocks, followed by the payload blocks of its records in their order:
//
//	| descriptor, 1..128 blocks | payload of record 0 | payload of record 1 | ... |
//
// Descriptor:
//
//	 0 crc32c u32 of bytes 4 to the end of its last block, padding included
//	 4 magic u32 "ASWF"
//	 8 version u16 | 10 descriptor blocks u16 | 12 payload blocks u32
//	16 store id, 16 bytes            \
//	32 segment sequence number u64    > the stamp of the segment
//	40 epoch u64                     /
//	48 the frame's own LSN u64
//	56 watermark LSN u64: everything below was durable when this was written
//	64 tail LSN u64: nothing below is needed
//	72 previous end LSN u64: as in the segment header
//	80 records u32 | 84 bytes of records u32
//	88 reserved u64
//	96 records, then zeroes to the end of the block
//
// Record:
//
//	 0 group u64 | 8 term u64 | 16 index u64
//	24 payload blocks u32 | 28 meta bytes u32
//	32 kind u8 | 33 reserved, 7 bytes
//	40 crc32c u32 of each payload block, then meta
const (
	frameHeaderSize  = 96
	recordHeaderSize = 40
)

// frameHeader is the fixed part of a descriptor.
type frameHeader struct {
	stamp
	at, watermark, tail, prevEnd LSN
	// descBlocks and payloadBlocks are the frame's extent; records and body its content.
	descBlocks, payloadBlocks int
	records, body             int
}

// bytes returns the size of the frame on disk.
func (h *frameHeader) bytes() int64 {
	return int64(h.descBlocks+h.payloadBlocks) * BlockSize
}

// blocksFor returns how many blocks n bytes take.
func blocksFor(n int) int { return (n + BlockSize - 1) / BlockSize }

// put completes the descriptor in b, whose records putRecord wrote: header, padding, crc.
func (h *frameHeader) put(b []byte) {
	le := binary.LittleEndian
	b = b[:h.descBlocks*BlockSize]
	le.PutUint32(b[4:], magicFrame)
	le.PutUint16(b[8:], formatVersion)
	le.PutUint16(b[10:], uint16(h.descBlocks))
	le.PutUint32(b[12:], uint32(h.payloadBlocks))
	copy(b[16:], h.store[:])
	le.PutUint64(b[32:], h.seq)
	le.PutUint64(b[40:], h.epoch)
	le.PutUint64(b[48:], uint64(h.at))
	le.PutUint64(b[56:], uint64(h.watermark))
	le.PutUint64(b[64:], uint64(h.tail))
	le.PutUint64(b[72:], uint64(h.prevEnd))
	le.PutUint32(b[80:], uint32(h.records))
	le.PutUint32(b[84:], uint32(h.body))
	le.PutUint64(b[88:], 0)
	clear(b[frameHeaderSize+h.body:])
	le.PutUint32(b, crc32.Checksum(b[4:], castagnoli))
}

// putRecord encodes r at the start of b and returns its size.
func putRecord(b []byte, r *Record) int {
	le := binary.LittleEndian
	le.PutUint64(b, r.Group)
	le.PutUint64(b[8:], r.Term)
	le.PutUint64(b[16:], r.Index)
	le.PutUint32(b[24:], uint32(len(r.CRCs)))
	le.PutUint32(b[28:], uint32(len(r.Meta)))
	le.PutUint64(b[32:], uint64(r.Kind))
	n := recordHeaderSize
	for _, crc := range r.CRCs {
		le.PutUint32(b[n:], crc)
		n += 4
	}
	return n + copy(b[n:], r.Meta)
}

// descriptorSize looks at the first block of what may be a frame and returns the bytes of its
// descriptor. It believes nothing: parse decides.
func descriptorSize(b []byte) (n int, ok bool) {
	le := binary.LittleEndian
	if len(b) < BlockSize || le.Uint32(b[4:]) != magicFrame {
		return 0, false
	}
	n = int(le.Uint16(b[10:])) * BlockSize
	return n, n > 0 && n <= maxDescriptor
}

// begins tells whether the block b starts a frame of this stamp at this position, intact or
// not: the trace that an interrupted write leaves.
func begins(b []byte, s stamp, at LSN) bool {
	le := binary.LittleEndian
	return le.Uint32(b[4:]) == magicFrame && [16]byte(b[16:32]) == s.store &&
		le.Uint64(b[32:]) == s.seq && le.Uint64(b[40:]) == s.epoch &&
		le.Uint64(b[48:]) == uint64(at)
}

// parse decodes and verifies a whole descriptor, records included, so that walking them needs
// no further checks. b is exactly the descriptor.
func (h *frameHeader) parse(b []byte) error {
	n, ok := descriptorSize(b)
	if !ok || n != len(b) {
		return fmt.Errorf("%w: no frame descriptor", ErrCorrupt)
	}
	if err := checkPreamble(b, magicFrame, "frame descriptor"); err != nil {
		return err
	}
	le := binary.LittleEndian
	h.descBlocks = n / BlockSize
	copy(h.store[:], b[16:])
	h.seq, h.epoch = le.Uint64(b[32:]), le.Uint64(b[40:])
	h.at, h.watermark = LSN(le.Uint64(b[48:])), LSN(le.Uint64(b[56:]))
	h.tail, h.prevEnd = LSN(le.Uint64(b[64:])), LSN(le.Uint64(b[72:]))
	blocks, records, body := le.Uint32(b[12:]), le.Uint32(b[80:]), le.Uint32(b[84:])
	if blocks > MaxAppendBytes/BlockSize || records == 0 || records > maxFrameRecords ||
		int(body) > n-frameHeaderSize || le.Uint64(b[88:]) != 0 {
		return fmt.Errorf("%w: frame descriptor fields", ErrCorrupt)
	}
	h.payloadBlocks, h.records, h.body = int(blocks), int(records), int(body)
	if !allZero(b[frameHeaderSize+h.body:]) {
		return fmt.Errorf("%w: frame descriptor padding", ErrCorrupt)
	}
	return h.checkRecords(b[frameHeaderSize : frameHeaderSize+h.body])
}

// checkRecords proves that the records tile the body and the payload exactly.
func (h *frameHeader) checkRecords(body []byte) error {
	blocks := 0
	for i := range h.records {
		n, b, ok := recordExtent(body)
		if !ok {
			return fmt.Errorf("%w: record %d of a frame", ErrCorrupt, i)
		}
		blocks += b
		body = body[n:]
	}
	if len(body) != 0 || blocks != h.payloadBlocks {
		return fmt.Errorf("%w: records do not fill their frame", ErrCorrupt)
	}
	return nil
}

// recordExtent returns the size of the record at the start of b, and its payload blocks.
func recordExtent(b []byte) (n, blocks int, ok bool) {
	if len(b) < recordHeaderSize {
		return 0, 0, false
	}
	le := binary.LittleEndian
	crcs, meta := le.Uint32(b[24:]), le.Uint32(b[28:])
	if crcs > MaxAppendBytes/BlockSize || meta > MaxMeta || b[32] == 0 ||
		le.Uint64(b[32:])>>8 != 0 {
		return 0, 0, false
	}
	n = recordHeaderSize + int(crcs)*4 + int(meta)
	return n, int(crcs), n <= len(b)
}

// getRecord decodes the record at the start of b, which parse has verified, and returns its
// size. Meta points into b; CRCs reuses r's capacity; Payload and At are the caller's.
func getRecord(b []byte, r *Record) int {
	le := binary.LittleEndian
	r.Group, r.Term, r.Index = le.Uint64(b), le.Uint64(b[8:]), le.Uint64(b[16:])
	r.Kind = Kind(b[32])
	r.CRCs = r.CRCs[:0]
	n, meta := recordHeaderSize, int(le.Uint32(b[28:]))
	for range le.Uint32(b[24:]) {
		r.CRCs = append(r.CRCs, le.Uint32(b[n:]))
		n += 4
	}
	r.Meta = b[n : n+meta : n+meta]
	return n + meta
}

// badBlocks returns how many blocks of payload differ from their crcs.
func badBlocks(payload []byte, crcs []uint32) (bad int) {
	for i, want := range crcs {
		if crc32.Checksum(payload[i*BlockSize:(i+1)*BlockSize], castagnoli) != want {
			bad++
		}
	}
	return bad
}
