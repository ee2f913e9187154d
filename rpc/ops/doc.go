// Package ops is the HTTP listener of a process for its operator's tools: profiles at
// /debug/pprof/ and metrics for Prometheus at /metrics. It is apart from the protocols, has no
// authentication, and takes an address without a host for the loopback one.
//
//	src := &ops.Source[sample]{Labels: []string{"store"}, Metrics: metrics, Look: look}
//	reg, err := ops.Registry(src)
//	l, err := ops.Listen("127.0.0.1:7402", ops.Mux(ops.Page(reg, logger)), logger)
//	defer l.Close()
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
