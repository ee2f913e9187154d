package server

import (
	"errors"
	"time"

	"github.com/ashlar-storage/ashlar/controlplane/placement"
	"github.com/ashlar-storage/ashlar/rpc/admin"
	v1 "github.com/ashlar-storage/ashlar/rpc/admin/kitex_gen/ashlar/v1"
)

// A pool that gets more stores needs more copysets in time: with fewer replicas than stores some
// hold nothing, and what one volume does has no more leaders than there are. They are made when
// somebody says so, as each makes batches of its own and there is no way back: chunks stay in the
// copyset that they were given to.

// growPool makes copysets beside those that there are.
func (c *cluster) growPool(req *v1.GrowPoolRequest) (*v1.GrowPoolResponse, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.cfg.Now()
	if err := c.checkGrow(req, now); err != nil {
		return nil, err
	}
	have, places := len(c.order), c.places(now)
	resp := &v1.GrowPoolResponse{PoolId: poolID, CopysetsBefore: uint64(have),
		Copysets: req.Copysets, Stores: uint64(len(places))}
	if req.Copysets == 0 {
		resp.Copysets = uint64(max(have, c.copysetCount(len(places))))
	}
	more := int(resp.Copysets) - have
	if more == 0 {
		return resp, nil
	}
	sets, err := placement.Grow(places, c.placed(), placement.Params{Replicas: c.cfg.Replicas,
		Copysets: more, ScatterWidth: c.cfg.ScatterWidth, Seed: seed(c.id) + uint64(have)})
	if errors.Is(err, placement.ErrImpossible) {
		return nil, admin.Errorf(admin.ErrUnavailable, "control: copysets cannot be placed on the "+
			"stores that are up and not drained: %v", err)
	}
	if err == nil {
		err = c.found(sets, len(places))
	}
	if err != nil {
		return nil, err
	}
	return resp, nil
}

func (c *cluster) checkGrow(req *v1.GrowPoolRequest, now time.Time) error {
	if err := checkPool(req.PoolId); err != nil {
		return err
	}
	switch have := len(c.order); {
	case have == 0:
		return admin.Errorf(admin.ErrUnavailable, "control: no copysets yet: %s", c.waiting(now))
	case c.anyUnsettled():
		return admin.Errorf(admin.ErrBusy, "control: copysets are not confirmed yet: %v",
			c.settleProblems())
	case req.Copysets > maxCopysets:
		return admin.Errorf(admin.ErrInvalid, "control: copysets: %d, want at most %d",
			req.Copysets, maxCopysets)
	case req.Copysets != 0 && req.Copysets <= uint64(have):
		return admin.Errorf(admin.ErrInvalid, "control: copysets: %d, the pool has %d already, "+
			"and none is ever taken away: name more", req.Copysets, have)
	}
	return nil
}

// placed is where the copysets lie.
func (c *cluster) placed() []placement.Copyset {
	sets := make([]placement.Copyset, 0, len(c.order))
	for _, id := range c.order {
		sets = append(sets, c.setOf(c.copysets[id]))
	}
	return sets
}
