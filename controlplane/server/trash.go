package server

import (
	"errors"
	"strconv"
	"time"

	"github.com/ashlar-storage/ashlar/controlplane/meta"
	"github.com/ashlar-storage/ashlar/rpc/admin"
	v1 "github.com/ashlar-storage/ashlar/rpc/admin/kitex_gen/ashlar/v1"
)

// A volume in the trash has its record, its mapping and its data, but no name: nobody can open it,
// and the name is free. Its record says when it is deleted for good, so that a change of the
// setting concerns those that come later.

// trashVolume takes a volume's name away and keeps the rest.
func (c *cluster) trashVolume(vol *v1.Volume, unlink func(meta.Tx) error) (*v1.Volume, error) {
	now := c.cfg.Now()
	rec := *vol
	rec.State = stateTrashed
	rec.TrashedUnixNs = now.UnixNano()
	rec.PurgeUnixNs = now.Add(c.cfg.TrashKeep).UnixNano()
	err := c.update(func(tx meta.Tx) error {
		return errors.Join(unlink(tx), meta.Volumes.Put(tx, meta.ID(rec.VolumeId), &rec))
	}, volumeNews("volume-trashed", &rec, "volume %s was deleted and can be restored until %s",
		rec.Name, time.Unix(0, rec.PurgeUnixNs).UTC().Format(time.RFC3339)))
	if err != nil {
		return nil, err
	}
	c.volumes[rec.VolumeId] = &rec
	c.trash[rec.VolumeId] = true
	c.log.Info("volume is in the trash", "volume", rec.Name, "id", rec.VolumeId,
		"until", time.Unix(0, rec.PurgeUnixNs))
	return &rec, nil
}

func (c *cluster) trashed(id uint64) (*v1.Volume, error) {
	if !c.trash[id] {
		return nil, admin.Errorf(admin.ErrNotFound, "control: the trash has no volume %d", id)
	}
	return c.volumes[id], nil
}

// restoreVolume gives a volume of the trash its name back, or another.
func (c *cluster) restoreVolume(req *v1.RestoreVolumeRequest) (*v1.RestoreVolumeResponse, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	vol, err := c.trashed(req.VolumeId)
	if err != nil {
		return nil, err
	}
	rec := *vol
	if req.NewName != "" {
		rec.Name = req.NewName
	}
	if err := checkPath("new_name", rec.Name); err != nil {
		return nil, err
	}
	dir, name, err := c.newPlace(rec.Name)
	if err != nil {
		return nil, err
	}
	rec.State, rec.TrashedUnixNs, rec.PurgeUnixNs = stateOK, 0, 0
	err = c.update(func(tx meta.Tx) error {
		return errors.Join(
			meta.Directory.Put(tx, meta.NameKey(dir.id, name), &meta.Entry{VolumeID: rec.VolumeId}),
			meta.Volumes.Put(tx, meta.ID(rec.VolumeId), &rec))
	}, volumeNews("volume-restored", &rec, "volume %s came back from the trash", rec.Name))
	if err != nil {
		return nil, err
	}
	c.volumes[rec.VolumeId] = &rec
	delete(c.trash, rec.VolumeId)
	c.space.addVolume(dir, name, rec.VolumeId)
	c.log.Info("volume restored", "volume", rec.Name, "id", rec.VolumeId)
	return &v1.RestoreVolumeResponse{Volume: &rec}, nil
}

// purgeVolume does not wait for a volume's time.
func (c *cluster) purgeVolume(req *v1.PurgeVolumeRequest) (*v1.PurgeVolumeResponse, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	vol, err := c.trashed(req.VolumeId)
	if err != nil {
		return nil, err
	}
	if err := c.checkUnused(vol); err != nil {
		return nil, err
	}
	if vol, err = c.giveUp(vol, nil); err != nil {
		return nil, err
	}
	return &v1.PurgeVolumeResponse{Volume: vol}, nil
}

// emptyTrash gives up what was in the trash for its time, a few at a tick.
func (c *cluster) emptyTrash(now time.Time) error {
	begun := 0
	for _, id := range sortedIDs(c.trash) {
		vol := c.volumes[id]
		if c.purgeTime(vol) > now.UnixNano() || c.usedLately(id, now) {
			continue
		}
		if begun++; begun > maxPurges {
			break
		}
		if _, err := c.giveUp(vol, nil); err != nil {
			return err
		}
	}
	return nil
}

// listTrash answers one page of the volumes that have no name any more.
func (c *cluster) listTrash(req *v1.ListTrashRequest) (*v1.ListTrashResponse, error) {
	last, err := readToken(req.PageToken)
	after, perr := uint64(0), error(nil)
	if last != "" {
		after, perr = strconv.ParseUint(last, 10, 64)
	}
	if err != nil || perr != nil {
		return nil, errToken(req.PageToken)
	}
	size := pageSize(req.PageSize)
	c.mu.Lock()
	defer c.mu.Unlock()
	resp := &v1.ListTrashResponse{}
	for _, id := range sortedIDs(c.volumes) {
		vol := c.volumes[id]
		if vol.State == stateOK || id <= after {
			continue
		}
		if len(resp.Volumes) == size {
			resp.NextPageToken = pageToken(strconv.FormatUint(after, 10))
			break
		}
		after = id
		shown := *vol
		shown.PurgeUnixNs = c.purgeTime(vol)
		resp.Volumes = append(resp.Volumes, &v1.Trashed{Volume: &shown,
			ReservedBytes: c.reserved(vol)})
	}
	return resp, nil
}

// reserved is what a volume takes of the pool when it is written full.
func (c *cluster) reserved(vol *v1.Volume) uint64 {
	return vol.SizeBytes * uint64(c.replicasPerBlock())
}

// inTrash is how many volumes the trash has, and what they keep of the pool.
func (c *cluster) inTrash() (volumes, bytes uint64) {
	for id := range c.trash {
		bytes += c.reserved(c.volumes[id])
	}
	return uint64(len(c.trash)), bytes
}
