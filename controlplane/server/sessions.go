package server

import (
	"errors"
	"time"

	"github.com/ashlar-storage/ashlar/controlplane/meta"
	"github.com/ashlar-storage/ashlar/rpc/admin"
	v1 "github.com/ashlar-storage/ashlar/rpc/admin/kitex_gen/ashlar/v1"
)

// openVolume starts a session. One that may write raises the volume's epoch, which fences every
// session before it; copysets learn the epoch from the client's requests.
func (c *cluster) openVolume(req *v1.OpenVolumeRequest) (*v1.OpenVolumeResponse, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.cfg.Now()
	vol, err := c.named(req.Name)
	if err != nil {
		return nil, err
	}
	if err := c.roomForSession(now); err != nil {
		return nil, err
	}
	rec := *vol
	if !req.ReadOnly {
		rec.Epoch = c.nextEpoch(vol.Epoch)
	}
	s := &meta.Session{
		VolumeID: rec.VolumeId, Epoch: rec.Epoch, ReadOnly: req.ReadOnly,
		Client: clip(req.Client, maxNameBytes), OpenedNS: now.UnixNano(),
	}
	var told []news
	if old := c.writer(vol); old != nil && !req.ReadOnly && !old.lapsed(now) {
		told = append(told, func() *meta.Event {
			return newEvent(eventWarning, "session-fenced", aVolume, rec.VolumeId, rec.Name,
				"session %d of %q may not write volume %s any more: session %d of %q opened it",
				old.rec.SessionID, old.rec.Client, rec.Name, s.SessionID, s.Client)
		})
	}
	err = c.update(func(tx meta.Tx) (err error) {
		if s.SessionID, err = meta.NextID(tx, meta.CounterSession); err != nil {
			return err
		}
		return errors.Join(
			meta.Volumes.Put(tx, meta.ID(rec.VolumeId), &rec),
			meta.Sessions.Put(tx, meta.ID(s.SessionID), s))
	}, told...)
	if err != nil {
		return nil, err
	}
	c.volumes[rec.VolumeId] = &rec
	c.sessions[s.SessionID] = &session{rec: s, expires: now.Add(c.cfg.SessionLease)}
	c.log.Info("volume opened", "volume", rec.Name, "session", s.SessionID, "epoch", s.Epoch,
		"read_only", s.ReadOnly, "client", s.Client)
	return &v1.OpenVolumeResponse{
		Volume: &rec, SessionId: s.SessionID, Epoch: s.Epoch, ClusterId: c.id,
		LeaseMs: c.cfg.SessionLease.Milliseconds(),
	}, nil
}

// roomForSession forgets the session that lapsed first when there are too many.
func (c *cluster) roomForSession(now time.Time) error {
	if len(c.sessions) < maxSessions {
		return nil
	}
	oldest := uint64(0)
	for id, s := range c.sessions {
		if s.lapsed(now) && (oldest == 0 || s.expires.Before(c.sessions[oldest].expires)) {
			oldest = id
		}
	}
	if oldest == 0 {
		return admin.Errorf(admin.ErrBusy, "control: there are %d sessions, no more are opened",
			maxSessions)
	}
	return c.dropSessions(oldest)
}

// renewSession answers whether the session still holds; that it does not is no error, but it is
// final. A session whose lease ran out holds again when nobody opened the volume after it: the
// copysets still honour its epoch, so nothing can have come between its writes.
func (c *cluster) renewSession(req *v1.RenewSessionRequest) (*v1.RenewSessionResponse, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.cfg.Now()
	s := c.sessions[req.SessionId]
	if s == nil && c.isSurvivor(req) {
		return c.renewSurvivor(req, now)
	}
	if s == nil {
		return &v1.RenewSessionResponse{
			Reason: "the session was closed or detached, or silent for too long",
		}, nil
	}
	vol := c.volumes[s.rec.VolumeID]
	switch {
	case vol == nil || vol.State != stateOK:
		return &v1.RenewSessionResponse{Reason: "the volume was deleted"}, nil
	case superseded(s, vol):
		return &v1.RenewSessionResponse{
			Reason: "a newer session opened the volume for writing",
		}, nil
	}
	if s.lapsed(now) {
		c.log.Info("session is back after its lease ran out", "session", s.rec.SessionID,
			"client", s.rec.Client, "silent", now.Sub(s.expires)+c.cfg.SessionLease)
	}
	s.expires = now.Add(c.cfg.SessionLease)
	return &v1.RenewSessionResponse{Valid: true, Volume: vol}, nil
}

// lapsed says that the lease ran out: the session protects its volume no longer.
func (s *session) lapsed(now time.Time) bool { return !now.Before(s.expires) }

func superseded(s *session, vol *v1.Volume) bool {
	return !s.rec.ReadOnly && s.rec.Epoch < vol.Epoch
}

// closeSession ends a session; one that is gone already is no error.
func (c *cluster) closeSession(req *v1.CloseSessionRequest) (*v1.CloseSessionResponse, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.dropSessions(req.SessionId); err != nil {
		return nil, err
	}
	return &v1.CloseSessionResponse{}, nil
}

func (c *cluster) dropSessions(ids ...uint64) error {
	var known []uint64
	for _, id := range ids {
		if c.sessions[id] != nil {
			known = append(known, id)
		}
	}
	if len(known) == 0 {
		return nil
	}
	err := c.update(func(tx meta.Tx) error {
		for _, id := range known {
			if err := meta.Sessions.Delete(tx, meta.ID(id)); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	for _, id := range known {
		delete(c.sessions, id)
	}
	return nil
}

// expireSessions forgets lapsed sessions that cannot come back: those whose volume is gone or
// was opened by another, and those silent for forgetSession.
func (c *cluster) expireSessions(now time.Time) error {
	var ids []uint64
	for id, s := range c.sessions {
		if !s.lapsed(now) {
			continue
		}
		vol := c.volumes[s.rec.VolumeID]
		gone := vol == nil || vol.State != stateOK || superseded(s, vol)
		if gone || now.Sub(s.expires) >= forgetSession {
			ids = append(ids, id)
			c.log.Info("session ended", "session", id, "client", s.rec.Client)
		}
	}
	return c.dropSessions(ids...)
}

// writer returns the session that may write the volume, or nil.
func (c *cluster) writer(vol *v1.Volume) *session {
	for _, s := range c.sessions {
		if s.rec.VolumeID == vol.VolumeId && !s.rec.ReadOnly && !superseded(s, vol) {
			return s
		}
	}
	return nil
}

// holder returns a session that keeps the volume from being deleted, or nil.
func (c *cluster) holder(vol *v1.Volume) *session {
	now := c.cfg.Now()
	for _, id := range sortedIDs(c.sessions) {
		s := c.sessions[id]
		if s.rec.VolumeID == vol.VolumeId && !s.lapsed(now) && !superseded(s, vol) {
			return s
		}
	}
	return nil
}
