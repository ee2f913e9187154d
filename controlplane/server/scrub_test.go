package server

import (
	"strings"
	"testing"
	"time"

	"github.com/ashlar-storage/ashlar/rpc/admin"
	v1 "github.com/ashlar-storage/ashlar/rpc/admin/kitex_gen/ashlar/v1"
)

func (w *world) scrubAt(windows, zone string) *v1.ScrubWindows {
	w.t.Helper()
	r, err := w.Admin.SetScrubWindows(ctx, &v1.SetScrubWindowsRequest{Windows: windows, Zone: zone,
		Note: "quiet days"})
	w.ok(err)
	return r.Windows
}

// The clock of these tests is at 17:46:40 UTC.
func TestNodesAreToldWhenToScrubAndThoseThatDoNotKnowAreNamed(t *testing.T) {
	w := newWorld(t, 3, nil)
	if w.status().Scrub != nil {
		t.Error("there are windows that nobody set")
	}
	old := w.nodes[1]
	w.program(old, "v1", admin.FeatureScrubWindows)
	opens := time.Date(2030, 3, 17, 22, 0, 0, 0, time.UTC).UnixNano()
	got := w.scrubAt("22:00-06:00", "")
	if got.Open || got.OpensUnixNs != opens || got.Note != "quiet days" || got.SetUnixNs == 0 ||
		len(got.Lacking) != 1 || got.Lacking[0] != "n2 (v1)" {
		t.Errorf("%+v", got)
	}
	w.restart() // another control plane tells the same
	for _, n := range w.nodes {
		n.told = admin.Told{}
	}
	w.beat()
	for _, n := range w.nodes {
		if n.last.ScrubWindows != "22:00-06:00" {
			t.Errorf("%s is told %q", n.name, n.last.ScrubWindows)
		}
	}
	if s := w.status().Scrub; s == nil || s.Windows != "22:00-06:00" || s.OpensUnixNs != opens {
		t.Errorf("%+v", s)
	}
	// explain says it of stores: one that waits, and one that cannot.
	w.nodes[0].scrub = &v1.Scrub{On: true, Cycle: 3, Percent: 40, Waits: true, OpensUnixNs: opens}
	old.scrub = &v1.Scrub{On: true, Cycle: 3}
	w.beat()
	e := w.explain("store", "1")
	if all := strings.Join(e.WaitsFor, "\n"); !strings.Contains(all, "its scrubber, which has "+
		"read 40 % of cycle 3, to be in its window: 22:00-06:00 UTC, which opens at "+
		"2030-03-17T22:00:00Z, in 4h13m") {
		t.Error(all)
	}
	e = w.explain("store", "2")
	if all := strings.Join(e.Why, "\n"); !strings.Contains(all, "node n2 (v1) does not know of "+
		"windows") {
		t.Error(all)
	}
	w.program(old, "v2", 0)
	if got := w.scrubAt("mon-sun 17:00-18:00", "UTC"); !got.Open || got.OpensUnixNs != 0 ||
		len(got.Lacking) != 0 {
		t.Errorf("%+v", got)
	}
	w.scrubAt("", "")
	w.beat()
	if w.nodes[0].last.ScrubWindows != "" || w.status().Scrub != nil {
		t.Error("the windows are still there")
	}
}

func TestScrubWindowsThatCannotBeReadAreRefused(t *testing.T) {
	w := newWorld(t, 3, nil)
	for _, c := range []struct{ windows, zone, want string }{
		{"at night", "", `days "at": use sun, mon`},
		{"22:00-06:00", "Middle/Earth", "use UTC, local or an offset"},
	} {
		_, err := w.Admin.SetScrubWindows(ctx, &v1.SetScrubWindowsRequest{Windows: c.windows,
			Zone: c.zone})
		has(t, err, admin.ErrInvalid, c.want)
	}
	_, err := w.Admin.SetScrubWindows(ctx, &v1.SetScrubWindowsRequest{PoolId: 7})
	has(t, err, admin.ErrNotFound, "pool 7")
	_, err = w.Admin.GetScrubWindows(ctx, &v1.GetScrubWindowsRequest{PoolId: 7})
	has(t, err, admin.ErrNotFound, "pool 7")
}
