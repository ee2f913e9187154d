package ops

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/pprof"
)

// Listener is one that runs.
type Listener struct {
	server *http.Server
	addr   string
	done   chan struct{}
}

// Listen serves h at addr, host:port; nil when addr is empty.
func Listen(addr string, h http.Handler, logger *slog.Logger) (*Listener, error) {
	if addr == "" {
		return nil, nil
	}
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, fmt.Errorf("ops: admin address %q: %w: write it as 127.0.0.1:7402", addr, err)
	}
	if host == "" {
		host = "127.0.0.1"
	}
	ln, err := net.Listen("tcp", net.JoinHostPort(host, port))
	if err != nil {
		return nil, fmt.Errorf("ops: admin listener: %w", err)
	}
	l := &Listener{addr: ln.Addr().String(), done: make(chan struct{})}
	l.server = &http.Server{Handler: h, ReadTimeout: readTime, WriteTimeout: writeTime,
		MaxHeaderBytes: headerBytes}
	go func() {
		defer close(l.done)
		if err := l.server.Serve(ln); !errors.Is(err, http.ErrServerClosed) {
			logger.Error("admin listener stopped", "err", err)
		}
	}()
	logger.Info("admin listener", "addr", l.addr)
	return l, nil
}

// Addr is where it listens.
func (l *Listener) Addr() string { return l.addr }

// Close ends it and every connection. On nil it does nothing.
func (l *Listener) Close() error {
	if l == nil {
		return nil
	}
	err := l.server.Close()
	<-l.done
	return err
}

// Mux serves profiles, and page as /metrics.
func Mux(page http.Handler) *http.ServeMux {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /debug/pprof/", pprof.Index)
	mux.HandleFunc("GET /debug/pprof/cmdline", pprof.Cmdline)
	mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("GET /debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
	mux.Handle("GET /metrics", page)
	return mux
}
