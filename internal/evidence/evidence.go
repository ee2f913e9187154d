package evidence

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Environment names the folder that Record writes to.
const Environment = "EVIDENCE"

// Item is what one test found out.
type Item struct {
	// Lane is the make target the counts belong to: crash, corrupt, fuzz, mutants, kernel, power.
	Lane string `json:"lane"`
	// Name says which workload or class of faults, unique within its lane.
	Name string `json:"name"`
	// Promises are those of docs/reliability.md that the counts speak for: P1 to P12.
	Promises []string `json:"promises"`
	// Test is where the counts come from: package folder and test, as a reader would run it.
	Test string `json:"test"`
	// Counts by name: states, mutations, detected, repaired, rejected, violations and so on.
	Counts map[string]int64 `json:"counts"`
}

// Record logs the item and, when asked to by the environment, keeps it as a file.
func Record(t testing.TB, item Item) {
	t.Helper()
	t.Logf("%s: %s: %v", item.Lane, item.Name, item.Counts)
	folder := os.Getenv(Environment)
	if folder == "" {
		return
	}
	if err := item.write(folder); err != nil {
		t.Errorf("evidence: %v", err)
	}
}

func (item *Item) write(folder string) error {
	data, err := json.MarshalIndent(item, "", "  ")
	if err != nil {
		return err
	}
	folder = filepath.Join(folder, item.Lane)
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return err
	}
	name := strings.Map(func(r rune) rune {
		if r == ' ' || r == '/' || r == ',' {
			return '-'
		}
		return r
	}, item.Name)
	return os.WriteFile(filepath.Join(folder, name+".json"), append(data, '\n'), 0o644)
}
