package wire

import (
	"bytes"
	"errors"
	"hash/crc32"
	"math"
	"strings"
	"testing"
)

func TestSplitBlocksCountsTouchedBlocks(t *testing.T) {
	for _, tc := range []struct {
		offset, length uint32
		want           int
	}{
		{0, 0, 0}, {0, 1, 1}, {0, 4096, 1}, {0, 4097, 2}, {4095, 1, 1}, {4095, 2, 2},
		{4096, 8192, 2}, {1, MaxPayload, MaxCRCs}, {0, MaxPayload, MaxCRCs - 1},
		{math.MaxUint32, math.MaxUint32, 1<<20 + 1},
	} {
		if got := SplitBlocks(tc.offset, tc.length); got != tc.want {
			t.Errorf("%d+%d touches %d blocks, got %d", tc.offset, tc.length, tc.want, got)
		}
	}
}

func TestPiecesAreTheRequestsBytesInsideEachBlock(t *testing.T) {
	p := make([]byte, 3*BlockSize)
	for i := range p {
		p[i] = byte(i * 7)
	}
	table := crc32.MakeTable(crc32.Castagnoli)
	got := ChecksumPieces([]uint32{9}, BlockSize-10, p[:BlockSize+20])
	want := []uint32{9, crc32.Checksum(p[:10], table), crc32.Checksum(p[10:10+BlockSize], table),
		crc32.Checksum(p[10+BlockSize:20+BlockSize], table)}
	if len(got) != len(want) {
		t.Fatalf("%d pieces, want %d", len(got), len(want))
	}
	for i := range want {
		if got[i] != want[i] {
			t.Errorf("piece %d: %#x, want %#x", i, got[i], want[i])
		}
	}
}

func TestVerifyNamesTheBlockThatIsBad(t *testing.T) {
	p := bytes.Repeat([]byte("ashlar"), 2000)
	for _, offset := range []uint32{0, 1, 4095, 4096, 12345} {
		crcs := ChecksumPieces(nil, offset, p)
		if len(crcs) != SplitBlocks(offset, uint32(len(p))) {
			t.Fatalf("offset %d: %d checksums", offset, len(crcs))
		}
		if err := VerifyPieces(crcs, offset, p); err != nil {
			t.Errorf("offset %d: %v", offset, err)
		}
		bad := bytes.Clone(p)
		bad[len(bad)-1] ^= 1
		if err := VerifyPieces(crcs, offset, bad); !errors.Is(err, ErrChecksum) ||
			!strings.Contains(err.Error(), "block") {
			t.Errorf("offset %d: flipped bit gives %v", offset, err)
		}
		if err := VerifyPieces(crcs[1:], offset, p); !errors.Is(err, ErrChecksum) {
			t.Errorf("offset %d: missing checksum gives %v", offset, err)
		}
	}
}

func BenchmarkChecksum4K(b *testing.B) {
	p := make([]byte, BlockSize)
	crcs := make([]uint32, 0, 1)
	b.SetBytes(BlockSize)
	b.ReportAllocs()
	for b.Loop() {
		crcs = ChecksumPieces(crcs[:0], 0, p)
	}
}

func BenchmarkRequestCodec(b *testing.B) {
	req := sampleRequest()
	var meta []byte
	var head [HeaderSize]byte
	b.ReportAllocs()
	for b.Loop() {
		meta = req.AppendTo(meta[:0])
		PutHeader(head[:], Header{Op: OpWrite, PayloadLen: 8192}, meta)
		if _, err := ParseHeader(head[:]); err != nil {
			b.Fatal(err)
		}
		if VerifyMeta(head[:], meta) != nil || req.Decode(meta) != nil {
			b.Fatal("refused")
		}
	}
}
