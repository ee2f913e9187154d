package node

import (
	"bytes"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	prom "github.com/prometheus/common/model"

	"github.com/ashlar-storage/ashlar/rpc/ops"
)

// scrape reads the page as Prometheus does.
func scrape(t *testing.T, a *ops.Listener) map[string]*dto.MetricFamily {
	t.Helper()
	code, body := getAdmin(t, a, "/metrics")
	if code != http.StatusOK {
		t.Fatalf("status %d: %s", code, body)
	}
	parser := expfmt.NewTextParser(prom.LegacyValidation)
	families, err := parser.TextToMetricFamilies(bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	return families
}

// value is that of the metric, summed over its labels.
func value(t *testing.T, families map[string]*dto.MetricFamily, name string) float64 {
	t.Helper()
	f := families[name]
	if f == nil {
		t.Fatalf("no metric %s", name)
	}
	sum := 0.0
	for _, m := range f.Metric {
		sum += m.GetCounter().GetValue() + m.GetGauge().GetValue() +
			float64(m.GetHistogram().GetSampleCount())
	}
	return sum
}

func TestMetricsMoveWithTheWorkOfANode(t *testing.T) {
	c := startCluster(t, 3, 1)
	n := c.nodes[c.leader(1)]
	a, err := n.listenAdmin(ops.Config{Addr: "127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	before := scrape(t, a)
	c.write(1, 0, 0, make([]byte, 4096))
	moved := []string{"ashlar_store_writes_total", "ashlar_store_written_bytes_total",
		"ashlar_store_log_writes_total", "ashlar_store_log_written_bytes_total",
		"ashlar_store_log_payload_bytes_total", "ashlar_store_log_batch_records",
		"ashlar_store_request_seconds",
		"ashlar_store_device_durable_writes_total", "ashlar_store_device_written_bytes_total",
		"ashlar_node_socket_reads_total"}
	var after map[string]*dto.MetricFamily
	for end := time.Now().Add(10 * time.Second); ; {
		after = scrape(t, a)
		still := slices.DeleteFunc(slices.Clone(moved), func(name string) bool {
			return value(t, after, name) > value(t, before, name)
		})
		if len(still) == 0 {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("a write did not move %v", still)
		}
	}
	for name, want := range map[string]float64{"ashlar_store_leaders": 1,
		"ashlar_store_replicas": 1, "ashlar_store_lost_replicas": 0, "ashlar_store_state": 1,
		"ashlar_node_info": 1, "ashlar_store_device_errors_total": 0} {
		if got := value(t, after, name); got != want {
			t.Errorf("%s is %v, want %v", name, got, want)
		}
	}
	if value(t, after, "ashlar_store_capacity_bytes") < value(t, after, "ashlar_store_free_bytes") {
		t.Error("more is free than there is")
	}
}

func TestEveryMetricOfTheCatalogIsServedAndNoOther(t *testing.T) {
	n := startCluster(t, 1, 1).nodes[0]
	reg, err := ops.Registry(n.collectors()...)
	if err != nil {
		t.Fatal(err)
	}
	problems, err := testutil.GatherAndLint(reg)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		if strings.HasPrefix(p.Metric, "ashlar_") {
			t.Errorf("%s: %s", p.Metric, p.Text)
		}
	}
	ops.CheckCatalog(t, reg, Metrics())
}
