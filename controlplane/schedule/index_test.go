package schedule

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"
	"time"
)

// scanned is the index that a look at every copyset makes, with all of them where a rule must find
// by itself which concern it.
func scanned(v View) *Index {
	x := &Index{}
	x.init()
	for i := range v.Copysets {
		c := &v.Copysets[i]
		x.sets[c.ID] = c
		x.replicas += len(c.Replicas)
		x.astray.set(c, true)
		x.placed.set(c, true)
		x.joining.set(c, c.Joining != nil)
		x.broken.set(c, c.broken() != nil)
		for _, m := range c.Replicas {
			s := x.shelf(m.Store)
			s.held = append(s.held, c)
			if m.ID == c.Leader {
				s.led++
			}
			if m.ID == c.Preferred {
				s.wanted++
			}
		}
	}
	return x
}

// scanLeaders applies the rules for leaders to every copyset.
func scanLeaders(v View, lim Limits) []Operator {
	r := newRound(scanned(v), v.Scene, lim)
	r.slow = Slow(v.Stores)
	var all []*Copyset
	for i := range v.Copysets {
		all = append(all, &v.Copysets[i])
	}
	for _, rule := range []func(*Copyset){r.offSlow, r.offDraining, r.toPreferred} {
		for _, c := range all {
			rule(c)
		}
	}
	for _, c := range r.byLoad(all) {
		r.toLightest(c)
	}
	return r.ops
}

// scanMoves is a round of moves whose stores count what every copyset has on them.
func scanMoves(v View, lim Limits) Plan {
	m := newMover(scanned(v), v.Scene, lim)
	m.moving = 0
	for _, s := range m.spots {
		s.members, s.filling, s.feeding, s.leaving = 0, 0, 0, 0
	}
	for i := range v.Copysets {
		c := &v.Copysets[i]
		going := c.Joining != nil && !m.stuck(c)
		if going {
			m.moving++
		}
		for _, r := range c.Replicas {
			s := m.stores[r.Store]
			if c.Joining != nil && r.ID == c.Leaving {
				s.leaving++
			} else {
				s.members++
			}
			if going && r.ID == c.Leader {
				s.feeding++
			}
		}
		if c.Joining != nil {
			s := m.stores[c.Joining.Store]
			if s.members++; going {
				s.filling++
			}
		}
	}
	m.all()
	return m.plan
}

// change does something to a copyset, which it takes over first.
func change(rng *rand.Rand, v *View, c *Copyset) {
	c.Replicas = slices.Clone(c.Replicas)
	m := &c.Replicas[rng.IntN(len(c.Replicas))]
	other := v.Stores[rng.IntN(len(v.Stores))].ID
	past := v.Now.Add(-time.Duration(rng.IntN(100)) * time.Second)
	switch rng.IntN(13) {
	case 0:
		c.Leader = m.ID
	case 1:
		c.Leader = 0
	case 2:
		c.Preferred = m.ID
	case 3, 4:
		m.CaughtUp = !m.CaughtUp
	case 5:
		m.Damaged = rng.IntN(2) == 0
	case 6:
		m.Place = []uint64{0, m.Store, other}[rng.IntN(3)]
	case 7:
		c.Joining, c.Leaving, c.Why = nil, 0, ""
	case 8:
		if c.Joining == nil {
			c.Joining = &Replica{ID: c.ID*1000 + 900 + other, Store: other,
				Damaged: rng.IntN(4) == 0}
			c.Leaving, c.Why = m.ID, Kinds[1+rng.IntN(4)]
		}
	case 9: // it is done
		if c.Joining != nil && c.at(c.Joining.Store) == nil && c.replica(c.Leaving) != nil {
			*c.replica(c.Leaving) = *c.Joining
			c.Joining, c.Leaving, c.Why = nil, 0, ""
		}
	case 10:
		c.LastOperator, c.LastRepair = past, past
	case 11:
		c.Losses = Losses{Spent: float64(rng.IntN(5)), At: past}
	case 12:
		c.Held = []Hold{{Kinds[rng.IntN(len(Kinds))], past}}
	}
}

// disturb does something to a store.
func disturb(rng *rand.Rand, v *View, s *Store) {
	switch rng.IntN(5) {
	case 0:
		s.Up = !s.Up
		s.UpSince, s.DownSince = v.Now, time.Time{}
		if !s.Up {
			s.DownSince = v.Now.Add(-time.Duration(rng.IntN(2)) * time.Hour)
		}
	case 1:
		s.Draining = rng.IntN(3) == 0
	case 2:
		s.LogWrite = []time.Duration{time.Millisecond, time.Second}[rng.IntN(2)]
	case 3:
		s.Used = uint64(rng.IntN(100))
	case 4:
		v.Now = v.Now.Add(time.Duration(rng.IntN(20)) * time.Second)
	}
}

// tune changes a limit.
func tune(rng *rand.Rand, lim *Limits) {
	switch rng.IntN(5) {
	case 0:
		lim.Looks = rng.IntN(60)
	case 1:
		lim.PerRound = 1 + rng.IntN(8)
	case 2:
		lim.Hold = time.Duration(rng.IntN(200)) * time.Second
	case 3:
		lim.LostAfter = time.Duration(1+rng.IntN(90)) * time.Minute
	case 4:
		lim.BalanceSlack = rng.IntN(10)
	}
}

// compared fails the test when a round over the index is not what one over all copysets is.
func compared(t *testing.T, step string, x *Index, v View, lim Limits) (ops []Operator, plan Plan) {
	t.Helper()
	ops, plan = x.Leaders(v.Scene, lim), x.Moves(v.Scene, lim)
	if want := scanLeaders(v, lim); !slices.Equal(ops, want) {
		t.Fatalf("%s: leaders:\n%v\na full look:\n%v", step, ops, want)
	}
	if want := scanMoves(v, lim); !reflect.DeepEqual(plan, want) {
		t.Fatalf("%s: moves:\n%+v\na full look:\n%+v", step, plan, want)
	}
	return ops, plan
}

func TestRoundsOverAnIndexAreThoseOfAFullLook(t *testing.T) {
	kinds, resumed, waits := map[Kind]int{}, 0, 0
	for seed := range uint64(40) {
		rng := rand.New(rand.NewPCG(seed, 11))
		v := site(rng, 3+rng.IntN(4), 2, 1+rng.IntN(2), 60, func(int) uint64 { return 100 })
		lim := testLimits()
		lim.Looks = rng.IntN(60)
		x := NewIndex(v.Copysets)
		for n := range 150 {
			for range rng.IntN(6) {
				c := &v.Copysets[rng.IntN(len(v.Copysets))]
				change(rng, &v, c)
				x.Put(*c)
			}
			if rng.IntN(3) == 0 {
				disturb(rng, &v, &v.Stores[rng.IntN(len(v.Stores))])
			}
			if rng.IntN(10) == 0 {
				tune(rng, &lim)
			}
			ops, plan := compared(t, fmt.Sprintf("seed %d, step %d", seed, n), x, v, lim)
			for _, op := range append(ops, plan.Operators...) {
				kinds[op.Kind]++
			}
			if v.Resume = plan.Resume; v.Resume != 0 {
				resumed++
			}
			waits += len(plan.Waiting)
		}
	}
	for _, kind := range Kinds {
		if kinds[kind] < 100 {
			t.Errorf("only %d operators %s", kinds[kind], kind)
		}
	}
	if resumed < 100 || waits < 1000 {
		t.Errorf("only %d rounds of balance were cut short, and %d waited", resumed, waits)
	}
}

// evenness fails the test when a store is preferred by two more than one that it could give to.
func evenness(t *testing.T, step string, copysets []Copyset) {
	t.Helper()
	wanted := map[uint64]int{}
	for i := range copysets {
		wanted[copysets[i].preferredStore()]++
	}
	if wanted[0] > 0 {
		t.Fatalf("%s: %d copysets prefer nobody", step, wanted[0])
	}
	for i := range copysets {
		c := &copysets[i]
		now := c.preferredStore()
		for _, m := range c.Replicas {
			if wanted[m.Store]+1 < wanted[now] {
				t.Fatalf("%s: copyset %d prefers store %d, as %d do, and store %d is preferred "+
					"by %d", step, c.ID, now, wanted[now], m.Store, wanted[m.Store])
			}
		}
	}
}

func TestPreferredLeadersAreEvenAfterEachChange(t *testing.T) {
	for seed := range uint64(20) {
		rng := rand.New(rand.NewPCG(seed, 12))
		v := site(rng, 3+rng.IntN(4), 2, 2, 200, func(int) uint64 { return 100 })
		x := NewIndex(v.Copysets)
		changed := 0
		for n := range 200 {
			wishes := x.Respread()
			for _, w := range wishes {
				v.Copysets[w.Copyset-1].Preferred = w.Replica
			}
			if n > 0 {
				changed += len(wishes)
			}
			evenness(t, fmt.Sprintf("seed %d, step %d", seed, n), v.Copysets)
			c := &v.Copysets[rng.IntN(len(v.Copysets))]
			c.Replicas = slices.Clone(c.Replicas)
			m := &c.Replicas[rng.IntN(3)]
			to := v.Stores[rng.IntN(len(v.Stores))].ID
			if c.at(to) == nil && rng.IntN(2) == 0 {
				m.Store = to
			} else {
				c.Preferred = m.ID
			}
			x.Put(*c)
		}
		if changed > 400 {
			t.Errorf("seed %d: %d preferred leaders changed in 200 steps", seed, changed)
		}
	}
}

// What is not carried out is wanted again.
func TestAWishThatIsNotGrantedComesAgain(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 13))
	v := site(rng, 3, 2, 2, 100, func(int) uint64 { return 100 })
	x := NewIndex(v.Copysets)
	wishes := x.Respread()
	if len(wishes) == 0 || len(x.Respread()) != 0 {
		t.Fatalf("%d wishes, and more without a change", len(wishes))
	}
	x.Put(v.Copysets[wishes[0].Copyset-1])
	if again := x.Respread(); len(again) != 1 {
		t.Errorf("%v", again)
	}
}

// A lost zone makes every third replica wait; the list of them stays short, and the rest counts.
func TestWhatWaitsIsCountedWhereItIsNotListed(t *testing.T) {
	rng := rand.New(rand.NewPCG(2, 14))
	v := site(rng, 3, 10, 1, maxWaiting+100, func(int) uint64 { return 100 })
	for i := range 10 {
		v.Stores[i].Up, v.Stores[i].DownSince = false, start
	}
	for i := range v.Copysets {
		c := &v.Copysets[i]
		for j := range c.Replicas {
			if c.Replicas[j].CaughtUp = c.Replicas[j].Store > 10; c.Replicas[j].CaughtUp {
				c.Leader = c.Replicas[j].ID
			}
		}
	}
	plan := Moves(v, DefaultLimits())
	if len(plan.Operators) != 0 || len(plan.Waiting) != maxWaiting ||
		plan.Unlisted[RecoverReplica] != 100 {
		t.Errorf("%d operators, %d wait, %v more", len(plan.Operators), len(plan.Waiting),
			plan.Unlisted)
	}
}
