package main

import "github.com/ashlar-storage/ashlar/internal/evidence"

// leaveEvidence keeps the counts and a row for each mutant where the environment asks for them.
func leaveEvidence(results []result) error {
	if *only != "" {
		return nil
	}
	item := evidence.Item{Lane: "mutants", Name: "deliberate bugs",
		Promises: []string{"P1", "P2", "P3", "P4", "P5", "P6", "P10", "P13", "P14"},
		Test:     "internal/mutants",
		Counts: map[string]int64{"mutants": int64(len(results) - 1),
			"caught": int64(countCaught(results))}}
	for _, r := range results[1:] {
		item.Rows = append(item.Rows, evidence.Row{Name: r.name, Promise: r.promise,
			Test: r.pkg[2:] + " " + r.test, Outcome: string(r.outcome)})
	}
	return item.Leave()
}
