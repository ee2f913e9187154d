package chunkfile

import (
	"encoding/binary"
	"hash/crc32"
	"math/bits"
)

// table is the metadata of a chunk in memory: 4 bytes and a bit per block.
type table struct {
	crcs    []uint32
	bits    []uint64
	written int
}

func newTable(g geometry) *table {
	return &table{crcs: make([]uint32, g.blocks), bits: make([]uint64, (g.blocks+63)/64)}
}

// bytes is the memory a table of this geometry takes.
func (g geometry) tableBytes() int64 { return int64(g.blocks)*4 + int64((g.blocks+63)/64)*8 }

func (t *table) has(block int) bool { return hasBit(t.bits, block) }

func (t *table) set(block int, crc uint32) {
	mask := uint64(1) << (block % 64)
	if t.bits[block/64]&mask == 0 {
		t.bits[block/64] |= mask
		t.written++
	}
	t.crcs[block] = crc
}

func (t *table) clear(block, count int) {
	for b := block; b < block+count; b++ {
		mask := uint64(1) << (b % 64)
		if t.bits[b/64]&mask != 0 {
			t.bits[b/64] &^= mask
			t.written--
		}
		t.crcs[b] = 0
	}
}

func (t *table) reset() {
	clear(t.crcs)
	clear(t.bits)
	t.written = 0
}

// encodeBody fills bitmap and table of an image and returns their checksum. A nil table is
// an empty one.
func encodeBody(image []byte, g geometry, t *table) uint32 {
	body := image[headerPage:g.metaSize]
	clear(body)
	if t != nil {
		for i, word := range t.bits {
			binary.LittleEndian.PutUint64(body[i*8:], word)
		}
		crcs := body[g.bitmapSize:]
		for i, crc := range t.crcs {
			binary.LittleEndian.PutUint32(crcs[i*4:], crc)
		}
	}
	return crc32.Checksum(body, castagnoli)
}

// encodeHalf fills a whole half from a header and a table, and completes the header.
func encodeHalf(image []byte, g geometry, h *header, t *table) {
	h.bodyCRC = encodeBody(image, g, t)
	h.written = 0
	if t != nil {
		h.written = uint32(t.written)
	}
	encodeHeader(image, h)
}

// decodeBody reads bitmap and table of an image that verifyHalf has accepted. It refuses
// what encodeBody does not write: padding, a crc without its bit, a wrong count.
func decodeBody(image []byte, g geometry, h *header, t *table) *fault {
	body := image[headerPage:g.metaSize]
	t.reset()
	bitmapBytes := len(t.bits) * 8
	for i := range t.bits {
		t.bits[i] = binary.LittleEndian.Uint64(body[i*8:])
		t.written += bits.OnesCount64(t.bits[i])
	}
	if tail := g.blocks % 64; tail != 0 && t.bits[len(t.bits)-1]>>tail != 0 {
		return &fault{at: headerPage, n: bitmapBytes, reason: "bits beyond the last block"}
	}
	crcs := body[g.bitmapSize:]
	if !allZero(body[bitmapBytes:g.bitmapSize]) || !allZero(crcs[g.blocks*4:]) {
		return &fault{at: headerPage, n: len(body), reason: "padding is not zero"}
	}
	for i := range t.crcs {
		t.crcs[i] = binary.LittleEndian.Uint32(crcs[i*4:])
	}
	if i := t.crcWithoutBit(); i >= 0 {
		return &fault{at: headerPage + g.bitmapSize + i*4, n: 4,
			reason: "checksum of a block that is not written"}
	}
	if t.written != int(h.written) {
		return &fault{at: 88, n: 4, reason: "count of written blocks does not fit the bitmap"}
	}
	return nil
}

// crcWithoutBit returns a block that has a crc and is not written, or -1.
func (t *table) crcWithoutBit() int {
	for w, word := range t.bits {
		if word == ^uint64(0) {
			continue
		}
		for i := w * 64; i < min(w*64+64, len(t.crcs)); i++ {
			if t.crcs[i] != 0 && word&(1<<(i%64)) == 0 {
				return i
			}
		}
	}
	return -1
}

// clearMask clears the blocks whose bit is set.
func (t *table) clearMask(mask []uint64) {
	for i, word := range mask {
		for word &= t.bits[i]; word != 0; word &= word - 1 {
			t.clear(i*64+bits.TrailingZeros64(word), 1)
		}
	}
}
