package client

import (
	"context"
	"fmt"
	"time"

	v1 "github.com/ashlar-storage/ashlar/rpc/admin/kitex_gen/ashlar/v1"
)

// beginRenewal keeps the session alive from now on.
func (v *Volume) beginRenewal() {
	v.renews.Add(1)
	go v.renew(v.ctx)
}

// renew keeps the session alive at the control plane. A control plane that cannot be reached does
// not stop the volume: the replicas themselves fence a session that was replaced.
func (v *Volume) renew(ctx context.Context) {
	defer v.renews.Done()
	every := min(max(v.lease/3, renewMin), renewMax)
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	broken := false
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		err := v.renewOnce(ctx)
		switch {
		case ctx.Err() != nil:
			return
		case err != nil && !broken:
			v.c.log.Warn("client: session not renewed", "volume", v.name, "err", err)
		case err == nil && broken:
			v.c.log.Info("client: session renewed again", "volume", v.name)
		}
		broken = err != nil
		if v.failed() != nil {
			return
		}
	}
}

func (v *Volume) renewOnce(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, controlTimeout)
	defer cancel()
	resp, err := v.c.control.RenewSession(ctx, &v1.RenewSessionRequest{SessionId: v.session,
		VolumeId: v.id, Epoch: v.epoch, ReadOnly: v.readOnly, Client: v.c.cfg.Name})
	if err != nil {
		return err
	}
	if !resp.Valid {
		v.fail(fmt.Errorf("%w: %s", ErrFenced, resp.Reason))
		v.c.log.Error("client: session is void", "volume", v.name, "reason", resp.Reason)
	}
	v.learn(resp.Volume)
	return nil
}

// learn takes over a size that the control plane gave the volume since. A session that was fenced
// never learns of one, as its renewal is refused: whoever fenced it opened the volume, and so told
// the copysets of the size that it had by then, before any growth of which that renewal could tell.
func (v *Volume) learn(now *v1.Volume) {
	v.learning.Lock()
	defer v.learning.Unlock()
	size := int64(now.GetSizeBytes())
	if size <= v.Size() || now.GetSizeBytes() >= 1<<62 {
		return
	}
	v.c.log.Info("client: volume has grown", "volume", v.name, "from", v.Size(), "to", size)
	v.grow(size)
}
