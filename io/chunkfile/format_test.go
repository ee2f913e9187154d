package chunkfile

import (
	"bytes"
	"encoding/binary"
	"errors"
	"flag"
	"hash/crc32"
	"os"
	"testing"
)

var update = flag.Bool("update", false, "write the golden files anew")

// goldenHalf is half B of a slot of 16 blocks, sealed, with three written blocks.
func goldenHalf() ([]byte, header) {
	g := newGeometry(testChunk)
	t := newTable(g)
	t.set(0, 0x01020304)
	t.set(9, 0)
	t.set(15, 0xfffefdfc)
	h := header{half: 1, state: stateUsed, store: testStore, slot: 0x1112131415161718,
		version: 0x21, applied: 0x3132333435363738, chunkSize: testChunk,
		id:   ID{Group: 0x41, Volume: 0x4243444546474849, Index: 0x51},
		next: successor{state: stateUsed, version: 0x22, id: ID{Group: 0x61, Volume: 0x62}}}
	image := make([]byte, g.metaSize)
	encodeHalf(image, g, &h, t)
	return image, h
}

// movedHalf is the first half of a chunk in the slot that it has moved to.
func movedHalf() ([]byte, header) {
	g := newGeometry(testChunk)
	t := newTable(g)
	t.set(3, 0xa1b2c3d4)
	h := header{half: 0, state: stateUsed, store: testStore, slot: 0x1112131415161718,
		version: 0x17, applied: 0x2021222324252627, chunkSize: testChunk,
		id:   ID{Group: 0x31, Volume: 0x32, Index: 0x33},
		from: origin{version: 0x4142434445464748, slot: 0x5152535455565758}}
	image := make([]byte, g.metaSize)
	encodeHalf(image, g, &h, t)
	return image, h
}

func TestFormatIsThatOfTheGoldenFiles(t *testing.T) {
	image, h := goldenHalf()
	table := sameAsGolden(t, "testdata/half-v1.golden", image, h)
	if table.written != 3 || !table.has(9) || table.crcs[15] != 0xfffefdfc || table.has(1) {
		t.Fatalf("table %+v", table)
	}
	image, h = movedHalf()
	table = sameAsGolden(t, "testdata/half-moved-v1.golden", image, h)
	if table.written != 1 || table.crcs[3] != 0xa1b2c3d4 {
		t.Fatalf("table %+v", table)
	}
}

// sameAsGolden compares a half with a file, and returns the table that the file has.
func sameAsGolden(t *testing.T, name string, image []byte, h header) *table {
	t.Helper()
	if *update {
		if err := os.WriteFile(name, image, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(image, want) {
		t.Fatal("the format changed: stores written before cannot be read")
	}
	g := newGeometry(testChunk)
	at := place{store: h.store, slot: h.slot, half: h.half}
	got, f := verifyHalf(want, g, at)
	if f != nil || got != h {
		t.Fatalf("decoded %+v, fault %v, want %+v", got, f, h)
	}
	table := newTable(g)
	if f := decodeBody(want, g, &got, table); f != nil {
		t.Fatal(f)
	}
	return table
}

func TestSizesFollowTheChunkSize(t *testing.T) {
	for _, tc := range []struct {
		chunk int64
		meta  int
		table int64
	}{
		{MinChunkSize, 12 << 10, 4 + 8},
		{DefaultChunkSize, 24 << 10, 16<<10 + 512},
		{MaxChunkSize, 4<<10 + 8<<10 + 256<<10, 256<<10 + 8<<10},
	} {
		g := newGeometry(tc.chunk)
		if g.metaSize != tc.meta || g.tableBytes() != tc.table {
			t.Errorf("chunk of %d: half of %d, table of %d bytes in memory; want %d and %d",
				tc.chunk, g.metaSize, g.tableBytes(), tc.meta, tc.table)
		}
		if g.dataOffset(g.blocks) != g.slotBytes() {
			t.Errorf("chunk of %d: data ends at %d, the file at %d",
				tc.chunk, g.dataOffset(g.blocks), g.slotBytes())
		}
	}
}

func TestEveryBitOfAHalfMatters(t *testing.T) {
	image, h := goldenHalf()
	g := newGeometry(testChunk)
	at := place{store: h.store, slot: h.slot, half: h.half}
	for bit := range len(image) * 8 {
		image[bit/8] ^= 1 << (bit % 8)
		if _, f := verifyHalf(image, g, at); f == nil {
			t.Fatalf("bit %d flipped and nothing noticed", bit)
		}
		image[bit/8] ^= 1 << (bit % 8)
	}
}

func TestHalvesThatBelongElsewhereAreForeign(t *testing.T) {
	image, h := goldenHalf()
	g := newGeometry(testChunk)
	right := place{store: h.store, slot: h.slot, half: h.half}
	for name, change := range map[string]func(*place){
		"store": func(at *place) { at.store[3]++ },
		"slot":  func(at *place) { at.slot++ },
		"half":  func(at *place) { at.half = 0 },
	} {
		at := right
		change(&at)
		if _, f := verifyHalf(image, g, at); f == nil || f.class != ErrForeign {
			t.Errorf("%s: fault %v", name, f)
		}
	}
}

func TestHeadersNobodyWritesAreRefused(t *testing.T) {
	_, good := goldenHalf()
	for name, change := range map[string]func(*header){
		"half":               func(h *header) { h.half = 2 },
		"state":              func(h *header) { h.state = 3 },
		"state none":         func(h *header) { h.state = stateNone },
		"version":            func(h *header) { h.version = 0 },
		"free with a chunk":  func(h *header) { h.state = stateFree },
		"next state":         func(h *header) { h.next.state = 3 },
		"next without state": func(h *header) { h.next.state = stateNone },
		"next version":       func(h *header) { h.next.version++ },
		"free next":          func(h *header) { h.next.state = stateFree },
		"moved, no version":  func(h *header) { h.from.slot = 1 },
		"free and moved": func(h *header) {
			*h = header{state: stateFree, version: 1, from: origin{version: 1}}
		},
	} {
		h := good
		change(&h)
		page := make([]byte, headerPage)
		encodeHeader(page, &h)
		if _, f := decodeHeader(page); f == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	page := make([]byte, headerPage)
	if _, f := decodeHeader(page[:100]); f == nil {
		t.Error("a short page: accepted")
	}
}

// The checksum is right again in each: only the reserved bytes can be what is refused.
func TestReservedBytesOfAHeaderMustBeZero(t *testing.T) {
	image, _ := goldenHalf()
	page := image[:headerPage]
	refused := 0
	for i := range page {
		reserved := i >= 93 && i < 96 || i >= 144 && i < headerCRCAt || i >= headerSector
		if !reserved {
			continue
		}
		page[i] = 1
		crc := crc32.Checksum(page[:headerCRCAt], castagnoli)
		binary.LittleEndian.PutUint32(page[headerCRCAt:], crc)
		if _, f := decodeHeader(page); f == nil {
			t.Errorf("byte %d set: accepted", i)
		}
		page[i] = 0
		refused++
	}
	if want := 3 + headerCRCAt - 144 + headerPage - headerSector; refused != want {
		t.Errorf("%d reserved bytes tried, want %d", refused, want)
	}
}

// The value is on disks and on the wire: it is written out here, not computed as the code does.
func TestChecksumOfABlockOfZeroesIsThatOfTheFormat(t *testing.T) {
	if zeroBlockCRC != 0x98f94189 {
		t.Errorf("%#08x, want 0x98f94189", zeroBlockCRC)
	}
}

func TestNewerFormatVersionIsNamed(t *testing.T) {
	image, h := goldenHalf()
	image[8]++
	resumHeader(image)
	_, f := verifyHalf(image, newGeometry(testChunk), place{h.store, h.slot, h.half})
	if f == nil || f.class != ErrVersion {
		t.Fatalf("fault %v", f)
	}
	p := &Pool{cfg: Config{Name: "d"}}
	if err := p.corrupt("f", 0, f); !errors.Is(err, ErrVersion) || !errors.Is(err, ErrCorrupt) {
		t.Fatal(err)
	}
}

// resumHeader makes the checksum of a changed header fit.
func resumHeader(image []byte) {
	crc := crcOf(image[:headerCRCAt])
	for i := range 4 {
		image[headerCRCAt+i] = byte(crc >> (8 * i))
	}
}

// resumBody makes both checksums of a changed half fit.
func resumBody(image []byte, g geometry) {
	crc := crcOf(image[headerPage:g.metaSize])
	for i := range 4 {
		image[12+i] = byte(crc >> (8 * i))
	}
	resumHeader(image)
}

func TestTablesNobodyWritesAreRefused(t *testing.T) {
	g := newGeometry(testChunk)
	for name, at := range map[string]int{
		"bit beyond the last block": headerPage + 2,
		"padding of the bitmap":     headerPage + 600,
		"crc without its bit":       headerPage + g.bitmapSize + 4*3,
		"padding of the table":      headerPage + g.bitmapSize + 4*testBlocks,
		"count":                     headerPage, // bit 0 goes, its crc goes below
	} {
		image, h := goldenHalf()
		image[at] ^= 1
		if at == headerPage {
			clear(image[headerPage+g.bitmapSize:][:4])
		}
		resumBody(image, g)
		got, f := verifyHalf(image, g, place{h.store, h.slot, h.half})
		if f != nil {
			t.Fatalf("%s: %v", name, f)
		}
		if f := decodeBody(image, g, &got, newTable(g)); f == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

// The fuzzer's input is the parts of a half that hold something, and one byte anywhere: short
// inputs, so that it tries many.
func FuzzHalf(f *testing.F) {
	g := newGeometry(testChunk)
	tableAt := headerPage + g.bitmapSize
	image, h := goldenHalf()
	add := func(image []byte, at uint16, flip byte) {
		for _, resum := range []bool{false, true} {
			f.Add(bytes.Clone(image[:headerSector]), bytes.Clone(image[headerPage:][:8]),
				bytes.Clone(image[tableAt:][:4*testBlocks]), at, flip, resum)
		}
	}
	add(image, 0, 0)
	add(image, headerPage+100, 1)
	moved, _ := movedHalf()
	add(moved, 0, 0)
	add(make([]byte, g.metaSize), 3, 7)
	free := header{half: 0, state: stateFree, store: testStore, slot: h.slot, version: 1,
		chunkSize: testChunk}
	encodeHalf(image, g, &free, nil)
	add(image, 0, 0)
	f.Fuzz(func(t *testing.T, head, bitmap, table []byte, at uint16, flip byte, resum bool) {
		image := make([]byte, g.metaSize)
		copy(image, head[:min(len(head), headerPage)])
		copy(image[headerPage:tableAt], bitmap)
		copy(image[tableAt:], table)
		image[int(at)%len(image)] ^= flip
		if resum { // or the checksums stop the fuzzer at the door
			resumBody(image, g)
		}
		_, _ = decodeHeader(head)
		checkDecoded(t, g, image, h.slot)
	})
}

// checkDecoded decodes a half as either of its slot; one that is accepted must be canonical.
func checkDecoded(t *testing.T, g geometry, image []byte, slot uint64) {
	for half := range uint8(2) {
		at := place{store: testStore, slot: slot, half: half}
		got, fault := verifyHalf(image, g, at)
		if fault != nil {
			continue
		}
		table := newTable(g)
		if decodeBody(image, g, &got, table) != nil {
			continue
		}
		again := make([]byte, g.metaSize)
		encodeHalf(again, g, &got, table)
		if !bytes.Equal(again, image) {
			t.Fatal("an accepted half is not what its content encodes to")
		}
	}
}
