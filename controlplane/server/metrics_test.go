package server

import (
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/ashlar-storage/ashlar/rpc/ops"
)

// page scrapes the control plane.
func (w *world) page() string {
	w.t.Helper()
	resp, err := http.Get("http://" + w.srv.admin.Addr() + "/metrics")
	w.ok(err)
	defer resp.Body.Close()
	defer http.DefaultClient.CloseIdleConnections()
	body, err := io.ReadAll(resp.Body)
	w.ok(err)
	if resp.StatusCode != http.StatusOK {
		w.t.Fatalf("status %d: %s", resp.StatusCode, body)
	}
	return string(body)
}

func (w *world) serves(lines ...string) {
	w.t.Helper()
	text := w.page()
	for _, line := range lines {
		if !strings.Contains(text, "\n"+line+"\n") {
			w.t.Errorf("the page lacks %s", line)
		}
	}
}

func TestMetricsFollowTheCluster(t *testing.T) {
	w := newWorld(t, 4, func(c *Config) { c.Admin.Addr, c.Replicas = "127.0.0.1:0", 3 })
	w.serves(`ashlar_cluster_health{health="ok"} 1`, `ashlar_cluster_health{health="degraded"} 0`,
		`ashlar_cluster_nodes{state="up"} 4`, `ashlar_cluster_nodes{state="offline"} 0`,
		`ashlar_cluster_stores{state="up"} 4`, `ashlar_cluster_stores{state="stalled"} 0`,
		`ashlar_cluster_copysets{health="ok"} 6`, `ashlar_cluster_volumes 0`,
		`ashlar_cluster_damaged_replicas 0`, `ashlar_cluster_repairs 0`)
	w.create("v", 1<<30)
	w.open("v", false)
	w.serves(`ashlar_cluster_volumes 1`, `ashlar_cluster_sessions 1`)
	g := w.nodes[1].copysets[0]
	for _, m := range g.Replicas {
		if m.NodeId == w.nodes[1].id {
			w.nodes[1].lost = map[uint64]uint64{g.CopysetId: m.ReplicaId}
		}
	}
	w.beat()
	w.serves(`ashlar_cluster_damaged_replicas 1`, `ashlar_cluster_health{health="degraded"} 1`)
	w.clock.pass(w.srv.cfg.OfflineAfter)
	w.beat(w.nodes[1:]...)
	w.serves(`ashlar_cluster_nodes{state="up"} 3`, `ashlar_cluster_nodes{state="offline"} 1`,
		`ashlar_cluster_stores{state="offline"} 1`)
}

func TestEveryMetricOfTheCatalogIsServedAndNoOther(t *testing.T) {
	w := newWorld(t, 3, nil)
	reg, err := w.srv.registry()
	w.ok(err)
	problems, err := testutil.GatherAndLint(reg)
	w.ok(err)
	for _, p := range problems {
		if strings.HasPrefix(p.Metric, "ashlar_") {
			t.Errorf("%s: %s", p.Metric, p.Text)
		}
	}
	ops.CheckCatalog(t, reg, Metrics())
}

func TestAdminAddressInUseIsAnErrorOfTheStart(t *testing.T) {
	w := newWorld(t, 3, func(c *Config) { c.Admin.Addr = "127.0.0.1:0" })
	cfg := w.cfg
	cfg.DataDir, cfg.Admin.Addr = t.TempDir(), w.srv.admin.Addr()
	if s, err := New(cfg); err == nil {
		s.Close()
		t.Fatal("two listen at one address")
	} else if !strings.Contains(err.Error(), "admin") {
		t.Error(err)
	}
	cfg.Admin.Addr = ""
	s, err := New(cfg) // what the failed start held is free again
	w.ok(err)
	w.ok(s.Close())
}
