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
