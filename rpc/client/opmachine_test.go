package client

import (
	"errors"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/ashlar-storage/ashlar/rpc/wire"
)

const second = int64(time.Second)

func three(leader int, down ...int) view {
	v := view{replicas: 3, leader: leader}
	for _, i := range down {
		v.down |= 1 << i
	}
	return v
}

func answer(s wire.Status, from, hint int) event {
	return event{kind: evReply, from: from, status: s, hint: hint}
}

var decisions = []struct {
	name string
	m    machine
	ev   event
	v    view
	want action
	err  error
}{
	{"start goes to the leader", machine{}, event{kind: evStart}, three(1),
		action{kind: doSend, to: 1}, nil},
	{"start without a leader parks", machine{}, event{kind: evStart}, three(none),
		action{kind: doPark}, nil},
	{"start with the leader down parks", machine{}, event{kind: evStart}, three(1, 1),
		action{kind: doPark}, nil},
	{"start without a mapping parks and asks for it", machine{}, event{kind: evStart},
		view{leader: none}, action{kind: doPark, refresh: true}, nil},
	{"a scout asks whose turn it is", machine{}, event{kind: evScout},
		view{replicas: 3, leader: none, next: 5}, action{kind: doSend, to: 2}, nil},
	{"a scout skips who is down", machine{}, event{kind: evScout},
		view{replicas: 3, leader: none, next: 2, down: 1 << 2},
		action{kind: doSend, to: 0}, nil},
	{"a scout with everybody down parks and refreshes", machine{}, event{kind: evScout},
		three(none, 0, 1, 2), action{kind: doPark, refresh: true}, nil},
	{"a scout prefers a leader that became known", machine{}, event{kind: evScout},
		three(2), action{kind: doSend, to: 2}, nil},
	{"success finishes and names the leader", machine{}, answer(wire.StatusOK, 1, none),
		three(1), action{kind: doFinish, served: true}, nil},
	{"success counts after the deadline too", machine{deadline: 1},
		event{kind: evReply, now: second, status: wire.StatusOK}, three(1),
		action{kind: doFinish, served: true}, nil},
	{"a hint is followed at once", machine{}, answer(wire.StatusNotLeader, 0, 2), three(0),
		action{kind: doSend, to: 2, deposed: true, heir: 2}, nil},
	{"a hint to oneself is none", machine{}, answer(wire.StatusNotLeader, 0, 0), three(0),
		action{kind: doPark, deposed: true, heir: none}, nil},
	{"a hint to a dead node is none", machine{}, answer(wire.StatusNotLeader, 0, 2),
		three(0, 2), action{kind: doPark, deposed: true, heir: none}, nil},
	{"no hint parks", machine{}, answer(wire.StatusNotLeader, 0, none), three(0),
		action{kind: doPark, deposed: true, heir: none}, nil},
	{"a circle of hints ends parked", machine{hops: maxHops},
		answer(wire.StatusNotLeader, 0, 1), three(0),
		action{kind: doPark, deposed: true, heir: none}, nil},
	{"an unknown hinted leader refreshes", machine{},
		event{kind: evReply, status: wire.StatusNotLeader, hint: none, strange: true}, three(0),
		action{kind: doPark, deposed: true, heir: none, refresh: true}, nil},
	{"unavailable looks for another leader", machine{},
		answer(wire.StatusUnavailable, 0, none), three(0),
		action{kind: doPark, deposed: true, heir: none}, nil},
	{"wrong copyset refreshes", machine{}, answer(wire.StatusWrongCopyset, 0, none), three(0),
		action{kind: doPark, deposed: true, heir: none, refresh: true}, nil},
	{"a lost connection parks for the scouts", machine{}, event{kind: evLost, from: 0},
		three(0, 0), action{kind: doPark, deposed: true, heir: none}, nil},
	{"silence of a live peer asks the next", machine{}, event{kind: evSilent, from: 2},
		three(2), action{kind: doSend, to: 0}, nil},
	{"silence with the others down asks again", machine{}, event{kind: evSilent, from: 2},
		three(2, 0, 1), action{kind: doSend, to: 2}, nil},
	{"silence past the deadline times out", machine{deadline: 5},
		event{kind: evSilent, from: 2, now: 5}, three(2), action{kind: doFinish}, ErrTimeout},
	{"overloaded waits as asked", machine{},
		event{kind: evReply, status: wire.StatusOverloaded, retryAfter: 8 * time.Millisecond},
		three(0), action{kind: doWait, wait: 8 * time.Millisecond}, nil},
	{"overloaded without a time waits a little", machine{},
		event{kind: evReply, status: wire.StatusOverloaded}, three(0),
		action{kind: doWait, wait: retryMin}, nil},
	{"an absurd retry-after is cut", machine{},
		event{kind: evReply, status: wire.StatusOverloaded, retryAfter: time.Hour}, three(0),
		action{kind: doWait, wait: overloadMax}, nil},
	{"a wait ends at the deadline", machine{deadline: int64(time.Millisecond) * 3},
		event{kind: evReply, status: wire.StatusOverloaded, retryAfter: time.Second}, three(0),
		action{kind: doWait, wait: 3 * time.Millisecond}, nil},
	{"undecided is sent again", machine{}, answer(wire.StatusRetry, 0, none), three(0),
		action{kind: doWait, wait: retryMin / 2, leads: true}, nil},
	{"bad data is read again", machine{}, event{kind: evBadData}, three(0),
		action{kind: doWait, wait: retryMin / 2}, nil},
	{"bad data for ever is an error", machine{bad: maxChecksumTries - 1},
		event{kind: evBadData}, three(0), action{kind: doFinish}, ErrChecksum},
	{"refused data for ever is an error", machine{bad: maxChecksumTries - 1},
		answer(wire.StatusChecksum, 0, none), three(0), action{kind: doFinish}, ErrChecksum},
	{"a corrupt block for ever is an error", machine{bad: maxChecksumTries - 1},
		answer(wire.StatusCorrupt, 0, none), three(0), action{kind: doFinish}, ErrCorrupt},
	{"an internal error for ever is an error", machine{bad: maxInternalTries - 1},
		answer(wire.StatusInternal, 0, none), three(0), action{kind: doFinish}, ErrServer},
	{"a stale epoch is final", machine{}, answer(wire.StatusStaleEpoch, 0, none), three(0),
		action{kind: doFinish}, ErrFenced},
	{"out of range is final", machine{}, answer(wire.StatusOutOfRange, 0, none), three(0),
		action{kind: doFinish}, ErrOutOfRange},
	{"no space is final", machine{}, answer(wire.StatusNoSpace, 0, none), three(0),
		action{kind: doFinish}, ErrNoSpace},
	{"a bad request is final", machine{}, answer(wire.StatusBadRequest, 0, none), three(0),
		action{kind: doFinish}, ErrInvalid},
	{"a status of the future is final", machine{}, answer(999, 0, none), three(0),
		action{kind: doFinish}, ErrServer},
	{"a wait that ends past the deadline times out", machine{deadline: 1},
		event{kind: evGo, now: 1}, three(0), action{kind: doFinish}, ErrTimeout},
}

func TestMachineDecidesEachCase(t *testing.T) {
	for _, c := range decisions {
		t.Run(c.name, func(t *testing.T) {
			if c.m.deadline == 0 {
				c.m.deadline = 30 * second
			}
			got := c.m.step(c.ev, c.v)
			if !errors.Is(got.err, c.err) || (c.err == nil) != (got.err == nil) {
				t.Errorf("error %v, want %v", got.err, c.err)
			}
			got.err = nil
			if !got.deposed {
				got.heir = c.want.heir
			}
			if got != c.want {
				t.Errorf("got %+v, want %+v", got, c.want)
			}
		})
	}
}

func TestTimeoutNamesTheLastCause(t *testing.T) {
	m := machine{deadline: 100}
	m.step(answer(wire.StatusOverloaded, 0, none), three(0))
	a := m.step(event{kind: evGo, now: 100}, three(0))
	if !errors.Is(a.err, ErrTimeout) || !errors.Is(a.err, wire.ErrOverloaded) {
		t.Errorf("got %v", a.err)
	}
}

func TestParkingInVainAsksForTheMapping(t *testing.T) {
	m := machine{deadline: second}
	for i := range 4 {
		a := m.step(answer(wire.StatusNotLeader, i%3, none), three(none))
		if want := i == 3; a.refresh != want {
			t.Errorf("park %d: refresh %v, want %v", i, a.refresh, want)
		}
	}
}

// Whatever happens in whatever order, the machine names only replicas that exist and can be
// reached, waits only until the deadline, and ends.
func TestMachineStaysWithinItsBounds(t *testing.T) {
	rng := rand.New(rand.NewPCG(7, 7))
	for range 2000 {
		m := machine{deadline: second}
		now := int64(0)
		ev := event{kind: evStart}
		ended := false
		for range 100_000 {
			v := view{replicas: rng.IntN(5), leader: rng.IntN(7) - 1, next: rng.IntN(9)}
			v.down = rng.Uint32() & rng.Uint32()
			a := m.step(ev, v)
			if a.kind == doFinish {
				ended = true
				break
			}
			if a.kind == doSend && !v.up(a.to) {
				t.Fatalf("%+v sends to %d in %+v", ev, a.to, v)
			}
			if a.kind == doWait && (a.wait < 0 || now+int64(a.wait) > m.deadline) {
				t.Fatalf("%+v waits %v at %d", ev, a.wait, now)
			}
			now += int64(rng.IntN(int(5 * time.Millisecond)))
			ev = event{
				kind: eventKind(rng.IntN(6)), now: now, rand: rng.Uint32(),
				from: rng.IntN(4) - 1, hint: rng.IntN(6) - 1, strange: rng.IntN(9) == 0,
				retryAfter: time.Duration(rng.IntN(1 << 32)),
			}
			if ev.kind == evReply {
				ev.status = []wire.Status{wire.StatusNotLeader, wire.StatusOverloaded,
					wire.StatusRetry, wire.StatusUnavailable, wire.StatusWrongCopyset}[rng.IntN(5)]
			}
		}
		if !ended {
			t.Fatal("no end")
		}
	}
}

func TestScoutDelayStartsAtOnceAndStaysShortDuringAnElection(t *testing.T) {
	if d := scoutDelay(0, 1<<31); d != 0 {
		t.Errorf("first poll after %v", d)
	}
	var sum time.Duration
	for polls := 1; polls <= 1000; polls++ {
		d := scoutDelay(polls, 1<<32-1)
		if sum < 500*time.Millisecond && d > scoutMax {
			t.Fatalf("poll %d after %v waits %v", polls, sum, d)
		}
		if d <= 0 || d > scoutIdle {
			t.Fatalf("poll %d waits %v", polls, d)
		}
		sum += d
	}
}

func TestBackoffIsJitteredAndBounded(t *testing.T) {
	for _, r := range []uint32{0, 1 << 31, 1<<32 - 1} {
		m := machine{}
		last := time.Duration(0)
		for n := range 100 {
			limit := retryMax
			if n >= retryPatience {
				limit = retryIdle
			}
			d := m.backoff(r)
			if d < retryMin/2 || d > limit || d < last {
				t.Fatalf("wait %v after %v", d, last)
			}
			last = d
		}
	}
}

// What people read at the deadline is why the connection went, not that it was not there later.
func TestDeadlineTellsWhyTheConnectionWasLost(t *testing.T) {
	m := machine{deadline: 10}
	m.step(event{kind: evLost, now: 1, text: "node 3 was unplugged"}, three(0))
	m.step(event{kind: evLost, now: 2}, three(0))
	err := m.step(event{kind: evGo, now: 10}, three(0)).err
	if !errors.Is(err, ErrTimeout) || !errors.Is(err, errLost) ||
		!strings.Contains(err.Error(), "unplugged") {
		t.Errorf("got %v", err)
	}
}
