package schedule

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"
)

// site draws a cluster of zones with nodes with stores, and copysets of three over it.
func site(rng *rand.Rand, zones, nodes, stores, copysets int, capacity func(int) uint64) View {
	v := View{Scene: Scene{Now: seconds(100_000)}}
	for z := range zones {
		for n := range nodes {
			for range stores {
				v.Stores = append(v.Stores, Store{ID: uint64(len(v.Stores) + 1), Up: true,
					UpSince: start, Zone: fmt.Sprint("z", z), Node: fmt.Sprint("n", z, "-", n),
					Capacity: capacity(len(v.Stores))})
			}
		}
	}
	for i := range copysets {
		c := Copyset{ID: uint64(i + 1)}
		for _, z := range rng.Perm(zones)[:3] {
			id := uint64(z*nodes*stores + rng.IntN(nodes*stores) + 1)
			c.Replicas = append(c.Replicas, Replica{ID: uint64(i*3+len(c.Replicas)) + 1, Store: id,
				CaughtUp: true})
		}
		c.Leader = c.Replicas[rng.IntN(3)].ID
		v.Copysets = append(v.Copysets, c)
	}
	return v
}

// carry is a data plane that carries operators out, each in so many rounds, and watches what is
// promised of them.
type carry struct {
	t      *testing.T
	v      *View
	lim    Limits
	last   uint64 // number of a replica
	rounds int
	left   map[uint64]int // copyset -> rounds until its new member is in place
	done   int
}

func newCarry(t *testing.T, v *View, lim Limits, rounds int) *carry {
	k := &carry{t: t, v: v, lim: lim, rounds: rounds, left: map[uint64]int{}}
	for i := range v.Copysets {
		for _, r := range v.Copysets[i].Replicas {
			k.last = max(k.last, r.ID)
		}
	}
	return k
}

func (k *carry) round() int {
	k.t.Helper()
	leaders := Leaders(*k.v, k.lim)
	for _, op := range leaders {
		c := &k.v.Copysets[op.Copyset-1]
		c.Leader, c.LastOperator = op.To, k.v.Now
	}
	plan := Moves(*k.v, k.lim)
	for _, op := range plan.Operators {
		c := &k.v.Copysets[op.Copyset-1]
		if c.Joining != nil {
			k.t.Fatalf("%v: a replacement is under way", op)
		}
		k.last++
		c.Joining, c.Leaving, c.Why = &Replica{ID: k.last, Store: op.Store}, op.From, op.Kind
		c.LastRepair, k.left[c.ID] = k.v.Now, k.rounds
		if op.Lost {
			c.Losses = c.Losses.Add(k.v.Now, k.lim)
		}
	}
	k.check()
	for id := range k.left {
		if k.left[id]--; k.left[id] <= 0 {
			k.finish(&k.v.Copysets[id-1])
		}
	}
	k.v.Now = k.v.Now.Add(time.Second)
	if len(plan.Operators)+len(k.left) == 0 {
		respread(k.v)
	}
	return len(leaders) + len(plan.Operators) + len(k.left)
}

// respread evens the preferred leaders out, and counts those that changed.
func respread(v *View) int {
	wishes := NewIndex(v.Copysets).Respread()
	for _, w := range wishes {
		v.Copysets[w.Copyset-1].Preferred = w.Replica
	}
	return len(wishes)
}

func (k *carry) finish(c *Copyset) {
	delete(k.left, c.ID)
	k.done++
	m := c.replica(c.Leaving)
	if c.Preferred == c.Leaving {
		c.Preferred = c.Joining.ID
	}
	*m = *c.Joining
	m.CaughtUp = true
	c.Joining, c.Leaving, c.Why = nil, 0, ""
	k.distinct(c)
}

// distinct fails the test when members of a copyset share a zone or a node.
func (k *carry) distinct(c *Copyset) {
	k.t.Helper()
	zones, nodes := map[string]bool{}, map[string]bool{}
	for _, r := range c.Replicas {
		s := k.v.Stores[r.Store-1]
		if zones[s.Zone] || nodes[s.Node] {
			k.t.Fatalf("copyset %d: two members in zone %s: %+v", c.ID, s.Zone, c.Replicas)
		}
		zones[s.Zone], nodes[s.Node] = true, true
	}
}

// check fails the test when more is under way than the limits say.
func (k *carry) check() {
	k.t.Helper()
	filling, feeding, balances, all := map[uint64]int{}, map[uint64]int{}, 0, 0
	for i := range k.v.Copysets {
		c := &k.v.Copysets[i]
		if c.Joining == nil {
			continue
		}
		all++
		filling[c.Joining.Store]++
		feeding[c.replica(c.Leader).Store]++
		if c.Why == BalanceReplica {
			balances++
		}
		if c.Why == DrainReplica || c.Why == BalanceReplica {
			if c.Leader == c.Leaving {
				k.t.Fatalf("copyset %d moves its leader", c.ID)
			}
		}
	}
	for id, n := range filling {
		if n > k.lim.Rebuilds || !k.v.Stores[id-1].Up {
			k.t.Fatalf("store %d fills %d", id, n)
		}
	}
	for id, n := range feeding {
		if n > k.lim.Sources {
			k.t.Fatalf("store %d feeds %d", id, n)
		}
	}
	if balances > k.lim.Balances || all > k.lim.Cluster {
		k.t.Fatalf("%d moves, %d of them for balance", all, balances)
	}
}

// rest runs rounds until nothing is done any more.
func (k *carry) rest(most int) (rounds int) {
	k.t.Helper()
	quiet := 0
	for rounds = range most {
		if quiet++; k.round() > 0 {
			quiet = 0
		}
		if quiet > int(k.lim.CoolDown/time.Second)+1 {
			return rounds
		}
	}
	k.t.Fatalf("moves never end: %d done", k.done)
	return 0
}

// spreadOf is how far the stores that take replicas are from their share: the least and the most
// members by weight.
func spreadOf(v View) (low, high float64) {
	m := newMover(NewIndex(v.Copysets), v.Scene, DefaultLimits())
	low, high = 1e9, 0
	for _, s := range m.spots {
		if s.Up && !s.Draining {
			low, high = min(low, s.load(0)), max(high, s.load(0))
		}
	}
	return low, high
}

func testLimits() Limits {
	lim := DefaultLimits()
	lim.PerRound, lim.CoolDown, lim.Balances, lim.Drains = 64, 2*time.Second, 16, 4
	return lim
}

func TestBalanceComesToRestEvenlyInRandomClusters(t *testing.T) {
	for seed := range uint64(25) {
		rng := rand.New(rand.NewPCG(seed, 7))
		zones, nodes, stores := 3+rng.IntN(4), 2+rng.IntN(4), 1+rng.IntN(3)
		even := func(int) uint64 { return 100 }
		unequal := func(int) uint64 { return 100 + uint64(rng.IntN(3))*100 }
		for _, capacity := range []func(int) uint64{even, unequal} {
			n := zones * nodes * stores
			v := site(rng, zones, nodes, stores, n*(3+rng.IntN(10)), capacity)
			k := newCarry(t, &v, testLimits(), 1+rng.IntN(4))
			k.rest(20_000)
			byZone := map[string][2]float64{}
			m := newMover(NewIndex(v.Copysets), v.Scene, k.lim)
			for _, s := range m.spots {
				b, known := byZone[s.Zone]
				if !known {
					b = [2]float64{1e9, 0}
				}
				byZone[s.Zone] = [2]float64{min(b[0], s.load(1)), max(b[1], s.load(-1))}
			}
			// Within a zone any store can have what one of another node has, but for leaders.
			for z, b := range byZone {
				if b[1] > b[0]+m.slack()+1 {
					t.Errorf("seed %d, zone %s: one store would have %.1f with one less, another "+
						"%.1f with one more", seed, z, b[1], b[0])
				}
			}
		}
	}
}

func TestANewNodeGetsItsShare(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 3))
	v := site(rng, 4, 3, 2, 400, func(int) uint64 { return 100 })
	k := newCarry(t, &v, testLimits(), 3)
	k.rest(20_000)
	for range 2 {
		v.Stores = append(v.Stores, Store{ID: uint64(len(v.Stores) + 1), Up: true, UpSince: start,
			Zone: "z1", Node: "n1-new", Capacity: 100})
	}
	before := k.done
	k.rest(20_000)
	low, high := spreadOf(v)
	if share := 1200.0 / 26; low < 0.8*share || high > 1.2*share {
		t.Errorf("%.0f to %.0f replicas on a store, the share is %.0f", low, high, share)
	}
	if moved := k.done - before; moved > 3*2*1200/26 {
		t.Errorf("%d replicas moved for two new stores", moved)
	}
}

func TestADrainedNodeIsEmptyAndALostOneIsReplaced(t *testing.T) {
	rng := rand.New(rand.NewPCG(4, 4))
	v := site(rng, 4, 3, 2, 200, func(int) uint64 { return 100 })
	lim := testLimits()
	k := newCarry(t, &v, lim, 3)
	for i := range v.Stores {
		s := &v.Stores[i]
		s.Draining = s.Node == v.Stores[0].Node
		if s.Node == v.Stores[10].Node {
			s.Up, s.DownSince = false, start
		}
	}
	for i := range v.Copysets {
		c := &v.Copysets[i]
		for j := range c.Replicas {
			r := &c.Replicas[j]
			r.CaughtUp = v.Stores[r.Store-1].Up
			if s := v.Stores[r.Store-1]; r.CaughtUp && !s.Draining {
				c.Leader = r.ID
			}
		}
	}
	k.rest(20_000)
	for _, c := range v.Copysets {
		for _, r := range c.Replicas {
			if s := v.Stores[r.Store-1]; s.Draining || !s.Up {
				t.Fatalf("copyset %d still has a replica on store %d", c.ID, s.ID)
			}
		}
	}
}

// A copyset whose every new member's store dies at once: a few die, and then time decides.
func TestACopysetThatKillsItsStoresIsStopped(t *testing.T) {
	rng := rand.New(rand.NewPCG(5, 5))
	v := site(rng, 4, 10, 5, 50, func(int) uint64 { return 100 })
	lim := testLimits()
	lim.Balances = 0
	const poison = 1
	c := &v.Copysets[poison-1]
	killed := 0
	kill := func(id uint64) {
		s := &v.Stores[id-1]
		s.Up, s.DownSince = false, v.Now.Add(-lim.LostAfter)
		killed++
	}
	for i := range v.Copysets {
		for j := range v.Copysets[i].Replicas {
			r := &v.Copysets[i].Replicas[j]
			r.CaughtUp = r.Store != c.Replicas[0].Store
		}
		v.Copysets[i].Leader = v.Copysets[i].Replicas[1].ID
		v.Copysets[i].Replicas[1].CaughtUp = true
	}
	kill(c.Replicas[0].Store)
	k := newCarry(t, &v, lim, 1)
	run := func(d time.Duration) {
		for end := v.Now.Add(d); v.Now.Before(end); v.Now = v.Now.Add(10 * time.Second) {
			k.round()
			for j := range c.Replicas {
				if r := &c.Replicas[j]; r.ID > 150 && r.CaughtUp {
					r.CaughtUp = false
					kill(r.Store)
				}
			}
		}
	}
	run(20 * time.Minute)
	if killed != 1+lim.Losses {
		t.Fatalf("%d stores died within 20 minutes, want %d", killed, 1+lim.Losses)
	}
	run(2 * time.Hour)
	if more := killed - 1 - lim.Losses; more < 3 || more > 5 {
		t.Errorf("%d more stores died in two hours, want one every half hour", more)
	}
}

func TestRespreadChangesLittle(t *testing.T) {
	rng := rand.New(rand.NewPCG(6, 6))
	v := world(rng, 9, 90)
	if n := respread(&v); n != 0 {
		t.Errorf("%d of %d preferred leaders changed in an even cluster", n, len(v.Copysets))
	}
	// All of one store's have gone to a new one.
	for i := range v.Copysets {
		for j := range v.Copysets[i].Replicas {
			if r := &v.Copysets[i].Replicas[j]; r.Store == 1 && v.Copysets[i].Preferred != r.ID {
				r.Store = 10
			}
		}
	}
	v.Stores = append(v.Stores, Store{ID: 10, Up: true, UpSince: start})
	changed := respread(&v)
	low, high := led(v, func(c Copyset) uint64 { return c.Preferred })
	if high-low > 2 || changed > 30 {
		t.Errorf("%d changed, %d to %d preferred leaders by store", changed, low, high)
	}
}
