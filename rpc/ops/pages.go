package ops

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/pprof"
	"strings"
)

// Pages are what a listener serves, each to those of a role.
type Pages struct {
	mux    *http.ServeMux
	tokens *Tokens // nil: there are none
	logger *slog.Logger
}

// NewPages has profiles, and metrics as /metrics.
func NewPages(metrics http.Handler, cfg Config) (*Pages, error) {
	p := &Pages{mux: http.NewServeMux(), logger: cfg.Logger}
	if cfg.Tokens != "" {
		var err error
		if p.tokens, err = OpenTokens(cfg.Tokens); err != nil {
			return nil, err
		}
	}
	p.Handle("GET /metrics", Viewer, metrics)
	for path, f := range map[string]http.HandlerFunc{"": pprof.Index, "cmdline": pprof.Cmdline,
		"profile": pprof.Profile, "symbol": pprof.Symbol, "trace": pprof.Trace} {
		p.Handle("GET /debug/pprof/"+path, Tracer, f)
	}
	return p, nil
}

// Handle serves a page to those who have the role or a higher one, and, where there are no tokens,
// to everybody.
func (p *Pages) Handle(pattern string, least Role, h http.Handler) {
	p.mux.Handle(pattern, p.guard(least, p.tokens == nil, h))
}

// Open serves a page to everybody, tokens or none: what a load balancer or a supervisor asks.
func (p *Pages) Open(pattern string, h http.Handler) { p.mux.Handle(pattern, h) }

// Guarded serves a page to those who have the role or a higher one; where there are no tokens, to
// nobody.
func (p *Pages) Guarded(pattern string, least Role, h http.Handler) {
	p.mux.Handle(pattern, p.guard(least, false, h))
}

// ServeHTTP implements http.Handler.
func (p *Pages) ServeHTTP(w http.ResponseWriter, r *http.Request) { p.mux.ServeHTTP(w, r) }

type ownerKey struct{}

// OwnerOf is who asks; the zero Owner where no token was needed.
func OwnerOf(r *http.Request) Owner {
	o, _ := r.Context().Value(ownerKey{}).(Owner)
	return o
}

func (p *Pages) guard(least Role, open bool, h http.Handler) http.Handler {
	if open {
		return h
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		owner, status, why := p.admit(least, r)
		if why != "" {
			if status == http.StatusUnauthorized {
				w.Header().Set("WWW-Authenticate", `Bearer realm="ashlar"`)
			}
			http.Error(w, why, status)
			return
		}
		h.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), ownerKey{}, owner)))
	})
}

// admit says who asks, or why that may not be answered.
func (p *Pages) admit(least Role, r *http.Request) (o Owner, status int, why string) {
	if p.tokens == nil {
		return o, http.StatusForbidden, fmt.Sprintf("%s needs the role %s, and this process has "+
			"no tokens: name a file of them as admin_tokens in its settings", r.URL.Path, least)
	}
	token, found := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	if !found {
		return o, http.StatusUnauthorized, fmt.Sprintf("%s needs a token of the role %s",
			r.URL.Path, least)
	}
	o, err := p.tokens.Owner(token)
	switch {
	case err != nil:
		p.logger.Error("nobody is let in: the tokens cannot be read", "err", err)
		return o, http.StatusServiceUnavailable, "the tokens cannot be read; see the log"
	case o.Role == Nobody:
		p.logger.Warn("unknown token", "page", r.URL.Path, "from", r.RemoteAddr)
		return o, http.StatusUnauthorized, "this token is nobody's"
	case o.Role < least:
		return o, http.StatusForbidden, fmt.Sprintf("%s needs the role %s; %s has %s", r.URL.Path,
			least, o.Name, o.Role)
	}
	return o, 0, ""
}
