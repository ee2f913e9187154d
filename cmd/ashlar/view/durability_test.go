package view

import (
	"testing"
	"time"

	"github.com/ashlar-storage/ashlar/controlplane/placement"
	ashlar "github.com/ashlar-storage/ashlar/rpc/admin/kitex_gen/ashlar/v1"
)

func poolDurability() *ashlar.GetPoolDurabilityResponse {
	return &ashlar.GetPoolDurabilityResponse{PoolId: 1, Afr: 0.015,
		RebuildBytesPerSecond: 100 << 20, RebuildAfterMs: 900_000, Rebuild: "others",
		Full: true, Failures: 3, Stores: 12, Zones: 4, Replicas: 3, Copysets: 40,
		DistinctCopysets: 38, ScatterWidthMin: 5, ScatterWidthMax: 8, ScatterWidthMean: 6.25,
		ConfinedStores: 3, RebuildMeanMs: 9_000_000, RebuildMaxMs: 200_000_000,
		StoredBytes: 16 << 40, LossAtOnce: 0.17272727, LossesPerYear: 2.5e-9,
		LostBytesPerYear: 1.25, MinoritiesPerYear: 0.25, Nines: 10.75, ShortCopysets: 2}
}

func poolPlan() PoolPlan {
	p := placement.Planned{Stores: 999, Zones: 999, Replicas: 3, BytesEach: 3 << 40,
		Model: placement.Model{AFR: 0.02, RebuildRate: 50 << 20, Detect: 90 * time.Second}}
	worth := placement.Durability{Stores: 999, Zones: 999, Replicas: 3, Copysets: 333,
		Distinct: 333, WidthMin: 2, WidthMax: 2, WidthMean: 2, RebuildMean: 30 * time.Hour,
		RebuildMax: 60 * time.Hour, AtOnce: 333.0 / 165668499, Losses: 1.5e-8,
		LostBytes: 65536, Minorities: 0.0025, StoredBytes: 999 << 40, Nines: 10.25}
	wide, random := worth, worth
	wide.Copysets, wide.Distinct, wide.WidthMax, wide.WidthMean = 1665, 1660, 10, 9.5
	wide.RebuildMax = 500 * time.Millisecond
	random.Copysets, random.Distinct, random.Losses = 0, 165668499, 12
	random.LostBytes, random.Confined = 1e30, 999
	return FromPlan(p, 4<<40, []placement.Option{
		{ScatterWidth: 2, AtOnceOf: 3, LossAtOnce: worth.AtOnce, Durability: worth},
		{ScatterWidth: 10, AtOnceOf: 3, LossAtOnce: 1e-5, Durability: wide},
		{Random: true, AtOnceOf: 3, LossAtOnce: 1, Durability: random}})
}

func TestRatesAndSpansReadAsPeopleSayThem(t *testing.T) {
	for got, want := range map[string]string{
		often(0): "never", often(0.25): "0.25 times a year", often(0.002): "once in 500 years",
		lost(0.5): "0.5 B", lost(2048): "2.0 KiB", lost(1e30): "1e+30 B",
		span(500): "500ms", span(90_000): "1m30s", span(3 * 3600_000): "3h00m",
		span(72 * 3600_000): "3.0 days",
	} {
		if got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}
