package view

import (
	"fmt"
	"math"
	"time"

	"github.com/ashlar-storage/ashlar/controlplane/placement"
	ashlar "github.com/ashlar-storage/ashlar/rpc/admin/kitex_gen/ashlar/v1"
)

// Assumed is what the arithmetic of durability was told of stores.
type Assumed struct {
	AFR                   float64 `json:"afr"` // probability of failing within a year
	RebuildBytesPerSecond uint64  `json:"rebuild_bytes_per_second"`
	RebuildAfterMs        int64   `json:"rebuild_after_ms"`
	Rebuild               string  `json:"rebuild"` // others | place
}

// Worth is what a placement is worth.
type Worth struct {
	ScatterWidthMin  uint64  `json:"scatter_width_min"`
	ScatterWidthMean float64 `json:"scatter_width_mean"`
	ScatterWidthMax  uint64  `json:"scatter_width_max"`
	Copysets         uint64  `json:"copysets"` // 0: no bound
	DistinctCopysets float64 `json:"distinct_copysets"`
	ConfinedStores   uint64  `json:"confined_stores"`
	RebuildMeanMs    int64   `json:"rebuild_mean_ms"`
	RebuildMaxMs     int64   `json:"rebuild_max_ms"`
	StoredBytes      uint64  `json:"stored_bytes"`
	LossAtOnce       float64 `json:"loss_at_once"` // probability
	Losses           float64 `json:"losses_per_year"`
	LostBytes        float64 `json:"lost_bytes_per_year"`
	Minorities       float64 `json:"minorities_per_year"`
	Nines            float64 `json:"nines"`
}

// PoolDurability is what the copysets of a running pool are worth.
type PoolDurability struct {
	PoolID   uint64  `json:"pool_id"`
	Full     bool    `json:"full"` // as if every store were full
	Stores   uint64  `json:"stores"`
	Zones    uint64  `json:"zones"`
	Replicas uint64  `json:"replicas"`
	Failures uint64  `json:"failures"` // of loss_at_once
	Assumed  Assumed `json:"assumed"`
	Worth
	ShortCopysets uint64 `json:"short_copysets"`
}

// PoolPlan compares ways to place a pool that does not exist.
type PoolPlan struct {
	Stores        uint64       `json:"stores"`
	Zones         uint64       `json:"zones"`
	Replicas      uint64       `json:"replicas"`
	CapacityBytes uint64       `json:"capacity_bytes"` // of each store
	UsedBytes     uint64       `json:"used_bytes"`     // of each store
	Failures      uint64       `json:"failures"`
	Assumed       Assumed      `json:"assumed"`
	Options       []PlanOption `json:"options"`
}

// PlanOption is one way.
type PlanOption struct {
	Placement    string `json:"placement"` // disjoint | copysets | random
	ScatterWidth uint64 `json:"scatter_width"`
	Worth
}

// FromPoolDurability converts an answer.
func FromPoolDurability(r *ashlar.GetPoolDurabilityResponse) PoolDurability {
	return PoolDurability{PoolID: r.GetPoolId(), Full: r.GetFull(), Stores: r.GetStores(),
		Zones: r.GetZones(), Replicas: r.GetReplicas(), Failures: r.GetFailures(),
		Assumed: Assumed{AFR: r.GetAfr(), RebuildBytesPerSecond: r.GetRebuildBytesPerSecond(),
			RebuildAfterMs: r.GetRebuildAfterMs(), Rebuild: r.GetRebuild()},
		Worth: Worth{ScatterWidthMin: r.GetScatterWidthMin(),
			ScatterWidthMean: r.GetScatterWidthMean(), ScatterWidthMax: r.GetScatterWidthMax(),
			Copysets: r.GetCopysets(), DistinctCopysets: float64(r.GetDistinctCopysets()),
			ConfinedStores: r.GetConfinedStores(), RebuildMeanMs: r.GetRebuildMeanMs(),
			RebuildMaxMs: r.GetRebuildMaxMs(), StoredBytes: r.GetStoredBytes(),
			LossAtOnce: r.GetLossAtOnce(), Losses: r.GetLossesPerYear(),
			LostBytes: r.GetLostBytesPerYear(), Minorities: r.GetMinoritiesPerYear(),
			Nines: r.GetNines()},
		ShortCopysets: r.GetShortCopysets()}
}

// FromPlan converts a plan and its options.
func FromPlan(p placement.Planned, capacity uint64, options []placement.Option) PoolPlan {
	rebuild := "others"
	if p.Model.InPlace {
		rebuild = "place"
	}
	plan := PoolPlan{Stores: uint64(p.Stores), Zones: uint64(p.Zones),
		Replicas: uint64(p.Replicas), CapacityBytes: capacity, UsedBytes: uint64(p.BytesEach),
		Assumed: Assumed{AFR: p.Model.AFR, RebuildBytesPerSecond: uint64(p.Model.RebuildRate),
			RebuildAfterMs: p.Model.Detect.Milliseconds(), Rebuild: rebuild}}
	plan.Options = convert(options, func(o placement.Option) PlanOption {
		plan.Failures = uint64(o.AtOnceOf)
		way := "copysets"
		switch {
		case o.Random:
			way = "random"
		case o.ScatterWidth < p.Replicas:
			way = "disjoint"
		}
		return PlanOption{Placement: way, ScatterWidth: uint64(o.ScatterWidth),
			Worth: fromDurability(&o.Durability, o.LossAtOnce)}
	})
	return plan
}

func fromDurability(d *placement.Durability, atOnce float64) Worth {
	return Worth{ScatterWidthMin: uint64(d.WidthMin), ScatterWidthMean: d.WidthMean,
		ScatterWidthMax: uint64(d.WidthMax), Copysets: uint64(d.Copysets),
		DistinctCopysets: d.Distinct, ConfinedStores: uint64(d.Confined),
		RebuildMeanMs: d.RebuildMean.Milliseconds(), RebuildMaxMs: d.RebuildMax.Milliseconds(),
		StoredBytes: uint64(math.Round(d.StoredBytes)), LossAtOnce: atOnce, Losses: d.Losses,
		LostBytes: d.LostBytes, Minorities: d.Minorities, Nines: d.Nines}
}

func (a Assumed) text() string {
	onto := "shared by the other stores"
	if a.Rebuild == "place" {
		onto = "onto a new disk in its place"
	}
	return fmt.Sprintf("%.4g %% of the stores fail in a year; a rebuild begins after %s, %s, "+
		"%s/s of each store", 100*a.AFR, span(a.RebuildAfterMs), onto,
		bytesText(a.RebuildBytesPerSecond))
}

// count writes a number that may be beyond all integers.
func count(n float64) string {
	if n < 1e7 {
		return fmt.Sprintf("%.0f", n)
	}
	return fmt.Sprintf("%.4g", n)
}

// span writes milliseconds with the units that matter.
func span(ms int64) string {
	d := time.Duration(ms) * time.Millisecond
	switch {
	case d >= 48*time.Hour:
		return fmt.Sprintf("%.1f days", d.Hours()/24)
	case d >= time.Hour:
		return fmt.Sprintf("%dh%02dm", int(d.Hours()), int(d.Minutes())%60)
	case d >= time.Second:
		return d.Round(time.Second).String()
	}
	return d.Round(time.Millisecond).String()
}

// often writes a rate per year.
func often(perYear float64) string {
	switch {
	case perYear == 0:
		return "never"
	case perYear >= 0.1:
		return fmt.Sprintf("%.3g times a year", perYear)
	}
	return fmt.Sprintf("once in %.3g years", 1/perYear)
}

// lost writes bytes that may be far less than one.
func lost(bytes float64) string {
	switch {
	case bytes >= math.MaxInt64:
		return fmt.Sprintf("%.3g B", bytes)
	case bytes >= 1024:
		return bytesText(uint64(bytes))
	}
	return fmt.Sprintf("%.3g B", bytes)
}

// Tables implements Tabler.
func (p PoolDurability) Tables() []Table {
	stored := fmt.Sprintf("%s, %d times", bytesText(p.StoredBytes), p.Replicas)
	if p.Full {
		stored += ", as if every store were full"
	}
	t := Table{Rows: [][]string{
		{"pool", num(p.PoolID)},
		{"stores", fmt.Sprintf("%d in %d zones", p.Stores, p.Zones)},
		{"copysets", fmt.Sprintf("%d of %d replicas, on %.0f distinct groups of stores",
			p.Copysets, p.Replicas, p.DistinctCopysets)},
		{"scatter width", fmt.Sprintf("%.1f, from %d to %d", p.ScatterWidthMean,
			p.ScatterWidthMin, p.ScatterWidthMax)},
		{"stored", stored},
		{"assumed", p.Assumed.text()},
		{"rebuild", fmt.Sprintf("%s for a store, %s at most", span(p.RebuildMeanMs),
			span(p.RebuildMaxMs))},
		{"data loss", fmt.Sprintf("%s; %s a year on average, %.1f nines", often(p.Losses),
			lost(p.LostBytes), p.Nines)},
		{"majority lost", often(p.Minorities)},
		{"at once", fmt.Sprintf("%d stores that fail together lose data with a probability of %.3g",
			p.Failures, p.LossAtOnce)},
	}}
	if p.ConfinedStores > 0 {
		t.Rows = append(t.Rows, []string{"note", fmt.Sprintf("the replicas of %d stores can go to "+
			"no other store: without a new disk they stay lost", p.ConfinedStores)})
	}
	if p.ShortCopysets > 0 {
		t.Rows = append(t.Rows, []string{"note", fmt.Sprintf("%d copysets lack a replica now and "+
			"are nearer to loss than the rates say", p.ShortCopysets)})
	}
	return []Table{t}
}

// Tables implements Tabler.
func (p PoolPlan) Tables() []Table {
	head := Table{Rows: [][]string{
		{"stores", fmt.Sprintf("%d in %d zones, %s each, %s of it used", p.Stores, p.Zones,
			bytesText(p.CapacityBytes), bytesText(p.UsedBytes))},
		{"assumed", p.Assumed.text()},
	}}
	t := Table{Heading: []string{"WIDTH", "COPYSETS", "REBUILD",
		fmt.Sprintf("LOSS IF %d FAIL AT ONCE", p.Failures), "LOSSES/YEAR", "LOST/YEAR",
		"MAJORITY LOST/YEAR", "NINES"}}
	for _, o := range p.Options {
		if o.ConfinedStores > 0 && len(head.Rows) == 2 {
			head.Rows = append(head.Rows, []string{"note", fmt.Sprintf("the replicas of %d "+
				"stores can go to no other store: a new disk is needed", o.ConfinedStores)})
		}
		width, copysets := num(o.ScatterWidth), num(o.Copysets)
		if o.Placement != "copysets" {
			width = o.Placement
		}
		if o.Copysets == 0 {
			copysets = count(o.DistinctCopysets)
		}
		t.Rows = append(t.Rows, []string{width, copysets, span(o.RebuildMaxMs),
			fmt.Sprintf("%.3g", o.LossAtOnce), fmt.Sprintf("%.3g", o.Losses), lost(o.LostBytes),
			fmt.Sprintf("%.3g", o.Minorities), fmt.Sprintf("%.1f", o.Nines)})
	}
	return []Table{head, t}
}
