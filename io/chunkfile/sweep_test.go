package chunkfile

import (
	"flag"
	"strings"
	"testing"

	"github.com/ashlar-storage/ashlar/internal/evidence"
	"github.com/ashlar-storage/ashlar/io/disk"
)

var corruptAll = flag.Bool("corrupt.all", false, "try every mutation of the sweeps")

// sweepBlocks keeps the halves of the swept chunk at their smallest.
const sweepBlocks = 2

// How the pool of a sweep reads metadata at Open: whole, or the headers only, as it does beyond
// the bound of the cache.
var scans = []struct {
	name string
	lazy bool
}{{"whole", false}, {"headers", true}}

// sweepState builds a chunk with two versions: block 0 = 1 in the older, block 0 = 2 and
// block 1 = 3 in the newer. When lazy, a chunk before it leaves no room for both tables at Open.
func sweepState(t *testing.T, lazy bool) (sim *disk.Sim, cfg Config, top uint8, name string) {
	t.Helper()
	sim = disk.NewSim(disk.SimConfig{Inline: true})
	cfg = testConfig(sim)
	cfg.ChunkSize = sweepBlocks * BlockSize
	if lazy {
		cfg.CacheChunks = 1
	}
	p := openPool(t, cfg)
	if lazy {
		b := create(t, p, idB)
		write(t, b, 0, 9)
		checkpoint(t, b, 1)
	}
	c := create(t, p, idA)
	write(t, c, 0, 1)
	checkpoint(t, c, 1)
	write(t, c, 0, 2, 3)
	checkpoint(t, c, 2)
	top, name = c.slot.top.half, c.slot.name
	closePool(t, p)
	return sim.Crash(disk.CrashPlan{Keep: disk.KeepAll}), cfg, top, name
}

// sweepVerdict opens the pool and says what is reported at once, what after the chunk was
// used, and what the chunk serves.
func sweepVerdict(t *testing.T, cfg Config) (atOpen, reported, fatal bool, served string) {
	t.Helper()
	p := openPool(t, cfg)
	defer closePool(t, p)
	atOpen = len(p.Damage()) > 0
	served = serve(t, p)
	for _, d := range p.Damage() {
		reported = true
		fatal = fatal || d.Fatal
	}
	return atOpen, reported, fatal, served
}

func serve(t *testing.T, p *Pool) string {
	t.Helper()
	c, ok := p.Get(idA)
	if !ok {
		return "absent"
	}
	x := readIO(0, sweepBlocks)
	if err := perform(c, x, false); err != nil {
		return "refused"
	}
	got := values(t, x)
	if got[0] == 2 && got[1] == 3 && c.Applied() == 2 {
		return "current"
	}
	return "wrong"
}

// inspected says whether the offline look at the chunk's slot finds a half that is not well.
func inspected(t *testing.T, cfg Config, slot uint64) bool {
	t.Helper()
	cfg.Disk = disk.ReadOnly(cfg.Disk)
	in, err := NewInspector(cfg)
	if err != nil {
		t.Fatal(err)
	}
	s := in.Slot(slot)
	return s.Err != nil || s.Halves[0].Err != nil || s.Halves[1].Err != nil
}

// Every bit of both halves: a fault in the newest is detected and refused, at Open or at the
// first use; one in the superseded half costs nothing and is reported by Open, or by the
// offline look where Open reads headers only. Nothing is harmless and nothing is wrong.
func TestEveryBitOfBothHalvesIsGuarded(t *testing.T) {
	for _, scan := range scans {
		t.Run(scan.name, func(t *testing.T) { sweepBits(t, scan.lazy) })
	}
}

func sweepBits(t *testing.T, lazy bool) {
	sim, cfg, top, name := sweepState(t, lazy)
	slot, _ := parseSlotName(strings.TrimPrefix(name, cfg.Dir+"/"))
	g := newGeometry(cfg.ChunkSize)
	bits := 2 * g.metaSize * 8
	step := 61
	if *corruptAll {
		step = 1
		if lazy {
			step = 7 // the decisions are those of the other sweep; when they are made differs
		}
	}
	if testing.Short() || raceEnabled {
		step = 61
	}
	image := contents(t, sim, name, 0, 2*g.metaSize)
	counts := map[string]int64{}
	tried := int64(0)
	cfg.Disk = sim
	for bit := 0; bit < bits; bit += step {
		at := bit / 8
		sim.Corrupt(name, int64(at), []byte{image[at] ^ 1<<(bit%8)})
		atOpen, reported, fatal, served := sweepVerdict(t, cfg)
		header := at%g.metaSize < headerPage
		verdict := "detected at open"
		switch newest := uint8(at/g.metaSize) == top; {
		case newest && (!fatal || served != "refused"):
			t.Fatalf("bit %d of the newest half: reported %v, fatal %v, %s",
				bit, reported, fatal, served)
		case !newest && (fatal || served != "current"):
			t.Fatalf("bit %d of the superseded half: fatal %v, %s", bit, fatal, served)
		case !atOpen && (!lazy || header):
			t.Fatalf("bit %d: Open did not report it", bit)
		case lazy && !inspected(t, cfg, slot):
			t.Fatalf("bit %d: the offline look finds nothing", bit)
		case newest && !atOpen:
			verdict = "detected at first use"
		case !newest && !atOpen:
			verdict = "superseded, found offline"
		case !newest:
			verdict = "superseded, found at open"
		}
		counts[verdict]++
		tried++
		sim.Corrupt(name, int64(at), image[at:at+1])
	}
	if lazy != (counts["detected at first use"] > 0) {
		t.Fatalf("lazy %v, yet %v", lazy, counts)
	}
	recordBits(t, lazy, tried, counts)
}

// recordBits leaves the counts. A fault that a verdict above does not cover has failed the test.
func recordBits(t *testing.T, lazy bool, tried int64, counts map[string]int64) {
	t.Helper()
	name := "every bit of both chunk headers"
	if lazy {
		name += ", read by headers"
	}
	detected := counts["detected at open"] + counts["detected at first use"]
	repaired := counts["superseded, found at open"] + counts["superseded, found offline"]
	evidence.Record(t, evidence.Item{Lane: "corrupt", Name: name, Promises: []string{"P4", "P5"},
		Test: "io/chunkfile TestEveryBitOfBothHalvesIsGuarded", Counts: map[string]int64{
			"mutations": tried, "detected": detected, "repaired": repaired, "rejected": 0,
			"harmless": tried - detected - repaired, "wrong": 0}})
}

// Every sector of the data, in the ways a device gets it wrong.
func TestEverySectorOfTheDataIsGuarded(t *testing.T) {
	sim, cfg, _, name := sweepState(t, false)
	g := newGeometry(cfg.ChunkSize)
	cfg.Disk = sim
	data := contents(t, sim, name, g.dataOffset(0), sweepBlocks*BlockSize)
	for i := range data { // sectors that differ from each other
		data[i] ^= byte(i/disk.SectorSize) * 7
	}
	p := openPool(t, cfg)
	c := get(t, p, idA)
	x := &IO{Count: sweepBlocks, Vec: [][]byte{data},
		CRCs: []uint32{crcOf(data[:BlockSize]), crcOf(data[BlockSize:])}}
	if err := perform(c, x, true); err != nil {
		t.Fatal(err)
	}
	checkpoint(t, c, 3)
	closePool(t, p)
	sector := func(i int) []byte {
		n := len(data) / disk.SectorSize
		return data[(i+n)%n*disk.SectorSize:][:disk.SectorSize]
	}
	older := make([]byte, disk.SectorSize)
	fill(older, 1)
	other := make([]byte, disk.SectorSize)
	fill(other, 77)
	tried := int64(0)
	for i := range len(data) / disk.SectorSize {
		flipped := append([]byte(nil), sector(i)...)
		flipped[i] ^= 0x10
		byBytes := append(append([]byte(nil), sector(i - 1)[disk.SectorSize-8:]...),
			sector(i)[:disk.SectorSize-8]...)
		for _, bad := range [][]byte{flipped, other, byBytes,
			make([]byte, disk.SectorSize), sector(i + 1),
			sector(i - 1), sector(i + BlockSize/disk.SectorSize), older} {
			sim.Corrupt(name, g.dataOffset(0)+int64(i*disk.SectorSize), bad)
			if _, _, _, served := sweepVerdict(t, cfg); served != "refused" {
				t.Fatalf("sector %d: %s", i, served)
			}
			tried++
		}
		sim.Corrupt(name, g.dataOffset(0)+int64(i*disk.SectorSize), sector(i))
	}
	evidence.Record(t, evidence.Item{Lane: "corrupt", Name: "every sector of chunk data",
		Promises: []string{"P4", "P5"}, Test: "io/chunkfile " + t.Name(),
		Counts: map[string]int64{"mutations": tried, "detected": tried, "repaired": 0,
			"rejected": 0, "harmless": 0, "wrong": 0}})
}
