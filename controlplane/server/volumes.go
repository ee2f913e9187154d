package server

import (
	"context"
	"fmt"

	"github.com/dustin/go-humanize"

	"github.com/ashlar-storage/ashlar/controlplane/meta"
	"github.com/ashlar-storage/ashlar/rpc/admin"
	v1 "github.com/ashlar-storage/ashlar/rpc/admin/kitex_gen/ashlar/v1"
)

// createVolume writes the volume, its name and its whole mapping as one.
func (c *cluster) createVolume(req *v1.CreateVolumeRequest) (*v1.CreateVolumeResponse, error) {
	if err := checkPath("volume name", req.Name); err != nil {
		return nil, err
	}
	if err := checkSize(req.Name, req.SizeBytes); err != nil {
		return nil, err
	}
	size := roundSize(req.SizeBytes)
	c.mu.Lock()
	defer c.mu.Unlock()
	dir, name, err := c.newPlace(req.Name)
	if err != nil {
		return nil, err
	}
	if err := c.checkCreate(req.Name, size); err != nil {
		return nil, err
	}
	vol := &v1.Volume{
		Name: req.Name, SizeBytes: size, SegmentBytes: c.cfg.SegmentBytes,
		ChunkBytes: c.cfg.ChunkBytes, PoolId: poolID, State: stateOK,
		CreatedUnixNs: c.cfg.Now().UnixNano(),
	}
	segs, err := c.allocate(vol, 0)
	if err != nil {
		return nil, err
	}
	err = c.update(func(tx meta.Tx) (err error) {
		if vol.VolumeId, err = meta.NextID(tx, meta.CounterVolume); err != nil {
			return err
		}
		if err := meta.Volumes.Put(tx, meta.ID(vol.VolumeId), vol); err != nil {
			return err
		}
		if err := putSegments(tx, vol, segs); err != nil {
			return err
		}
		key := meta.NameKey(dir.id, name)
		return meta.Directory.Put(tx, key, &meta.Entry{VolumeID: vol.VolumeId})
	}, volumeNews("volume-created", vol, "volume %s of %s was created", vol.Name,
		human(float64(size))))
	if err != nil {
		return nil, err
	}
	c.volumes[vol.VolumeId] = vol
	c.space.addVolume(dir, name, vol.VolumeId)
	c.takeMapping(vol, segs)
	c.log.Info("volume created", "volume", vol.Name, "id", vol.VolumeId, "bytes", size)
	return &v1.CreateVolumeResponse{Volume: vol}, nil
}

func checkSize(name string, bytes uint64) error {
	if bytes == 0 || bytes > MaxVolumeBytes {
		return admin.Errorf(admin.ErrInvalid, "control: volume %s: size_bytes %d: want 1 to %d",
			name, bytes, uint64(MaxVolumeBytes))
	}
	return nil
}

func roundSize(bytes uint64) uint64 { return (bytes + blockSize - 1) / blockSize * blockSize }

func (c *cluster) checkCreate(name string, size uint64) error {
	if len(c.volumes) >= maxVolumes {
		return admin.Errorf(admin.ErrBusy, "control: there are %d volumes, no more are made",
			maxVolumes)
	}
	if len(c.copysets) == 0 {
		return admin.Errorf(admin.ErrUnavailable, "control: volume %s cannot be placed yet: %s",
			name, c.waiting(c.cfg.Now()))
	}
	return c.checkSpace("volume "+name, size)
}

// checkSpace admits a volume only where all volumes, with all their copies, fit the pool even
// when they are written full. Capacity counts stores that are offline, which will come back, but
// not those that failed or were replaced.
func (c *cluster) checkSpace(what string, size uint64) error {
	var capacity, used float64
	for _, s := range c.stores {
		if s.report.GetState() != stateFailed && !s.rec.Replaced {
			capacity += float64(s.usable())
		}
	}
	copies := float64(c.replicasPerBlock())
	for _, v := range c.volumes {
		used += float64(v.SizeBytes) * copies
	}
	free := capacity*c.cfg.Overcommit - used
	need := float64(size) * copies
	if need <= free {
		return nil
	}
	hint := ""
	if n, bytes := c.inTrash(); n > 0 {
		hint = fmt.Sprintf("; %d volumes in the trash keep %s of it", n, human(float64(bytes)))
	}
	return admin.Errorf(admin.ErrNoSpace, "control: %s of %s needs %s with %d replicas, "+
		"but the pool has %s free of %s%s", what, human(float64(size)), human(need), int(copies),
		human(max(0, free)), human(capacity*c.cfg.Overcommit), hint)
}

func human(bytes float64) string { return humanize.IBytes(uint64(bytes)) }

func segments(vol *v1.Volume) uint64 {
	return (vol.SizeBytes + vol.SegmentBytes - 1) / vol.SegmentBytes
}

// listVolumes answers one page of the volumes in a directory, by their names.
func (c *cluster) listVolumes(req *v1.ListVolumesRequest) (*v1.ListVolumesResponse, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, err := c.directoryAt(req.Directory); err != nil {
		return nil, err
	}
	c.space.index()
	paths, next, err := page(c.space.volumePaths, req.Directory, req.Recursive, req.PageSize,
		req.PageToken)
	if err != nil {
		return nil, err
	}
	resp := &v1.ListVolumesResponse{NextPageToken: next}
	for _, path := range paths {
		id, _ := c.space.volume(path)
		resp.Volumes = append(resp.Volumes, c.volumes[id])
	}
	return resp, nil
}

// named finds a volume that is not being deleted.
func (c *cluster) named(name string) (*v1.Volume, error) {
	id, ok := c.space.volume(name)
	if !ok {
		return nil, admin.Errorf(admin.ErrNotFound, "control: volume %.256q does not exist", name)
	}
	return c.volumes[id], nil
}

func (c *cluster) getVolume(req *v1.GetVolumeRequest) (*v1.GetVolumeResponse, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	vol, err := c.named(req.Name)
	if err != nil {
		return nil, err
	}
	resp := &v1.GetVolumeResponse{Volume: vol}
	if req.WithoutSegments {
		return resp, nil
	}
	resp.Segments, err = c.readSegments(vol.VolumeId, 0, 0)
	return resp, err
}

// readSegments reads limit segments (0: all) from the metadata.
func (c *cluster) readSegments(volume, first uint64, limit int) (segs []*v1.Segment, err error) {
	err = c.kv.View(context.Background(), func(r meta.Reader) error {
		from := meta.SegmentKey(volume, first)
		return meta.Segments.Scan(r, meta.ID(volume), from, limit,
			func(_ meta.Key, s *v1.Segment) error {
				segs = append(segs, s)
				return nil
			})
	})
	return segs, err
}

// lookupSegments answers with the segments that exist in the range asked for.
func (c *cluster) lookupSegments(req *v1.LookupSegmentsRequest) (
	*v1.LookupSegmentsResponse, error,
) {
	if req.Count == 0 || req.Count > maxLookup {
		return nil, admin.Errorf(admin.ErrInvalid, "control: count %d: want 1 to %d", req.Count,
			maxLookup)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	vol := c.volumes[req.VolumeId]
	if vol == nil && c.isUnaccounted(req.VolumeId) {
		return nil, admin.Errorf(admin.ErrUnavailable, "control: volume %d is not in the restored "+
			"metadata: `ashlar control rebuild` finds it if it is there", req.VolumeId)
	}
	if vol == nil || vol.State != stateOK {
		return nil, admin.Errorf(admin.ErrNotFound, "control: volume %d does not exist",
			req.VolumeId)
	}
	if n := segments(vol); req.First >= n {
		return nil, admin.Errorf(admin.ErrInvalid, "control: first %d: volume %s has %d segments",
			req.First, vol.Name, n)
	}
	segs, err := c.readSegments(vol.VolumeId, req.First, int(req.Count))
	if err != nil {
		return nil, err
	}
	resp := &v1.LookupSegmentsResponse{Segments: segs}
	seen := map[uint64]bool{}
	for _, s := range segs {
		for _, id := range s.CopysetIds {
			if g := c.copysets[id]; g != nil && !seen[id] {
				seen[id] = true
				resp.Copysets = append(resp.Copysets, c.show(g.rec))
			}
		}
	}
	return resp, nil
}
