package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

func read(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "..", name))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestEveryLaneOfThePageIsATargetThatCIRuns(t *testing.T) {
	text, makefile, ci := read(t, "docs/reliability.md"), read(t, "Makefile"), read(t, ".ci/run")
	for _, lane := range lanes {
		if !strings.Contains(text, "`make "+lane+"`") {
			t.Errorf("the page does not say what `make %s` does", lane)
		}
		if !regexp.MustCompile(`(?m)^` + lane + `:`).MatchString(makefile) {
			t.Errorf("there is no target %s", lane)
		}
		if !strings.Contains(ci, lane) {
			t.Errorf(".ci/run does not run %s", lane)
		}
	}
}

func TestEveryPromiseIsOnThePage(t *testing.T) {
	text := read(t, "docs/reliability.md")
	for n := 1; n <= promises; n++ {
		if !strings.Contains(text, "**P"+strconv.Itoa(n)+"**") {
			t.Errorf("P%d is not stated", n)
		}
	}
	for _, name := range []string{"promises", "bugs"} {
		if _, err := replace([]byte(text), name, ""); err != nil {
			t.Error(err)
		}
	}
}

func TestTablesQuoteWhatTheLanesLeft(t *testing.T) {
	folder := t.TempDir()
	for name, text := range map[string]string{
		"crash/a.json": `{"lane":"crash","name":"log","promises":["P1","P6"],"test":"io/wal TestX",
			"counts":{"states":123456,"violations":0}}`,
		"mutants/b.json": `{"lane":"mutants","name":"bugs","promises":["P1"],"test":"x","counts":{},
			"rows":[{"name":"skip a crc","promise":"P4","test":"wal TestY","outcome":"caught"}]}`,
	} {
		path := filepath.Join(folder, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	items, err := load(folder)
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range []string{
		"| P1 | crash | log | `io/wal TestX` | 123,456 states, 0 violations |",
		"| P6 | crash | log | `io/wal TestX` | 123,456 states, 0 violations |",
	} {
		if !strings.Contains(promiseTable(items), row) {
			t.Errorf("no row %s in\n%s", row, promiseTable(items))
		}
	}
	row := "| skip a crc | P4 | `wal TestY` | caught |"
	if !strings.Contains(bugTable(items), row) {
		t.Errorf("no row %s", row)
	}
	if err := os.WriteFile(filepath.Join(folder, "crash", "c.json"), []byte(`{"lane":"none"}`),
		0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := load(folder); err == nil {
		t.Error("evidence of an unknown lane is taken")
	}
}
