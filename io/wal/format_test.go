package wal

import (
	"bytes"
	"encoding/binary"
	"errors"
	"flag"
	"hash/crc32"
	"os"
	"path/filepath"
	"testing"

	"github.com/ashlar-storage/ashlar/io/disk"
)

var update = flag.Bool("update", false, "write the golden files anew")

func putCRC(b []byte) { binary.LittleEndian.PutUint32(b, crc32.Checksum(b[4:], castagnoli)) }

func readBlock(t testing.TB, d disk.Disk, name string, off int64) []byte {
	t.Helper()
	f, err := d.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	b := alignedBytes(BlockSize)
	if _, err := f.ReadAt(b, off); err != nil {
		t.Fatal(err)
	}
	return b
}

// goldenBytes is a small log as it lies on disk: identity, header, two frames.
func goldenBytes(t *testing.T) []byte {
	d := newSim()
	cfg := testConfig(d)
	cfg.SegmentSize = minSegment * 2
	l := opened(t, cfg)
	must(t, l, record(7, 1, 1, 5), record(8, 2, 0, 3))
	must(t, l, record(7, 3, 2, 0))
	closed(t, l)
	out, err := d.ReadFile("wal/" + identityName)
	if err != nil {
		t.Fatal(err)
	}
	for off := int64(0); off < 6*BlockSize; off += BlockSize {
		out = append(out, readBlock(t, d, segmentName("wal", 0), off)...)
	}
	return out
}

func TestTheFormatOnDiskDoesNotChange(t *testing.T) {
	got := goldenBytes(t)
	path := filepath.Join("testdata", "log.golden")
	if *update {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for i := range min(len(got), len(want)) {
		if got[i] != want[i] {
			t.Fatalf("byte %d is %#x, was %#x", i, got[i], want[i])
		}
	}
	if len(got) != len(want) {
		t.Fatalf("%d bytes, was %d", len(got), len(want))
	}
}

func TestEveryBitOfAHeaderIsChecked(t *testing.T) {
	h := segmentHeader{stamp: stamp{testStore, 3, 2}, size: 1 << 20, prevEnd: 9, tail: 8,
		watermark: 7}
	b := make([]byte, BlockSize)
	h.put(b)
	var got segmentHeader
	if err := got.parse(b); err != nil || got != h {
		t.Fatalf("%+v, %v", got, err)
	}
	id := identity{store: testStore, epoch: 5, size: 1 << 20, watermark: 3<<20 + BlockSize}
	e := id.encode()
	var gotID identity
	if err := gotID.parse(e); err != nil || gotID != id {
		t.Fatalf("%+v, %v", gotID, err)
	}
	for i := range len(b) * 8 {
		b[i/8] ^= 1 << (i % 8)
		if err := got.parse(b); !errors.Is(err, ErrCorrupt) {
			t.Fatalf("header bit %d: %v", i, err)
		}
		b[i/8] ^= 1 << (i % 8)
	}
	for i := range len(e) * 8 {
		e[i/8] ^= 1 << (i % 8)
		if err := gotID.parse(e); !errors.Is(err, ErrCorrupt) {
			t.Fatalf("identity bit %d: %v", i, err)
		}
		e[i/8] ^= 1 << (i % 8)
	}
}

func TestReservedBytesMustBeZero(t *testing.T) {
	h := segmentHeader{stamp: stamp{testStore, 3, 2}, size: 1 << 20}
	b := make([]byte, BlockSize)
	for _, off := range []int{10, 12, segmentHeaderUsed, BlockSize - 1} {
		h.put(b)
		b[off] = 1
		putCRC(b)
		if err := new(segmentHeader).parse(b); !errors.Is(err, ErrCorrupt) {
			t.Errorf("header byte %d: %v", off, err)
		}
	}
	for _, off := range []int{88, 95, frameHeaderSize + 33, BlockSize - 1} {
		b := testFrame()
		b[off] = 1
		putCRC(b)
		if err := new(frameHeader).parse(b); !errors.Is(err, ErrCorrupt) {
			t.Errorf("descriptor byte %d: %v", off, err)
		}
	}
}

// testFrame encodes a descriptor of two records.
func testFrame() []byte {
	b := make([]byte, BlockSize)
	r1, r2 := record(1, 2, 2, 30), record(3, 4, 0, 7)
	n := putRecord(b[frameHeaderSize:], &r1)
	n += putRecord(b[frameHeaderSize+n:], &r2)
	h := frameHeader{stamp: stamp{testStore, 3, 2}, at: 100, watermark: 90, tail: 80,
		prevEnd: 70, descBlocks: 1, payloadBlocks: 2, records: 2, body: n}
	h.put(b)
	return b
}

// FuzzDescriptor: no input panics the decoder, and what it accepts encodes to the same bytes.
func FuzzDescriptor(f *testing.F) {
	good := testFrame()
	f.Add(good)
	f.Add(good[:100])
	f.Add(make([]byte, BlockSize))
	f.Add(append(bytes.Clone(good), good...))
	for _, off := range []int{10, 12, 80, 84, frameHeaderSize + 24, frameHeaderSize + 28} {
		b := bytes.Clone(good)
		b[off]++
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if n, ok := descriptorSize(b); ok && n <= len(b) {
			b = bytes.Clone(b[:n])
			putCRC(b) // or no mutation would pass the crc
		}
		var h frameHeader
		if err := h.parse(b); err != nil {
			if !errors.Is(err, ErrCorrupt) && !errors.Is(err, ErrVersion) {
				t.Fatalf("error of no class: %v", err)
			}
			return
		}
		again := make([]byte, len(b))
		var r Record
		pos := frameHeaderSize
		for range h.records {
			n := getRecord(b[pos:], &r)
			if m := putRecord(again[pos:], &r); m != n {
				t.Fatalf("record of %d bytes encodes to %d", n, m)
			}
			pos += n
		}
		h.put(again)
		if !bytes.Equal(again, b) {
			t.Fatal("an accepted descriptor encodes differently")
		}
	})
}

// FuzzHeaders: the small structures.
func FuzzHeaders(f *testing.F) {
	h := segmentHeader{stamp: stamp{testStore, 3, 2}, size: 1 << 20}
	b := make([]byte, BlockSize)
	h.put(b)
	f.Add(b)
	f.Add((&identity{store: testStore, epoch: 5, size: 1 << 20}).encode())
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) > 4 {
			putCRC(b[:min(len(b), BlockSize)])
		}
		var h segmentHeader
		if err := h.parse(b); err == nil {
			again := make([]byte, BlockSize)
			h.put(again)
			if !bytes.Equal(again, b[:BlockSize]) {
				t.Fatal("an accepted header encodes differently")
			}
		}
		var id identity
		if err := id.parse(b); err == nil && !bytes.Equal(id.encode(), b) {
			t.Fatal("an accepted identity encodes differently")
		}
	})
}
