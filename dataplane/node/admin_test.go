package node

import (
	"encoding/json"
	"io"
	"net/http"
	"slices"
	"sort"
	"strings"
	"testing"

	"github.com/ashlar-storage/ashlar/rpc/ops"
)

func getAdmin(t *testing.T, a *ops.Listener, path string) (int, []byte) {
	t.Helper()
	resp, err := http.Get("http://" + a.Addr() + path)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, body
}

// paths lists every leaf of a JSON object with its way down; of an array only the first element.
func paths(prefix string, v any) []string {
	switch v := v.(type) {
	case map[string]any:
		var out []string
		for k, x := range v {
			out = append(out, paths(prefix+"."+k, x)...)
		}
		return out
	case []any:
		if len(v) > 0 {
			return paths(prefix+"[]", v[0])
		}
	}
	return []string{strings.TrimPrefix(prefix, ".")}
}

func number(t *testing.T, doc map[string]any, path ...string) float64 {
	t.Helper()
	var v any = doc
	for _, p := range path {
		if list, ok := v.([]any); ok {
			v = list[0]
		}
		v = v.(map[string]any)[p]
	}
	f, ok := v.(float64)
	if !ok {
		t.Fatalf("%v is %v, not a number", path, v)
	}
	return f
}

func TestAdminListenerServesCountersUnderStableNames(t *testing.T) {
	c := startCluster(t, 3, 1)
	c.write(1, 0, 0, make([]byte, 4096))
	n := c.nodes[c.leader(1)]
	a, err := n.listenAdmin(ops.Config{Addr: ":0"})
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	if !strings.HasPrefix(a.Addr(), "127.0.0.1:") {
		t.Errorf("an address without a host listens at %s, not only on loopback", a.Addr())
	}
	code, body := getAdmin(t, a, "/stats")
	var doc map[string]any
	if err := json.Unmarshal(body, &doc); err != nil || code != http.StatusOK {
		t.Fatalf("status %d, %v: %s", code, err, body)
	}
	have := paths("", doc)
	sort.Strings(have)
	for _, want := range []string{
		"node.name", "node.pid", "pool.arena_bytes", "pool.in_use_bytes",
		"runtime.mallocs", "runtime.num_gc", "runtime.goroutines", "runtime.total_alloc_bytes",
		"stores[].disk.reads", "stores[].disk.durable_writes", "stores[].disk.writes",
		"stores[].disk.write_bytes", "stores[].disk.syncs", "stores[].disk.submits",
		"stores[].log.writes", "stores[].log.write_bytes", "stores[].log.payload_bytes",
		"stores[].log.records", "stores[].log.batches[]", "stores[].log_bytes",
		"stores[].chunks.device_writes", "stores[].chunks.device_reads",
		"stores[].chunks.write_blocks", "stores[].chunks.checkpoints",
		"stores[].replicas.counters.writes", "stores[].replicas.counters.write_bytes",
		"stores[].replicas.counters.flushed_blocks", "stores[].replicas.leading",
		"stores[].replicas.overlay_bytes", "transport.reads", "transport.writes",
	} {
		if !slices.Contains(have, want) {
			t.Errorf("/stats has no %s", want)
		}
	}
	for _, path := range have {
		if path != strings.ToLower(path) {
			t.Errorf("%s is not in snake case", path)
		}
	}
	if got := number(t, doc, "stores", "replicas", "counters", "writes"); got != 1 {
		t.Errorf("replicas.counters.writes = %v after one write", got)
	}
	if got := number(t, doc, "stores", "log", "payload_bytes"); got < 4096 {
		t.Errorf("log.payload_bytes = %v after a write of 4096", got)
	}
}

func TestAdminListenerServesProfiles(t *testing.T) {
	n := startCluster(t, 1, 0).nodes[0]
	a, err := n.listenAdmin(ops.Config{Addr: "127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	for _, path := range []string{"/debug/pprof/", "/debug/pprof/heap", "/debug/pprof/cmdline"} {
		if code, body := getAdmin(t, a, path); code != http.StatusOK || len(body) == 0 {
			t.Errorf("%s: status %d, %d bytes", path, code, len(body))
		}
	}
	if code, _ := getAdmin(t, a, "/secret"); code != http.StatusNotFound {
		t.Errorf("an unknown path is answered %d", code)
	}
}

func TestAdminAddressThatMakesNoSenseIsRefused(t *testing.T) {
	n := startCluster(t, 1, 0).nodes[0]
	if a, err := n.listenAdmin(ops.Config{Addr: ""}); a != nil || err != nil {
		t.Errorf("no address: %v, %v", a, err)
	}
	_, err := n.listenAdmin(ops.Config{Addr: "nowhere"})
	if err == nil || !strings.Contains(err.Error(), "nowhere") {
		t.Errorf("error = %v", err)
	}
}
