package schedule

import (
	"math/rand/v2"
	"testing"
	"time"
)

func TestLeadersFollowTheScripts(t *testing.T) { follow(t, "testdata/leaders.txt", Leaders) }

func TestRepairsFollowTheScripts(t *testing.T) { follow(t, "testdata/repairs.txt", Repairs) }

func TestRecoverFollowsTheScripts(t *testing.T) {
	followPlan(t, "testdata/recover.txt", Recover)
}

func TestDrainFollowsTheScripts(t *testing.T) { followPlan(t, "testdata/drain.txt", Drain) }

func TestBalanceFollowsTheScripts(t *testing.T) { followPlan(t, "testdata/balance.txt", Balance) }

func TestMovesFollowTheScripts(t *testing.T) { followPlan(t, "testdata/moves.txt", Moves) }

// world draws copysets over stores 1..n, three each.
func world(rng *rand.Rand, n, copysets int) View {
	v := View{Scene: Scene{Now: seconds(100)}}
	for i := range n {
		v.Stores = append(v.Stores, Store{ID: uint64(i + 1), Up: true, UpSince: start})
	}
	for i := range copysets {
		c := Copyset{ID: uint64(i + 1)}
		for _, s := range rng.Perm(n)[:min(3, n)] {
			id := uint64(s + 1)
			c.Replicas = append(c.Replicas, Replica{ID: c.ID*1000 + id, Store: id, CaughtUp: true})
		}
		c.Leader = c.Replicas[rng.IntN(len(c.Replicas))].ID
		v.Copysets = append(v.Copysets, c)
	}
	for id, preferred := range Spread(v.Copysets) {
		v.Copysets[id-1].Preferred = preferred
	}
	return v
}

func led(v View, by func(Copyset) uint64) (low, high int) {
	count := map[uint64]int{}
	for _, c := range v.Copysets {
		count[c.replica(by(c)).Store]++
	}
	low, high = 1<<30, 0
	for _, s := range v.Stores {
		low, high = min(low, count[s.ID]), max(high, count[s.ID])
	}
	return low, high
}

func TestSpreadIsEvenWhereMembershipAllows(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 1))
	for range 50 {
		v := world(rng, 3, 1+rng.IntN(40))
		low, high := led(v, func(c Copyset) uint64 { return c.Preferred })
		if high-low > 1 {
			t.Fatalf("%d copysets on 3 stores: %d to %d leaders", len(v.Copysets), low, high)
		}
	}
}

// apply carries out operators, and fails the test when one breaks a promise.
func apply(t *testing.T, v *View, ops []Operator, lim Limits) {
	t.Helper()
	targets := map[uint64]bool{}
	for _, op := range ops {
		c := &v.Copysets[op.Copyset-1]
		to := c.replica(op.To)
		if c.Leader != op.From || to == nil || !to.CaughtUp || !v.Stores[to.Store-1].Up {
			t.Fatalf("%v cannot be carried out", op)
		}
		if !c.LastOperator.IsZero() && v.Now.Sub(c.LastOperator) < lim.CoolDown {
			t.Fatalf("%v comes too soon", op)
		}
		if targets[to.Store] {
			t.Fatalf("%v: store %d gets two leaders in one round", op, to.Store)
		}
		targets[to.Store] = true
		c.Leader, c.LastOperator = op.To, v.Now
	}
	if len(ops) > lim.PerRound {
		t.Fatalf("%d operators in one round", len(ops))
	}
}

// settle runs rounds until none has operators; it fails when that does not come.
func settle(t *testing.T, v *View, lim Limits) {
	t.Helper()
	quiet := 0
	for range 1000 {
		ops := Leaders(*v, lim)
		apply(t, v, ops, lim)
		v.Now = v.Now.Add(time.Second)
		if quiet++; len(ops) > 0 {
			quiet = 0
		}
		if quiet > int(lim.CoolDown/time.Second)+1 {
			return
		}
	}
	t.Fatal("operators never end")
}

func TestRoundsComeToRestEvenlyThroughFailureAndReturn(t *testing.T) {
	rng := rand.New(rand.NewPCG(5, 5))
	lim := DefaultLimits()
	for range 30 {
		n := 3 + rng.IntN(6)
		v := world(rng, n, n*(1+rng.IntN(12)))
		settle(t, &v, lim)
		for _, c := range v.Copysets {
			if c.Leader != c.Preferred {
				t.Fatalf("copyset %d is not led by its preferred replica", c.ID)
			}
		}
		// A store fails: raft moves its leaders anywhere, then the rest evens out.
		dead := &v.Stores[rng.IntN(n)]
		dead.Up = false
		for i := range v.Copysets {
			c := &v.Copysets[i]
			for j := range c.Replicas {
				if m := &c.Replicas[j]; m.Store == dead.ID {
					m.CaughtUp = false
				} else if c.replica(c.Leader).Store == dead.ID {
					c.Leader = m.ID
				}
			}
		}
		settle(t, &v, lim)
		dead.Up, dead.UpSince = true, v.Now
		for i := range v.Copysets {
			for j := range v.Copysets[i].Replicas {
				v.Copysets[i].Replicas[j].CaughtUp = true
			}
		}
		settle(t, &v, lim)
		if n == 3 {
			if low, high := led(v, func(c Copyset) uint64 { return c.Leader }); high-low > 1 {
				t.Fatalf("%d to %d leaders after the return", low, high)
			}
		}
	}
}
