package view

import ashlar "github.com/ashlar-storage/ashlar/rpc/admin/kitex_gen/ashlar/v1"

func spaceAnswer() *ashlar.GetSpaceResponse {
	return &ashlar.GetSpaceResponse{
		Pools: []*ashlar.PoolSpace{{PoolId: 1, Replicas: 3, Volumes: 2,
			ProvisionedBytes: 20 << 30, CapacityBytes: 200 << 30, UsedBytes: 96 << 30,
			FreeBytes: 94 << 30}},
		Stores: []*ashlar.StoreSpace{
			{StoreId: 1, Node: "n1", Path: "/srv/disk0", State: "up", CapacityBytes: 100 << 30,
				UsedBytes: 90 << 30, FreeBytes: 5 << 30, Level: "high",
				Space: &ashlar.Space{ChunkBytes: 90 << 30, ReadyBytes: 64 << 20,
					DamagedBytes: 16 << 20, LogBytes: 512 << 20, FreeBytes: 9 << 30,
					ChunkFileBytes: 16 << 20, HighBytes: 85 << 30, FullBytes: 95 << 30}},
			{StoreId: 2, Node: "n2", Path: "/srv/disk0", State: "offline",
				CapacityBytes: 100 << 30, UsedBytes: 6 << 30, FreeBytes: 94 << 30, Level: "ok"},
			{StoreId: 3, Node: "n3", Path: "/srv/disk0", State: "up", Level: "ok"}},
		Volumes: []*ashlar.VolumeSpace{
			{VolumeId: 1, Name: "db", State: "ok", PoolId: 1, ProvisionedBytes: 16 << 30,
				UsedBytes: 48 << 30, Chunks: 3072},
			{VolumeId: 2, Name: "old", State: "deleting", PoolId: 1, ProvisionedBytes: 4 << 30}}}
}
