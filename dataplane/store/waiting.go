package store

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ashlar-storage/ashlar/dataplane/copyset"
)

// A store that answers whoever asks how it is may still have left a client without an answer for
// hours: the ping came back, the write did not. So its health is the age of what waits: of the
// oldest request of a client in any of its copysets, and of the oldest operation of its device. The
// owners look at every tick, since requests stand in the order in which they came; a request pays
// nothing for it.
//
// An owner that takes no turns looks at nothing either. Then the time since its last tick is part
// of the age, and those who ask for its replicas get what it said last, so that heartbeats and
// metrics, which are to tell of it, do not wait for it themselves.

// ErrLate is why a store is late.
var ErrLate = errors.New("store: late")

// Waiting is what has waited longest in a store.
type Waiting struct {
	// Age of the oldest request of a client without an answer; 0: none waits. Known to within a
	// tick of the owners.
	Age     time.Duration
	Copyset uint64 // whose request that is; 0: any of the owner's, which takes no turns
	Op      string // read, write, zero, fence; empty without a request
	Stage   string // where it is: a stage of copyset.Timing, or "owner"
	// Device is the age of the oldest read or durable write that the device has not answered.
	Device time.Duration
}

// stageOwner is the stage of what waits for an owner that takes no turns.
const stageOwner = "owner"

// stageWords say what a request waits for.
var stageWords = map[string]string{
	copyset.StageQueue.String():   "to be taken by its copyset",
	copyset.StageLane.String():    "for other requests on the same blocks",
	copyset.StageLease.String():   "for proof that its copyset leads",
	copyset.StageRead.String():    "for blocks to be read",
	copyset.StagePropose.String(): "to be proposed",
	copyset.StageCommit.String():  "for the logs of a majority",
}

// String says what has waited, how long and for what; empty when no request waits.
func (w Waiting) String() string {
	age := w.Age.Round(100 * time.Millisecond)
	switch {
	case w.Age == 0:
		return ""
	case w.Stage == stageOwner:
		return fmt.Sprintf("some of its copysets have taken no turn for %v", age)
	}
	return fmt.Sprintf("a %s has waited %v %s (copyset %d)", w.Op, age, stageWords[w.Stage],
		w.Copyset)
}

// looked is what an owner saw at its last tick.
type looked struct {
	at     int64 // ns, the tick
	any    bool
	oldest copyset.Waiting
}

// lookout is what others may know of an owner without its help.
type lookout struct {
	mu     sync.Mutex
	looked looked // at: 0 before Run
	// rest is 0 while some replica is awake, and else another number each time that the last of
	// them has fallen asleep: as long as it stays, they are as they were.
	rest atomic.Uint64
	// What it answered last, for when it does not.
	replicas []copyset.Status
	timing   copyset.Timing
}

// noteRest notes at the end of a tick whether all replicas rest.
func (o *Owner) noteRest() {
	switch rest := o.out.rest.Load(); {
	case len(o.awake) > 0:
		o.out.rest.Store(0)
	case rest == 0:
		o.rests++
		o.out.rest.Store(o.rests)
	}
}

// Rest is not 0 while all replicas here rest, and the same for as long as their reports are.
func (s *Store) Rest() (sum uint64) {
	s.mu.Lock()
	lost := len(s.lost)
	s.mu.Unlock()
	for _, o := range s.owners {
		rest := o.out.rest.Load()
		if rest == 0 || lost > 0 {
			return 0
		}
		sum += rest
	}
	return sum
}

// lookOldest finds the oldest request of the replicas that are awake; the others have none.
func (o *Owner) lookOldest(now int64) {
	seen := looked{at: now}
	for _, m := range o.awake {
		w, ok := m.Oldest()
		if ok && (!seen.any || w.Arrived < seen.oldest.Arrived) {
			seen.any, seen.oldest = true, w
		}
	}
	o.out.mu.Lock()
	defer o.out.mu.Unlock()
	o.out.looked = seen
}

// waiting is what has waited longest for this owner.
func (o *Owner) waiting(now int64) Waiting {
	o.out.mu.Lock()
	seen := o.out.looked
	o.out.mu.Unlock()
	silent := time.Duration(now - seen.at)
	switch {
	case seen.at == 0:
		return Waiting{}
	case silent > ownerSilent:
		return Waiting{Age: silent, Stage: stageOwner}
	case !seen.any:
		return Waiting{}
	}
	w := seen.oldest
	return Waiting{Age: time.Duration(max(1, seen.at-w.Arrived)), Copyset: w.Copyset,
		Op: w.Kind.String(), Stage: w.Stage.String()}
}

// silent reports whether the owner has taken no turns for long. One that never began, or that has
// stopped, is not.
func (o *Owner) silent() bool { return o.waiting(o.store.clock()).Stage == stageOwner }

// Alive reports whether all owners take turns.
func (s *Store) Alive() bool { return !slices.ContainsFunc(s.owners, (*Owner).silent) }

// Waiting is what has waited longest in the store. It asks nobody.
func (s *Store) Waiting() Waiting {
	now := s.clock()
	var worst Waiting
	for _, o := range s.owners {
		if w := o.waiting(now); w.Age > worst.Age {
			worst = w
		}
	}
	worst.Device = s.disk.Oldest()
	return worst
}

// Late is why the store is late: a request has waited for longer than Config.LateBound. It wraps
// ErrLate; nil while none has.
func (s *Store) Late() error { return s.late(s.Waiting()) }

func (s *Store) late(w Waiting) error {
	if w.Age < s.cfg.LateBound {
		return nil
	}
	return fmt.Errorf("%w: %s: %v", ErrLate, s.cfg.Path, w)
}

// Trouble is why the store cannot be relied on at this moment: its device failed or stalled, or a
// request is late. A full one serves what it has and is in none.
func (s *Store) Trouble() error {
	if state, why := s.Health(); state == StateFailed || state == StateStalled {
		return why
	}
	return s.Late()
}

// answerOf makes something as the owner: here if that is free, else its goroutine does. It does
// not wait for one that has taken no turns for long, nor longer than askTime; false without an
// answer. f changes nothing.
func answerOf[T any](o *Owner, f func() T) (T, bool) {
	var none T
	if o.silent() {
		return none, false
	}
	if !o.queue.waiting() && o.mu.TryLock() {
		defer o.free()
		if o.ended {
			return none, false
		}
		return f(), true
	}
	got := make(chan T, 1)
	if !o.queue.offer(event{do: func() { got <- f() }}) {
		return none, false
	}
	o.queue.kick()
	timer := time.NewTimer(askTime)
	defer timer.Stop()
	select {
	case v := <-got:
		return v, true
	case <-o.stopped:
	case <-timer.C:
	}
	return none, false
}

// said is what an owner says of its replicas, and the rest in which they were so; 0: in none.
type said struct {
	replicas []copyset.Status
	rest     uint64
	now      bool // and not when it last answered
}

// statuses are those of the owner's replicas, or what they were when it last answered.
func (o *Owner) statuses() said {
	now, ok := answerOf(o, func() said {
		list := make([]copyset.Status, 0, len(o.replicas))
		for _, m := range o.replicas {
			list = append(list, m.Status())
		}
		return said{replicas: list, rest: o.out.rest.Load(), now: true}
	})
	o.out.mu.Lock()
	defer o.out.mu.Unlock()
	if !ok {
		return said{replicas: o.out.replicas}
	}
	o.out.replicas = now.replicas
	return now
}

// addTiming adds what the owner's requests took, or had when it last answered.
func (o *Owner) addTiming(sum *copyset.Timing) {
	t, ok := answerOf(o, func() *copyset.Timing {
		t := o.timing
		return &t
	})
	o.out.mu.Lock()
	defer o.out.mu.Unlock()
	if ok {
		o.out.timing = *t
	}
	sum.Merge(&o.out.timing)
}
