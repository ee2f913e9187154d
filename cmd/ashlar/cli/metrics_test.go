package cli

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ashlar-storage/ashlar/cmd/ashlar/gateway"
	"github.com/ashlar-storage/ashlar/controlplane/server"
	"github.com/ashlar-storage/ashlar/dataplane/node"
	"github.com/ashlar-storage/ashlar/rpc/ops"
)

var update = flag.Bool("update", false, "write the tables of docs/metrics.md")

// metricTable is what the manual says of metrics.
func metricTable(list []ops.Info) string {
	var b strings.Builder
	b.WriteString("| metric | type | unit | labels | meaning |\n|---|---|---|---|---|\n")
	for _, m := range list {
		labels := ""
		if len(m.Labels) > 0 {
			labels = "`" + strings.Join(m.Labels, "`, `") + "`"
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s | %s |\n", m.Name, m.Kind, m.Unit, labels, m.Help)
	}
	return b.String()
}

// metricsPage puts the tables below their marks, in place of those that are there.
func metricsPage(page string, tables map[string]string) string {
	var out strings.Builder
	skip := false
	for line := range strings.Lines(page) {
		name, marked := strings.CutPrefix(line, "<!-- metrics: ")
		switch {
		case marked:
			out.WriteString(line + "\n" + tables[strings.TrimSuffix(name, " -->\n")])
			skip = true
		case strings.HasPrefix(line, "#"):
			if skip {
				out.WriteString("\n")
			}
			skip = false
			fallthrough
		case !skip:
			out.WriteString(line)
		}
	}
	return out.String()
}

func TestManualNamesEveryMetricAndNoOther(t *testing.T) {
	page := manual(t, "metrics.md")
	want := metricsPage(page, map[string]string{"node": metricTable(node.Metrics()),
		"control": metricTable(server.Metrics()), "gateway": metricTable(gateway.Metrics())})
	for _, first := range []string{"ashlar_node_info", "ashlar_cluster_info",
		"ashlar_gateway_info"} {
		if !strings.Contains(want, first) {
			t.Fatalf("docs/metrics.md lacks the mark of the table of %s", first)
		}
	}
	if page == want {
		return
	}
	if !*update {
		t.Fatal("docs/metrics.md differs from the program: run this test with -update")
	}
	name := filepath.Join("..", "..", "..", "docs", "metrics.md")
	if err := os.WriteFile(name, []byte(want), 0o644); err != nil {
		t.Fatal(err)
	}
}
