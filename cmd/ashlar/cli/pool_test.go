package cli

import (
	"regexp"
	"strings"
	"testing"
)

// shown is a command and what it prints, in a page of the manual.
var shown = regexp.MustCompile("(?s)```\n\\$ ashlar ([^\n]*)\n(.*?)```")

func TestPageOfDurabilityShowsWhatTheProgramPrints(t *testing.T) {
	found := shown.FindAllStringSubmatch(manual(t, "durability.md"), -1)
	if len(found) == 0 {
		t.Fatal("docs/durability.md shows no command")
	}
	for _, m := range found {
		status, out, errOut := invoke(t, strings.Fields(m[1])...)
		if status != exitOK || out != m[2] {
			t.Errorf("ashlar %s: status %d\n%s%s\nthe page has\n%s", m[1], status, out, errOut,
				m[2])
		}
	}
}

func TestPartsAreReadAsPercentagesOrNumbers(t *testing.T) {
	for text, want := range map[string]part{"2%": 0.02, "0.02": 0.02, " 100% ": 1, "1": 1,
		"0.5%": 0.005} {
		var p part
		if err := p.Set(text); err != nil || p-want > 1e-12 || want-p > 1e-12 {
			t.Errorf("%q: %v %v", text, float64(p), err)
		}
	}
	for _, text := range []string{"", "%", "0", "-1%", "101%", "2", "NaN", "x%", "2%%"} {
		var p part
		if err := p.Set(text); err == nil {
			t.Errorf("%q was taken as %v", text, p)
		}
	}
	if p := part(0.02); p.String() != "2%" {
		t.Error(p.String())
	}
}
