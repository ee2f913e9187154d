package gateway

import (
	"fmt"

	"github.com/ashlar-storage/ashlar/rpc/client"
	"github.com/ashlar-storage/ashlar/rpc/nbd"
	"github.com/ashlar-storage/ashlar/rpc/ops"
)

// The admin listener serves an operator's tools over HTTP: metrics, profiles, and to whoever asks
// whether the gateway can be relied on, /healthz.

// sample is what one scrape has of a gateway beside its volumes.
type sample struct {
	nbd nbd.Stats
	net client.NetStats
}

// counters is where a scrape reads.
type counters struct {
	cfg    *Config
	server *nbd.Server
	net    func() client.NetStats
	back   *backend
}

// listenAdmin starts the admin listener; nil when none is configured.
func listenAdmin(c counters) (*ops.Listener, error) {
	info, server, volumes := sources()
	info.Look = func(each func(*Config, ...string)) { each(c.cfg, c.cfg.Name, c.cfg.Version) }
	server.Look = func(each func(*sample, ...string)) {
		each(&sample{nbd: c.server.Stats(), net: c.net()})
	}
	volumes.Look = c.back.eachVolume
	reg, err := ops.Registry(info, server, volumes)
	if err != nil {
		return nil, fmt.Errorf("gateway: %w", err)
	}
	cfg := c.cfg.Admin
	cfg.Logger = c.cfg.Logger
	pages, err := ops.NewPages(ops.Page(reg, cfg.Logger), cfg)
	if err != nil {
		return nil, fmt.Errorf("gateway: %w", err)
	}
	pages.Open("GET /healthz", ops.Healthz(c.back.trouble))
	l, err := ops.Listen(cfg, pages)
	if err != nil {
		return nil, fmt.Errorf("gateway: %w", err)
	}
	return l, nil
}

// eachVolume calls each with the counters of every volume that is attached.
func (b *backend) eachVolume(each func(*client.Stats, ...string)) {
	for _, s := range b.attached() {
		stats := s.volume.Stats()
		each(&stats, s.name)
	}
}

// trouble is why the gateway cannot be relied on now: volumes that have failed, or that a newer
// attachment has taken, while clients hold on to them.
func (b *backend) trouble() (found []error) {
	for _, s := range b.attached() {
		if err := s.volume.Flush(); err != nil {
			found = append(found, fmt.Errorf("volume %s: %w", s.name, err))
		}
	}
	return found
}

// attached are the volumes that are open, of which none is being opened.
func (b *backend) attached() (list []*shared) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, s := range b.opened {
		select {
		case <-s.ready:
			if s.err == nil {
				list = append(list, s)
			}
		default:
		}
	}
	return list
}

// Metrics lists the metrics that a gateway serves, for the manual.
func Metrics() []ops.Info {
	info, server, volumes := sources()
	return append(append(info.Catalog(), server.Catalog()...), volumes.Catalog()...)
}

func sources() (*ops.Source[Config], *ops.Source[sample], *ops.Source[client.Stats]) {
	info := &ops.Source[Config]{Labels: []string{"gateway", "version"},
		Metrics: []ops.Metric[Config]{{Name: "ashlar_gateway_info", Kind: ops.Gauge,
			Help:  "Who the gateway is, as labels; always 1.",
			Value: func(*Config) float64 { return 1 }}}}
	return info, &ops.Source[sample]{Metrics: serverMetrics()},
		&ops.Source[client.Stats]{Labels: []string{"volume"}, Metrics: volumeMetrics()}
}

func serverMetrics() []ops.Metric[sample] {
	metric := func(name, help string, kind ops.Kind, f func(*sample) int64) ops.Metric[sample] {
		return ops.Metric[sample]{Name: "ashlar_gateway_" + name, Help: help, Kind: kind,
			Value: func(s *sample) float64 { return float64(f(s)) }}
	}
	return []ops.Metric[sample]{
		metric("connections", "Connections of NBD clients that are open.", ops.Gauge,
			func(s *sample) int64 { return s.nbd.Conns }),
		metric("connections_accepted_total", "Connections accepted.", ops.Counter,
			func(s *sample) int64 { return s.nbd.Accepted }),
		metric("connections_refused_total", "Connections closed because there were too many.",
			ops.Counter, func(s *sample) int64 { return s.nbd.Rejected }),
		metric("connections_failed_total", "Connections closed for breaking the protocol.",
			ops.Counter, func(s *sample) int64 { return s.nbd.Violations }),
		metric("requests_total", "Requests of NBD clients.", ops.Counter,
			func(s *sample) int64 { return s.nbd.Requests }),
		metric("requests_failed_total", "Requests answered with an error.", ops.Counter,
			func(s *sample) int64 { return s.nbd.Failures }),
		metric("buffers_missed_total", "Payloads for which the buffers had no room.", ops.Counter,
			func(s *sample) int64 { return s.nbd.HeapBufs }),
		metric("nodes", "Nodes that the gateway knows.", ops.Gauge,
			func(s *sample) int64 { return int64(s.net.Peers) }),
		metric("node_connections_total", "Connections made to nodes.", ops.Counter,
			func(s *sample) int64 { return s.net.Connects }),
		metric("node_connections_broken_total", "Connections to nodes that broke.", ops.Counter,
			func(s *sample) int64 { return s.net.Broken }),
	}
}

func volumeMetrics() []ops.Metric[client.Stats] {
	type s = client.Stats
	count := func(name, help string, f func(*s) int64) ops.Metric[s] {
		return ops.Metric[s]{Name: "ashlar_gateway_volume_" + name, Help: help, Kind: ops.Counter,
			Value: func(t *s) float64 { return float64(f(t)) }}
	}
	return []ops.Metric[s]{
		{Name: "ashlar_gateway_volume_operations_total", Kind: ops.Counter,
			Labels: []string{"op"}, Help: "Operations completed, failed ones included.",
			States: func(t *s, each func(string, float64)) {
				each("read", float64(t.Reads))
				each("write", float64(t.Writes))
				each("zero", float64(t.Zeroes))
			}},
		{Name: "ashlar_gateway_volume_bytes_total", Kind: ops.Counter, Unit: "bytes",
			Labels: []string{"op"}, Help: "Bytes of operations that succeeded.",
			States: func(t *s, each func(string, float64)) {
				each("read", float64(t.ReadBytes))
				each("write", float64(t.WriteBytes))
			}},
		{Name: "ashlar_gateway_volume_inflight", Kind: ops.Gauge, Help: "Operations under way.",
			Value: func(t *s) float64 { return float64(t.Inflight) }},
		count("errors_total", "Operations that failed.", func(t *s) int64 { return t.Errors }),
		count("timeouts_total", "Operations that failed as their time was over.",
			func(t *s) int64 { return t.Timeouts }),
		count("requests_total", "Requests to nodes, each attempt.",
			func(t *s) int64 { return t.Requests }),
		count("redirects_total", "Answers that named another leader, or none.",
			func(t *s) int64 { return t.Redirects }),
		count("overloaded_total", "Answers that asked to wait.",
			func(t *s) int64 { return t.Overloaded }),
		count("lost_total", "Attempts ended by a broken connection.",
			func(t *s) int64 { return t.Lost }),
		count("silent_total", "Attempts given up after 2 s without an answer.",
			func(t *s) int64 { return t.Silent }),
		count("bad_data_total", "Answers and requests whose bytes did not match their checksums.",
			func(t *s) int64 { return t.BadData }),
	}
}
