package server

import (
	"cmp"
	"math"
	"time"

	"github.com/ashlar-storage/ashlar/controlplane/placement"
	"github.com/ashlar-storage/ashlar/rpc/admin"
	v1 "github.com/ashlar-storage/ashlar/rpc/admin/kitex_gen/ashlar/v1"
)

const (
	rebuildOthers = "others"
	rebuildPlace  = "place"
)

// assessed is what Assess is asked about a pool.
type assessed struct {
	stores []placement.Store
	sets   []placement.Copyset
	bytes  map[uint64]float64
	short  int // copysets that lack a replica now
}

// getPoolDurability computes what the copysets are worth, as they are now. The arithmetic runs
// without the lock: it takes a second for 65,536 copysets.
func (c *cluster) getPoolDurability(req *v1.GetPoolDurabilityRequest) (
	*v1.GetPoolDurabilityResponse, error,
) {
	m, err := modelOf(req)
	if err != nil {
		return nil, err
	}
	in, err := c.assessed(req)
	if err != nil {
		return nil, err
	}
	d, err := placement.Assess(in.stores, in.sets, in.bytes, m)
	if err != nil {
		return nil, admin.Errorf(admin.ErrInvalid, "control: durability: %v", err)
	}
	failures := cmp.Or(req.Failures, uint64(d.Replicas))
	if failures < uint64(d.Replicas) || failures > uint64(d.Stores) {
		return nil, admin.Errorf(admin.ErrInvalid, "control: failures %d: want %d, the replicas, "+
			"to %d, the stores", failures, d.Replicas, d.Stores)
	}
	resp := &v1.GetPoolDurabilityResponse{
		PoolId: poolID, Afr: m.AFR, RebuildBytesPerSecond: uint64(m.RebuildRate),
		RebuildAfterMs: m.Detect.Milliseconds(), Rebuild: rebuildOthers, Full: req.Full,
		Failures: failures, ShortCopysets: uint64(in.short),
		LossAtOnce: placement.LossAtOnce(d.Stores, d.Replicas, d.Distinct, int(failures)),
	}
	if m.InPlace {
		resp.Rebuild = rebuildPlace
	}
	fillDurability(resp, &d)
	return resp, nil
}

func fillDurability(resp *v1.GetPoolDurabilityResponse, d *placement.Durability) {
	resp.Stores, resp.Zones = uint64(d.Stores), uint64(d.Zones)
	resp.Replicas, resp.Copysets = uint64(d.Replicas), uint64(d.Copysets)
	resp.DistinctCopysets = uint64(d.Distinct)
	resp.ScatterWidthMin, resp.ScatterWidthMax = uint64(d.WidthMin), uint64(d.WidthMax)
	resp.ScatterWidthMean, resp.ConfinedStores = d.WidthMean, uint64(d.Confined)
	resp.RebuildMeanMs = d.RebuildMean.Milliseconds()
	resp.RebuildMaxMs = d.RebuildMax.Milliseconds()
	resp.StoredBytes = uint64(math.Round(d.StoredBytes))
	resp.LossesPerYear, resp.LostBytesPerYear = d.Losses, d.LostBytes
	resp.MinoritiesPerYear, resp.Nines = d.Minorities, d.Nines
}

// modelOf is the request's model, with defaults where it names none.
func modelOf(req *v1.GetPoolDurabilityRequest) (placement.Model, error) {
	m := placement.DefaultModel()
	set := func(field *float64, value float64) {
		if value != 0 {
			*field = value
		}
	}
	set(&m.AFR, req.Afr)
	set(&m.RebuildRate, float64(req.RebuildBytesPerSecond))
	switch {
	case req.RebuildAfterMs < 0:
		m.Detect = 0
	case req.RebuildAfterMs > int64(maxRebuildAfter/time.Millisecond):
		return m, admin.Errorf(admin.ErrInvalid, "control: rebuild_after_ms %d: want %d at most",
			req.RebuildAfterMs, maxRebuildAfter/time.Millisecond)
	case req.RebuildAfterMs > 0:
		m.Detect = time.Duration(req.RebuildAfterMs) * time.Millisecond
	}
	switch req.Rebuild {
	case "":
	case rebuildOthers, rebuildPlace:
		m.InPlace = req.Rebuild == rebuildPlace
	default:
		return m, admin.Errorf(admin.ErrInvalid, "control: rebuild %.40q: use %s or %s",
			req.Rebuild, rebuildOthers, rebuildPlace)
	}
	return m, nil
}

// assessed gathers the pool's copysets, its stores and what they hold.
func (c *cluster) assessed(req *v1.GetPoolDurabilityRequest) (in assessed, err error) {
	if err := c.checkAssess(req); err != nil {
		return in, err
	}
	given := map[uint64]uint64{} // by store; 0 is written too where a copyset lies
	c.inTurns(func(g *copyset, now time.Time) {
		var set placement.Copyset
		for _, m := range g.rec.Replicas {
			place := c.placeOf(m.StoreId)
			set = append(set, place)
			given[place] += c.mapped.bytes[g.rec.CopysetId]
		}
		in.sets = append(in.sets, set)
		if c.health(g, now) != stateOK {
			in.short++
		}
	})
	c.mu.Lock()
	defer c.mu.Unlock()
	in.bytes = map[uint64]float64{}
	for _, id := range sortedIDs(c.stores) {
		s := c.stores[id]
		if _, used := given[id]; s.rec.Replaced && !used {
			continue
		}
		in.stores = append(in.stores, placement.Store{ID: id,
			Zone: c.nodes[s.rec.NodeId].rec.Zone})
		in.bytes[id] = float64(holds(s, given[id], req.Full))
	}
	return in, nil
}

func (c *cluster) checkAssess(req *v1.GetPoolDurabilityRequest) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case req.PoolId != 0 && req.PoolId != poolID:
		return admin.Errorf(admin.ErrNotFound, "control: pool %d does not exist", req.PoolId)
	case len(c.order) == 0:
		return admin.Errorf(admin.ErrUnavailable, "control: no copysets yet: %s",
			c.waiting(c.cfg.Now()))
	}
	return nil
}

// holds is what a store holds, or could. One that has not reported is taken to hold all that
// volumes may have written there.
func holds(s *store, given uint64, full bool) uint64 {
	switch {
	case full:
		return s.rec.CapacityBytes
	case s.report == nil || s.report.CapacityBytes == 0:
		return min(given, s.rec.CapacityBytes)
	}
	return s.report.UsedBytes
}
