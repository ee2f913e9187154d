package chunkfile

import (
	"testing"

	"github.com/ashlar-storage/ashlar/io/disk"
)

// sweepBlocks keeps the halves of the swept chunk at their smallest.
const sweepBlocks = 2

// sweepState builds a chunk with two versions: block 0 = 1 in the older, block 0 = 2 and
// block 1 = 3 in the newer.
func sweepState(t *testing.T) (*disk.Sim, Config, uint8) {
	t.Helper()
	sim := disk.NewSim(disk.SimConfig{Inline: true})
	cfg := testConfig(sim)
	cfg.ChunkSize = sweepBlocks * BlockSize
	p := openPool(t, cfg)
	c := create(t, p, idA)
	write(t, c, 0, 1)
	checkpoint(t, c, 1)
	write(t, c, 0, 2, 3)
	checkpoint(t, c, 2)
	top := c.slot.top.half
	closePool(t, p)
	return sim.Crash(disk.CrashPlan{Keep: disk.KeepAll}), cfg, top
}

// sweepVerdict opens the pool and says what is reported, and what the chunk serves.
func sweepVerdict(t *testing.T, cfg Config) (reported, fatal bool, served string) {
	t.Helper()
	p := openPool(t, cfg)
	defer closePool(t, p)
	for _, d := range p.Damage() {
		reported = true
		fatal = fatal || d.Fatal
	}
	c, ok := p.Get(idA)
	if !ok {
		return reported, fatal, "absent"
	}
	x := readIO(0, sweepBlocks)
	if err := perform(c, x, false); err != nil {
		return reported, fatal, "refused"
	}
	got := values(t, x)
	if got[0] == 2 && got[1] == 3 && c.Applied() == 2 {
		return reported, fatal, "current"
	}
	return reported, fatal, "wrong"
}

// Every bit of both halves: a fault in the newest is detected and refused, one in the
// superseded half is reported and costs nothing. Nothing is harmless and nothing is wrong.
func TestEveryBitOfBothHalvesIsGuarded(t *testing.T) {
	sim, cfg, top := sweepState(t)
	g := newGeometry(cfg.ChunkSize)
	const name = "chunks/slot-0000000000"
	bits := 2 * g.metaSize * 8
	step := 1
	if testing.Short() || raceEnabled {
		step = 61
	}
	image := contents(t, sim, name, 0, 2*g.metaSize)
	counts := map[string]int{}
	cfg.Disk = sim
	for bit := 0; bit < bits; bit += step {
		at := bit / 8
		sim.Corrupt(name, int64(at), []byte{image[at] ^ 1<<(bit%8)})
		reported, fatal, served := sweepVerdict(t, cfg)
		newest := uint8(at/g.metaSize) == top
		switch {
		case newest && (!fatal || served != "refused"):
			t.Fatalf("bit %d of the newest half: reported %v, fatal %v, %s",
				bit, reported, fatal, served)
		case !newest && (!reported || fatal || served != "current"):
			t.Fatalf("bit %d of the superseded half: reported %v, fatal %v, %s",
				bit, reported, fatal, served)
		case newest:
			counts["detected"]++
		default:
			counts["repaired"]++
		}
		sim.Corrupt(name, int64(at), image[at:at+1])
	}
	t.Logf("bits tried %d, verdicts %v, harmless 0, wrong data 0", bits/step, counts)
}

// Every sector of the data, in the ways a device gets it wrong.
func TestEverySectorOfTheDataIsGuarded(t *testing.T) {
	sim, cfg, _ := sweepState(t)
	g := newGeometry(cfg.ChunkSize)
	const name = "chunks/slot-0000000000"
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
	tried := 0
	for i := range len(data) / disk.SectorSize {
		flipped := append([]byte(nil), sector(i)...)
		flipped[i] ^= 0x10
		for _, bad := range [][]byte{flipped, make([]byte, disk.SectorSize), sector(i + 1),
			sector(i - 1), sector(i + BlockSize/disk.SectorSize), older} {
			sim.Corrupt(name, g.dataOffset(0)+int64(i*disk.SectorSize), bad)
			if _, _, served := sweepVerdict(t, cfg); served != "refused" {
				t.Fatalf("sector %d: %s", i, served)
			}
			tried++
		}
		sim.Corrupt(name, g.dataOffset(0)+int64(i*disk.SectorSize), sector(i))
	}
	t.Logf("sector faults tried %d, detected %d, wrong data 0", tried, tried)
}
