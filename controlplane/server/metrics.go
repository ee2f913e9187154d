package server

import (
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/ashlar-storage/ashlar/rpc/ops"
)

// sample is what one scrape has of the cluster.
type sample struct {
	health                    string
	nodes, stores, copysets   map[string]int // by state
	repairs, damaged, waits   int
	volumes, deleting         int
	trashed, trashedBytes     uint64
	attached                  int
	capacity, used, problems  uint64
	leaderMoves               uint64
	corruptBlocks, madeBlocks uint64
	late, high                int           // stores
	provisioned               uint64        // bytes, one copy
	oldest                    time.Duration // request of a client without an answer
}

// registry holds the metrics of this control plane.
func (s *Server) registry() (*prometheus.Registry, error) {
	info, src := metricSources()
	info.Look = func(each func(*Server, ...string)) { each(s, s.id, s.cfg.Name, s.cfg.Version) }
	src.Look = func(each func(*sample, ...string)) {
		if t := s.current(); t != nil {
			each(t.cluster.sample())
		}
	}
	return ops.Registry(info, src)
}

// listenAdmin starts the admin listener; nil when none is configured.
func (s *Server) listenAdmin() (*ops.Listener, error) {
	reg, err := s.registry()
	if err != nil {
		return nil, fmt.Errorf("control: %w", err)
	}
	cfg := s.cfg.Admin
	cfg.Logger = s.cfg.Logger
	pages, err := ops.NewPages(ops.Page(reg, s.cfg.Logger), cfg)
	if err != nil {
		return nil, fmt.Errorf("control: %w", err)
	}
	pages.Open("GET /healthz", ops.Healthz(s.trouble))
	l, err := ops.Listen(cfg, pages)
	if err != nil {
		return nil, fmt.Errorf("control: %w", err)
	}
	return l, nil
}

// trouble is why the control plane cannot be relied on now. It waits for the lock, and so does not
// answer while a change of the metadata hangs on its disk. One that is not active has none.
func (s *Server) trouble() []error {
	t := s.current()
	if t == nil {
		return nil
	}
	c := t.cluster
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.failed != nil {
		return []error{c.failed}
	}
	return nil
}

// Metrics lists the metrics that a control plane serves, for the manual.
func Metrics() []ops.Info {
	info, src := metricSources()
	return append(info.Catalog(), src.Catalog()...)
}

func metricSources() (*ops.Source[Server], *ops.Source[sample]) {
	info := &ops.Source[Server]{Labels: []string{"cluster", "name", "version"},
		Metrics: []ops.Metric[Server]{
			{Name: "ashlar_cluster_info", Kind: ops.Gauge,
				Help:  "Which cluster and which process, as labels; always 1.",
				Value: func(*Server) float64 { return 1 }},
			{Name: "ashlar_control_active", Kind: ops.Gauge,
				Help: "1 where this control plane is the one that serves; only that one tells " +
					"the metrics of the cluster.",
				Value: func(s *Server) float64 {
					if s.current() == nil {
						return 0
					}
					return 1
				}},
			{Name: "ashlar_control_terms_total", Kind: ops.Counter,
				Help:  "How often it became the one that serves, since it started.",
				Value: func(s *Server) float64 { return float64(s.terms.Load()) }},
		}}
	return info, &ops.Source[sample]{Metrics: append(healthMetrics(), spaceMetrics()...)}
}

// The states that are always told, with 0 where nothing is in them: an alert on a number that is
// not there does not fire.
var (
	nodeStates  = []string{stateUp, stateOffline}
	storeStates = []string{stateUp, stateFull, stateStalled, stateFailed, stateOffline,
		stateReplaced}
	copysetHealths = []string{stateOK, healthDegraded, healthUnavailable}
)

func (c *cluster) sample() *sample {
	status, err := c.clusterStatus(nil)
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.cfg.Now()
	t := &sample{nodes: zeroed(nodeStates), stores: zeroed(storeStates),
		copysets: zeroed(copysetHealths), health: healthUnavailable, deleting: len(c.deletions),
		waits: c.allWaits(), leaderMoves: c.leaderMoves}
	if err == nil {
		t.health, t.problems = status.Health, uint64(len(status.Problems))
		t.trashed, t.trashedBytes = status.TrashedVolumes, status.TrashedBytes
		t.capacity, t.used, t.volumes = status.CapacityBytes, status.UsedBytes, int(status.Volumes)
	}
	for _, n := range c.nodes {
		if c.up(n, now) {
			t.nodes[stateUp]++
		} else {
			t.nodes[stateOffline]++
		}
	}
	for _, s := range c.stores {
		state, _ := c.storeUp(s, now)
		t.stores[state]++
		if s.level() != levelOK && !s.rec.Replaced {
			t.high++
		}
		t.corruptBlocks += s.report.GetCorruptBlocks()
		t.madeBlocks += s.report.GetRepairedBlocks()
		if w := s.report.GetWaiting(); c.up(c.nodes[s.rec.NodeId], now) {
			t.oldest = max(t.oldest, time.Duration(w.GetAgeNs()))
			if w.GetLate() != "" {
				t.late++
			}
		}
	}
	for _, v := range c.volumes {
		t.provisioned += v.SizeBytes
	}
	c.refresh(now)
	t.repairs, t.damaged = len(c.members.joining), c.tally.damaged
	t.copysets[healthUnavailable] = len(c.tally.unavailable)
	t.copysets[healthDegraded] = len(c.tally.degraded)
	t.copysets[stateOK] = len(c.copysets) - t.copysets[healthUnavailable] -
		t.copysets[healthDegraded]
	for _, s := range c.sessions {
		if !s.lapsed(now) {
			t.attached++
		}
	}
	return t
}

func zeroed(states []string) map[string]int {
	m := make(map[string]int, len(states))
	for _, s := range states {
		m[s] = 0
	}
	return m
}

func byState(name, label, help string, f func(*sample) map[string]int) ops.Metric[sample] {
	return ops.Metric[sample]{Name: "ashlar_cluster_" + name, Kind: ops.Gauge,
		Labels: []string{label}, Help: help, States: func(t *sample, each func(string, float64)) {
			for state, n := range f(t) {
				each(state, float64(n))
			}
		}}
}

func gauge[N int | uint64](name, unit, help string, f func(*sample) N) ops.Metric[sample] {
	return ops.Metric[sample]{Name: "ashlar_cluster_" + name, Unit: unit, Help: help,
		Kind: ops.Gauge, Value: func(t *sample) float64 { return float64(f(t)) }}
}

func healthMetrics() []ops.Metric[sample] {
	return []ops.Metric[sample]{
		{Name: "ashlar_cluster_health", Kind: ops.Gauge, Labels: []string{"health"},
			Help: "1 for the health that `ashlar cluster status` tells, 0 for the others.",
			States: func(t *sample, each func(string, float64)) {
				ops.OneOf(t.health, copysetHealths, each)
			}},
		gauge("problems", "", "Problems that `ashlar cluster status` lists.",
			func(t *sample) uint64 { return t.problems }),
		byState("nodes", "state", "Nodes by state: up or offline.",
			func(t *sample) map[string]int { return t.nodes }),
		byState("stores", "state", "Stores by state, that of their node included.",
			func(t *sample) map[string]int { return t.stores }),
		byState("copysets", "health",
			"Copysets by health: ok, without a replica (degraded), without a leader (unavailable).",
			func(t *sample) map[string]int { return t.copysets }),
		{Name: "ashlar_cluster_leader_moves_total", Kind: ops.Counter,
			Help:  "Copysets that another replica leads than before, since the start.",
			Value: func(t *sample) float64 { return float64(t.leaderMoves) }},
		gauge("late_stores", "",
			"Stores where a request of a client has waited for 5 s or more.",
			func(t *sample) int { return t.late }),
		{Name: "ashlar_cluster_oldest_request_seconds", Kind: ops.Gauge, Unit: "seconds",
			Help:  "Age of the oldest request of a client that has no answer yet, of all stores.",
			Value: func(t *sample) float64 { return t.oldest.Seconds() }},
		gauge("damaged_replicas", "", "Replicas that their stores report as damaged.",
			func(t *sample) int { return t.damaged }),
		gauge("repairs", "", "Replicas that are being filled in the place of others.",
			func(t *sample) int { return t.repairs }),
		gauge("waiting_moves", "", "Replicas that should move and cannot begin to yet.",
			func(t *sample) int { return t.waits }),
		gauge("corrupt_blocks", "",
			"Blocks that did not fit their checksum, since each node started.",
			func(t *sample) uint64 { return t.corruptBlocks }),
		gauge("repaired_blocks", "", "Those of them that another replica made good.",
			func(t *sample) uint64 { return t.madeBlocks }),
	}
}

func spaceMetrics() []ops.Metric[sample] {
	return []ops.Metric[sample]{
		gauge("capacity_bytes", "bytes", "What the stores can hold, copies included.",
			func(t *sample) uint64 { return t.capacity }),
		gauge("used_bytes", "bytes", "What their chunks take, copies included.",
			func(t *sample) uint64 { return t.used }),
		gauge("provisioned_bytes", "bytes", "Sizes of the volumes, one copy.",
			func(t *sample) uint64 { return t.provisioned }),
		gauge("high_stores", "", "Stores that fill up, or are full, by their marks.",
			func(t *sample) int { return t.high }),
		gauge("volumes", "", "Volumes, without those that are being deleted.",
			func(t *sample) int { return t.volumes }),
		gauge("trashed_volumes", "", "Volumes in the trash, which can be restored.",
			func(t *sample) uint64 { return t.trashed }),
		gauge("trashed_bytes", "bytes", "What they keep of the pool, copies included.",
			func(t *sample) uint64 { return t.trashedBytes }),
		gauge("deleting_volumes", "", "Volumes whose space is being given back.",
			func(t *sample) int { return t.deleting }),
		gauge("sessions", "", "Attachments of volumes that are renewed.",
			func(t *sample) int { return t.attached }),
	}
}
