package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// lane makes a folder with evidence files of the lane crash.
func lane(t *testing.T, files map[string]string) string {
	t.Helper()
	folder := t.TempDir()
	if err := os.Mkdir(filepath.Join(folder, "crash"), 0o755); err != nil {
		t.Fatal(err)
	}
	for name, text := range files {
		name = filepath.Join(folder, "crash", name)
		if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return folder
}

func TestALaneIsPrintedByClassWithItsTotal(t *testing.T) {
	folder := lane(t, map[string]string{
		"b.json": `{"name": "store, length 1", "counts": {"states": 1234567, "violations": 0}}`,
		"a.json": `{"name": "log", "counts": {"states": 999, "recoveries": 5}}`,
	})
	var out bytes.Buffer
	if err := run(&out, folder, "crash", "states", 1235566); err != nil {
		t.Error(err)
	}
	want := []string{"crash states", "log 999", "store, length 1 1,234,567", "total 1,235,566"}
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	if len(lines) != len(want) {
		t.Fatalf("printed\n%s", &out)
	}
	for i, line := range lines {
		if got := strings.Join(strings.Fields(line), " "); got != want[i] {
			t.Errorf("line %d is %q, want %q", i, got, want[i])
		}
	}
}

func TestALaneFailsForTooLittleAndForViolations(t *testing.T) {
	for name, c := range map[string]struct {
		text  string
		least int64
		want  string
	}{
		"too little": {`{"name": "a", "counts": {"states": 9}}`, 10, "at least 10"},
		"violation":  {`{"name": "a", "counts": {"states": 9, "violations": 1}}`, 1, "1 violation"},
		"no JSON":    {`{`, 1, "a.json"},
	} {
		folder := lane(t, map[string]string{"a.json": c.text})
		err := run(&bytes.Buffer{}, folder, "crash", "states", c.least)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := run(&bytes.Buffer{}, lane(t, nil), "crash", "states", 0); err == nil {
		t.Error("a lane that counted nothing passes")
	}
}

func TestTotalsAddUpEveryCount(t *testing.T) {
	folder := lane(t, map[string]string{
		"b.json": `{"name": "b", "counts": {"states": 1000, "crash": 2}}`,
		"a.json": `{"name": "a", "counts": {"states": 999, "cut": 5}}`,
	})
	var out bytes.Buffer
	if err := printTotals(&out, folder, "crash"); err != nil {
		t.Error(err)
	}
	if got := strings.Join(strings.Fields(out.String()), " "); got != "crash 2 cut 5 states 1,999" {
		t.Errorf("printed %q", got)
	}
}
