package view

import (
	"fmt"

	ashlar "github.com/ashlar-storage/ashlar/rpc/admin/kitex_gen/ashlar/v1"
)

// Space is what pools, stores and volumes take.
type Space struct {
	Pools   []PoolSpace   `json:"pools"`
	Stores  []StoreSpace  `json:"stores"`
	Volumes []VolumeSpace `json:"volumes"`
}

// PoolSpace is a pool's: capacity, used and free have all copies in them, provisioned has one.
type PoolSpace struct {
	ID               uint64 `json:"id"`
	Replicas         uint64 `json:"replicas"`
	Volumes          uint64 `json:"volumes"`
	ProvisionedBytes uint64 `json:"provisioned_bytes"`
	CapacityBytes    uint64 `json:"capacity_bytes"`
	UsedBytes        uint64 `json:"used_bytes"`
	FreeBytes        uint64 `json:"free_bytes"`
}

// StoreSpace is a store's: held is all that it has on its disk.
type StoreSpace struct {
	ID            uint64 `json:"id"`
	Node          string `json:"node"`
	Path          string `json:"path"`
	State         string `json:"state"`
	Level         string `json:"level"`
	CapacityBytes uint64 `json:"capacity_bytes"`
	UsedBytes     uint64 `json:"used_bytes"`
	FreeBytes     uint64 `json:"free_bytes"`
	ReadyBytes    uint64 `json:"ready_bytes"`
	DamagedBytes  uint64 `json:"damaged_bytes"`
	LogBytes      uint64 `json:"log_bytes"`
	HeldBytes     uint64 `json:"held_bytes"`
	DiskFreeBytes uint64 `json:"disk_free_bytes"`
	HighBytes     uint64 `json:"high_bytes"`
	FullBytes     uint64 `json:"full_bytes"`
}

// VolumeSpace is a volume's: used has all copies in it.
type VolumeSpace struct {
	ID               uint64 `json:"id"`
	Name             string `json:"name"`
	State            string `json:"state"`
	PoolID           uint64 `json:"pool_id"`
	ProvisionedBytes uint64 `json:"provisioned_bytes"`
	UsedBytes        uint64 `json:"used_bytes"`
	Chunks           uint64 `json:"chunks"`
}

// FromSpace converts an answer.
func FromSpace(r *ashlar.GetSpaceResponse) Space {
	return Space{Pools: convert(r.GetPools(), fromPoolSpace),
		Stores: convert(r.GetStores(), fromStoreSpace),
		Volumes: convert(r.GetVolumes(), func(v *ashlar.VolumeSpace) VolumeSpace {
			return VolumeSpace{ID: v.GetVolumeId(), Name: v.GetName(), State: v.GetState(),
				PoolID: v.GetPoolId(), ProvisionedBytes: v.GetProvisionedBytes(),
				UsedBytes: v.GetUsedBytes(), Chunks: v.GetChunks()}
		})}
}

func fromPoolSpace(p *ashlar.PoolSpace) PoolSpace {
	return PoolSpace{ID: p.GetPoolId(), Replicas: p.GetReplicas(), Volumes: p.GetVolumes(),
		ProvisionedBytes: p.GetProvisionedBytes(), CapacityBytes: p.GetCapacityBytes(),
		UsedBytes: p.GetUsedBytes(), FreeBytes: p.GetFreeBytes()}
}

func fromStoreSpace(s *ashlar.StoreSpace) StoreSpace {
	sp := s.GetSpace()
	return StoreSpace{ID: s.GetStoreId(), Node: s.GetNode(), Path: s.GetPath(),
		State: s.GetState(), Level: s.GetLevel(), CapacityBytes: s.GetCapacityBytes(),
		UsedBytes: s.GetUsedBytes(), FreeBytes: s.GetFreeBytes(),
		ReadyBytes: sp.GetReadyBytes(), DamagedBytes: sp.GetDamagedBytes(),
		LogBytes: sp.GetLogBytes(), DiskFreeBytes: sp.GetFreeBytes(),
		HeldBytes: sp.GetChunkBytes() + sp.GetReadyBytes() + sp.GetDamagedBytes() +
			sp.GetLogBytes(),
		HighBytes: sp.GetHighBytes(), FullBytes: sp.GetFullBytes()}
}

// Tables implements Tabler.
func (s Space) Tables() []Table {
	pools := Table{Heading: []string{"POOL", "VOLUMES", "PROVISIONED", "REPLICAS", "CAPACITY",
		"USED", "FREE", "USED %"}}
	for _, p := range s.Pools {
		pools.Rows = append(pools.Rows, []string{num(p.ID), num(p.Volumes),
			bytesText(p.ProvisionedBytes), num(p.Replicas), bytesText(p.CapacityBytes),
			bytesText(p.UsedBytes), bytesText(p.FreeBytes), percent(p.UsedBytes, p.CapacityBytes)})
	}
	stores := Table{Heading: []string{"STORE", "NODE", "STATE", "LEVEL", "CAPACITY", "USED",
		"FREE", "USED %", "READY", "LOG", "HELD", "PATH"}}
	for _, t := range s.Stores {
		stores.Rows = append(stores.Rows, []string{num(t.ID), t.Node, t.State, t.Level,
			bytesText(t.CapacityBytes), bytesText(t.UsedBytes), bytesText(t.FreeBytes),
			percent(t.UsedBytes, t.CapacityBytes), bytesText(t.ReadyBytes), bytesText(t.LogBytes),
			bytesText(t.HeldBytes), t.Path})
	}
	volumes := Table{Heading: []string{"VOLUME", "NAME", "STATE", "PROVISIONED", "USED", "CHUNKS"}}
	for _, v := range s.Volumes {
		volumes.Rows = append(volumes.Rows, []string{num(v.ID), v.Name, v.State,
			bytesText(v.ProvisionedBytes), bytesText(v.UsedBytes), num(v.Chunks)})
	}
	return []Table{pools, stores, volumes}
}

func percent(n, of uint64) string {
	if of == 0 {
		return "-"
	}
	return fmt.Sprintf("%.1f", 100*float64(n)/float64(of))
}
