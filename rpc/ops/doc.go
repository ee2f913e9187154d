// Package ops is the HTTP listener of a process for its operator's tools: profiles at
// /debug/pprof/, metrics for Prometheus at /metrics, and what a process adds. It is apart from the
// protocols, and takes an address without a host for the loopback one.
//
//	cfg := ops.Config{Addr: "127.0.0.1:7402", Tokens: "/etc/ashlar/tokens", Logger: logger}
//	src := &ops.Source[sample]{Labels: []string{"store"}, Metrics: metrics, Look: look}
//	reg, err := ops.Registry(src)
//	pages, err := ops.NewPages(ops.Page(reg, logger), cfg)
//	pages.Open("GET /healthz", ops.Healthz(trouble))
//	pages.Guarded("GET /trace", ops.Tracer, handler)
//	l, err := ops.Listen(cfg, pages)
//	defer l.Close()
//
// # Who may
//
// A file of tokens says who has which Role, and each page which role it needs. Who asks shows a
// token as "Authorization: Bearer TOKEN". The file has no tokens in it but their sums, and is read
// again when it changes. Without such a file everybody who reaches the listener may see metrics,
// counters and profiles, and nobody what is Guarded. What is Open is for everybody in any case.
// Tokens travel as they are: outside the machine they need TLS, for which Config names a
// certificate, read anew for each connection.
//
// # Cost
//
// Nothing here is called while a client's operation is served. A scrape asks for the counters that
// the process keeps anyway and turns them into metrics: what it costs, it costs once for a scrape,
// and at most maxScrapes at a time.
//
// # How it fails
//
// A scrape beyond maxScrapes, or that takes longer than scrapeTime, is answered 503; one that is
// under way when the listener closes loses its connection. A Source that yields a label or a number
// that does not fit its Metrics is an error of the whole scrape, so that a test sees it.
package ops
