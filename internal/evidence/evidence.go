package evidence

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// Environment names the folder that Record and Leave write to.
const Environment = "EVIDENCE"

// Item is what one test or lane found out.
type Item struct {
	// Lane is the make target the counts belong to: crash, corrupt, fuzz, mutants, kernel, power.
	Lane string `json:"lane"`
	// Name says which workload or class of faults, unique within its lane.
	Name string `json:"name"`
	// Promises are those of docs/reliability.md that the counts speak for: P1 to P13.
	Promises []string `json:"promises"`
	// Test is where the counts come from: package folder and test, as a reader would run it.
	Test string `json:"test"`
	// Counts by name: states, mutations, detected, repaired, rejected, violations and so on.
	Counts map[string]int64 `json:"counts"`
	// Rows are the deliberate bugs, of the lane mutants alone.
	Rows []Row `json:"rows,omitempty"`
}

// Row is a deliberate bug and what became of it.
type Row struct {
	Name    string `json:"name"`
	Promise string `json:"promise"`
	Test    string `json:"test"`
	Outcome string `json:"outcome"`
}

// T is what Record needs of a test.
type T interface {
	Helper()
	Logf(format string, args ...any)
	Errorf(format string, args ...any)
}

// Record logs the item and, when asked to by the environment, keeps it as a file.
func Record(t T, item Item) {
	t.Helper()
	t.Logf("%s: %s: %v", item.Lane, item.Name, item.Counts)
	if err := item.Leave(); err != nil {
		t.Errorf("%v", err)
	}
}

// Leave keeps the item as a file, when the environment asks for it.
func (item *Item) Leave() error {
	folder := os.Getenv(Environment)
	if folder == "" {
		return nil
	}
	data, err := json.MarshalIndent(item, "", "  ")
	if err != nil {
		return fmt.Errorf("evidence: %w", err)
	}
	folder = filepath.Join(folder, item.Lane)
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return fmt.Errorf("evidence: %w", err)
	}
	name := strings.NewReplacer(" ", "-", "/", "-", ",", "-").Replace(item.Name)
	err = os.WriteFile(filepath.Join(folder, name+".json"), append(data, '\n'), 0o644)
	if err != nil {
		return fmt.Errorf("evidence: %w", err)
	}
	return nil
}

// Read returns what a lane left in the folder, or every lane when lane is "*", in the order of the
// files' names.
func Read(folder, lane string) ([]Item, error) {
	files, err := filepath.Glob(filepath.Join(folder, lane, "*.json"))
	if err != nil {
		return nil, fmt.Errorf("evidence: %w", err)
	}
	items := make([]Item, len(files))
	for i, name := range files {
		data, err := os.ReadFile(name)
		if err == nil {
			err = json.Unmarshal(data, &items[i])
		}
		if err != nil {
			return nil, fmt.Errorf("evidence: %s: %w", name, err)
		}
	}
	return items, nil
}
