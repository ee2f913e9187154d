package chunkfile

import (
	"errors"
	"strings"
	"testing"

	"github.com/ashlar-storage/ashlar/io/disk"
)

func TestMetadataThatTheDeviceLostIsMadeGoodFromMemory(t *testing.T) {
	g := newGeometry(testChunk)
	for name, tc := range map[string]struct {
		ruin func(sim *disk.Sim, c *Chunk)
		want string
	}{
		"nothing is wrong": {func(*disk.Sim, *Chunk) {}, ""},
		"the header of the newest": {func(s *disk.Sim, c *Chunk) {
			s.Corrupt(c.slot.name, g.halfOffset(c.slot.top.half)+200, []byte{1})
		}, "header checksum"},
		"the table of the newest": {func(s *disk.Sim, c *Chunk) {
			s.Corrupt(c.slot.name, g.halfOffset(c.slot.top.half)+int64(g.metaSize)-1, []byte{1})
		}, "checksum of bitmap and table"},
		"the newest is an older one": {func(s *disk.Sim, c *Chunk) {
			half := alignedBytes(g.metaSize)
			old := c.slot.top
			old.version -= 2
			encodeHalf(half, g, &old, c.table)
			s.Corrupt(c.slot.name, g.halfOffset(old.half), half)
		}, "was written"},
		"the seal of the one before": {func(s *disk.Sim, c *Chunk) {
			page := alignedBytes(headerPage)
			old := c.slot.top
			old.half, old.version = 1-old.half, old.version-1
			encodeHeader(page, &old)
			s.Corrupt(c.slot.name, g.halfOffset(old.half), page)
		}, "is not sealed"},
		"all of it": {func(s *disk.Sim, c *Chunk) {
			s.Corrupt(c.slot.name, 0, make([]byte, 2*g.metaSize))
		}, "magic"},
	} {
		t.Run(name, func(t *testing.T) {
			sim, p, c := newChunk(t, nil)
			write(t, c, 0, 7)
			checkpoint(t, c, 1)
			write(t, c, 0, 8, 9)
			checkpoint(t, c, 2)
			version := c.Version()
			tc.ruin(sim, c)
			found, err := c.CheckMeta()
			if err != nil {
				t.Fatal(err)
			}
			if tc.want == "" {
				if found != nil || c.Version() != version {
					t.Fatalf("version %d: %v", c.Version(), found)
				}
			} else if found == nil || !strings.Contains(found.Error(), tc.want) ||
				!errors.Is(found, ErrCorrupt) {
				t.Fatalf("found %v, want %s", found, tc.want)
			}
			if found, err := c.CheckMeta(); found != nil || err != nil {
				t.Fatalf("a second time: %v, %v", found, err)
			}
			if c.Applied() != 2 {
				t.Errorf("applied %d", c.Applied())
			}
			closePool(t, p)
			again := reopen(t, sim.Crash(disk.CrashPlan{Keep: disk.KeepNothing}))
			if list := fatal(again); len(list) != 0 {
				t.Fatalf("lost: %+v", list)
			}
			expect(t, get(t, again, c.ID()), 0, 8, 9)
		})
	}
}

func TestACheckOfMetadataLeavesAloneWhatItCannotJudge(t *testing.T) {
	sim, p, c := newChunk(t, nil)
	write(t, c, 0, 7)
	if found, err := c.CheckMeta(); found != nil || err != nil {
		t.Errorf("before the first checkpoint: %v, %v", found, err)
	}
	checkpoint(t, c, 1)
	sim.Corrupt(c.slot.name, 0, make([]byte, 2*p.geometry.metaSize))
	c.mu.Lock()
	table := c.table
	c.table = nil
	c.mu.Unlock()
	if found, err := c.CheckMeta(); found != nil || err != nil {
		t.Errorf("without a table: %v, %v", found, err)
	}
	c.mu.Lock()
	c.table = table
	c.mu.Unlock()
	if err := p.Delete(c.ID()); err != nil {
		t.Fatal(err)
	}
	if found, err := c.CheckMeta(); found != nil || err != nil {
		t.Errorf("a chunk that is gone: %v, %v", found, err)
	}
}

func TestMetadataIsCheckedAmidCheckpoints(t *testing.T) {
	_, p, c := newChunk(t, nil)
	write(t, c, 0, 7)
	checkpoint(t, c, 1)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for i := range uint64(200) {
			write(t, c, int(i%testBlocks), i+1)
			checkpoint(t, c, i+2)
		}
	}()
	for n := 0; ; n++ {
		if found, err := c.CheckMeta(); found != nil || err != nil {
			t.Fatalf("%v, %v", found, err)
		}
		select {
		case <-done:
			if err := p.Delete(c.ID()); err != nil {
				t.Fatal(err)
			}
			return
		default:
		}
	}
}

func TestAPowerCutWhileMetadataIsMadeGoodLeadsBackToNothingOld(t *testing.T) {
	for name, ruinNewest := range map[string]bool{"the newest": true, "the one before": false} {
		t.Run(name, func(t *testing.T) {
			sim, p, c := newChunk(t, nil)
			write(t, c, 0, 7)
			checkpoint(t, c, 1)
			write(t, c, 0, 8)
			checkpoint(t, c, 2)
			half := c.slot.top.half
			if !ruinNewest {
				half = 1 - half
			}
			sim.Corrupt(c.slot.name, p.geometry.halfOffset(half)+200, []byte{1})
			before := sim.Crash(disk.CrashPlan{Keep: disk.KeepNothing})
			if _, err := c.CheckMeta(); err != nil {
				t.Fatal(err)
			}
			g := p.geometry
			whole := contents(t, sim, c.slot.name, 0, 2*g.metaSize)
			closePool(t, p)
			// The new half arrives by sectors, and then the seal.
			at := int(g.halfOffset(c.slot.top.half))
			for n := 0; n <= g.metaSize; n += headerSector {
				cut := before.Crash(disk.CrashPlan{Keep: disk.KeepNothing})
				cut.Corrupt(c.slot.name, int64(at), whole[at:at+n])
				q := openPool(t, testConfig(cut))
				if chunk := get(t, q, c.ID()); len(fatal(q)) == 0 {
					expect(t, chunk, 0, 8)
				} else if !ruinNewest || n == g.metaSize {
					t.Errorf("%d bytes arrived: lost %v", n, fatal(q))
				}
				closePool(t, q)
			}
		})
	}
}
