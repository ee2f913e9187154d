package view

import (
	"fmt"
	"time"
)

// Check is what concurrent clients of one volume saw while nodes were struck.
type Check struct {
	Volume     string   `json:"volume"`
	Seconds    float64  `json:"seconds"`
	Operations int      `json:"operations"`
	Verdict    string   `json:"verdict"`
	QuietMS    float64  `json:"quiet_longest_ms"` // the longest operation before the first strike
	Strikes    []Strike `json:"strikes"`
}

// Strike is what was done to a node, and the longest operation that was under way then.
type Strike struct {
	AtSeconds float64 `json:"at_seconds"`
	Kind      string  `json:"kind"` // kill | freeze
	Node      string  `json:"node"`
	PID       uint64  `json:"pid"`
	LongestMS float64 `json:"longest_ms"`
}

// Tables implements Tabler.
func (c Check) Tables() []Table {
	head := Table{Rows: [][]string{{"volume", c.Volume},
		{"operations", fmt.Sprintf("%d in %.0f s", c.Operations, c.Seconds)},
		{"longest, undisturbed", milliseconds(c.QuietMS)}, {"verdict", c.Verdict}}}
	if len(c.Strikes) == 0 {
		return []Table{head}
	}
	t := Table{Heading: []string{"AT", "STRIKE", "NODE", "PID", "LONGEST OPERATION"}}
	for _, s := range c.Strikes {
		t.Rows = append(t.Rows, []string{fmt.Sprintf("%.0f s", s.AtSeconds), s.Kind, s.Node,
			num(s.PID), milliseconds(s.LongestMS)})
	}
	return []Table{head, t}
}

func milliseconds(ms float64) string { return fmt.Sprintf("%.0f ms", ms) }

// Milliseconds is a duration as the documents have it.
func Milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
