package disk

import (
	"bytes"
	"errors"
	"flag"
	"hash/crc32"
	"maps"
	"os"
	"strings"
	"testing"

	"github.com/ashlar-storage/ashlar/internal/evidence"
)

var (
	update     = flag.Bool("update", false, "write the golden files anew")
	corruptAll = flag.Bool("corrupt.all", false, "try every mutation of the sweeps")
)

// goldenSectors are a superblock and the entry of a file.
func goldenSectors() ([]byte, superblock, entry) {
	sb := superblock{id: deviceID{0x11, 0x12, 0x13, 15: 0x20}, size: 0x4142000, entries: 0x4148}
	e := entry{kind: entryFile, slot: 0x3132, gen: 0x4142434445464748, name: "chunks/00000001",
		first: 0x1234, size: 0x8181}
	page := sb.encode()[:SectorSize]
	page = append(page, make([]byte, entrySize)...)
	e.put(page[SectorSize:], sb.id)
	return page, sb, e
}

func TestDeviceFormatIsThatOfTheGoldenFile(t *testing.T) {
	const name = "testdata/device-v1.golden"
	page, sb, e := goldenSectors()
	if *update {
		if err := os.WriteFile(name, page, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(page, want) {
		t.Fatal("the format changed: devices written before cannot be read")
	}
	if got, err := decodeSuperblock(want); err != nil || got != sb {
		t.Errorf("decoded %+v, %v, want %+v", got, err, sb)
	}
	if got, err := decodeEntry(want[SectorSize:], &sb, e.slot); err != nil || got != e {
		t.Errorf("decoded %+v, %v, want %+v", got, err, e)
	}
}

// resealed is a sector with some bytes changed and a checksum that fits.
func resealed(page []byte, at int, with ...byte) []byte {
	p := bytes.Clone(page[:SectorSize])
	copy(p[at:], with)
	le.PutUint32(p, crc32.Checksum(p[4:], crcTable))
	return p
}

func TestSectorsThatSayWhatCannotBeAreRefused(t *testing.T) {
	page, sb, e := goldenSectors()
	for _, c := range []struct {
		what  string
		at    int
		with  byte
		class error
	}{
		{"another magic", 4, 'x', ErrForeign}, {"a newer version", 8, 2, ErrVersion},
		{"reserved", 10, 1, ErrCorrupt}, {"another block size", 13, 0x20, ErrCorrupt},
		{"half a block", 33, 0x28, ErrCorrupt}, {"no end", 39, 0x80, ErrCorrupt},
		{"part of a block of entries", 40, 0x49, ErrCorrupt},
		{"more entries than bytes", 45, 1, ErrCorrupt}, {"reserved", 48, 1, ErrCorrupt},
		{"reserved", 511, 1, ErrCorrupt}, {"no room for files", 42, 1, ErrCorrupt},
	} {
		if _, err := decodeSuperblock(resealed(page, c.at, c.with)); !errors.Is(err, c.class) {
			t.Errorf("superblock with %s at %d: %v", c.what, c.at, err)
		}
	}
	for _, c := range []struct {
		what  string
		at    int
		with  string
		class error
	}{
		{"another magic", 4, "x", ErrCorrupt}, {"a newer version", 8, "\x02", ErrVersion},
		{"an unknown kind", 10, "\x03", ErrCorrupt}, {"a directory with blocks", 10, "\x02",
			ErrCorrupt}, {"a free entry with a name", 10, "\x00", ErrCorrupt},
		{"a longer name", 11, "\xff", ErrCorrupt}, {"a shorter name", 11, "\x0e", ErrCorrupt},
		{"reserved", 12, "\x01", ErrCorrupt}, {"another device", 16, "x", ErrCorrupt},
		{"another slot", 32, "\x33", ErrCorrupt}, {"blocks of the directory", 48, "\x00\x00",
			ErrCorrupt}, {"blocks behind the end", 59, "\xff", ErrCorrupt},
		{"a size without end", 63, "\x80", ErrCorrupt}, {"a name of its own", 64, "..", ErrCorrupt},
		{"a hidden name", 64, ".tmp", ErrCorrupt}, {"reserved", 511, "\x01", ErrCorrupt},
	} {
		p := resealed(page[SectorSize:], c.at, []byte(c.with)...)
		if _, err := decodeEntry(p, &sb, e.slot); !errors.Is(err, c.class) {
			t.Errorf("entry with %s at %d: %v", c.what, c.at, err)
		}
	}
}

// cleanDevice is a device with files, and what it should hold.
func cleanDevice(t testing.TB) (*Sim, nameModel, superblock) {
	t.Helper()
	sim, f := crashDevice(t)
	d, err := openNames(f, false, quiet)
	if err != nil {
		t.Fatal(err)
	}
	m := nameModel{}
	for _, op := range []nameOp{opMkdir("d"), opWrite("d/a", "a", 5000), opCreate("b", 2)} {
		if err := op.run(d); err != nil {
			t.Fatal(err)
		}
		op.model(m)
	}
	return sim, m, d.sb
}

// sweep counts what became of flipped bits of a device.
type sweep struct {
	mutations, detected, repaired int64
}

func (s *sweep) record(t *testing.T, name string) {
	t.Helper()
	evidence.Record(t, evidence.Item{Lane: "corrupt", Name: name, Promises: []string{"P4", "P5"},
		Test: "io/disk " + t.Name(), Counts: map[string]int64{"mutations": s.mutations,
			"detected": s.detected, "repaired": s.repaired, "rejected": 0, "harmless": 0,
			"wrong": 0}})
}

// try flips bits of a device: it must be mended, or with a class refused.
func (s *sweep) try(t *testing.T, clean *Sim, m nameModel, class error, at ...int64) {
	t.Helper()
	s.mutations++
	sim := clean.Crash(CrashPlan{Keep: KeepAll})
	for _, bit := range at {
		sim.FlipBit("device", bit)
	}
	writes := sim.Stats().DurableWrites
	d, err := reopen(sim)
	if class != nil {
		if !errors.Is(err, class) || sim.Stats().DurableWrites != writes {
			t.Fatalf("bits %v: %v, want %v and nothing written", at, err, class)
		}
		s.detected++
		return
	}
	s.repaired++
	if err != nil {
		t.Fatalf("bits %v: %v", at, err)
	}
	got, err := contents(d)
	if err != nil || !maps.Equal(got, m) {
		t.Fatalf("bits %v: the device holds %s, %v", at, got, err)
	}
	writes = sim.Stats().DurableWrites
	if _, err := reopen(sim); err != nil || sim.Stats().DurableWrites != writes || writes == 0 {
		t.Fatalf("bits %v: not mended, %d writes (%v)", at, writes, err)
	}
}

// stride passes over most of the bits of reserved bytes, except where time is no matter.
func stride(bit, used int64) int64 {
	if bit < used*8 || *corruptAll {
		return 1
	}
	return 7
}

func TestEveryBitOfASuperblockIsGuarded(t *testing.T) {
	clean, m, sb := cleanDevice(t)
	var s sweep
	defer s.record(t, "every bit of a device's superblock")
	for bit := int64(0); bit < SectorSize*8; bit += stride(bit, superblockUsed) {
		s.try(t, clean, m, nil, bit)
		if bit%5 == 0 {
			s.try(t, clean, m, nil, sb.again()*8+bit)
			s.try(t, clean, m, ErrForeign, bit, sb.again()*8+bit)
		}
	}
}

func TestEveryBitOfAnEntryIsGuarded(t *testing.T) {
	clean, m, sb := cleanDevice(t)
	var s sweep
	defer s.record(t, "every bit of an entry of a device")
	for _, slot := range []int64{1, 7} { // a file's, a free one
		first := (sb.firstCopy() + slot*entrySize) * 8
		second := (sb.secondCopy() + slot*entrySize) * 8
		for bit := int64(0); bit < entrySize*8; bit += stride(bit, entryName+3) {
			s.try(t, clean, m, nil, []int64{first, second}[bit%2]+bit)
			if bit%5 == 0 {
				s.try(t, clean, m, ErrCorrupt, first+bit, second+bit)
			}
		}
	}
}

func TestAnEntryDamagedInBothCopiesIsNamed(t *testing.T) {
	sim, _, sb := cleanDevice(t)
	for _, at := range []int64{sb.firstCopy(), sb.secondCopy()} {
		sim.Corrupt("device", at+1*entrySize, make([]byte, entrySize))
	}
	_, err := reopen(sim)
	if !errors.Is(err, ErrCorrupt) || !strings.Contains(err.Error(), "entry 1, at offsets") {
		t.Error(err)
	}
}

func TestUnreadableSectorsOfOneCopyAreMended(t *testing.T) {
	clean, m, sb := cleanDevice(t)
	for _, at := range []int64{sb.firstCopy(), sb.secondCopy(), sb.again()} {
		sim := clean.Crash(CrashPlan{Keep: KeepAll})
		sim.BadSectors("device", at, 2*SectorSize)
		for range 2 {
			d, err := reopen(sim)
			if err != nil {
				t.Fatalf("offset %d: %v", at, err)
			}
			if got, err := contents(d); err != nil || !maps.Equal(got, m) {
				t.Fatalf("offset %d: the device holds %s, %v", at, got, err)
			}
		}
		f, err := sim.Open("device")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.ReadAt(aligned(BlockSize), at); err != nil {
			t.Errorf("offset %d is not mended: %v", at, err)
		}
	}
}

// What a file system or a partition tool writes over a device is not rot to be mended.
func TestADeviceThatSomethingElseTookOverIsRefusedAndLeftAlone(t *testing.T) {
	clean, _, _ := cleanDevice(t)
	for at, text := range map[int64]string{
		0:    "XFSB and so on, for a while",
		440:  "\x12\x34\x56\x78\x00\x00\x80\x20\x21\x00\x83\xfe\xff\xff",
		1080: "\x53\xef\x01\x00\x01\x00\x02\x00\x03\x04\x05\x06",
	} {
		sim := clean.Crash(CrashPlan{Keep: KeepAll})
		sim.Corrupt("device", at, []byte(text))
		before := sim.Fingerprint()
		if _, err := reopen(sim); !errors.Is(err, ErrForeign) {
			t.Errorf("%q at %d: %v", text, at, err)
		}
		if sim.Fingerprint() != before {
			t.Errorf("%q at %d: the device was written to", text, at)
		}
	}
}

// A write that the device lost, in one copy, is made up for by the other.
func TestALostWriteOfOneCopyIsMadeUpFor(t *testing.T) {
	for lost := range 2 {
		sim, m, sb := cleanDevice(t)
		d, err := reopen(sim)
		if err != nil {
			t.Fatal(err)
		}
		copies := []int64{sb.firstCopy(), sb.secondCopy()}
		sim.RedirectWrites(func(_ string, off int64) (int64, bool) {
			return off, off != copies[lost]
		})
		op := opWrite("d/a", "new", 100)
		if err := op.run(d); err != nil {
			t.Fatal(err)
		}
		op.model(m)
		sim.RedirectWrites(nil)
		if d, err = reopen(sim); err != nil {
			t.Fatal(err)
		}
		if got, err := contents(d); err != nil || !maps.Equal(got, m) {
			t.Errorf("copy %d: the device holds %s, %v", lost, got, err)
		}
	}
}

func FuzzSuperblock(f *testing.F) {
	page, _, _ := goldenSectors()
	f.Add(page[:SectorSize])
	f.Add(make([]byte, SectorSize))
	f.Fuzz(func(t *testing.T, p []byte) {
		if len(p) < SectorSize {
			p = append(p, make([]byte, SectorSize-len(p))...)
		}
		for _, p := range [][]byte{p[:SectorSize], resealed(p, 0)} {
			sb, err := decodeSuperblock(p)
			switch {
			case err == nil && !bytes.Equal(sb.encode()[:SectorSize], p):
				t.Errorf("%+v is of other bytes", sb)
			case err != nil && !errors.Is(err, ErrForeign) && !errors.Is(err, ErrVersion) &&
				!errors.Is(err, ErrCorrupt):
				t.Errorf("error without a class: %v", err)
			}
		}
	})
}

func FuzzEntry(f *testing.F) {
	page, sb, e := goldenSectors()
	f.Add(page[SectorSize:])
	f.Add(make([]byte, SectorSize))
	f.Fuzz(func(t *testing.T, p []byte) {
		if len(p) < entrySize {
			p = append(p, make([]byte, entrySize-len(p))...)
		}
		for _, p := range [][]byte{p[:entrySize], resealed(p, 0)} {
			got, err := decodeEntry(p, &sb, e.slot)
			if err != nil && !errors.Is(err, ErrCorrupt) && !errors.Is(err, ErrVersion) {
				t.Errorf("error without a class: %v", err)
			}
			if err != nil {
				continue
			}
			again := make([]byte, entrySize)
			if got.put(again, sb.id); !bytes.Equal(again, p) {
				t.Errorf("%+v is of other bytes", got)
			}
		}
	})
}
