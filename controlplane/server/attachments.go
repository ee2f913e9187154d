package server

import (
	"cmp"
	"slices"
	"time"

	"github.com/ashlar-storage/ashlar/controlplane/meta"
	"github.com/ashlar-storage/ashlar/rpc/admin"
	v1 "github.com/ashlar-storage/ashlar/rpc/admin/kitex_gen/ashlar/v1"
)

// The states of an attachment, as operators see them.
const (
	attachedOK     = "ok"
	attachedSilent = "silent" // its lease ran out; it may come back
	attachedFenced = "fenced" // a newer session may write
)

// listAttachments shows the sessions of a volume, newest first.
func (c *cluster) listAttachments(req *v1.ListAttachmentsRequest) (
	*v1.ListAttachmentsResponse, error,
) {
	c.mu.Lock()
	defer c.mu.Unlock()
	vol, err := c.named(req.Volume)
	if err != nil {
		return nil, err
	}
	resp := &v1.ListAttachmentsResponse{}
	for _, s := range c.sessionsOf(vol) {
		resp.Attachments = append(resp.Attachments, s.show(vol, c.cfg.Now()))
	}
	return resp, nil
}

// sessionsOf is the sessions of a volume, newest first.
func (c *cluster) sessionsOf(vol *v1.Volume) []*session {
	var out []*session
	for _, s := range c.sessions {
		if s.rec.VolumeID == vol.VolumeId {
			out = append(out, s)
		}
	}
	slices.SortFunc(out, func(a, b *session) int {
		return cmp.Compare(b.rec.SessionID, a.rec.SessionID)
	})
	return out
}

func (s *session) show(vol *v1.Volume, now time.Time) *v1.Attachment {
	a := &v1.Attachment{SessionId: s.rec.SessionID, Epoch: s.rec.Epoch, ReadOnly: s.rec.ReadOnly,
		Client: s.rec.Client, OpenedUnixNs: s.rec.OpenedNS, State: attachedOK,
		LeaseLeftMs: s.expires.Sub(now).Milliseconds()}
	switch {
	case superseded(s, vol):
		a.State = attachedFenced
	case s.lapsed(now):
		a.State = attachedSilent
	}
	return a
}

// detachVolume ends sessions of a volume. The epoch of the answer is for the copysets: a session
// that may write is held back by them, and by nobody else.
func (c *cluster) detachVolume(req *v1.DetachVolumeRequest) (*v1.DetachVolumeResponse, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	vol, err := c.named(req.Volume)
	if err != nil {
		return nil, err
	}
	ended, err := c.toDetach(vol, req.SessionId)
	if err != nil {
		return nil, err
	}
	resp := &v1.DetachVolumeResponse{Volume: vol, ClusterId: c.id}
	raise := req.SessionId == 0 // it may have writers that were forgotten
	ids := make([]uint64, 0, len(ended))
	for _, s := range ended {
		ids = append(ids, s.rec.SessionID)
		resp.Detached = append(resp.Detached, s.show(vol, c.cfg.Now()))
		raise = raise || !s.rec.ReadOnly && !superseded(s, vol)
		if !s.rec.ReadOnly {
			resp.FenceEpoch = vol.Epoch
		}
	}
	if raise {
		rec := *vol
		rec.Epoch = c.nextEpoch(vol.Epoch)
		if err := c.update(func(tx meta.Tx) error {
			return meta.Volumes.Put(tx, meta.ID(rec.VolumeId), &rec)
		}); err != nil {
			return nil, err
		}
		c.volumes[rec.VolumeId] = &rec
		resp.Volume, resp.FenceEpoch = &rec, rec.Epoch
	}
	if err := c.dropSessions(ids...); err != nil {
		return nil, err
	}
	if len(ids) > 0 {
		c.tell(newEvent(eventWarning, "session-detached", aVolume, vol.VolumeId, vol.Name,
			"%d sessions of volume %s were ended by an operator", len(ids), vol.Name))
	}
	c.log.Info("volume detached", "volume", vol.Name, "sessions", ids, "epoch", resp.Volume.Epoch)
	return resp, nil
}

// toDetach is one session of a volume, or all of them when id is 0.
func (c *cluster) toDetach(vol *v1.Volume, id uint64) ([]*session, error) {
	if id == 0 {
		return c.sessionsOf(vol), nil
	}
	s := c.sessions[id]
	if s == nil || s.rec.VolumeID != vol.VolumeId {
		return nil, admin.Errorf(admin.ErrNotFound, "control: volume %s has no session %d",
			vol.Name, id)
	}
	return []*session{s}, nil
}
