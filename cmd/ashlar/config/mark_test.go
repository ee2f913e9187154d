package config

import (
	"errors"
	"strings"
	"testing"
)

func TestMarksAreReadAsSharesAndAsSizesThatAreLeft(t *testing.T) {
	for text, want := range map[string]Mark{"85%": {Percent: 85}, " 99.5 %": {Percent: 99.5},
		"100%": {Percent: 100}, "20GiB": {Left: 20 << 30}, "0": {}} {
		got, err := ParseMark(text)
		if err != nil || got != want {
			t.Errorf("%q = %+v, %v, want %+v", text, got, err, want)
		}
		if again, err := ParseMark(got.String()); err != nil || again != got {
			t.Errorf("%q is written as %q, which is read as %+v, %v", text, got, again, err)
		}
	}
}

func TestBadMarksAreRefusedWithAnExample(t *testing.T) {
	for _, text := range []string{"", "%", "0%", "-1%", "101%", "NaN%", "Inf%", "x", "85%%",
		"-20GiB", strings.Repeat("9", 40) + "%"} {
		if _, err := ParseMark(text); !errors.Is(err, ErrInvalid) ||
			!strings.Contains(err.Error(), "GiB") {
			t.Errorf("%q: error = %v", text, err)
		}
	}
}

func TestNodeRefusesToBeFullBeforeItFillsUp(t *testing.T) {
	for text, want := range map[string]string{
		"store_high: 95%\nstore_full: 90%\n":   "store_high",
		"store_high: 10GiB\nstore_full: 20GiB": "store_high",
		"store_high: 85%\nstore_full: 5GiB\n":  "",
		"store_high: 0\nstore_full: 0\n":       "",
	} {
		node := DefaultNode()
		err := Decode([]byte(text), &node)
		if want == "" && err != nil || want != "" && (!errors.Is(err, ErrInvalid) ||
			!strings.Contains(err.Error(), want)) {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
	}
}
