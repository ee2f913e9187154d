package server

import (
	"errors"
	"time"

	"github.com/ashlar-storage/ashlar/controlplane/meta"
	"github.com/ashlar-storage/ashlar/rpc/admin"
	v1 "github.com/ashlar-storage/ashlar/rpc/admin/kitex_gen/ashlar/v1"
)

// deletion is a volume that has no name any more and whose chunks are being dropped.
//
// A copyset is done when one heartbeat says both that the node leads it and that every copyset
// led there has dropped the volume. Two heartbeats would not do: leadership may move in between.
// Progress is not kept; nodes repeat their reports for as long as they are asked.
type deletion struct {
	pending map[uint64]bool // copysets that may still hold chunks
}

// copysetsOf returns the copysets that a volume is mapped to.
func copysetsOf(r meta.Reader, volume uint64) (map[uint64]bool, error) {
	used := map[uint64]bool{}
	err := meta.Segments.Scan(r, meta.ID(volume), nil, 0, func(_ meta.Key, s *v1.Segment) error {
		for _, id := range s.CopysetIds {
			used[id] = true
		}
		return nil
	})
	return used, err
}

// deleteVolume takes the name away at once. The data stays in the trash for a while, or is given up
// now.
func (c *cluster) deleteVolume(req *v1.DeleteVolumeRequest) (*v1.DeleteVolumeResponse, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	vol, err := c.named(req.Name)
	if err != nil {
		return nil, err
	}
	if s := c.holder(vol); s != nil {
		return nil, admin.Errorf(admin.ErrBusy, "control: volume %s is open by %q (session %d); "+
			"detach it first", vol.Name, s.rec.Client, s.rec.SessionID)
	}
	if err := c.checkUnused(vol); err != nil {
		return nil, err
	}
	dir, name := c.placeOfVolume(vol)
	unlink := func(tx meta.Tx) error {
		return meta.Directory.Delete(tx, meta.NameKey(dir.id, name))
	}
	if req.Now || c.cfg.TrashKeep < 0 {
		vol, err = c.giveUp(vol, unlink)
	} else {
		vol, err = c.trashVolume(vol, unlink)
	}
	if err != nil {
		return nil, err
	}
	c.space.dropVolume(dir, name)
	return &v1.DeleteVolumeResponse{Volume: vol}, nil
}

// giveUp begins to drop the data of a volume; the space follows when the nodes have dropped the
// chunks. unlink takes its name away in the same transaction; nil: it has none.
func (c *cluster) giveUp(vol *v1.Volume, unlink func(meta.Tx) error) (*v1.Volume, error) {
	rec := *vol
	rec.State = stateDeleting
	var used map[uint64]bool
	err := c.update(func(tx meta.Tx) (err error) {
		if used, err = copysetsOf(tx, rec.VolumeId); err != nil {
			return err
		}
		if unlink != nil {
			if err := unlink(tx); err != nil {
				return err
			}
		}
		return meta.Volumes.Put(tx, meta.ID(rec.VolumeId), &rec)
	}, volumeNews("volume-deleted", &rec, "the data of volume %s is given up", rec.Name))
	if err != nil {
		return nil, err
	}
	c.volumes[rec.VolumeId] = &rec
	delete(c.trash, rec.VolumeId)
	c.deletions[rec.VolumeId] = &deletion{pending: used}
	c.log.Info("volume is being deleted", "volume", rec.Name, "id", rec.VolumeId,
		"copysets", len(used))
	return &rec, nil
}

// deletionsFor lists the volumes that a node should drop, and what it has left of those erased.
func (c *cluster) deletionsFor(n *node) (ids []uint64) {
	for _, id := range sortedIDs(c.deletions) {
		if len(ids) == maxDeletions {
			break
		}
		for copyset := range c.deletions[id].pending {
			if g := c.copysets[copyset]; g != nil && member(g.rec, 0, n.rec.NodeId) {
				ids = append(ids, id)
				break
			}
		}
	}
	for id := range n.stores { // what one that does not serve had is not known
		if s := c.stores[id]; s.report.GetState() != stateFailed {
			ids = append(ids, s.left[:min(len(s.left), maxDeletions-len(ids))]...)
		}
	}
	return ids
}

// takeDeleted notes the copysets that the node leads, by this very heartbeat, as done.
func (c *cluster) takeDeleted(n *node, volumes []uint64) {
	for _, id := range volumes {
		d := c.deletions[id]
		if d == nil {
			continue
		}
		for copyset := range d.pending {
			r, g := n.reports[copyset], c.copysets[copyset]
			if r != nil && r.Leader && r.ReplicaId == g.rec.LeaderReplicaId &&
				r.Term >= g.rec.LeaderTerm {
				delete(d.pending, copyset)
			}
		}
	}
}

// finishDeletions removes the records of volumes that no copyset holds any more.
func (c *cluster) finishDeletions(time.Time) error {
	for _, id := range sortedIDs(c.deletions) {
		if len(c.deletions[id].pending) > 0 {
			continue
		}
		vol := c.volumes[id]
		segs, err := c.readSegments(id, 0, 0)
		if err != nil {
			return err
		}
		err = c.update(func(tx meta.Tx) error {
			return errors.Join(eraseVolume(tx, id), c.erase(tx, id))
		}, volumeNews("volume-erased", vol, "the space of volume %s is free", vol.Name))
		if err != nil {
			return err
		}
		c.tookErased(id)
		c.giveMapping(vol, segs)
		c.log.Info("volume deleted", "volume", vol.Name, "id", id)
		delete(c.deletions, id)
		delete(c.volumes, id)
	}
	return nil
}

func eraseVolume(tx meta.Tx, id uint64) error {
	var keys []meta.Key
	err := meta.Segments.Scan(tx, meta.ID(id), nil, 0, func(k meta.Key, _ *v1.Segment) error {
		keys = append(keys, k)
		return nil
	})
	if err != nil {
		return err
	}
	for _, k := range keys {
		if err := meta.Segments.Delete(tx, k); err != nil {
			return err
		}
	}
	return meta.Volumes.Delete(tx, meta.ID(id))
}
