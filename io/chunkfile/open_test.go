package chunkfile

import (
	"errors"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/ashlar-storage/ashlar/io/disk"
)

// openSlots is more than a batch of every goroutine of Open.
const openSlots = scanDepth*maxScanLanes + 100

// manySlotsSim is a disk with a pool of openSlots chunks of one block.
func manySlotsSim(t *testing.T) (*disk.Sim, Config) {
	t.Helper()
	sim := disk.NewSim(disk.SimConfig{Inline: true})
	cfg := testConfig(sim)
	cfg.ChunkSize = MinChunkSize
	p := openPool(t, cfg)
	defer closePool(t, p)
	for i := range uint64(openSlots) {
		checkpoint(t, create(t, p, ID{Group: i % 7, Index: i}), i)
	}
	return sim, cfg
}

func TestOpenTakesEverySlotOnceAndInOrder(t *testing.T) {
	sim, cfg := manySlotsSim(t)
	torn := []uint64{0, 5, 255, 256, 1000, openSlots - 1}
	for _, slot := range torn { // the newer half, which a sealed header names
		h := corruptHalf(t, sim, slot)
		if h.applied != slot {
			t.Fatalf("slot %d is chunk %v at %d: made in another order", slot, h.id, h.applied)
		}
	}
	p := openPool(t, cfg)
	defer closePool(t, p)
	s := p.Stats()
	if _, _, chunks := p.After(ID{}, 1); s.Slots != openSlots ||
		s.Used != openSlots-len(torn) || chunks != openSlots {
		t.Fatalf("%+v, %d chunks", s, chunks)
	}
	var found []uint64
	for _, d := range p.Damage() {
		found = append(found, d.Slot)
		if !d.Fatal || !d.IDKnown || d.ID.Index != d.Slot {
			t.Errorf("%+v", d)
		}
	}
	if !slices.Equal(found, torn) {
		t.Fatalf("damage in slots %v, want %v", found, torn)
	}
	for i := range uint64(openSlots) {
		c := get(t, p, ID{Group: i % 7, Index: i})
		if !slices.Contains(torn, i) && (c.Applied() != i || c.Slot() != i) {
			t.Fatalf("chunk %d: slot %d, applied %d", i, c.Slot(), c.Applied())
		}
	}
}

// corruptHalf breaks the header of the newest half of a slot, which it returns.
func corruptHalf(t *testing.T, d disk.Disk, slot uint64) header {
	t.Helper()
	g := newGeometry(MinChunkSize)
	f, err := d.Open("chunks/" + slotName(slot))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	image := alignedBytes(2 * g.metaSize)
	if _, err := f.ReadAt(image, 0); err != nil {
		t.Fatal(err)
	}
	v := decide(image, g, testStore, slot)
	at := g.halfOffset(v.newest)
	image[at+200] ^= 1
	if err := f.WriteVec([][]byte{image[at:][:headerPage]}, at, true); err != nil {
		t.Fatal(err)
	}
	return v.halves[v.newest].header
}

// countedDisk refuses to open more than so many files, and counts those that are open.
type countedDisk struct {
	disk.Disk
	limit, opened, open atomic.Int64
}

type countedFile struct {
	disk.File
	disk *countedDisk
}

func (d *countedDisk) Open(name string) (disk.File, error) {
	if d.opened.Add(1) > d.limit.Load() {
		return nil, disk.ErrFileLimit
	}
	f, err := d.Disk.Open(name)
	if err != nil {
		return nil, err
	}
	d.open.Add(1)
	return &countedFile{f, d}, nil
}

func (f *countedFile) Close() error {
	f.disk.open.Add(-1)
	return f.File.Close()
}

func TestOpenWithoutDescriptorsClosesWhatItOpened(t *testing.T) {
	sim, cfg := manySlotsSim(t)
	for _, limit := range []int64{0, 1, scanDepth, openSlots - 1} {
		d := &countedDisk{Disk: sim}
		d.limit.Store(limit)
		cfg.Disk = d
		_, err := Open(cfg)
		if !errors.Is(err, disk.ErrFileLimit) || !strings.Contains(err.Error(), "open file") {
			t.Fatalf("limit %d: %v", limit, err)
		}
		if n := d.open.Load(); n != 0 {
			t.Fatalf("limit %d: %d files are still open", limit, n)
		}
		if n := d.opened.Load(); limit < scanDepth && n > openSlots/2 {
			t.Fatalf("limit %d: %d files were tried", limit, n)
		}
	}
}
