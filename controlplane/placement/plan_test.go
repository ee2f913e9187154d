package placement

import (
	"errors"
	"slices"
	"strings"
	"testing"
)

func TestOptionsRunFromDisjointGroupsToRandomPlacement(t *testing.T) {
	p := Planned{Stores: 999, Zones: 9, Replicas: 3, ScatterWidth: 10, BytesEach: 4e12,
		Model: Model{AFR: 0.02, RebuildRate: 1e8}}
	options, err := Options(p)
	if err != nil {
		t.Fatal(err)
	}
	var widths []int
	for _, o := range options {
		widths = append(widths, o.ScatterWidth)
		if o.AtOnceOf != 3 || o.LossAtOnce != o.AtOnce || o.Stores != 999 || o.Zones != 9 {
			t.Errorf("%+v", o)
		}
	}
	if want := []int{2, 4, 8, 10, 16, 32, 0}; !slices.Equal(widths, want) {
		t.Fatalf("widths %v, want %v", widths, want)
	}
	first, last := options[0], options[len(options)-1]
	if first.Distinct != 333 || first.LossAtOnce != 333.0/165_668_499 || first.WidthMax != 2 {
		t.Errorf("disjoint: %+v", first)
	}
	if !last.Random || last.Distinct != Combinations(slices.Repeat([]int{111}, 9), 3) ||
		!near(last.LossAtOnce, 0.6934, 1e-3) {
		t.Errorf("random: %+v", last)
	}
	// What a wider scatter buys and what it costs.
	for i, o := range options[1:] {
		narrow := options[i]
		if o.LossAtOnce <= narrow.LossAtOnce || o.RebuildMean >= narrow.RebuildMean ||
			o.LostBytes >= narrow.LostBytes {
			t.Errorf("width %d against %d:\n%+v\n%+v", o.ScatterWidth, narrow.ScatterWidth, o,
				narrow)
		}
	}
}

func TestPlansOfAnyShapeHaveAnAnswerOrAReason(t *testing.T) {
	m := DefaultModel()
	for _, p := range []Planned{
		{Stores: 1, Zones: 1, Replicas: 1, Model: m},
		{Stores: 3, Zones: 3, Replicas: 3, Model: m},
		{Stores: 7, Zones: 3, Replicas: 2, BytesEach: 1, Model: m},
		{Stores: 12, Zones: 12, Replicas: 5, ScatterWidth: 11, Failures: 6, Model: m},
	} {
		options, err := Options(p)
		if err != nil || len(options) < 2 {
			t.Errorf("%+v: %+v %v", p, options, err)
		}
	}
	good := Planned{Stores: 12, Zones: 4, Replicas: 3, Model: m}
	for want, change := range map[string]func(*Planned){
		"0 stores":         func(p *Planned) { p.Stores = 0 },
		"1000000 stores":   func(p *Planned) { p.Stores = 1e6 },
		"0 zones":          func(p *Planned) { p.Zones = 0 },
		"13 zones":         func(p *Planned) { p.Zones = 13 },
		"0 replicas":       func(p *Planned) { p.Replicas = 0 },
		"5 replicas":       func(p *Planned) { p.Replicas = 5 },
		"scatter width 1":  func(p *Planned) { p.ScatterWidth = 1 },
		"scatter width 10": func(p *Planned) { p.ScatterWidth = 10 },
		"2 failures":       func(p *Planned) { p.Failures = 2 },
		"13 failures":      func(p *Planned) { p.Failures = 13 },
		"bytes":            func(p *Planned) { p.BytesEach = -1 },
		"failure rate":     func(p *Planned) { p.Model.AFR = 2 },
		"needs": func(p *Planned) {
			*p = Planned{Stores: 4000, Zones: 4, Replicas: 3, ScatterWidth: 2000, Model: m}
		},
	} {
		p := good
		change(&p)
		if _, err := Options(p); !errors.Is(err, ErrImpossible) ||
			!strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", want, err)
		}
	}
}
