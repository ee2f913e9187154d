package server

import (
	"errors"
	"slices"

	"github.com/ashlar-storage/ashlar/controlplane/meta"
	"github.com/ashlar-storage/ashlar/controlplane/placement"
	"github.com/ashlar-storage/ashlar/rpc/admin"
	v1 "github.com/ashlar-storage/ashlar/rpc/admin/kitex_gen/ashlar/v1"
)

// A volume takes space chunk by chunk, as it is written, but its chunks have their copysets from
// the start. So what stores have left is counted by what volumes may come to write there, and only
// then by what they wrote: ten empty volumes made at once do not all go to the emptiest stores.

// What a store says that has no room for new chunks, and one whose device hangs.
const (
	stateFull    = "full"
	stateStalled = "stalled"
)

// mapped is what the volumes were given, those being deleted included, and where that lies.
type mapped struct {
	bytes    map[uint64]uint64 // by copyset, one copy
	segments uint64            // of all volumes

	// As of the last volume that was placed: by copyset, where its new chunks would go, and by
	// store what the volumes may come to write there.
	sets      map[uint64]placement.Copyset
	given     map[uint64]uint64
	allocator *placement.Allocator
	order     []uint64 // copysets as the allocator counts them
	moved     []*copyset
}

// allocate chooses the copysets of a volume's segments from the first on that it lacks, by the
// space of their stores.
func (c *cluster) allocate(vol *v1.Volume, first uint64) ([]*v1.Segment, error) {
	a := c.refilled()
	segs := make([]*v1.Segment, 0, segments(vol)-first)
	for i := first; i < segments(vol); i++ {
		picked, err := a.Segment(c.mapped.segments+i-first, placement.Shape{Width: segmentCopysets,
			Chunks: chunksOf(vol, i), ChunkBytes: vol.ChunkBytes})
		if errors.Is(err, placement.ErrFull) {
			return nil, admin.Errorf(admin.ErrNoSpace, "control: volume %s of %s: there is room "+
				"for %s of it; after that every copyset has a store that is full or given away "+
				"to volumes: add stores, or delete volumes", vol.Name,
				human(float64(vol.SizeBytes)), human(float64(i*vol.SegmentBytes)))
		}
		if err != nil {
			return nil, err
		}
		seg := &v1.Segment{Index: i}
		for _, j := range picked {
			seg.CopysetIds = append(seg.CopysetIds, c.order[j])
		}
		segs = append(segs, seg)
	}
	return segs, nil
}

// putSegments writes segments of a volume.
func putSegments(tx meta.Tx, vol *v1.Volume, segs []*v1.Segment) error {
	for _, seg := range segs {
		err := meta.Segments.Put(tx, meta.SegmentKey(vol.VolumeId, seg.Index), seg)
		if err != nil {
			return err
		}
	}
	return nil
}

// chunksOf is the number of chunks of a volume's segment.
func chunksOf(vol *v1.Volume, segment uint64) int {
	bytes := min(vol.SegmentBytes, vol.SizeBytes-segment*vol.SegmentBytes)
	return int((bytes + vol.ChunkBytes - 1) / vol.ChunkBytes)
}

// relocate notes that new chunks of a copyset may go to other stores than before.
func (c *cluster) relocate(g *copyset) {
	if !g.moved {
		g.moved = true
		c.mapped.moved = append(c.mapped.moved, g)
	}
}

// resettle takes some of the copysets over that may have moved, and says whether there are more.
func (c *cluster) resettle() (more bool) {
	m := &c.mapped
	if len(m.order) != len(c.order) {
		m.order = slices.Clone(c.order)
		m.allocator = placement.NewAllocator(make([]placement.Copyset, len(m.order)), nil)
		for _, g := range c.copysets {
			c.relocate(g)
		}
	}
	n := min(maxTouched, len(m.moved))
	for _, g := range m.moved[:n] {
		g.moved = false
		id := g.rec.CopysetId
		for _, store := range m.sets[id] {
			m.given[store] -= m.bytes[id]
		}
		m.sets[id] = c.setOf(g)
		for _, store := range m.sets[id] {
			m.given[store] += m.bytes[id]
		}
		i, _ := slices.BinarySearch(m.order, id)
		m.allocator.Replace(i, m.sets[id])
	}
	m.moved = m.moved[n:]
	return len(m.moved) > 0
}

// refilled is the allocator with the copysets where they are, and what the stores have left.
func (c *cluster) refilled() *placement.Allocator {
	for c.resettle() {
		continue
	}
	c.mapped.allocator.Refill(c.spaces())
	return c.mapped.allocator
}

// setOf are the stores that new chunks of a copyset would go to: not those that failed, and in the
// place of those that were replaced the ones that are there now.
func (c *cluster) setOf(g *copyset) (set placement.Copyset) {
	for _, m := range g.rec.Replicas {
		place := c.placeOf(m.StoreId)
		if s := c.stores[place]; s != nil && s.report.GetState() != stateFailed {
			set = append(set, place)
		}
	}
	return set
}

// spaces is what every store has left.
func (c *cluster) spaces() map[uint64]placement.Space {
	spaces := make(map[uint64]placement.Space, len(c.stores))
	for id, s := range c.stores {
		if s.report.GetState() == stateFull {
			continue
		}
		capacity, used := s.usable(), s.report.GetUsedBytes()
		most := uint64(float64(capacity) * c.cfg.Overcommit)
		spaces[id] = placement.Space{Left: most - min(most, c.mapped.given[id]),
			Free: capacity - min(capacity, used)}
	}
	return spaces
}

// takeMapping counts what a volume was given; giveMapping takes it back.
func (c *cluster) takeMapping(vol *v1.Volume, segs []*v1.Segment) {
	c.mapped.segments += uint64(len(segs))
	eachShare(vol, segs, func(copyset, bytes uint64) { c.mapped.add(copyset, bytes) })
}

func (c *cluster) giveMapping(vol *v1.Volume, segs []*v1.Segment) {
	eachShare(vol, segs, func(copyset, bytes uint64) {
		c.mapped.add(copyset, -min(c.mapped.bytes[copyset], bytes))
	})
}

// add counts bytes more, modulo 2^64, for a copyset and the stores that it lies on.
func (m *mapped) add(copyset, bytes uint64) {
	m.bytes[copyset] += bytes
	for _, store := range m.sets[copyset] {
		m.given[store] += bytes
	}
}

// growMapping counts what a volume was given when it grew: its last segment has more chunks, and
// others follow.
func (c *cluster) growMapping(old, grown *v1.Volume, last *v1.Segment, segs []*v1.Segment) {
	c.giveMapping(old, []*v1.Segment{last})
	c.takeMapping(grown, append([]*v1.Segment{last}, segs...))
	c.mapped.segments-- // the last one is not new
}

// eachShare calls f with the bytes of every copyset's chunks, segment by segment.
func eachShare(vol *v1.Volume, segs []*v1.Segment, f func(copyset, bytes uint64)) {
	for _, seg := range segs {
		chunks, width := chunksOf(vol, seg.Index), len(seg.CopysetIds)
		for k, id := range seg.CopysetIds[:min(width, chunks)] {
			f(id, uint64((chunks-k+width-1)/width)*vol.ChunkBytes)
		}
	}
}

// loadMapping counts what the volumes of the metadata were given.
func (c *cluster) loadMapping(r meta.Reader) error {
	for id, vol := range c.volumes {
		var segs []*v1.Segment
		err := meta.Segments.Scan(r, meta.ID(id), nil, 0, func(_ meta.Key, s *v1.Segment) error {
			segs = append(segs, s)
			return nil
		})
		if err != nil {
			return err
		}
		c.takeMapping(vol, segs)
	}
	return nil
}
