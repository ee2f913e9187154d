package placement

import (
	"fmt"
	"math"
	"time"
)

// yearSeconds is a year of 365.25 days.
const yearSeconds = 365.25 * 24 * 3600

// MaxNines is what Nines stops at: nothing that this arithmetic leaves out is rarer.
const MaxNines = 99

// Model is how stores fail and what is done about it.
type Model struct {
	AFR         float64       // probability that a store fails within a year; over 0, under 1
	RebuildRate float64       // bytes a second that one store reads or writes for rebuilds
	Detect      time.Duration // from a failure until its rebuild begins
	InPlace     bool          // a new disk takes the failed one's place and all that it held
}

// DefaultModel is a disk that fails once in fifty years, and a rebuild on the other stores, at 100
// MiB/s of each, that begins when the lost one is not waited for any more.
func DefaultModel() Model {
	return Model{AFR: 0.02, RebuildRate: 100 << 20, Detect: 15 * time.Minute}
}

func (m Model) check() error {
	switch {
	case !(m.AFR > 0 && m.AFR < 1):
		return fmt.Errorf("%w: annual failure rate %v: want more than 0 and less than 1",
			ErrImpossible, m.AFR)
	case !(m.RebuildRate > 0) || math.IsInf(m.RebuildRate, 0):
		return fmt.Errorf("%w: rebuild rate %v bytes/s: want more than 0", ErrImpossible,
			m.RebuildRate)
	case m.Detect < 0:
		return fmt.Errorf("%w: a rebuild cannot begin %v before its failure", ErrImpossible,
			-m.Detect)
	}
	return nil
}

// rate is failures per year of a store that works: with lifetimes that are exponential, the
// probability of none within a year is exp(-rate).
func (m Model) rate() float64 { return -math.Log1p(-m.AFR) }

// rebuild is how long a store's replicas are gone, in years: until the rebuild begins, and then its
// bytes at the rate of one store times the number of stores that share the work.
func (m Model) rebuild(bytes float64, ways int) float64 {
	return (m.Detect.Seconds() + bytes/(m.RebuildRate*float64(ways))) / yearSeconds
}

// Durability is what to expect of a placement. Rates are per year.
type Durability struct {
	Stores, Zones, Replicas int
	Copysets                int     // 0: as many as there are chunks
	Distinct                float64 // copysets that differ in their stores

	WidthMin, WidthMax int     // distinct partners of a store
	WidthMean          float64 // over stores that are in a copyset
	Confined           int     // stores whose replicas can go nowhere else: a new disk is needed

	RebuildMean, RebuildMax time.Duration // of one store

	// AtOnce is the probability that Replicas stores that fail in one moment take a copyset with
	// them: exact. See LossAtOnce.
	AtOnce float64
	// Losses is how often a failure leaves copysets without any replica; LostBytes what is lost so.
	Losses, LostBytes float64
	// Minorities is how often a failure leaves copysets with less than a majority. They serve
	// nobody then, and a write that had been acknowledged may be on the lost replicas alone.
	Minorities float64

	StoredBytes float64 // without copies
	// Nines is -log10 of the share of the bytes that is lost in a year, MaxNines at most.
	Nines float64
}

// Assess computes the durability of copysets. bytes is what each store holds; where it has no
// entry, nothing. A copyset holds the mean of its members' equal parts. The copysets must have one
// size and stores that are listed; otherwise, and when the model makes no sense, the answer is
// ErrImpossible.
//
// The arithmetic: stores fail independently, at a constant rate l, and are back after a time of
// mean T, each by itself: an alternating renewal process, which is down for q = lT/(1+lT) of the
// time whatever the distribution of T. All of a group of stores then become down with frequency
//
//	sum over i in the group of  l (1-q_i)  product over j != i of  q_j
//
// (Barlow and Proschan, Mathematical Theory of Reliability, 1965: the frequency of failure of a
// parallel system), which for R alike and lT small is the R l^R T^(R-1) of the Markov chain with a
// rebuild for each failed store. LostBytes is the sum over copysets, and exact in this model.
// Losses is the sum over distinct copysets, and Minorities that over distinct groups of just so
// many stores of one copyset that the rest is no majority; both count a failure that completes two
// groups twice, and so are upper bounds, near as long as lT is small.
//
// What is not in it: failures together (power, a batch of disks, a zone), blocks that cannot be
// read during a rebuild, mistakes of people and programs, and rebuilds that share stores and slow
// each other down.
func Assess(stores []Store, sets []Copyset, bytes map[uint64]float64, m Model) (
	Durability, error,
) {
	if err := m.check(); err != nil {
		return Durability{}, err
	}
	a, err := newAssessment(stores, sets, bytes, m)
	if err != nil {
		return Durability{}, err
	}
	d := a.shape()
	a.rebuilds(&d)
	d.AtOnce = LossAtOnce(d.Stores, d.Replicas, d.Distinct, d.Replicas)
	eachSubset(sets, 0, func(ids []uint64) { d.Losses += a.frequency(ids) })
	eachSubset(sets, tooMany(d.Replicas), func(ids []uint64) { d.Minorities += a.frequency(ids) })
	plain := 0.0
	for _, set := range sets {
		held, lost := a.holds(set), a.frequency(set)
		d.StoredBytes += held
		d.LostBytes += held * lost
		plain += lost
	}
	if d.StoredBytes > 0 {
		d.Nines = nines(d.LostBytes / d.StoredBytes)
	} else {
		d.Nines = nines(plain / float64(len(sets)))
	}
	return d, nil
}

// tooMany is how many failures leave a copyset without a majority.
func tooMany(replicas int) int { return replicas - replicas/2 }

func nines(share float64) float64 { return max(0, min(MaxNines, -math.Log10(share))) }

// assessment is the state of one Assess.
type assessment struct {
	m       Model
	stores  []Store
	sets    []Copyset
	bytes   map[uint64]float64
	members map[uint64]int     // copysets of a store
	down    map[uint64]float64 // the part of time that a store is down
	perZone map[string]int
}

func newAssessment(stores []Store, sets []Copyset, bytes map[uint64]float64, m Model) (
	*assessment, error,
) {
	a := &assessment{m: m, stores: stores, sets: sets, bytes: bytes, members: map[uint64]int{},
		down: map[uint64]float64{}, perZone: map[string]int{}}
	known := map[uint64]bool{}
	for _, s := range stores {
		if known[s.ID] {
			return nil, fmt.Errorf("%w: store %d is listed twice", ErrImpossible, s.ID)
		}
		known[s.ID] = true
		a.perZone[s.Zone]++
	}
	if len(sets) == 0 || len(sets[0]) == 0 {
		return nil, fmt.Errorf("%w: no copysets", ErrImpossible)
	}
	for _, set := range sets {
		if len(set) != len(sets[0]) {
			return nil, fmt.Errorf("%w: copysets of %d and of %d replicas", ErrImpossible,
				len(sets[0]), len(set))
		}
		for _, id := range set {
			if !known[id] {
				return nil, fmt.Errorf("%w: store %d of a copyset is not listed", ErrImpossible, id)
			}
			a.members[id]++
		}
	}
	return a, nil
}

// shape fills in what does not depend on time.
func (a *assessment) shape() Durability {
	d := Durability{Stores: len(a.stores), Zones: len(a.perZone), Replicas: len(a.sets[0]),
		Copysets: len(a.sets), Distinct: float64(Distinct(a.sets)), WidthMin: math.MaxInt}
	sum := 0
	widths := Widths(a.sets)
	for _, width := range widths {
		d.WidthMin, d.WidthMax = min(d.WidthMin, width), max(d.WidthMax, width)
		sum += width
	}
	d.WidthMean = float64(sum) / float64(len(widths))
	return d
}

// rebuilds fills in how long rebuilds take, and how much of the time each store is down.
func (a *assessment) rebuilds(d *Durability) {
	widths := Widths(a.sets)
	sum, longest := 0.0, 0.0
	for _, s := range a.stores {
		if a.members[s.ID] == 0 {
			continue
		}
		places := placesFor(len(a.stores), len(a.perZone), a.perZone[s.Zone], d.Replicas)
		if places == 0 {
			d.Confined++
		}
		// A copyset is copied from one store to one store.
		ways := min(a.members[s.ID], widths[s.ID], places)
		if a.m.InPlace || ways < 1 {
			ways = 1
		}
		years := a.m.rebuild(a.bytes[s.ID], ways)
		a.down[s.ID] = downPart(a.m.rate(), years)
		sum, longest = sum+years, max(longest, years)
	}
	d.RebuildMean = inTime(sum / float64(len(a.members)))
	d.RebuildMax = inTime(longest)
}

// placesFor is how many stores may take a replica of one that lies in a zone of so many stores:
// the others of its zone, and where there are more zones than replicas, those of all zones.
func placesFor(stores, zones, ownZone, replicas int) int {
	if zones > replicas {
		return stores - 1
	}
	return ownZone - 1
}

// downPart is the part of time that a store is down which fails at a rate and is back after years.
func downPart(rate, years float64) float64 { return rate * years / (1 + rate*years) }

func inTime(years float64) time.Duration {
	seconds := years * yearSeconds
	if seconds >= math.MaxInt64/float64(time.Second) {
		return math.MaxInt64
	}
	return time.Duration(math.Round(seconds * float64(time.Second)))
}

// frequency is how often a year all these stores become down.
func (a *assessment) frequency(ids []uint64) float64 {
	sum := 0.0
	for i, id := range ids {
		term := a.m.rate() * (1 - a.down[id])
		for j, other := range ids {
			if j != i {
				term *= a.down[other]
			}
		}
		sum += term
	}
	return sum
}

// holds is the bytes of a copyset, without copies.
func (a *assessment) holds(set Copyset) float64 {
	sum := 0.0
	for _, id := range set {
		sum += a.bytes[id] / float64(a.members[id])
	}
	return sum / float64(len(set))
}
