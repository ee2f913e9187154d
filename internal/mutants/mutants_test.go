package main

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"testing"
)

// The table is kept in step with the tree: texts stand in their files, tests exist.
func TestTableFitsTheTree(t *testing.T) {
	t.Chdir(filepath.Join("..", ".."))
	names := map[string]bool{}
	for _, m := range append([]mutant{canary}, mutants...) {
		if names[m.name] {
			t.Errorf("%s: twice", m.name)
		}
		names[m.name] = true
		if _, err := m.apply(); err != nil {
			t.Error(err)
		}
		if m.old == m.new {
			t.Errorf("%s: changes nothing", m.name)
		}
		if !hasTest(t, m.pkg, m.test) {
			t.Errorf("%s: %s has no test %s", m.name, m.pkg, m.test)
		}
	}
	if len(mutants) < 20 {
		t.Errorf("%d mutants, at least 20 are promised", len(mutants))
	}
}

func hasTest(t *testing.T, pkg, test string) bool {
	files, err := filepath.Glob(filepath.Join(pkg, "*_test.go"))
	if err != nil {
		t.Fatal(err)
	}
	want := regexp.MustCompile(`(?m)^func ` + test + `\(`)
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		if want.Match(text) {
			return true
		}
	}
	return false
}

func TestOutcomeIsThatOfTheNamedTest(t *testing.T) {
	failed := error(&exec.ExitError{})
	for _, c := range []struct {
		output    string
		err, late error
		want      outcome
	}{
		{"ok  	x	0.1s", nil, nil, survived},
		{"ok  	x	0.1s [no tests to run]", nil, nil, broken},
		{"--- FAIL: TestX (0.00s)\nFAIL", failed, nil, caught},
		{"panic: wal: twice\nFAIL	x	0.1s", failed, nil, caught},
		{"FAIL	x [build failed]", failed, nil, broken},
		{"panic: test timed out after 1s\nFAIL", failed, nil, slow},
		{"", failed, errors.New("deadline"), slow},
		{"", errors.New("no go"), nil, broken},
	} {
		if got := judge(c.output, c.err, c.late); got != c.want {
			t.Errorf("%q, %v: %s, want %s", c.output, c.err, got, c.want)
		}
	}
}

func TestASurvivorOrACaughtCanaryFailsTheRun(t *testing.T) {
	for _, c := range []struct {
		canary, mutant outcome
		wrong          int
	}{
		{survived, caught, 0},
		{survived, survived, 1},
		{survived, broken, 1},
		{survived, slow, 1},
		{caught, caught, 1},
		{broken, survived, 2},
	} {
		var out bytes.Buffer
		wrong := report(&out, []result{{mutant: canary, outcome: c.canary},
			{mutant: mutants[0], outcome: c.mutant}})
		if wrong != c.wrong || (out.Len() > 0) != (c.wrong > 0) {
			t.Errorf("canary %s, mutant %s: %d wrong, want %d; printed %q", c.canary, c.mutant,
				wrong, c.wrong, out.String())
		}
	}
}
