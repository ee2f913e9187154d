package store

import (
	"bytes"
	"testing"
	"testing/synctest"
	"time"
)

func (r *rig) awaitQuiet() {
	r.t.Helper()
	for end := time.Now().Add(30 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		awake := int64(0)
		for _, s := range r.stores {
			awake += s.beat.awake.Load()
		}
		if awake == 0 {
			return
		}
		if time.Now().After(end) {
			r.t.Fatalf("%d replicas get ticks of stores that nobody uses", awake)
		}
	}
}

func TestRestingReplicasGetNoTicksAndTheStoreBeatsSlower(t *testing.T) {
	r := newRig(t, 3, nil)
	data := bytes.Repeat([]byte{7}, block)
	r.mustWrite(1, 0, 0, data)
	r.awaitQuiet()
	for i, s := range r.stores {
		if s.beat.interval() != beatQuiet {
			t.Errorf("store %d beats every %v", i, s.beat.interval())
		}
	}
	r.mustWrite(1, 0, block, data)
	r.wantRead(1, 0, 0, append(bytes.Clone(data), data...))
	leads := r.leader(1)
	if s := r.stores[leads]; s.beat.interval() != beatEvery {
		t.Errorf("the leader's store beats every %v after a write", s.beat.interval())
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
				s.beat.wakes(-1)
			}
		}
	})
	for end := time.Now().Add(20 * lookTicks * beatQuiet); ; time.Sleep(beatEvery) {
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

func TestAStoreBeatsFastAgainAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := beat{roused: make(chan struct{}, 1)}
		beats, stop := b.listen(), make(chan struct{})
		go b.run(stop)
		defer close(stop)
		took := func(n int) time.Duration {
			began := time.Now()
			for range n {
				<-beats
			}
			return time.Since(began)
		}
		took(1)
		if d := took(3); d != 3*beatQuiet {
			t.Errorf("three beats take %v while all rest", d)
		}
		time.Sleep(beatEvery)
		b.wakes(1)
		b.wakes(1)
		if d := took(4); d != 4*beatEvery {
			t.Errorf("four beats take %v from the waking of a replica on", d)
		}
		b.wakes(-1)
		took(1)
		b.wakes(-1)
		took(1)
		if d := took(2); d != 2*beatQuiet {
			t.Errorf("two beats take %v when all rest again", d)
		}
	})
}
