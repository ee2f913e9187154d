// Package monitoring holds no code, only tests. They read the dashboards of deploy/grafana and the
// rules of deploy/prometheus and hold every expression against the catalogs of metrics that the
// program serves: a metric that was renamed, a label or a state that no metric has, a recorded
// series that nothing records is an error with the file and the expression. A dashboard that draws
// nothing, and an alert that never fires, look as if all were well.
//
// Every alert must have an example on which it fires in alerts_test.yml, one on which it does not,
// and a section of its name in docs/alerts.md. Where promtool is (Debian's package prometheus), it
// checks the rules and runs the examples; PROMTOOL=required makes its absence a failure.
//
// Expressions are read by a small strict scanner of names and matchers, not by Prometheus' own
// parser: that would bring a dozen modules and newer versions of others into what is shipped, for a
// test, and promtool is the parser all the same.
package monitoring
