package supervise

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"
)

var trio = []Child{{Gateway, "gw"}, {Control, "c"}, {Node, "n1"}, {Node, "n2"}}

// bench drives a machine and writes down what it asks for, one word for each effect.
type bench struct {
	t    *testing.T
	m    *Machine
	now  time.Duration
	pids map[string]int
	last int
}

func newBench(t *testing.T, cfg Config) *bench {
	return &bench{t: t, m: NewMachine(cfg, trio), pids: map[string]int{}}
}

var effectNames = map[EffectKind]string{Spawn: "spawn", Terminate: "term", Kill: "kill",
	EnsureVolume: "volume", Ready: "ready", Note: "note", Finished: "finished"}

// step feeds an event, answers the spawns, and returns the effects without the notes.
func (b *bench) step(ev Event) string {
	ev.Now = b.now
	if ev.PID == 0 {
		ev.PID = b.pids[ev.Child]
	}
	var words []string
	queue := b.m.Step(ev, nil)
	for len(queue) > 0 {
		e := queue[0]
		queue = queue[1:]
		if e.Kind == Spawn {
			b.last++
			b.pids[e.Child] = b.last
			queue = append(queue, b.m.Step(Event{Kind: Started, Now: b.now, Child: e.Child,
				PID: b.last}, nil)...)
		}
		if e.Kind != Note {
			words = append(words, strings.TrimSpace(effectNames[e.Kind]+" "+e.Child))
		}
		if e.Kind == Finished && e.Text != "" {
			words = append(words, "because "+e.Text)
		}
	}
	return strings.Join(words, ", ")
}

func (b *bench) want(ev Event, effects string) {
	b.t.Helper()
	if got := b.step(ev); got != effects {
		b.t.Errorf("%+v: got %q, want %q", ev, got, effects)
	}
}

func (b *bench) wait(d time.Duration, effects string) {
	b.t.Helper()
	b.now += d
	b.want(Event{Kind: Tick}, effects)
}

func (b *bench) run() {
	b.t.Helper()
	b.want(Event{Kind: Begin}, "spawn c")
	b.want(Event{Kind: Serving, Child: "c"}, "spawn n1, spawn n2")
	b.want(Event{Kind: Serving, Child: "n2"}, "")
	b.want(Event{Kind: Serving, Child: "n1"}, "volume")
	b.want(Event{Kind: VolumeReady}, "spawn gw")
	b.want(Event{Kind: Serving, Child: "gw"}, "ready")
}

func exit(id string) Event { return Event{Kind: Exited, Child: id, Why: "killed"} }

func TestStagesStartInOrderAndStopInReverse(t *testing.T) {
	b := newBench(t, Config{})
	b.run()
	b.want(Event{Kind: Stop}, "term gw")
	b.want(exit("gw"), "term n1, term n2")
	b.want(exit("n2"), "")
	b.want(exit("n1"), "term c")
	b.want(exit("c"), "finished")
	b.want(Event{Kind: Stop}, "")
	b.wait(time.Hour, "")
}

func TestStageThatDoesNotStopIsKilledAndTheNextIsStillAskedFirst(t *testing.T) {
	b := newBench(t, Config{StopWait: 5 * time.Second})
	b.run()
	b.want(Event{Kind: Stop}, "term gw")
	b.wait(4*time.Second, "")
	b.wait(time.Second, "kill gw")
	b.wait(time.Second, "")
	b.want(exit("gw"), "term n1, term n2")
	b.want(exit("n1"), "")
	b.wait(5*time.Second, "kill n2")
	b.want(exit("n2"), "term c")
	b.want(exit("c"), "finished")
}

func TestSecondStopKillsEverything(t *testing.T) {
	b := newBench(t, Config{})
	b.run()
	b.want(Event{Kind: Stop}, "term gw")
	b.want(Event{Kind: Stop}, "kill c, kill n1, kill n2, kill gw")
	b.want(exit("n1"), "")
	b.want(exit("gw"), "")
	b.want(exit("c"), "")
	b.want(exit("n2"), "finished")
}

func TestDeadChildStartsAgainAfterADoublingDelay(t *testing.T) {
	b := newBench(t, Config{RestartDelay: time.Second})
	b.run()
	for _, delay := range []time.Duration{1, 2, 4, 8, 16, 30, 30} {
		b.want(exit("n1"), "")
		b.wait(delay*time.Second-1, "")
		b.wait(1, "spawn n1")
	}
	b.want(Event{Kind: Serving, Child: "n1"}, "")
	b.now += StableAfter
	b.want(exit("n1"), "")
	b.wait(time.Second, "spawn n1")
}

func TestNoRestartLeavesAChildDownUntilRevived(t *testing.T) {
	b := newBench(t, Config{NoRestart: true})
	b.run()
	b.want(exit("n1"), "")
	b.wait(time.Hour, "")
	b.want(Event{Kind: Revive}, "spawn n1")
	b.want(Event{Kind: Revive}, "")
	b.want(Event{Kind: Serving, Child: "n1"}, "")
}

func TestReviveCutsADelayShort(t *testing.T) {
	b := newBench(t, Config{RestartDelay: time.Hour})
	b.run()
	b.want(exit("n2"), "")
	b.want(Event{Kind: Revive}, "spawn n2")
}

func TestChildThatCannotUseItsDataEndsTheStartAtOnce(t *testing.T) {
	b := newBench(t, Config{})
	b.want(Event{Kind: Begin}, "spawn c")
	b.want(Event{Kind: Exited, Child: "c", Why: "foreign data", Permanent: true},
		"finished, because control c does not start: foreign data")
}

func TestChildThatKeepsDyingEndsTheStart(t *testing.T) {
	b := newBench(t, Config{RestartDelay: time.Second, StartWait: time.Hour})
	b.want(Event{Kind: Begin}, "spawn c")
	b.want(Event{Kind: Serving, Child: "c"}, "spawn n1, spawn n2")
	for i := 1; i < StartAttempts; i++ {
		b.want(exit("n1"), "")
		b.wait(RestartDelayMax, "spawn n1")
	}
	b.want(exit("n1"), "term n2")
	b.want(exit("n2"), "term c")
	b.want(exit("c"), "finished, because node n1 does not start: killed")
}

func TestPermanentExitWhileRunningStaysDownAndTheRestGoesOn(t *testing.T) {
	b := newBench(t, Config{})
	b.run()
	ev := exit("n1")
	ev.Permanent = true
	b.want(ev, "")
	b.wait(time.Hour, "")
	b.want(exit("n2"), "")
	b.wait(time.Second, "spawn n2")
}

func TestStartIsBounded(t *testing.T) {
	b := newBench(t, Config{StartWait: time.Minute})
	b.want(Event{Kind: Begin}, "spawn c")
	b.want(Event{Kind: Serving, Child: "c"}, "spawn n1, spawn n2")
	b.want(Event{Kind: Serving, Child: "n2"}, "")
	b.wait(time.Minute, "term n1, term n2")
	b.want(exit("n1"), "")
	b.want(exit("n2"), "term c")
	b.want(exit("c"), "finished, because not serving after 1m0s: waiting for n1")
}

func TestVolumeThatCannotBeMadeEndsTheStartWithTheReason(t *testing.T) {
	b := newBench(t, Config{})
	b.want(Event{Kind: Begin}, "spawn c")
	b.want(Event{Kind: Serving, Child: "c"}, "spawn n1, spawn n2")
	b.want(Event{Kind: Serving, Child: "n1"}, "")
	b.want(Event{Kind: Serving, Child: "n2"}, "volume")
	b.want(Event{Kind: VolumeFail, Why: "too large"}, "term n1, term n2")
	b.want(exit("n1"), "")
	b.want(exit("n2"), "term c")
	b.want(exit("c"), "finished, because too large")
}

func TestNewsOfAnEarlierProcessIsIgnored(t *testing.T) {
	b := newBench(t, Config{})
	b.run()
	old := b.pids["n1"]
	b.want(exit("n1"), "")
	b.wait(time.Second, "spawn n1")
	b.want(Event{Kind: Exited, Child: "n1", PID: old}, "")
	b.want(Event{Kind: Serving, Child: "n1", PID: old}, "")
	if m := b.m.find("n1"); m.state != starting {
		t.Errorf("state %d", m.state)
	}
}

func TestRefusedSpawnCountsAsADeath(t *testing.T) {
	m := NewMachine(Config{}, trio)
	m.Step(Event{Kind: Begin}, nil)
	out := m.Step(Event{Kind: Refused, Child: "c", Why: "no such file"}, nil)
	if len(out) != 1 || out[0].Kind != Note || m.find("c").state != waiting {
		t.Errorf("%+v", out)
	}
}

// TestAnyStoryEndsWithNothingAlive throws random events at the machine and then stops it: whatever
// happened, no child is alive when it says it finished, and it says so once.
func TestAnyStoryEndsWithNothingAlive(t *testing.T) {
	for seed := range uint64(500) {
		rng := rand.New(rand.NewPCG(seed, 1))
		alive := map[string]int{}
		m := NewMachine(Config{NoRestart: seed%2 == 0}, trio)
		var now time.Duration
		pid, finished := 0, 0
		var feed func(ev Event)
		feed = func(ev Event) {
			ev.Now = now
			for _, e := range m.Step(ev, nil) {
				switch e.Kind {
				case Spawn:
					if alive[e.Child] != 0 {
						t.Fatalf("seed %d: second %s while one lives", seed, e.Child)
					}
					if finished > 0 {
						t.Fatalf("seed %d: spawn after the end", seed)
					}
					pid++
					alive[e.Child] = pid
					feed(Event{Kind: Started, Child: e.Child, PID: pid})
				case Finished:
					finished++
					if fmt.Sprint(alive) != "map[]" {
						t.Fatalf("seed %d: finished with %v alive", seed, alive)
					}
				}
			}
		}
		die := func(id string) {
			p := alive[id]
			delete(alive, id)
			feed(Event{Kind: Exited, Child: id, PID: p, Permanent: rng.IntN(9) == 0})
		}
		feed(Event{Kind: Begin})
		for range 60 {
			now += time.Duration(rng.Int64N(int64(10 * time.Second)))
			id := trio[rng.IntN(len(trio))].ID
			switch rng.IntN(6) {
			case 0:
				feed(Event{Kind: Tick})
			case 1:
				feed(Event{Kind: Revive})
			case 2:
				feed(Event{Kind: VolumeReady})
			case 3:
				if alive[id] != 0 {
					die(id)
				}
			default:
				feed(Event{Kind: Serving, Child: id, PID: alive[id]})
			}
		}
		feed(Event{Kind: Stop})
		for range 10 {
			for _, c := range trio {
				if alive[c.ID] != 0 {
					die(c.ID)
				}
			}
		}
		if finished != 1 {
			t.Fatalf("seed %d: finished %d times", seed, finished)
		}
	}
}
