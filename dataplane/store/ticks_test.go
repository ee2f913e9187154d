package store

import (
	"bytes"
	"testing"
	"time"
)

// awake is how many replicas of a store get ticks.
func (s *Store) awake() (n int) {
	for _, o := range s.owners {
		o.Do(func() { n += len(o.awake) })
	}
	return n
}

func (r *rig) awaitQuiet() {
	r.t.Helper()
	for end := time.Now().Add(30 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		awake := 0
		for _, s := range r.stores {
			awake += s.awake()
		}
		if awake == 0 {
			return
		}
		if time.Now().After(end) {
			r.t.Fatalf("%d replicas get ticks of stores that nobody uses", awake)
		}
	}
}

func TestRestingReplicasGetNoTicksUntilTheyAreUsed(t *testing.T) {
	r := newRig(t, 3, nil)
	data := bytes.Repeat([]byte{7}, block)
	r.mustWrite(1, 0, 0, data)
	r.awaitQuiet()
	r.mustWrite(1, 0, block, data)
	r.wantRead(1, 0, 0, append(bytes.Clone(data), data...))
	if n := r.stores[r.leader(1)].awake(); n == 0 {
		t.Error("the leader gets no ticks after a write")
	}
	r.awaitQuiet()
}

// Nobody tells the owner that the replica is to get ticks, as where touch was forgotten.
func TestAReplicaWhoseWakingWasMissedIsFoundWithinASecond(t *testing.T) {
	r := newRig(t, 3, nil)
	s := r.stores[r.leader(1)]
	o := s.Owner(1)
	o.Do(func() {
		m := o.replicas[1]
		for i, other := range o.awake {
			if other == m {
				o.awake = append(o.awake[:i:i], o.awake[i+1:]...)
				m.awake = false
			}
		}
	})
	for end := time.Now().Add(20 * lookTicks * beatEvery); ; time.Sleep(beatEvery) {
		found := false
		o.Do(func() { found = o.replicas[1].awake })
		if found {
			return
		}
		if time.Now().After(end) {
			t.Fatal("the replica gets no ticks any more")
		}
	}
}

func TestABeatWakesOnlyWhoHasSomethingToDo(t *testing.T) {
	var b beat
	quiet := []bool{true, false}
	var wakes []<-chan struct{}
	for i := range quiet {
		wakes = append(wakes, b.listen(func() bool { return quiet[i] }))
	}
	for range 3 { // who is late misses beats
		b.once()
	}
	if len(wakes[0]) != 0 || len(wakes[1]) != 1 {
		t.Errorf("%d and %d wait, want 0 and 1", len(wakes[0]), len(wakes[1]))
	}
	quiet[0] = false
	b.once()
	if len(wakes[0]) != 1 {
		t.Error("not woken when there is something to do")
	}
}

func TestTicksOfAnOwnerAtRestNeedNotItsGoroutine(t *testing.T) {
	r := newRig(t, 3, nil)
	r.mustWrite(1, 0, 0, pattern(1, 1))
	r.awaitQuiet()
	o := r.stores[r.leader(1)].Owner(1)
	ticked := func() int64 {
		o.out.mu.Lock()
		defer o.out.mu.Unlock()
		return o.out.looked.at
	}
	before := ticked()
	eventually(t, "none is taken aside", func() bool { return o.quietTick() })
	if ticked() == before {
		t.Error("it was none")
	}
	o.mu.Lock()
	if o.quietTick() {
		t.Error("taken beside somebody's turn")
	}
	o.mu.Unlock()
	r.mustWrite(1, 0, 0, pattern(2, 1))
	if o.quietTick() {
		t.Error("taken for a replica that is awake")
	}
}

func TestAReportHoldsForAsLongAsTheRestAndNoLonger(t *testing.T) {
	r := newRig(t, 3, nil)
	r.mustWrite(1, 0, 0, pattern(1, 1))
	s := r.stores[r.leader(1)]
	resting := func() (rest uint64) {
		t.Helper()
		r.awaitQuiet()
		eventually(t, "it is told that they rest", func() bool {
			rest = s.Rest()
			return rest != 0
		})
		return rest
	}
	writes := func() (n uint64) {
		for _, st := range s.Replicas() {
			n += st.Counters.Writes
		}
		return n
	}
	before, had := resting(), writes()
	time.Sleep(2 * lookTicks * beatEvery) // all are looked at meanwhile
	if s.Rest() != before || writes() != had {
		t.Errorf("rest %d and %d writes, then %d and %d though nothing happened", before, had,
			s.Rest(), writes())
	}
	r.mustWrite(1, 0, 0, pattern(2, 1))
	if s.Rest() == before {
		t.Error("the report before a write is taken for one after it")
	}
	if after := resting(); after == before || writes() != had+1 {
		t.Errorf("rest %d after %d, %d writes after %d", after, before, writes(), had)
	}
}

// What an owner said before it fell asleep must not pass for what is so while it rests.
func TestReportOfAnOwnerThatDoesNotAnswerIsOfNoRest(t *testing.T) {
	r := newRig(t, 1, nil)
	s := r.store(0)
	eventually(t, "they rest", func() bool { return s.Rest() != 0 })
	eventually(t, "the report is not of it", func() bool {
		_, rest := s.ReplicasAtRest()
		return rest != 0 && rest == s.Rest()
	})
	o := s.Owner(1)
	o.mu.Lock() // the beat finds it taken: no ticks
	defer o.mu.Unlock()
	eventually(t, "it counts as silent", o.silent)
	list, rest := s.ReplicasAtRest()
	if s.Rest() == 0 || rest != 0 || len(list) != copysets {
		t.Errorf("%d replicas, rest %d, while the store's is %d", len(list), rest, s.Rest())
	}
}
