package server

import (
	"context"
	"errors"
	"fmt"

	"github.com/ashlar-storage/ashlar/controlplane/meta"
	"github.com/ashlar-storage/ashlar/rpc/admin"
	v1 "github.com/ashlar-storage/ashlar/rpc/admin/kitex_gen/ashlar/v1"
)

// resizeVolume makes a volume larger: its size and the segments that it lacks are written as one.
// What is behind the old end was never written, as clients know no blocks there, so that it reads
// as zeroes.
//
// A smaller size is refused. What is behind the new end would have to be dropped by every copyset,
// and be dropped before the volume could grow again, or old data would come back; and a client that
// has the volume open could go on writing there until it hears of it.
func (c *cluster) resizeVolume(req *v1.ResizeVolumeRequest) (*v1.ResizeVolumeResponse, error) {
	if err := checkSize(req.Name, req.SizeBytes); err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	vol, err := c.named(req.Name)
	if err != nil {
		return nil, err
	}
	size := roundSize(req.SizeBytes)
	switch {
	case size == vol.SizeBytes:
		return &v1.ResizeVolumeResponse{Volume: vol}, nil
	case size < vol.SizeBytes:
		return nil, admin.Errorf(admin.ErrInvalid, "control: volume %s has %s and cannot shrink "+
			"to %s; make a smaller one and copy what is to stay", vol.Name,
			human(float64(vol.SizeBytes)), human(float64(size)))
	}
	if err := c.checkGrown(vol); err != nil {
		return nil, err
	}
	if err := c.checkSpace("growth of volume "+vol.Name, size-vol.SizeBytes); err != nil {
		return nil, err
	}
	rec := *vol
	rec.SizeBytes = size
	last, err := c.lastSegment(vol)
	if err != nil {
		return nil, err
	}
	segs, err := c.allocateMore(vol, &rec, last)
	if err != nil {
		return nil, err
	}
	err = c.update(func(tx meta.Tx) (err error) {
		return errors.Join(
			meta.Volumes.Put(tx, meta.ID(rec.VolumeId), &rec),
			putSegments(tx, &rec, segs))
	}, volumeNews("volume-resized", &rec, "volume %s grew from %s to %s", rec.Name,
		human(float64(vol.SizeBytes)), human(float64(size))))
	if err != nil {
		return nil, err
	}
	c.volumes[rec.VolumeId] = &rec
	c.growMapping(vol, &rec, last, segs)
	c.log.Info("volume resized", "volume", rec.Name, "id", rec.VolumeId, "from", vol.SizeBytes,
		"to", size)
	return &v1.ResizeVolumeResponse{Volume: &rec}, nil
}

func (c *cluster) lastSegment(vol *v1.Volume) (last *v1.Segment, err error) {
	err = c.kv.View(context.Background(), func(r meta.Reader) (err error) {
		last, err = meta.Segments.Get(r, meta.SegmentKey(vol.VolumeId, segments(vol)-1))
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("control: last segment of volume %s: %w", vol.Name, err)
	}
	return last, nil
}

// allocateMore chooses the copysets of the segments that a volume lacks when it has grown. What its
// last segment gets more lies where that is: the stores there must have room for it.
func (c *cluster) allocateMore(old, grown *v1.Volume, last *v1.Segment) ([]*v1.Segment, error) {
	for c.resettle() { // what is counted below lies where the stores' space was taken
		continue
	}
	one := []*v1.Segment{last}
	more, stores := map[uint64]uint64{}, map[uint64]uint64{}
	eachShare(grown, one, func(copyset, bytes uint64) { more[copyset] += bytes })
	eachShare(old, one, func(copyset, bytes uint64) { more[copyset] -= bytes })
	for copyset, bytes := range more {
		for _, store := range c.mapped.sets[copyset] {
			stores[store] += bytes
		}
	}
	spaces := c.spaces()
	for _, id := range sortedIDs(stores) {
		if left := spaces[id].Left; stores[id] > left {
			return nil, admin.Errorf(admin.ErrNoSpace, "control: volume %s: its last segment "+
				"would grow by %s on store %d, which has %s left to give: add space there, or "+
				"make another volume",
				old.Name, human(float64(stores[id])), id, human(float64(left)))
		}
	}
	for copyset, bytes := range more {
		c.mapped.add(copyset, bytes)
		defer c.mapped.add(copyset, -bytes) // growMapping counts it once it is written
	}
	return c.allocate(grown, segments(old))
}
