package server

import (
	"math"
	"testing"
	"time"

	"github.com/ashlar-storage/ashlar/rpc/admin"
	v1 "github.com/ashlar-storage/ashlar/rpc/admin/kitex_gen/ashlar/v1"
)

func (w *world) durability(req *v1.GetPoolDurabilityRequest) *v1.GetPoolDurabilityResponse {
	w.t.Helper()
	resp, err := w.Admin.GetPoolDurability(ctx, req)
	w.ok(err)
	return resp
}

// Three stores hold every copyset: whatever their number, it is one triple, with the rates of the
// textbook: 3 l^3 T^2 to lose all, 6 l^2 T to lose two of three.
func TestDurabilityIsThatOfTheCopysetsAsTheyAre(t *testing.T) {
	w := newWorld(t, 3, nil)
	d := w.durability(&v1.GetPoolDurabilityRequest{Afr: 0.1, RebuildBytesPerSecond: 10 << 20,
		RebuildAfterMs: -1, Full: true})
	if d.PoolId != 1 || d.Stores != 3 || d.Zones != 3 || d.Replicas != 3 || d.Copysets != 6 ||
		d.DistinctCopysets != 1 || d.ScatterWidthMin != 2 || d.ScatterWidthMax != 2 ||
		d.ConfinedStores != 3 || d.Failures != 3 || d.LossAtOnce != 1 || d.ShortCopysets != 0 ||
		d.Rebuild != "others" || d.Afr != 0.1 || d.StoredBytes != 100<<30 {
		t.Errorf("%+v", d)
	}
	if d.RebuildMeanMs != 10240_000 || d.RebuildMaxMs != d.RebuildMeanMs || d.RebuildAfterMs != 0 {
		t.Errorf("100 GiB at 10 MiB/s: %d ms", d.RebuildMeanMs)
	}
	rate, years := -math.Log(0.9), 10240/(365.25*86400)
	if want := 3 * math.Pow(rate, 3) * years * years; math.Abs(d.LossesPerYear/want-1) > 1e-3 ||
		math.Abs(d.LostBytesPerYear/want/(100<<30)-1) > 1e-3 {
		t.Errorf("losses %v, want %v; %v bytes", d.LossesPerYear, want, d.LostBytesPerYear)
	}
	if want := 6 * rate * rate * years; math.Abs(d.MinoritiesPerYear/want-1) > 1e-3 {
		t.Errorf("minorities %v, want %v", d.MinoritiesPerYear, want)
	}
}

func TestDurabilityCountsWhatIsStoredAndSaysWhatIsShort(t *testing.T) {
	w := newWorld(t, 4, func(c *Config) { c.MinNodes = 4 })
	d := w.durability(&v1.GetPoolDurabilityRequest{})
	if d.Afr != 0.02 || d.RebuildBytesPerSecond != 100<<20 || d.RebuildAfterMs != 900_000 {
		t.Errorf("defaults: %+v", d)
	}
	// Every store reports 1 MiB.
	if want := uint64(4 << 20 / 3); d.StoredBytes != want || d.RebuildMaxMs != 900_003 {
		t.Errorf("%d bytes, want %d; rebuild %d ms", d.StoredBytes, want, d.RebuildMaxMs)
	}
	if d.LossAtOnce != float64(d.DistinctCopysets)/4 || d.DistinctCopysets < 2 {
		t.Errorf("%d of 4 triples: %v", d.DistinctCopysets, d.LossAtOnce)
	}
	others := w.durability(&v1.GetPoolDurabilityRequest{Rebuild: "others", Full: true})
	place := w.durability(&v1.GetPoolDurabilityRequest{Rebuild: "place", Full: true})
	if others.RebuildMaxMs >= place.RebuildMaxMs || others.Nines <= place.Nines ||
		others.ConfinedStores != 0 || others.Rebuild != "others" {
		t.Errorf("shared: %+v\nin place: %+v", others, place)
	}
	w.clock.pass(time.Minute)
	w.beat(w.nodes[:3]...)
	if d := w.durability(&v1.GetPoolDurabilityRequest{}); d.ShortCopysets == 0 ||
		d.Stores != 4 {
		t.Errorf("a node is silent: %+v", d)
	}
	// A store that has not reported since the start holds what it was given, not nothing.
	w.create("v", 60<<30)
	w.restart()
	if d := w.durability(&v1.GetPoolDurabilityRequest{}); d.StoredBytes != 60<<30 {
		t.Errorf("%d GiB stored", d.StoredBytes>>30)
	}
}

func TestDurabilityRefusesWhatMakesNoSense(t *testing.T) {
	w := newWorld(t, 3, nil)
	for want, req := range map[string]*v1.GetPoolDurabilityRequest{
		"failure rate":      {Afr: 1.5},
		"rebuild \"later\"": {Rebuild: "later"},
		"failures 2":        {Failures: 2},
		"failures 4":        {Failures: 4},
		"rebuild_after_ms":  {RebuildAfterMs: 1 << 62},
	} {
		_, err := w.Admin.GetPoolDurability(ctx, req)
		has(t, err, admin.ErrInvalid, want)
	}
	_, err := w.Admin.GetPoolDurability(ctx, &v1.GetPoolDurabilityRequest{PoolId: 2})
	has(t, err, admin.ErrNotFound, "pool 2")
	early := newRig(t, nil)
	_, err = early.Admin.GetPoolDurability(ctx, &v1.GetPoolDurabilityRequest{})
	has(t, err, admin.ErrUnavailable, "waiting for 3 nodes")
}
