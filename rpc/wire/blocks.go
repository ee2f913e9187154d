package wire

import (
	"fmt"
	"hash/crc32"
)

// SplitBlocks returns how many blocks of BlockSize bytes the range touches;
// offset and length are in bytes. An empty range touches none.
func SplitBlocks(offset, length uint32) int {
	if length == 0 {
		return 0
	}
	first := uint64(offset) / BlockSize
	last := (uint64(offset) + uint64(length) - 1) / BlockSize
	return int(last - first + 1)
}

// ChecksumPieces appends to dst one crc32c per block that p touches when it
// starts at offset (in bytes), each over the bytes of p inside that block. For
// an aligned range these are the checksums of whole blocks.
func ChecksumPieces(dst []uint32, offset uint32, p []byte) []uint32 {
	for len(p) > 0 {
		n := pieceLen(offset, len(p))
		dst = append(dst, crc32.Checksum(p[:n], castagnoli))
		p = p[n:]
		offset += uint32(n)
	}
	return dst
}

// VerifyPieces checks p against what ChecksumPieces computed for it. The error
// is of class ErrChecksum and names the block of the range that is bad.
func VerifyPieces(crcs []uint32, offset uint32, p []byte) error {
	if want := SplitBlocks(offset, uint32(len(p))); len(crcs) != want {
		return fmt.Errorf("%w: %d checksums for %d blocks", ErrChecksum, len(crcs), want)
	}
	for i := range crcs {
		n := pieceLen(offset, len(p))
		if got := crc32.Checksum(p[:n], castagnoli); got != crcs[i] {
			return fmt.Errorf("%w: block %d of the range (chunk offset %d, %d bytes) "+
				"gives %#08x, want %#08x", ErrChecksum, i, offset, n, got, crcs[i])
		}
		p = p[n:]
		offset += uint32(n)
	}
	return nil
}

func pieceLen(offset uint32, left int) int {
	return min(left, BlockSize-int(offset%BlockSize))
}

// ZeroCRC is the checksum of a block of zeroes: what a block that was never written reads as.
var ZeroCRC = CRC32C(make([]byte, BlockSize))

// CRC32C is the checksum of the whole system over p.
func CRC32C(p []byte) uint32 { return crc32.Checksum(p, castagnoli) }
