package schedule

import (
	"bufio"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"testing"
	"time"
)

var update = flag.Bool("update", false, "rewrite the expected answers in testdata")

var start = time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)

// script is one case of a file in testdata: a title, lines that build a view, and after ---- the
// operators expected.
//
//	now SECONDS
//	limits cooldown=SECONDS settle=SECONDS per-round=N slack=N rebuilds=N
//	store ID up|down [since=SECONDS] [log=MILLISECONDS]
//	copyset ID stores=S,S,S leader=S|none preferred=S|any [last=SECONDS] [behind=S]
//	    [damaged=S] [joining=S] [joining-damaged=S] [last-repair=SECONDS]
//
// A replica's id is copyset*10 + store.
type script struct {
	title string
	input []string
	want  []string
}

func load(t *testing.T, path string) []script {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var all []script
	answer := false
	for sc := bufio.NewScanner(f); sc.Scan(); {
		line := sc.Text()
		switch {
		case strings.HasPrefix(line, "# "):
			all, answer = append(all, script{title: line[2:]}), false
		case line == "----":
			answer = true
		case line == "":
		case answer:
			all[len(all)-1].want = append(all[len(all)-1].want, line)
		default:
			all[len(all)-1].input = append(all[len(all)-1].input, line)
		}
	}
	return all
}

func seconds(n int) time.Time { return start.Add(time.Duration(n) * time.Second) }

func scan(t *testing.T, text, format string, to ...any) {
	t.Helper()
	if _, err := fmt.Sscanf(text, format, to...); err != nil {
		t.Fatalf("%q: %v", text, err)
	}
}

func (s script) view(t *testing.T) (View, Limits) {
	t.Helper()
	v := View{Now: seconds(100)}
	lim := DefaultLimits()
	for _, line := range s.input {
		f := strings.Fields(line)
		switch f[0] {
		case "now":
			var n int
			scan(t, f[1], "%d", &n)
			v.Now = seconds(n)
		case "limits":
			for _, o := range f[1:] {
				limit(t, &lim, o)
			}
		case "store":
			st := Store{Up: f[2] == "up", UpSince: start}
			scan(t, f[1], "%d", &st.ID)
			for _, word := range f[3:] {
				var n int
				if strings.HasPrefix(word, "log=") {
					scan(t, word, "log=%d", &n)
					st.LogWrite = time.Duration(n) * time.Millisecond
					continue
				}
				scan(t, word, "since=%d", &n)
				st.UpSince = seconds(n)
			}
			v.Stores = append(v.Stores, st)
		case "copyset":
			v.Copysets = append(v.Copysets, copyset(t, f))
		default:
			t.Fatalf("unknown line %q", line)
		}
	}
	return v, lim
}

func limit(t *testing.T, lim *Limits, o string) {
	t.Helper()
	name, text, _ := strings.Cut(o, "=")
	var n int
	scan(t, text, "%d", &n)
	switch name {
	case "cooldown":
		lim.CoolDown = time.Duration(n) * time.Second
	case "settle":
		lim.Settle = time.Duration(n) * time.Second
	case "per-round":
		lim.PerRound = n
	case "slack":
		lim.Slack = n
	case "rebuilds":
		lim.Rebuilds = n
	default:
		t.Fatalf("unknown limit %q", o)
	}
}

func copyset(t *testing.T, f []string) Copyset {
	t.Helper()
	var c Copyset
	scan(t, f[1], "%d", &c.ID)
	at := func(text string) uint64 {
		if text == "none" || text == "any" {
			return 0
		}
		var store uint64
		scan(t, text, "%d", &store)
		return c.ID*10 + store
	}
	for _, o := range f[2:] {
		name, text, _ := strings.Cut(o, "=")
		switch name {
		case "stores":
			for _, id := range strings.Split(text, ",") {
				m := Replica{ID: at(id), CaughtUp: true}
				m.Store = m.ID - c.ID*10
				c.Replicas = append(c.Replicas, m)
			}
		case "leader":
			c.Leader = at(text)
		case "preferred":
			c.Preferred = at(text)
		case "behind":
			c.replica(at(text)).CaughtUp = false
		case "damaged":
			m := c.replica(at(text))
			m.CaughtUp, m.Damaged = false, true
		case "joining", "joining-damaged":
			c.Joining = &Replica{ID: c.ID*10 + 9, Store: at(text) - c.ID*10,
				Damaged: name == "joining-damaged"}
		case "last-repair":
			var n int
			scan(t, text, "%d", &n)
			c.LastRepair = seconds(n)
		case "last":
			var n int
			scan(t, text, "%d", &n)
			c.LastOperator = seconds(n)
		default:
			t.Fatalf("unknown field %q", o)
		}
	}
	return c
}

func TestLeadersFollowTheScripts(t *testing.T) { follow(t, "testdata/leaders.txt", Leaders) }

func TestRepairsFollowTheScripts(t *testing.T) { follow(t, "testdata/repairs.txt", Repairs) }

func follow(t *testing.T, path string, decide func(View, Limits) []Operator) {
	scripts := load(t, path)
	var out strings.Builder
	for _, s := range scripts {
		var got []string
		t.Run(s.title, func(t *testing.T) {
			for _, op := range decide(s.view(t)) {
				got = append(got, op.String())
			}
			if len(got) == 0 {
				got = []string{"nothing"}
			}
			if !*update && strings.Join(got, "\n") != strings.Join(s.want, "\n") {
				t.Errorf("got:\n%s\nwant:\n%s", strings.Join(got, "\n"), strings.Join(s.want, "\n"))
			}
		})
		fmt.Fprintf(&out, "# %s\n%s\n----\n%s\n\n", s.title, strings.Join(s.input, "\n"),
			strings.Join(got, "\n"))
	}
	if *update {
		text := strings.TrimSuffix(out.String(), "\n")
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// world draws copysets over stores 1..n, three each.
func world(rng *rand.Rand, n, copysets int) View {
	v := View{Now: seconds(100)}
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
