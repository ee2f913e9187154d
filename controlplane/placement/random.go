package placement

import (
	"fmt"
	"math"
)

// AssessRandom computes the durability of stores whose every chunk picks its stores at random, in
// distinct zones: all Combinations are in use, and all stores of other zones share a rebuild. Every
// store holds bytesEach; all rebuilds are taken to last as long as the one that fewest share. The
// formulas are those of Assess.
func AssessRandom(stores []Store, replicas int, bytesEach float64, m Model) (Durability, error) {
	if err := m.check(); err != nil {
		return Durability{}, err
	}
	zones, err := byZone(stores)
	switch {
	case err != nil:
		return Durability{}, err
	case replicas < 1 || len(zones) < replicas:
		return Durability{}, fmt.Errorf("%w: %d replicas need as many zones, the %d stores lie "+
			"in %d", ErrImpossible, replicas, len(stores), len(zones))
	}
	n := len(stores)
	d := Durability{Stores: n, Zones: len(zones), Replicas: replicas, WidthMin: math.MaxInt,
		StoredBytes: bytesEach * float64(n) / float64(replicas)}
	perZone := make([]int, 0, len(zones))
	ways := math.MaxInt
	for _, z := range zones {
		own := len(z.stores)
		perZone = append(perZone, own)
		width, places := n-own, placesFor(n, len(zones), own, replicas)
		if replicas == 1 {
			width = 0
		}
		if places == 0 {
			d.Confined += own
		}
		ways = min(ways, width, places)
		d.WidthMin, d.WidthMax = min(d.WidthMin, width), max(d.WidthMax, width)
		d.WidthMean += float64(own * width)
	}
	d.WidthMean /= float64(n)
	if m.InPlace || ways < 1 {
		ways = 1
	}
	d.fillAlike(perZone, m.rebuild(bytesEach, ways), m.rate())
	return d, nil
}

// fillAlike fills in what follows when every store is back after the same time.
func (d *Durability) fillAlike(perZone []int, years, rate float64) {
	q := downPart(rate, years)
	frequency := func(k int) float64 { // of k stores becoming down
		return float64(k) * rate * (1 - q) * math.Pow(q, float64(k-1))
	}
	d.RebuildMean, d.RebuildMax = inTime(years), inTime(years)
	d.Distinct = Combinations(perZone, d.Replicas)
	d.AtOnce = LossAtOnce(d.Stores, d.Replicas, d.Distinct, d.Replicas)
	k := tooMany(d.Replicas)
	d.Losses = d.Distinct * frequency(d.Replicas)
	d.Minorities = Combinations(perZone, k) * frequency(k)
	d.LostBytes = d.StoredBytes * frequency(d.Replicas)
	d.Nines = nines(frequency(d.Replicas))
}
