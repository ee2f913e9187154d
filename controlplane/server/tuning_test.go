package server

import (
	"strings"
	"testing"
	"time"

	"github.com/ashlar-storage/ashlar/controlplane/meta"
	"github.com/ashlar-storage/ashlar/controlplane/schedule"
	"github.com/ashlar-storage/ashlar/rpc/admin"
	v1 "github.com/ashlar-storage/ashlar/rpc/admin/kitex_gen/ashlar/v1"
)

func (w *world) tune(name, value, note string) *v1.Limit {
	w.t.Helper()
	r, err := w.Admin.SetLimit(ctx, &v1.SetLimitRequest{Name: name, Value: value, Note: note})
	w.ok(err)
	return r.Limit
}

func (w *world) limit(name string) *v1.Limit {
	w.t.Helper()
	r, err := w.Admin.ListLimits(ctx, &v1.ListLimitsRequest{})
	w.ok(err)
	for _, l := range r.Limits {
		if l.Name == name {
			return l
		}
	}
	w.t.Fatalf("no limit %s", name)
	return nil
}

// moved is the most replicas that were on their way at a time in so many seconds.
func (w *world) moved(seconds int) (most int) {
	w.t.Helper()
	for range seconds {
		w.beat()
		w.tick(time.Second)
		now := 0
		for _, op := range w.operators().Operators {
			if op.Kind != "transfer-leader" && op.State == "running" {
				now++
			}
		}
		most = max(most, now)
	}
	return most
}

func TestALimitHoldsAtOnceAndOutlivesTheControlPlane(t *testing.T) {
	w := newWideWorld(t, 4)
	if l := w.tune("store-drains", "0", "not before noon"); l.Value != "0" ||
		l.DefaultValue != "2" || l.SetUnixNs == 0 || l.Note != "not before noon" {
		t.Errorf("%+v", l)
	}
	_, err := w.Admin.DrainNode(ctx, &v1.DrainNodeRequest{Name: "n1"})
	w.ok(err)
	held := w.on(w.nodes[0])
	if most := w.moved(30); most != 0 {
		t.Errorf("%d move at a time, none may", most)
	}
	w.restart()
	for _, n := range w.nodes {
		w.ok(n.register())
	}
	if l := w.limit("store-drains"); l.Value != "0" || l.Note != "not before noon" {
		t.Errorf("after a restart: %+v", l)
	}
	w.goOn(20, w.nodes...)
	if got := w.on(w.nodes[0]); got != held {
		t.Errorf("%d of %d are left", got, held)
	}
	if l := w.tune("store-drains", "", ""); l.Value != "2" || l.SetUnixNs != 0 || l.Note != "" {
		t.Errorf("after it was reset: %+v", l)
	}
	w.goOn(200, w.nodes...)
	if got := w.on(w.nodes[0]); got != 0 {
		t.Errorf("%d are left", got)
	}
	r, err := w.Admin.ListEvents(ctx, &v1.ListEventsRequest{})
	w.ok(err)
	var told []string
	for _, e := range r.Events {
		if e.Kind == "limit-set" {
			told = append(told, e.Text)
		}
	}
	want := "limit store-drains is 0, was 2: not before noon\n" +
		"limit store-drains is 2, was 0; that is the default"
	if got := strings.Join(told, "\n"); got != want {
		t.Errorf("the events tell:\n%s", got)
	}
}

func TestALostStoreIsWaitedForAsLongAsTheLimitSays(t *testing.T) {
	w := newWideWorld(t, 4) // 60 s by its configuration
	w.tune("lost-after", "5m", "")
	w.goOn(200, w.nodes[:3]...)
	if n := w.listed(schedule.RecoverReplica); n != 0 || w.on(w.nodes[3]) == 0 {
		t.Error("it was not waited for")
	}
	w.tune("lost-after", "1s", "")
	w.goOn(30, w.nodes[:3]...)
	if w.on(w.nodes[3]) != 0 {
		t.Error("it is waited for still")
	}
}

func TestALimitOutOfItsBoundsIsRefusedByName(t *testing.T) {
	w := newWorld(t, 3, nil)
	for _, c := range []struct{ name, value, want string }{
		{"gravity", "1", "use one of lost-after, cluster-fills"},
		{"store-fills", "1025", `limit store-fills: "1025": want a number from 0 to 1024`},
		{"store-fills", "many", `want a number from 0 to 1024`},
		{"losses", "0", "from 1 to 1024"},
		{"cool-down", "-1s", `limit cool-down: "-1s": want a time such as 90s or 15m, from 0s to ` +
			`24h0m0s`},
		{"lost-after", "15", "want a time such as"},
	} {
		_, err := w.Admin.SetLimit(ctx, &v1.SetLimitRequest{Name: c.name, Value: c.value})
		has(t, err, admin.ErrInvalid, c.want)
	}
	r, err := w.Admin.ListLimits(ctx, &v1.ListLimitsRequest{})
	w.ok(err)
	for _, l := range r.Limits {
		if l.Value != l.DefaultValue || l.SetUnixNs != 0 || l.About == "" {
			t.Errorf("%+v", l)
		}
	}
}

// Another release set it, and this one was started again.
func TestALimitThatThisReleaseDoesNotTakeHasNoEffect(t *testing.T) {
	w := newWorld(t, 3, nil)
	c := w.srv.cluster()
	c.mu.Lock()
	w.ok(c.update(func(tx meta.Tx) error {
		for _, l := range []*v1.Limit{{Name: "tides", Value: "2"}, {Name: "losses", Value: "0"},
			{Name: "balances", Value: "9"}} {
			if err := meta.Limits.Put(tx, meta.Key(l.Name), l); err != nil {
				return err
			}
		}
		return nil
	}))
	c.mu.Unlock()
	w.restart()
	if l := w.limit("losses"); l.Value != "3" {
		t.Errorf("%+v", l)
	}
	if l := w.limit("balances"); l.Value != "9" {
		t.Errorf("%+v", l)
	}
}
