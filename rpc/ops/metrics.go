package ops

import (
	"log/slog"
	"net/http"
	"slices"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// Kind is what a metric is.
type Kind string

// The kinds, in Prometheus' words.
const (
	Counter   Kind = "counter"   // rises, and begins anew with the process
	Gauge     Kind = "gauge"     // a state
	Histogram Kind = "histogram" // counts by size
)

// Metric describes one metric of a T, and takes it out of it by the one of Value, States and
// Histograms that is set.
type Metric[T any] struct {
	Name, Help string
	Unit       string // "" where it is a plain number
	Kind       Kind
	// Labels are further labels, beside those of every metric of the source.
	Labels []string
	// Value is the number.
	Value func(*T) float64
	// States gives the values of the one further label, each with its number.
	States func(t *T, each func(state string, n float64))
	// Histograms gives the histograms that there are.
	Histograms func(t *T, each func(g Group))
}

// Group is a histogram of a metric.
type Group struct {
	Labels  []string // values of the further labels
	Count   uint64
	Sum     float64
	Buckets map[float64]uint64 // what is at most the key
}

// Info is what a manual says of a metric.
type Info struct {
	Name, Help, Unit string
	Kind             Kind
	Labels           []string
}

// Source is a collector of the metrics of things of one kind.
type Source[T any] struct {
	Labels  []string // of every metric
	Metrics []Metric[T]
	// Look calls each with every thing there is and the values of its labels, at every scrape.
	Look func(each func(t *T, labels ...string))
}

// Catalog lists what a source describes.
func (s *Source[T]) Catalog() []Info {
	list := make([]Info, 0, len(s.Metrics))
	for i := range s.Metrics {
		m := &s.Metrics[i]
		list = append(list, Info{Name: m.Name, Help: m.Help, Unit: m.Unit, Kind: m.Kind,
			Labels: slices.Concat(s.Labels, m.Labels)})
	}
	return list
}

func (m *Metric[T]) desc(common []string) *prometheus.Desc {
	return prometheus.NewDesc(m.Name, m.Help, slices.Concat(common, m.Labels), nil)
}

// Describe implements prometheus.Collector.
func (s *Source[T]) Describe(out chan<- *prometheus.Desc) {
	for i := range s.Metrics {
		out <- s.Metrics[i].desc(s.Labels)
	}
}

// Collect implements prometheus.Collector.
func (s *Source[T]) Collect(out chan<- prometheus.Metric) {
	s.Look(func(t *T, labels ...string) {
		for i := range s.Metrics {
			s.Metrics[i].collect(t, s.Labels, labels, out)
		}
	})
}

func (m *Metric[T]) collect(t *T, common, labels []string, out chan<- prometheus.Metric) {
	d := m.desc(common)
	kind := prometheus.GaugeValue
	if m.Kind == Counter {
		kind = prometheus.CounterValue
	}
	send := func(v prometheus.Metric, err error) {
		if err != nil {
			v = prometheus.NewInvalidMetric(d, err)
		}
		out <- v
	}
	switch {
	case m.Histograms != nil:
		m.Histograms(t, func(g Group) {
			all := slices.Concat(labels, g.Labels)
			send(prometheus.NewConstHistogram(d, g.Count, g.Sum, g.Buckets, all...))
		})
	case m.States != nil:
		m.States(t, func(state string, n float64) {
			all := slices.Concat(labels, []string{state})
			send(prometheus.NewConstMetric(d, kind, n, all...))
		})
	default:
		send(prometheus.NewConstMetric(d, kind, m.Value(t), labels...))
	}
}

// OneOf gives 1 to the state that is and 0 to the others.
func OneOf(is string, states []string, each func(string, float64)) {
	for _, s := range states {
		n := 0.0
		if s == is {
			n = 1
		}
		each(s, n)
	}
}

// Registry holds sources, and the client library's own collectors of runtime and process.
func Registry(sources ...prometheus.Collector) (*prometheus.Registry, error) {
	reg := prometheus.NewRegistry()
	sources = append(sources, collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	for _, s := range sources {
		if err := reg.Register(s); err != nil {
			return nil, err
		}
	}
	return reg, nil
}

// Page serves a registry. A source that fails spoils a scrape, which is logged.
func Page(reg *prometheus.Registry, logger *slog.Logger) http.Handler {
	return promhttp.HandlerFor(reg, promhttp.HandlerOpts{
		ErrorLog: slog.NewLogLogger(logger.Handler(), slog.LevelWarn),
		Registry: reg, MaxRequestsInFlight: maxScrapes, Timeout: scrapeTime,
	})
}
