package view

import ashlar "github.com/ashlar-storage/ashlar/rpc/admin/kitex_gen/ashlar/v1"

// Explanation says why something is as it is.
type Explanation struct {
	Object   string   `json:"object"` // copyset | store | node | volume
	ObjectID uint64   `json:"object_id"`
	Name     string   `json:"name"`
	State    string   `json:"state"`
	Summary  string   `json:"summary"`
	Why      []string `json:"why"`       // what is not as it should be
	WaitsFor []string `json:"waits_for"` // what has to happen first
	Next     []string `json:"next"`      // what the cluster does by itself then
}

// FromExplanation converts an explanation; its lists are never nil.
func FromExplanation(r *ashlar.ExplainResponse) Explanation {
	return Explanation{Object: r.GetObject(), ObjectID: r.GetObjectId(), Name: r.GetName(),
		State: r.GetState(), Summary: r.GetSummary(), Why: append([]string{}, r.GetWhy()...),
		WaitsFor: append([]string{}, r.GetWaitsFor()...),
		Next:     append([]string{}, r.GetNext()...)}
}

// Tables implements Tabler.
func (e Explanation) Tables() []Table {
	t := Table{Rows: [][]string{{e.State, e.Summary}}}
	for _, part := range []struct {
		label string
		lines []string
	}{{"why", e.Why}, {"waits for", e.WaitsFor}, {"next", e.Next}} {
		for _, line := range part.lines {
			t.Rows = append(t.Rows, []string{part.label, line})
			part.label = ""
		}
	}
	return []Table{t}
}
