package node

import (
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/ashlar-storage/ashlar/io/buf"
	"github.com/ashlar-storage/ashlar/rpc/ops"
	"github.com/ashlar-storage/ashlar/rpc/transport"
)

// nodeSample is what one scrape has of a node beside its stores.
type nodeSample struct {
	transport transport.Stats
	pool      buf.Stats
	silence   time.Duration // of the control plane
}

// collectors are the metrics of this node.
func (n *Node) collectors() []prometheus.Collector {
	info, node, stores := sources()
	info.Look = func(each func(*Config, ...string)) {
		each(&n.cfg, n.cfg.Name, n.cfg.Zone, n.cfg.Version)
	}
	node.Look = func(each func(*nodeSample, ...string)) {
		each(&nodeSample{transport: n.serverStats(), pool: n.pool.Stats(),
			silence: time.Since(time.Unix(0, n.answered.Load()))})
	}
	stores.Look = func(each func(*storeSample, ...string)) {
		for _, s := range n.stores {
			sample := storeSample{stats: s.Stats(), report: s.Report(), scrub: s.ScrubReport(),
				leaderChanges: s.LeaderChanges(), timing: s.Timing()}
			each(&sample, s.Path())
		}
	}
	flows := trafficSource()
	flows.Look = n.eachTraffic
	return []prometheus.Collector{info, node, stores, flows}
}

// Metrics lists the metrics that a node serves, for the manual.
func Metrics() []ops.Info {
	info, node, stores := sources()
	return slices.Concat(info.Catalog(), node.Catalog(), stores.Catalog(),
		trafficSource().Catalog())
}

func sources() (*ops.Source[Config], *ops.Source[nodeSample], *ops.Source[storeSample]) {
	info := &ops.Source[Config]{Labels: []string{"node", "zone", "version"},
		Metrics: []ops.Metric[Config]{{Name: "ashlar_node_info", Kind: ops.Gauge,
			Help:  "Who the node is, as labels; always 1.",
			Value: func(*Config) float64 { return 1 }}}}
	stores := &ops.Source[storeSample]{Labels: []string{"store"}}
	for _, part := range [][]ops.Metric[storeSample]{storeMetrics(), replicaMetrics(),
		clientMetrics(), timingMetrics(), logMetrics(), deviceMetrics(), chunkMetrics(),
		scrubMetrics()} {
		stores.Metrics = append(stores.Metrics, part...)
	}
	return info, &ops.Source[nodeSample]{Metrics: nodeMetrics()}, stores
}

func nodeMetrics() []ops.Metric[nodeSample] {
	type s = nodeSample
	metric := func(name, help, unit string, kind ops.Kind, f func(*s) int64) ops.Metric[s] {
		return ops.Metric[s]{Name: "ashlar_node_" + name, Help: help, Unit: unit, Kind: kind,
			Value: func(t *s) float64 { return float64(f(t)) }}
	}
	return []ops.Metric[s]{
		metric("connections", "Connections of clients and other nodes that are open.", "",
			ops.Gauge, func(t *s) int64 { return t.transport.Open }),
		metric("connections_accepted_total", "Connections accepted.", "", ops.Counter,
			func(t *s) int64 { return t.transport.Accepted }),
		metric("connections_refused_total", "Connections closed because there were too many.", "",
			ops.Counter, func(t *s) int64 { return t.transport.Refused }),
		metric("connections_failed_total",
			"Connections closed for garbage, time-outs and slow reading.", "", ops.Counter,
			func(t *s) int64 { return t.transport.Bad }),
		metric("requests_overloaded_total",
			"Requests answered with overloaded, as no buffer was free for their payload.", "",
			ops.Counter, func(t *s) int64 { return t.transport.Overloaded }),
		metric("messages_lost_total",
			"Messages of other nodes dropped, as no buffer was free for their payload.", "",
			ops.Counter, func(t *s) int64 { return t.transport.Lost }),
		metric("socket_reads_total", "System calls that took frames in.", "", ops.Counter,
			func(t *s) int64 { return t.transport.Reads }),
		metric("socket_writes_total", "System calls that sent frames.", "", ops.Counter,
			func(t *s) int64 { return t.transport.Writes }),
		metric("buffer_size_bytes", "Memory for payloads, shared by the stores.", "bytes",
			ops.Gauge, func(t *s) int64 { return t.pool.ArenaBytes }),
		metric("buffer_used_bytes", "Memory for payloads that is in use.", "bytes", ops.Gauge,
			func(t *s) int64 { return t.pool.InUseBytes }),
		{Name: "ashlar_node_control_silence_seconds", Kind: ops.Gauge, Unit: "seconds",
			Help: "Since the control plane last answered a heartbeat. Serving goes on without " +
				"it; nothing is repaired, and no volume opened.",
			Value: func(t *s) float64 { return t.silence.Seconds() }},
	}
}
