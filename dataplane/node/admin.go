package node

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/pprof"
	"os"
	"reflect"
	"runtime"
	"strings"
	"time"
	"unicode"
)

// The admin listener serves an operator's tools over HTTP: /debug/pprof/* and /stats. It is apart
// from the native protocol, off unless Config.Admin names an address, and has no authentication:
// an address without a host means the loopback one.

const (
	// adminReadTime bounds the arrival of one request, adminWriteTime its answer: a profile takes
	// as long as it is asked to.
	adminReadTime  = 5 * time.Second
	adminWriteTime = 5 * time.Minute
	// adminHeaderBytes bounds a request's header.
	adminHeaderBytes = 16 << 10
)

// adminServer is the listener that runs.
type adminServer struct {
	server *http.Server
	addr   string
	done   chan struct{}
}

// listenAdmin starts the admin listener; nil when addr is empty.
func (n *Node) listenAdmin(addr string) (*adminServer, error) {
	if addr == "" {
		return nil, nil
	}
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, fmt.Errorf("node: admin address %q: %w: write it as 127.0.0.1:7402", addr, err)
	}
	if host == "" {
		host = "127.0.0.1"
	}
	ln, err := net.Listen("tcp", net.JoinHostPort(host, port))
	if err != nil {
		return nil, fmt.Errorf("node: admin listener: %w", err)
	}
	a := &adminServer{addr: ln.Addr().String(), done: make(chan struct{})}
	a.server = &http.Server{Handler: n.adminHandler(), ReadTimeout: adminReadTime,
		WriteTimeout: adminWriteTime, MaxHeaderBytes: adminHeaderBytes}
	go func() {
		defer close(a.done)
		if err := a.server.Serve(ln); !errors.Is(err, http.ErrServerClosed) {
			n.log.Error("admin listener stopped", "err", err)
		}
	}()
	n.log.Info("admin listener", "addr", a.addr)
	return a, nil
}

func (a *adminServer) close() error {
	err := a.server.Close()
	<-a.done
	return err
}

func (n *Node) adminHandler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /debug/pprof/", pprof.Index)
	mux.HandleFunc("GET /debug/pprof/cmdline", pprof.Cmdline)
	mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("GET /debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
	mux.HandleFunc("GET /stats", n.serveStats)
	return mux
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
		"transport": numbers(reflect.ValueOf(n.server.Stats())),
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
