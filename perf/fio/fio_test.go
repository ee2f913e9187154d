package fio

import (
	"context"
	"errors"
	"path/filepath"
	"strings"
	"testing"
)

func TestFiguresComeOutOfFiosJSON(t *testing.T) {
	if Find() != nil {
		t.Skip("no fio here: `make packages` installs it")
	}
	name := filepath.Join(t.TempDir(), "file")
	job := Job{Options: []string{"ioengine=psync", "filename=" + name}, RW: "write", Block: 4096,
		Depth: 1, Size: 1 << 20}
	r, err := Run(context.Background(), job)
	if err != nil {
		t.Fatal(err)
	}
	if r.Ops != 256 || r.IOPS <= 0 || r.P50 <= 0 || r.P999 < r.P50 || r.Mean <= 0 {
		t.Errorf("figures of 256 writes: %+v", r)
	}
}

func TestFailureCarriesFiosWords(t *testing.T) {
	if Find() != nil {
		t.Skip("no fio here: `make packages` installs it")
	}
	_, err := Run(context.Background(), Job{Options: []string{"ioengine=nosuch"}, RW: "read",
		Block: 4096, Depth: 1, Size: 4096})
	if !errors.Is(err, ErrFailed) || !strings.Contains(err.Error(), "nosuch") {
		t.Errorf("error = %v", err)
	}
}

func TestOutputThatIsNotFiosIsRefused(t *testing.T) {
	for _, text := range []string{"", "fio: oops", "{}", `{"jobs":[{},{}]}`,
		`{"jobs":[{"error":5}]}`} {
		if _, err := Parse([]byte(text)); !errors.Is(err, ErrFailed) {
			t.Errorf("%q: error = %v", text, err)
		}
	}
}
