package main

import (
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/ashlar-storage/ashlar/cmd/ashlar/datadir"
)

func TestEveryServerOfAClusterServesMetrics(t *testing.T) {
	skipShort(t)
	dir := t.TempDir()
	start(t, dir, "--nodes", "1", "--volume", "v", "--size", "64MiB")
	layout, err := datadir.Read(dir)
	if err != nil {
		t.Fatal(err)
	}
	for addr, want := range map[string]string{
		layout.Admin: `ashlar_cluster_nodes{state="up"} 1`, layout.Nodes[0].Admin: `node="n1"`,
	} {
		resp, err := http.Get("http://" + addr + "/metrics")
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil || !strings.Contains(string(body), want) {
			t.Errorf("%s: %v, no %s in %d bytes", addr, err, want, len(body))
		}
	}
}
