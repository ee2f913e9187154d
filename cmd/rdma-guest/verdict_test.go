package main

import (
	"strings"
	"testing"
)

func TestOnlyTestsThatSayThatTheyPassedHavePassed(t *testing.T) {
	for _, c := range []struct{ name, said, wrong string }{
		{"both passed", "--- PASS: TestA (0.10s)\n--- PASS: TestB (1.00s)", ""},
		{"one failed", "--- PASS: TestA (0.10s)\n--- FAIL: TestB (1.00s)", "failed: x TestB"},
		{"one was skipped", "--- PASS: TestA (0.10s)\n--- SKIP: TestB (0.00s)", "TestB (skip)"},
		{"one says nothing", "--- PASS: TestA (0.10s)", "no word of: x TestB"},
		{"a subtest is not the test", "--- PASS: TestA (0.10s)\n    --- PASS: TestB (0.00s)",
			"no word of: x TestB"},
	} {
		t.Run(c.name, func(t *testing.T) {
			v := &verdict{}
			v.want("x", "TestA")
			v.want("x", "TestB")
			for _, text := range strings.Split(c.said, "\n") {
				v.line("x", text)
			}
			err := v.judge()
			if c.wrong == "" && err != nil || c.wrong != "" && (err == nil ||
				!strings.Contains(err.Error(), c.wrong)) {
				t.Errorf("judged %v, want %q", err, c.wrong)
			}
		})
	}
}
