package placement

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
	"time"
)

func near(got, want, relative float64) bool {
	return math.Abs(got-want) <= relative*math.Abs(want)
}

// triples is n stores with a zone each, in disjoint copysets of three.
func triples(n int) (stores []Store, sets []Copyset) {
	for i := range uint64(n) {
		stores = append(stores, Store{ID: i, Zone: fmt.Sprint(i)})
		if i%3 == 0 {
			sets = append(sets, Copyset{i, i + 1, i + 2})
		}
	}
	return stores, sets
}

func holding(stores []Store, each float64) map[uint64]float64 {
	bytes := map[uint64]float64{}
	for _, s := range stores {
		bytes[s.ID] = each
	}
	return bytes
}

// The example of 999 disks: 333 disjoint triples lose data in 333 of the C(999,3) triples that may
// fail. A published slide prints 5.02e-07 for it, which its own formula does not give.
func TestDisjointTriplesOf999DisksLoseDataInTwoOfAMillionTripleFailures(t *testing.T) {
	if got := choose(999, 3); got != 165_668_499 {
		t.Fatalf("C(999,3) = %v", got)
	}
	stores, sets := triples(999)
	d, err := Assess(stores, sets, holding(stores, 1<<40), DefaultModel())
	if err != nil {
		t.Fatal(err)
	}
	if d.Distinct != 333 || d.AtOnce != 333.0/165_668_499 || !near(d.AtOnce, 2.01e-6, 0.001) {
		t.Errorf("%v distinct copysets, loss at once %v", d.Distinct, d.AtOnce)
	}
	if near(d.AtOnce, 5.02e-7, 0.5) {
		t.Error("that is the misprint")
	}
	random, err := AssessRandom(stores, 3, 1<<40, DefaultModel())
	if err != nil {
		t.Fatal(err)
	}
	if random.Distinct != 165_668_499 || random.AtOnce != 1 {
		t.Errorf("random placement: %v copysets, loss at once %v", random.Distinct, random.AtOnce)
	}
}

// Figures of Cidon et al., USENIX ATC 2013: 5000 nodes, of which 1 % do not come back after a power
// cut. Copysets for a scatter width of 2 lose data with 0.15 %, for one of 10 with 0.78 %.
func TestLossAfterAPowerCutGivesThePublishedFigures(t *testing.T) {
	for _, c := range []struct {
		width int
		want  float64
	}{{2, 0.0015}, {10, 0.0078}} {
		distinct := float64(CountFor(5000, 3, c.width))
		if got := LossAtOnce(5000, 3, distinct, 50); !near(got, c.want, 0.05) {
			t.Errorf("width %d: %v, published %v", c.width, got, c.want)
		}
	}
}

func TestLossAtOnceHasItsLimitsRight(t *testing.T) {
	for _, c := range []struct {
		n, replicas int
		distinct    float64
		failed      int
		want        float64
	}{
		{9, 3, 3, 2, 0}, {9, 3, 3, 9, 1}, {9, 3, 84, 3, 1}, {9, 3, 84, 4, 1}, {3, 3, 1, 3, 1},
		{10, 1, 10, 1, 1}, {10, 1, 4, 1, 0.4}, {2, 3, 1, 2, 0}, {9, 0, 1, 1, 0}, {9, 3, 0, 3, 0},
		{6, 2, 3, 2, 0.2}, {9, 3, 100, 3, 1},
	} {
		if got := LossAtOnce(c.n, c.replicas, c.distinct, c.failed); got != c.want {
			t.Errorf("%+v: got %v", c, got)
		}
	}
}

func TestLossAtOnceAgreesWithStoresDrawnToFail(t *testing.T) {
	rng := rand.New(rand.NewPCG(5, 5))
	stores := grid(10, 10, 10, 10)
	sets, err := Generate(stores, Params{Replicas: 3, Copysets: 80, ScatterWidth: 12})
	if err != nil {
		t.Fatal(err)
	}
	const draws = 200_000
	for _, failed := range []int{3, 4, 6, 8} {
		lost := 0
		for range draws {
			gone := map[uint64]bool{}
			for _, i := range rng.Perm(len(stores))[:failed] {
				gone[stores[i].ID] = true
			}
			if anyLost(sets, gone) {
				lost++
			}
		}
		got := float64(lost) / draws
		want := LossAtOnce(len(stores), 3, float64(Distinct(sets)), failed)
		bound := 4 * math.Sqrt(want*(1-want)/draws)
		if failed > 3 {
			bound += 0.08 * want // taking copysets for independent, where up to a fifth fails
		}
		if math.Abs(got-want) > bound {
			t.Errorf("%d fail: lost in %v of the draws, computed %v", failed, got, want)
		}
	}
}

func anyLost(sets []Copyset, gone map[uint64]bool) bool {
	for _, set := range sets {
		all := true
		for _, id := range set {
			all = all && gone[id]
		}
		if all {
			return true
		}
	}
	return false
}

func TestCombinationsCountsWhatCanBeChosenFromDistinctZones(t *testing.T) {
	for _, c := range []struct {
		perZone  []int
		replicas int
		want     float64
	}{
		{[]int{1, 1, 1, 1, 1}, 3, 10}, {[]int{2, 3, 4}, 3, 24}, {[]int{2, 3, 4}, 2, 26},
		{[]int{2, 3, 4}, 1, 9}, {[]int{5, 5}, 3, 0}, {[]int{3}, 0, 0},
		{[]int{333, 333, 333}, 3, 333 * 333 * 333},
	} {
		if got := Combinations(c.perZone, c.replicas); got != c.want {
			t.Errorf("%+v: got %v", c, got)
		}
	}
}

func TestCopysetsOnTheSameStoresCountOnce(t *testing.T) {
	stores := grid(1, 1, 1)
	m := DefaultModel()
	one, err := Assess(stores, []Copyset{{1, 2, 3}}, holding(stores, 1e12), m)
	if err != nil {
		t.Fatal(err)
	}
	many, err := Assess(stores, []Copyset{{1, 2, 3}, {3, 2, 1}, {2, 3, 1}},
		holding(stores, 1e12), m)
	if err != nil {
		t.Fatal(err)
	}
	if many.Distinct != 1 || many.Copysets != 3 || many.AtOnce != 1 ||
		!near(many.Losses, one.Losses, 1e-12) || !near(many.LostBytes, one.LostBytes, 1e-12) ||
		!near(many.Minorities, one.Minorities, 1e-12) {
		t.Errorf("one: %+v\nthree alike: %+v", one, many)
	}
}

// For one triple and a short rebuild the rate is that of the textbook's Markov chain with a rebuild
// for each failed disk, 3 l^3 T^2, and twice 3 l^2 T for two of three.
func TestOneTripleFollowsTheTextbook(t *testing.T) {
	stores := grid(1, 1, 1)
	m := Model{AFR: 0.02, RebuildRate: 1e8, Detect: 30 * time.Minute, InPlace: true}
	d, err := Assess(stores, []Copyset{{1, 2, 3}}, holding(stores, 1e12), m)
	if err != nil {
		t.Fatal(err)
	}
	seconds := 1800 + 1e12/1e8
	if d.RebuildMean != time.Duration(seconds)*time.Second || d.RebuildMax != d.RebuildMean {
		t.Errorf("rebuild %v, %v", d.RebuildMean, d.RebuildMax)
	}
	rate, years := -math.Log(0.98), seconds/yearSeconds
	if want := 3 * math.Pow(rate, 3) * years * years; !near(d.Losses, want, 1e-3) ||
		!near(d.LostBytes, want*1e12, 1e-3) || !near(d.Nines, -math.Log10(want), 1e-3) {
		t.Errorf("losses %v, want %v: %+v", d.Losses, want, d)
	}
	if want := 6 * rate * rate * years; !near(d.Minorities, want, 1e-3) {
		t.Errorf("minorities %v, want %v", d.Minorities, want)
	}
}

func TestRebuildIsSharedByCopysetsPartnersAndPlaces(t *testing.T) {
	m := Model{AFR: 0.02, RebuildRate: 1e6}
	for _, c := range []struct {
		name    string
		perZone []int
		sets    []Copyset
		inPlace bool
		ways    float64
		alone   int
	}{
		{"nowhere else", []int{1, 1}, []Copyset{{1, 2}}, false, 1, 2},
		{"one copyset each", []int{3, 3}, []Copyset{{1, 4}, {2, 5}, {3, 6}}, false, 1, 0},
		{"two each, two places", []int{3, 3}, []Copyset{{1, 4}, {1, 5}, {2, 5}, {2, 6}, {3, 6},
			{3, 4}}, false, 2, 0},
		{"new disk", []int{3, 3}, []Copyset{{1, 4}, {1, 5}, {2, 5}, {2, 6}, {3, 6}, {3, 4}},
			true, 1, 0},
		{"two copysets, one partner", []int{2, 2}, []Copyset{{1, 3}, {1, 3}, {2, 4}, {2, 4}},
			false, 1, 0},
		{"two each, one place", []int{2, 2}, []Copyset{{1, 3}, {1, 4}, {2, 3}, {2, 4}}, false, 1,
			0},
		{"zones to spare", []int{1, 1, 1, 1}, []Copyset{{1, 2}, {1, 3}, {2, 4}, {3, 4}}, false, 2,
			0},
	} {
		stores := grid(c.perZone...)
		m.InPlace = c.inPlace
		d, err := Assess(stores, c.sets, holding(stores, 3600e6), m)
		if err != nil {
			t.Fatal(err)
		}
		if want := 1 / c.ways; !near(d.RebuildMax.Hours(), want, 1e-9) || d.Confined != c.alone {
			t.Errorf("%s: %v, want %v h; %d are confined", c.name, d.RebuildMax, want, d.Confined)
		}
	}
}

func TestDegenerateInputsHaveAnAnswerOrAReason(t *testing.T) {
	stores := grid(1, 1, 1)
	set, bytes := []Copyset{{1, 2, 3}}, holding(stores, 1e9)
	good := DefaultModel()
	with := func(change func(*Model)) Model { m := good; change(&m); return m }
	for name, c := range map[string]struct {
		stores []Store
		sets   []Copyset
		m      Model
	}{
		"never fails":     {stores, set, with(func(m *Model) { m.AFR = 0 })},
		"always fails":    {stores, set, with(func(m *Model) { m.AFR = 1 })},
		"no number":       {stores, set, with(func(m *Model) { m.AFR = math.NaN() })},
		"no rebuild":      {stores, set, with(func(m *Model) { m.RebuildRate = 0 })},
		"endless rate":    {stores, set, with(func(m *Model) { m.RebuildRate = math.Inf(1) })},
		"before":          {stores, set, with(func(m *Model) { m.Detect = -1 })},
		"no copysets":     {stores, nil, good},
		"empty copyset":   {stores, []Copyset{{}}, good},
		"unequal":         {stores, []Copyset{{1, 2, 3}, {1, 2}}, good},
		"unknown store":   {stores, []Copyset{{1, 2, 9}}, good},
		"store twice":     {append(grid(1), grid(1)...), []Copyset{{1}}, good},
		"nothing at all":  {nil, nil, Model{}},
		"stores, no more": {stores, []Copyset{nil}, good},
	} {
		if d, err := Assess(c.stores, c.sets, bytes, c.m); !errors.Is(err, ErrImpossible) ||
			d != (Durability{}) {
			t.Errorf("%s: %+v, %v", name, d, err)
		}
	}
	if _, err := AssessRandom(grid(4, 4), 3, 1, good); !errors.Is(err, ErrImpossible) {
		t.Errorf("three replicas in two zones: %v", err)
	}
	alone, err := Assess(grid(1), []Copyset{{1}}, map[uint64]float64{1: 1e9}, good)
	if err != nil || alone.AtOnce != 1 || !near(alone.Losses, good.rate(), 1e-3) {
		t.Errorf("one replica: %+v %v", alone, err)
	}
	empty, err := Assess(stores, set, nil, with(func(m *Model) { m.Detect = 0 }))
	if err != nil || empty.Losses != 0 || empty.Nines != MaxNines {
		t.Errorf("nothing to rebuild, at once: %+v %v", empty, err)
	}
	idle, err := Assess(stores, set, nil, good)
	if err != nil || !(idle.Nines > 5 && idle.Nines < MaxNines) {
		t.Errorf("nothing stored yet: %+v %v", idle, err)
	}
}

// All combinations, as copysets, are what random placement is.
func TestRandomPlacementIsTheLimitOfCopysets(t *testing.T) {
	stores := grid(3, 3, 3, 3)
	var sets []Copyset
	for i, a := range stores {
		for j, b := range stores[:i] {
			for _, c := range stores[:j] {
				if a.Zone != b.Zone && b.Zone != c.Zone && a.Zone != c.Zone {
					sets = append(sets, Copyset{a.ID, b.ID, c.ID})
				}
			}
		}
	}
	for _, inPlace := range []bool{false, true} {
		m := DefaultModel()
		m.InPlace = inPlace
		want, err := Assess(stores, sets, holding(stores, 1e12), m)
		if err != nil {
			t.Fatal(err)
		}
		got, err := AssessRandom(stores, 3, 1e12, m)
		if err != nil {
			t.Fatal(err)
		}
		if got.Distinct != want.Distinct || got.AtOnce != want.AtOnce ||
			got.WidthMin != want.WidthMin || got.WidthMax != want.WidthMax ||
			got.RebuildMax != want.RebuildMax || !near(got.Losses, want.Losses, 1e-9) ||
			!near(got.Minorities, want.Minorities, 1e-9) ||
			!near(got.LostBytes, want.LostBytes, 1e-9) || !near(got.Nines, want.Nines, 1e-9) {
			t.Errorf("in place %v: got\n%+v\nwant\n%+v", inPlace, got, want)
		}
	}
}
