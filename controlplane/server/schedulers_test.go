package server

import (
	"strings"
	"testing"

	"github.com/ashlar-storage/ashlar/controlplane/schedule"
	"github.com/ashlar-storage/ashlar/rpc/admin"
	v1 "github.com/ashlar-storage/ashlar/rpc/admin/kitex_gen/ashlar/v1"
)

func (w *world) pause(kind schedule.Kind, paused bool, note string) *v1.Scheduler {
	w.t.Helper()
	r, err := w.Admin.SetScheduler(ctx, &v1.SetSchedulerRequest{Kind: string(kind), Paused: paused,
		Note: note})
	w.ok(err)
	return r.Scheduler
}

// listed counts the operators of a kind.
func (w *world) listed(kind schedule.Kind) int {
	w.t.Helper()
	n := 0
	for _, op := range w.operators().Operators {
		if op.Kind == string(kind) {
			n++
		}
	}
	return n
}

func TestAPausedSchedulerBeginsNothingUntilItIsResumed(t *testing.T) {
	w := newWideWorld(t, 4)
	const why = "the racks move"
	if s := w.pause(schedule.RecoverReplica, true, why); !s.Paused || s.Note != why ||
		s.PausedUnixNs == 0 || s.About == "" || s.Limits == "" {
		t.Errorf("%+v", s)
	}
	w.goOn(120, w.nodes[:3]...) // the fourth is lost after 60
	if n := w.listed(schedule.RecoverReplica); n != 0 {
		t.Errorf("%d replacements while they are paused", n)
	}
	// It outlives the control plane, and is told.
	w.restart()
	w.goOn(120, w.nodes[:3]...)
	if n := w.listed(schedule.RecoverReplica); n != 0 {
		t.Errorf("%d replacements while they are paused, after a restart", n)
	}
	status, err := w.Admin.ClusterStatus(ctx, &v1.ClusterStatusRequest{})
	w.ok(err)
	if all := strings.Join(status.Problems, "\n"); !strings.Contains(all,
		"scheduler recover-replica has been paused for") || !strings.Contains(all, why) {
		t.Errorf("the status does not say what is paused:\n%s", all)
	}
	if s := w.pause(schedule.RecoverReplica, false, ""); s.Paused || s.Note != "" {
		t.Errorf("%+v", s)
	}
	begun := func() bool {
		r, err := w.Admin.ListEvents(ctx, &v1.ListEventsRequest{})
		w.ok(err)
		for _, e := range r.Events {
			if e.Kind == "replacement-begun" && strings.Contains(e.Text, "is lost") {
				return true
			}
		}
		return false
	}
	w.goOn(60, w.nodes[:3]...)
	if !begun() {
		t.Error("nothing was recovered after the pause")
	}
}

func TestOnlyRulesThatThereAreCanBePaused(t *testing.T) {
	w := newWorld(t, 3, nil)
	_, err := w.Admin.SetScheduler(ctx, &v1.SetSchedulerRequest{Kind: "gravity", Paused: true})
	has(t, err, admin.ErrInvalid, "balance-replica")
	r, err := w.Admin.ListSchedulers(ctx, &v1.ListSchedulersRequest{})
	w.ok(err)
	if len(r.Schedulers) != len(schedule.Kinds) {
		t.Errorf("%d schedulers, %d kinds", len(r.Schedulers), len(schedule.Kinds))
	}
	for i, s := range r.Schedulers {
		if s.Kind != string(schedule.Kinds[i]) || s.Paused {
			t.Errorf("%+v", s)
		}
	}
}
