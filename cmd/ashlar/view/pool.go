package view

import (
	"fmt"

	ashlar "github.com/ashlar-storage/ashlar/rpc/admin/kitex_gen/ashlar/v1"
)

// PoolGrowth is what came to a pool.
type PoolGrowth struct {
	PoolID         uint64 `json:"pool_id"`
	CopysetsBefore uint64 `json:"copysets_before"`
	Copysets       uint64 `json:"copysets"`
	Stores         uint64 `json:"stores"` // that could be used
}

// FromPoolGrowth makes the view of an answer.
func FromPoolGrowth(r *ashlar.GrowPoolResponse) PoolGrowth {
	return PoolGrowth{PoolID: r.GetPoolId(), CopysetsBefore: r.GetCopysetsBefore(),
		Copysets: r.GetCopysets(), Stores: r.GetStores()}
}

// Tables implements Tabler.
func (p PoolGrowth) Tables() []Table {
	grown := fmt.Sprintf("%d, there were %d", p.Copysets, p.CopysetsBefore)
	if p.Copysets == p.CopysetsBefore {
		grown = fmt.Sprintf("%d, enough for %d stores", p.Copysets, p.Stores)
	}
	return []Table{{Rows: [][]string{
		{"pool", num(p.PoolID)},
		{"stores", num(p.Stores)},
		{"copysets", grown},
	}}}
}
