package server

import (
	"fmt"
	"time"

	v1 "github.com/ashlar-storage/ashlar/rpc/admin/kitex_gen/ashlar/v1"
)

// What the disks hold is told by the nodes: the files of chunks and of the log with each heartbeat,
// and how many chunks each volume has on a store whenever that changed. So what is shown matches
// the disks, as of the last heartbeat, and costs nobody a walk through them.

// wantVolumes is for how long a list of volumes may be behind what its store says that it has,
// until it is asked for. A node sends it by itself before that.
const wantVolumes = 10 * time.Second

// How full a store is.
const (
	levelOK   = "ok"
	levelHigh = "high"
	levelFull = "full"
)

// takeSpace keeps what a store says of its space, and its list of volumes, apart. It reports
// whether there was one.
func (s *store) takeSpace(sp *v1.Space, now time.Time) bool {
	if sp == nil || !sp.VolumesPresent {
		return false
	}
	s.volumes = make(map[uint64]uint64, min(len(sp.Volumes), maxVolumes))
	for _, v := range sp.Volumes[:min(len(sp.Volumes), maxVolumes)] {
		s.volumes[v.GetVolumeId()] = v.GetChunks()
	}
	s.volumesVersion, s.volumesAt = sp.VolumesVersion, now
	sp.Volumes, sp.VolumesPresent = nil, false
	return true
}

// lacksVolumes reports whether the lists of a node's stores are to be sent: after a start of the
// control plane there are none.
func (c *cluster) lacksVolumes(n *node, now time.Time) bool {
	for id := range n.stores {
		s := c.stores[id]
		sp := s.report.GetSpace()
		if sp != nil && sp.VolumesVersion != s.volumesVersion &&
			(s.volumes == nil || now.Sub(s.volumesAt) > wantVolumes) {
			return true
		}
	}
	return false
}

// usable is what chunks may take on a store before new ones are refused.
func (s *store) usable() uint64 {
	if full := s.report.GetSpace().GetFullBytes(); full > 0 {
		return min(full, s.rec.CapacityBytes)
	}
	return s.rec.CapacityBytes
}

// level is how full a store is, by its marks and its own word.
func (s *store) level() string {
	sp, used := s.report.GetSpace(), s.report.GetUsedBytes()
	switch {
	case s.report.GetState() == stateFull, sp.GetFullBytes() > 0 && used >= sp.GetFullBytes():
		return levelFull
	case sp.GetHighBytes() > 0 && used >= sp.GetHighBytes():
		return levelHigh
	}
	return levelOK
}

// spaceNotes names stores that fill up. Nothing is wrong with them yet.
func (c *cluster) spaceNotes(now time.Time) []string {
	var notes []string
	for _, id := range sortedIDs(c.stores) {
		s := c.stores[id]
		n := c.nodes[s.rec.NodeId]
		if s.rec.Replaced || s.level() != levelHigh || !c.up(n, now) {
			continue
		}
		notes = append(notes, fmt.Sprintf("store %d (%s on node %s) fills up: chunks take %s of "+
			"%s, and new ones are refused from %s on: delete volumes, or add stores", id,
			s.rec.Path, n.rec.Name, human(float64(s.report.GetUsedBytes())),
			human(float64(s.rec.CapacityBytes)), human(float64(s.usable()))))
	}
	return notes
}

func (c *cluster) getSpace(*v1.GetSpaceRequest) (*v1.GetSpaceResponse, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.cfg.Now()
	resp := &v1.GetSpaceResponse{}
	pool := &v1.PoolSpace{PoolId: poolID, Replicas: uint64(c.replicasPerBlock())}
	used, chunks := map[uint64]uint64{}, map[uint64]uint64{} // by volume
	for _, id := range sortedIDs(c.stores) {
		s := c.stores[id]
		if s.rec.Replaced {
			continue
		}
		shown := c.storeSpace(s, now)
		resp.Stores = append(resp.Stores, shown)
		pool.CapacityBytes += shown.CapacityBytes
		pool.UsedBytes += shown.UsedBytes
		pool.FreeBytes += shown.FreeBytes
		for volume, n := range s.volumes {
			chunks[volume] += n
			used[volume] += n * shown.Space.GetChunkFileBytes()
		}
	}
	for _, id := range sortedIDs(c.volumes) {
		v := c.volumes[id]
		resp.Volumes = append(resp.Volumes, &v1.VolumeSpace{VolumeId: id, Name: v.Name,
			State: v.State, PoolId: v.PoolId, ProvisionedBytes: v.SizeBytes, UsedBytes: used[id],
			Chunks: chunks[id]})
		pool.Volumes++
		pool.ProvisionedBytes += v.SizeBytes
	}
	resp.Pools = []*v1.PoolSpace{pool}
	return resp, nil
}

func (c *cluster) storeSpace(s *store, now time.Time) *v1.StoreSpace {
	used := s.report.GetUsedBytes()
	state, _ := c.storeUp(s, now)
	out := &v1.StoreSpace{StoreId: s.rec.StoreId, Path: s.rec.Path, State: state,
		CapacityBytes: s.rec.CapacityBytes, UsedBytes: used, Space: s.report.GetSpace(),
		FreeBytes: s.usable() - min(s.usable(), used), Level: s.level()}
	if n := c.nodes[s.rec.NodeId]; n != nil {
		out.Node = n.rec.Name
	}
	return out
}
