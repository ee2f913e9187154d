package monitoring

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/ashlar-storage/ashlar/controlplane/server"
	"github.com/ashlar-storage/ashlar/dataplane/node"
	"github.com/ashlar-storage/ashlar/rpc/ops"
)

// series is what expressions may name: metric -> its labels.
type series map[string][]string

// target are the labels that a scrape adds.
var target = []string{"job", "instance"}

// values are those of the labels that have few.
var values = map[string][]string{
	"health": {"ok", "degraded", "unavailable"},
	"state":  {"up", "offline", "full", "stalled", "failed", "replaced"},
	"op":     {"read", "write", "zero", "fence"},
	"stage": {"queue", "lane", "lease", "read", "propose", "commit", "reply", "wait",
		"write"},
	"use": {"chunk", "ready", "damaged"},
}

// catalog is what the program serves, with what the client library and the scrape add.
func catalog() series {
	all := series{"up": target, "process_cpu_seconds_total": target,
		"process_resident_memory_bytes": target}
	for _, m := range slices.Concat(node.Metrics(), server.Metrics()) {
		labels := slices.Concat(target, m.Labels)
		if m.Kind != ops.Histogram {
			all[m.Name] = labels
			continue
		}
		all[m.Name+"_count"], all[m.Name+"_sum"] = labels, labels
		all[m.Name+"_bucket"] = append(slices.Clone(labels), "le")
	}
	return all
}

// check says everything that is wrong with an expression.
func (all series) check(expr string) error {
	e, err := scan(expr)
	if err != nil {
		return err
	}
	if len(e.selectors) == 0 {
		return errors.New("it names no metric")
	}
	var wrong []error
	var known []string
	for _, s := range e.selectors {
		labels, ok := all[s.metric]
		if !ok {
			wrong = append(wrong, fmt.Errorf("nothing serves %s", s.metric))
			continue
		}
		known = append(known, labels...)
		for _, m := range s.matchers {
			wrong = append(wrong, m.check(s.metric, labels))
		}
	}
	for _, l := range e.grouped {
		if !slices.Contains(known, l) {
			wrong = append(wrong, fmt.Errorf("it groups by %s, which none of its metrics has", l))
		}
	}
	return errors.Join(wrong...)
}

// check says that a label, or a value of it, is none of the metric's.
func (m matcher) check(metric string, labels []string) error {
	if !slices.Contains(labels, m.label) {
		return fmt.Errorf("%s has no label %s", metric, m.label)
	}
	few := values[m.label]
	if few == nil || strings.HasPrefix(m.value, "$") {
		return nil
	}
	for _, v := range strings.Split(m.value, "|") {
		if !slices.Contains(few, v) {
			return fmt.Errorf("%s is never %q in %s: one of %s", m.label, v, metric,
				strings.Join(few, ", "))
		}
	}
	return nil
}

func TestMistakesInExpressionsAreFound(t *testing.T) {
	all := catalog()
	for expr, want := range map[string]string{
		`ashlar_store_used_byte > 0`:                   "nothing serves ashlar_store_used_byte",
		`ashlar_store_request_seconds`:                 "nothing serves",
		`ashlar_store_used_bytes{disk="x"}`:            "has no label disk",
		`ashlar_store_state{state="stuck"} == 1`:       `never "stuck"`,
		`ashlar_store_state{state=~"up|broken"}`:       `never "broken"`,
		`sum by (zone) (ashlar_store_used_bytes)`:      "groups by zone",
		`rate(ashlar_store_used_bytes[5m]`:             "not closed",
		`rates(ashlar_store_used_bytes[5m])`:           "function rates",
		`ashlar_store_used_bytes{state}`:               "no matcher",
		`{job="ashlar"}`:                               "without a metric",
		`1 + 1`:                                        "no metric",
		`ashlar_store_used_bytes > ; 3`:                "cannot be read",
		`sum by ashlar_store_used_bytes`:               "no list of labels",
		`ashlar_store_used_bytes{store=~"$store"} > 3`: "",
		`up{job="a"} == 0 or absent(ashlar_node_info)`: "",
		`histogram_quantile(0.9, sum by (le, op) (rate(ashlar_store_request_seconds_bucket` +
			`{stage="commit"}[1m])))`: "",
	} {
		err := all.check(expr)
		if want == "" && err != nil || want != "" && (err == nil ||
			!strings.Contains(err.Error(), want)) {
			t.Errorf("%s: %v, want %q", expr, err, want)
		}
	}
}
