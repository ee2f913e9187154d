package node

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"reflect"
	"runtime"
	"strings"
	"unicode"

	"github.com/ashlar-storage/ashlar/rpc/ops"
)

// The admin listener serves an operator's tools over HTTP: /metrics, /debug/pprof/*, /stats and
// /trace, and to whoever asks whether the node can be relied on, /healthz. It is apart from the
// native protocol and off unless Config.Admin names an address.

// listenAdmin starts the admin listener; nil when cfg has no address.
func (n *Node) listenAdmin(cfg ops.Config) (*ops.Listener, error) {
	reg, err := ops.Registry(n.collectors()...)
	if err != nil {
		return nil, fmt.Errorf("node: %w", err)
	}
	cfg.Logger = n.log
	pages, err := ops.NewPages(ops.Page(reg, n.log), cfg)
	if err != nil {
		return nil, fmt.Errorf("node: %w", err)
	}
	pages.Open("GET /healthz", ops.Healthz(n.trouble))
	pages.Handle("GET /stats", ops.Viewer, http.HandlerFunc(n.serveStats))
	if n.cfg.Trace != nil {
		pages.Guarded("GET /trace", ops.Tracer, n.cfg.Trace)
	}
	l, err := ops.Listen(cfg, pages)
	if err != nil {
		return nil, fmt.Errorf("node: %w", err)
	}
	return l, nil
}

// adminURL is where others find the admin listener: on the host that they find the node at, when
// it listens on all of this machine's; "" when there is none.
func (n *Node) adminURL() string {
	at, err := url.Parse(n.admin.URL())
	if err != nil || at.Host == "" {
		return ""
	}
	if ip := net.ParseIP(at.Hostname()); ip != nil && ip.IsUnspecified() {
		if host, _, err := net.SplitHostPort(n.addr); err == nil {
			at.Host = net.JoinHostPort(host, at.Port())
		}
	}
	return at.String()
}

// serveStats answers with counters as JSON. Names are those of the Go fields in snake case; they
// count since the process started, but for those that are a state.
func (n *Node) serveStats(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	enc := json.NewEncoder(w)
	enc.SetIndent("", " ")
	if err := enc.Encode(n.stats()); err != nil {
		n.log.Debug("admin: stats not sent", "err", err)
	}
}

func (n *Node) stats() map[string]any {
	stores := make([]any, 0, len(n.stores))
	for _, s := range n.stores {
		m := numbers(reflect.ValueOf(s.Stats()))
		m["path"] = s.Path()
		stores = append(stores, m)
	}
	n.mu.Lock()
	id := n.nodeID
	n.mu.Unlock()
	return map[string]any{
		"node": map[string]any{"name": n.cfg.Name, "id": id, "version": n.cfg.Version,
			"pid": os.Getpid()},
		"runtime":   runtimeStats(),
		"pool":      numbers(reflect.ValueOf(n.pool.Stats())),
		"transport": numbers(reflect.ValueOf(n.serverStats())),
		"traffic":   traffic(&n.meter),
		"peers":     traffic(&n.outward),
		"stores":    stores,
	}
}

func runtimeStats() map[string]any {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return map[string]any{
		"mallocs": m.Mallocs, "frees": m.Frees, "total_alloc_bytes": m.TotalAlloc,
		"heap_alloc_bytes": m.HeapAlloc, "heap_sys_bytes": m.HeapSys, "sys_bytes": m.Sys,
		"num_gc": m.NumGC, "gc_pause_total_ns": m.PauseTotalNs,
		"goroutines": runtime.NumGoroutine(), "gomaxprocs": runtime.GOMAXPROCS(0),
	}
}

// numbers turns a struct of counters into a JSON object, structs inside it and arrays included.
func numbers(v reflect.Value) map[string]any {
	out := map[string]any{}
	for i := range v.NumField() {
		name := snake(v.Type().Field(i).Name)
		switch f := v.Field(i); f.Kind() {
		case reflect.Struct:
			out[name] = numbers(f)
		default:
			out[name] = f.Interface()
		}
	}
	return out
}

// snake is the JSON name of a Go field: WriteBytes becomes write_bytes.
func snake(name string) string {
	var b strings.Builder
	for i, r := range name {
		if unicode.IsUpper(r) && i > 0 {
			b.WriteByte('_')
		}
		b.WriteRune(unicode.ToLower(r))
	}
	return b.String()
}
