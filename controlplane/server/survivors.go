package server

import (
	"errors"
	"fmt"
	"maps"
	"time"

	"github.com/ashlar-storage/ashlar/controlplane/meta"
	"github.com/ashlar-storage/ashlar/rpc/admin"
	v1 "github.com/ashlar-storage/ashlar/rpc/admin/kitex_gen/ashlar/v1"
)

// What was given out after a backup was taken lives on when that backup is restored: stores with
// their numbers, and sessions of clients that have never stopped writing. They are recognised by
// numbers between the last that the backup had given out and the floor, and are taken up.
//
// A session that is refused is over for its client, so to refuse one that is good takes the disk
// away under a virtual machine. To accept one that is not good any more harms nothing: the copysets
// fence by epochs, and every epoch that is given out after the restore is above all of before.

// isForgotten says whether a store has its number from this cluster, from after the backup.
func (c *cluster) isForgotten(req *v1.RegisterNodeRequest, s *v1.StoreIdentity) bool {
	return c.restored != nil && req.ClusterId == c.id && s.StoreId != 0 &&
		s.StoreId <= c.restored.Floor && c.stores[s.StoreId] == nil
}

// nextEpoch is the one after the last of a volume's sessions that may write, or of a copyset: above
// the floor of a restore, over which no other can be.
func (c *cluster) nextEpoch(last uint64) uint64 {
	if c.restored == nil {
		return last + 1
	}
	return max(last, c.restored.Floor) + 1
}

// isSurvivor says whether a session that is not known may be one that was opened after the backup.
func (c *cluster) isSurvivor(req *v1.RenewSessionRequest) bool {
	return c.restored != nil && req.SessionId > c.restored.LastSession &&
		req.SessionId <= c.restored.Floor
}

// renewSurvivor takes a session up, as its client describes it. One whose volume the metadata do
// not know, or have in the trash, goes on without being known: that it is there keeps its volume.
func (c *cluster) renewSurvivor(req *v1.RenewSessionRequest, now time.Time) (
	*v1.RenewSessionResponse, error,
) {
	vol := c.volumes[req.VolumeId]
	switch {
	case vol == nil || vol.State == stateTrashed:
		c.noteUse(req, vol, now)
		return &v1.RenewSessionResponse{Valid: true}, nil
	case vol.State != stateOK:
		return &v1.RenewSessionResponse{Reason: "the volume was deleted"}, nil
	case !req.ReadOnly && req.Epoch < vol.Epoch:
		return &v1.RenewSessionResponse{
			Reason: "a newer session opened the volume for writing",
		}, nil
	}
	return c.takeUp(req, vol, now)
}

// takeUp writes a survivor's session down as if it had always been known.
func (c *cluster) takeUp(req *v1.RenewSessionRequest, vol *v1.Volume, now time.Time) (
	*v1.RenewSessionResponse, error,
) {
	if err := c.roomForSession(now); err != nil {
		return nil, err
	}
	rec := *vol
	if !req.ReadOnly {
		rec.Epoch = req.Epoch
	}
	s := &meta.Session{SessionID: req.SessionId, VolumeID: rec.VolumeId, Epoch: req.Epoch,
		ReadOnly: req.ReadOnly, Client: clip(req.Client, maxNameBytes), OpenedNS: now.UnixNano()}
	err := c.update(func(tx meta.Tx) error {
		return errors.Join(
			meta.Volumes.Put(tx, meta.ID(rec.VolumeId), &rec),
			meta.Sessions.Put(tx, meta.ID(s.SessionID), s))
	}, volumeNews("session-taken-up", &rec, "session %d of %q, from before the metadata were "+
		"restored, goes on", s.SessionID, s.Client))
	if err != nil {
		return nil, err
	}
	c.volumes[rec.VolumeId] = &rec
	c.sessions[s.SessionID] = &session{rec: s, expires: now.Add(c.cfg.SessionLease)}
	c.log.Info("session taken up", "volume", rec.Name, "session", s.SessionID, "epoch", s.Epoch,
		"client", s.Client)
	return &v1.RenewSessionResponse{Valid: true, Volume: &rec}, nil
}

// noteUse notes that somebody uses a volume that cannot be used by the metadata, and says so once.
func (c *cluster) noteUse(req *v1.RenewSessionRequest, vol *v1.Volume, now time.Time) {
	if _, told := c.used[req.VolumeId]; !told {
		if len(c.used) >= maxVolumes {
			return
		}
		text := "the metadata do not know: `ashlar control rebuild` finds it"
		if vol != nil {
			text = "the metadata have in the trash: `ashlar volume restore` brings it back"
		}
		c.tell(newEvent(eventWarning, "volume-forgotten", aVolume, req.VolumeId, vol.GetName(),
			"session %d of %q uses volume %d, which %s", req.SessionId,
			clip(req.Client, maxNameBytes), req.VolumeId, text))
	}
	c.used[req.VolumeId] = now
}

// usedLately says whether a client has a volume that the metadata say it cannot have.
func (c *cluster) usedLately(volume uint64, now time.Time) bool {
	at, used := c.used[volume]
	return used && now.Sub(at) < c.cfg.SessionLease
}

// checkUnused refuses to give a volume up that somebody may have open whom the metadata do not know
// yet: after a restore clients have the time of a lease to be heard of.
func (c *cluster) checkUnused(vol *v1.Volume) error {
	now := c.cfg.Now()
	if c.restored == nil {
		return nil
	}
	if c.usedLately(vol.VolumeId, now) {
		return admin.Errorf(admin.ErrBusy, "control: volume %s (%d) is in use by a client that "+
			"opened it before the metadata were restored", vol.Name, vol.VolumeId)
	}
	left := c.started.Add(c.cfg.SessionLease).Sub(now)
	if left <= 0 {
		return nil
	}
	return admin.Errorf(admin.ErrBusy, "control: volume %s: the metadata were restored, and "+
		"clients that have it open may not have been heard yet: try again in %v", vol.Name,
		left.Round(time.Second))
}

// isUnaccounted says whether a volume's number is from before a restore, of which it is not certain
// yet that the metadata have everything.
func (c *cluster) isUnaccounted(volume uint64) bool {
	return c.restored != nil && c.restored.RebuiltNS == 0 && volume <= c.restored.Floor
}

// checkGrown refuses to let a volume grow that may have grown after the backup: what was written
// behind its old end lies where the old mapping said, and a new one would hide it.
func (c *cluster) checkGrown(vol *v1.Volume) error {
	if c.restored == nil || vol.VolumeId > c.restored.Floor {
		return nil
	}
	for _, s := range c.sessionsOf(vol) {
		if s.rec.SessionID <= c.restored.Floor && !s.lapsed(c.cfg.Now()) && !superseded(s, vol) {
			return admin.Errorf(admin.ErrBusy, "control: volume %s: session %d of %q is from "+
				"before the metadata were restored, and may have it larger: it must end before "+
				"the volume can grow", vol.Name, s.rec.SessionID, s.rec.Client)
		}
	}
	if !c.isUnaccounted(vol.VolumeId) {
		return nil
	}
	return admin.Errorf(admin.ErrBusy, "control: volume %s may have grown between the backup and "+
		"the restore of the metadata: `ashlar control rebuild` looks, and lets it grow again",
		vol.Name)
}

// purgeTime is when a volume is given up that is in the trash. What was there at the time of a
// restore has its whole time anew: it may have been taken out of there after the backup.
func (c *cluster) purgeTime(vol *v1.Volume) int64 {
	if c.restored == nil || vol.TrashedUnixNs >= c.restored.TimeNS || vol.PurgeUnixNs == 0 {
		return vol.PurgeUnixNs
	}
	keep := max(vol.PurgeUnixNs-vol.TrashedUnixNs, int64(restoredKeep))
	return max(vol.PurgeUnixNs, c.restored.TimeNS+keep)
}

// forgottenNotes names the volumes that clients use and the metadata do not know.
func (c *cluster) forgottenNotes(now time.Time) []string {
	maps.DeleteFunc(c.used, func(id uint64, at time.Time) bool {
		vol := c.volumes[id]
		return now.Sub(at) >= forgetSession || vol != nil && vol.State == stateOK
	})
	var ids []uint64
	for _, id := range sortedIDs(c.used) {
		if c.usedLately(id, now) {
			ids = append(ids, id)
		}
	}
	if len(ids) == 0 {
		return nil
	}
	return []string{fmt.Sprintf("%d volumes are in use that the restored metadata do not have, or "+
		"have in the trash: %s", len(ids), listIDs(ids))}
}
