package schedule

import (
	"bufio"
	"flag"
	"fmt"
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
//	limits cooldown=SECONDS settle=SECONDS per-round=N slack=N rebuilds=N lost-after=SECONDS
//	    sources=N cluster=N drains=N balances=N losses=N loss-every=SECONDS
//	store ID up|down [since=SECONDS] [log=MILLISECONDS] [away=SECONDS] [zone=NAME] [node=NAME]
//	    [capacity=N] [used=N] [draining]
//	copyset ID stores=S,S,S leader=S|none preferred=S|any [last=SECONDS] [behind=S]
//	    [damaged=S] [joining=S] [joining-damaged=S] [leaving=S] [why=KIND]
//	    [last-repair=SECONDS] [losses=N] [lost-at=SECONDS] [held=KIND] [held-since=SECONDS]
//
// A replica's id is copyset*10 + store, that of a joining one copyset*10 + 9. A store is a zone and
// a node of its own unless it says otherwise. The replicas of a store that is down are behind.
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
	v := View{Scene: Scene{Now: seconds(100)}}
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
			v.Stores = append(v.Stores, store(t, f))
		case "copyset":
			v.Copysets = append(v.Copysets, copyset(t, f))
		default:
			t.Fatalf("unknown line %q", line)
		}
	}
	for i := range v.Copysets {
		for j := range v.Copysets[i].Replicas {
			m := &v.Copysets[i].Replicas[j]
			for _, s := range v.Stores {
				m.CaughtUp = m.CaughtUp && (s.ID != m.Store || s.Up || s.Full)
			}
		}
	}
	return v, lim
}

func store(t *testing.T, f []string) Store {
	t.Helper()
	s := Store{Up: f[2] == "up", Full: f[2] == "full", Stalled: f[2] == "stalled",
		Replaced: f[2] == "replaced", UpSince: start, Zone: "z" + f[1], Node: "n" + f[1]}
	scan(t, f[1], "%d", &s.ID)
	for _, word := range f[3:] {
		name, text, _ := strings.Cut(word, "=")
		var n int
		if name != "zone" && name != "node" && name != "draining" {
			scan(t, text, "%d", &n)
		}
		switch name {
		case "since":
			s.UpSince = seconds(n)
		case "log":
			s.LogWrite = time.Duration(n) * time.Millisecond
		case "away":
			s.DownSince = seconds(n)
		case "zone":
			s.Zone = text
		case "node":
			s.Node = text
		case "capacity":
			s.Capacity = uint64(n)
		case "used":
			s.Used = uint64(n)
		case "draining":
			s.Draining = true
		default:
			t.Fatalf("unknown word %q", word)
		}
	}
	return s
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
	case "lost-after":
		lim.LostAfter = time.Duration(n) * time.Second
	case "sources":
		lim.Sources = n
	case "cluster":
		lim.Cluster = n
	case "drains":
		lim.Drains = n
	case "balances":
		lim.Balances = n
	case "losses":
		lim.Losses = n
	case "loss-every":
		lim.LossEvery = time.Duration(n) * time.Second
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
		case "place": // of a member on a store, the one that came in its place
			of, place, _ := strings.Cut(text, ":")
			c.replica(at(of)).Place = at(place) - c.ID*10
		case "joining", "joining-damaged":
			c.Joining = &Replica{ID: c.ID*10 + 9, Store: at(text) - c.ID*10,
				Damaged: name == "joining-damaged"}
		case "leaving":
			c.Leaving = at(text)
		case "why":
			c.Why = Kind(text)
		case "held":
			c.Held = append(c.Held, Hold{Kind: Kind(text)})
		case "last-repair", "last", "losses", "lost-at", "held-since":
			var n int
			scan(t, text, "%d", &n)
			switch name {
			case "last-repair":
				c.LastRepair = seconds(n)
			case "last":
				c.LastOperator = seconds(n)
			case "losses":
				c.Losses.Spent = float64(n)
			case "lost-at":
				c.Losses.At = seconds(n)
			case "held-since":
				c.Held[len(c.Held)-1].Since = seconds(n)
			}
		default:
			t.Fatalf("unknown field %q", o)
		}
	}
	return c
}

func follow(t *testing.T, path string, decide func(View, Limits) []Operator) {
	t.Helper()
	followPlan(t, path, func(v View, lim Limits) Plan { return Plan{Operators: decide(v, lim)} })
}

func followPlan(t *testing.T, path string, decide func(View, Limits) Plan) {
	scripts := load(t, path)
	var out strings.Builder
	for _, s := range scripts {
		var got []string
		t.Run(s.title, func(t *testing.T) {
			plan := decide(s.view(t))
			for _, op := range plan.Operators {
				got = append(got, op.String())
			}
			for _, w := range plan.Waiting {
				got = append(got, w.String())
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
