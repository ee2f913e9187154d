package server

import (
	"errors"

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
	segs, err := c.allocate(&rec, segments(vol))
	if err != nil {
		return nil, err
	}
	var last *v1.Segment
	err = c.update(func(tx meta.Tx) (err error) {
		key := meta.SegmentKey(rec.VolumeId, segments(vol)-1)
		if last, err = meta.Segments.Get(tx, key); err != nil {
			return err
		}
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
