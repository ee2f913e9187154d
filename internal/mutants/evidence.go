package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
)

// row is a mutant as docs/reliability.md shows it.
type row struct {
	Name    string `json:"name"`
	Promise string `json:"promise"`
	Test    string `json:"test"`
	Outcome string `json:"outcome"`
}

// leaveEvidence writes the counts and the rows where EVIDENCE asks for them; see package evidence.
func leaveEvidence(results []result) error {
	folder := os.Getenv("EVIDENCE")
	if folder == "" || *only != "" {
		return nil
	}
	rows := []row{}
	for _, r := range results[1:] {
		rows = append(rows, row{r.name, r.promise, r.pkg[2:] + " " + r.test, string(r.outcome)})
	}
	folder = filepath.Join(folder, "mutants")
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return fmt.Errorf("evidence: %w", err)
	}
	item := map[string]any{"lane": "mutants", "name": "deliberate bugs",
		"promises": []string{"P1", "P2", "P3", "P4", "P5", "P6", "P10"},
		"test":     "internal/mutants", "rows": rows,
		"counts": map[string]int{"mutants": len(rows), "caught": countCaught(results)}}
	data, err := json.MarshalIndent(item, "", "  ")
	if err != nil {
		return fmt.Errorf("evidence: %w", err)
	}
	return os.WriteFile(filepath.Join(folder, "deliberate-bugs.json"), append(data, '\n'), 0o644)
}
