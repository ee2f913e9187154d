package store

import (
	"errors"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/ashlar-storage/ashlar/dataplane/copyset"
	"github.com/ashlar-storage/ashlar/io/disk"
)

// moveAway has store 3, a fourth one, take the place of store i in copyset id, and waits for it.
func (r *rig) moveAway(id uint64, i int) {
	r.t.Helper()
	var peers []copyset.Peer
	for k := range 3 {
		peers = append(peers, copyset.Peer{ReplicaID: uint64(k + 1), StoreID: uint64(k)})
	}
	founders := copyset.NewState(id, 1, 1, peers).Conf
	peers = append(peers, copyset.Peer{ReplicaID: newcomer, StoreID: 3})
	for k, s := range r.stores {
		if s.isLost(id) != nil {
			continue
		}
		st := copyset.NewState(id, 2, uint64(k+1), peers)
		if k == 3 {
			st.Replica = newcomer
		}
		st.Conf = founders
		eventually(r.t, "the store takes the assignment", func() bool {
			return s.Assign(Assignment{State: st, Change: copyset.Change{Joining: newcomer,
				Leaving: uint64(i + 1)}}) == nil
		})
	}
	r.awaitVoters(id, i)
}

// newMovingRig is four stores, of which the first three hold the copysets.
func newMovingRig(t *testing.T) *rig {
	r := newRig(t, 3, nil)
	r.disks = append(r.disks, disk.NewSim(disk.SimConfig{Seed: 3}))
	r.mu.Lock()
	r.stores = append(r.stores, nil)
	r.mu.Unlock()
	r.open(3)
	return r
}

// has says whether a store reports a replica of a copyset, or has chunks of it.
func (r *rig) has(i int, id uint64) (replica, chunks bool) {
	s := r.store(uint64(i))
	for _, st := range s.Replicas() {
		replica = replica || st.Copyset == id
	}
	return replica, len(s.chunks.List(id)) > 0
}

// awaitChunks takes checkpoints until a store has chunks of a copyset.
func (r *rig) awaitChunks(i int, id uint64) {
	r.t.Helper()
	eventually(r.t, "the replica has its chunks on the disk", func() bool {
		r.checkpoint(i)
		_, chunks := r.has(i, id)
		return chunks
	})
}

func (r *rig) awaitGone(i int, id uint64) {
	r.t.Helper()
	eventually(r.t, "nothing of the replica is left", func() bool {
		replica, chunks := r.has(i, id)
		return !replica && !chunks
	})
}

func TestAReplicaThatMovedAwayIsDestroyedAndStaysSo(t *testing.T) {
	r := newMovingRig(t)
	want := pattern(3, 4)
	r.mustWrite(1, 0, 0, want)
	r.mustWrite(2, 0, 0, want)
	left := (r.leader(1) + 1) % 3
	r.awaitChunks(left, 1)
	r.awaitChunks(left, 2)
	r.moveAway(1, left)
	if err := r.store(uint64(left)).Retire(1, uint64(left+1)); err != nil {
		t.Fatal(err)
	}
	r.awaitGone(left, 1)
	q := copyset.Request{Kind: copyset.KindRead, Length: block}
	if got := r.op(left, 1, q, nil).status.Err(); got == nil {
		t.Error("it answers still")
	}
	r.wantRead(1, 0, 0, want)
	r.wantRead(2, 0, 0, want)
	if _, chunks := r.has(left, 2); !chunks {
		t.Error("the other copyset of the store lost its chunks")
	}
	for name, end := range map[string]func(){
		"stop": func() { r.reopenQuietly(left) },
		"power cut": func() {
			r.cutPower(left, disk.CrashPlan{Keep: disk.KeepNothing})
			r.open(left)
		}} {
		end()
		if replica, chunks := r.has(left, 1); replica || chunks {
			t.Errorf("after a %s: replica %v, chunks %v", name, replica, chunks)
		}
	}
	// Asked for as what it was, it is lost and says so; a newer member may begin there.
	s := r.store(uint64(left))
	err := s.Ensure(copyset.NewState(1, 3, uint64(left+1), nil), false)
	if !errors.Is(err, copyset.ErrDamaged) {
		t.Errorf("asked for as what it was: %v", err)
	}
}

// missMuch closes a store until the others have no log for its replica of copyset 1 any more.
func (r *rig) missMuch() (away int) {
	r.t.Helper()
	away = (r.leader(1) + 1) % 3
	r.close(away)
	for i := range uint32(60) {
		r.mustWrite(1, uint64(i%4), i*block, pattern(byte(i), 60))
	}
	r.recycle(away)
	return away
}

func (r *rig) retire(i int) {
	r.t.Helper()
	if err := r.store(uint64(i)).Retire(1, uint64(i+1)); err != nil {
		r.t.Fatal(err)
	}
}

// awaitNext waits until another member of copyset 1 can begin where one was retired.
func (r *rig) awaitNext(i int) {
	r.t.Helper()
	eventually(r.t, "another member can begin", func() bool {
		return r.store(uint64(i)).Ensure(copyset.NewState(1, 2, newcomer, nil), false) == nil
	})
}

// A fill takes hours; to its end no other member could begin.
func TestTheFillOfAReplicaThatIsRetiredEnds(t *testing.T) {
	r := newRig(t, 3, nil)
	away := r.missMuch()
	begun, goOn, held := new(atomic.Int64), make(chan struct{}), make(chan struct{})
	defer close(held)
	r.mu.Lock()
	r.filling = func() {
		if begun.Add(1) > fetchParallel {
			<-held
			return
		}
		select {
		case <-goOn:
		case <-held:
		}
	}
	r.mu.Unlock()
	r.reopen(away)
	eventually(t, "the reads of the fill are under way", func() bool {
		return begun.Load() >= fetchParallel
	})
	r.retire(away)
	close(goOn)
	r.awaitNext(away)
	if n := begun.Load(); n > fetchParallel {
		t.Errorf("%d reads, want no more than the %d that were under way", n, fetchParallel)
	}
}

func TestARetiredReplicaDoesNotWaitToBeFilled(t *testing.T) {
	var cut atomic.Uint64 // the store that hears of nothing
	cut.Store(99)
	r := newRig(t, 3, func(r *rig) {
		r.lost = func(to copyset.Peer) bool { return to.StoreID == cut.Load() }
	})
	away := r.missMuch()
	cut.Store(uint64(away))
	r.reopen(away)
	s := r.store(uint64(away))
	for range maxFetches { // others are filled
		s.fetches <- struct{}{}
	}
	defer func() {
		for range maxFetches {
			<-s.fetches
		}
	}()
	cut.Store(99)
	eventually(t, "the replica waits to be filled", func() bool {
		return r.status(away, 1).Restoring
	})
	r.retire(away)
	r.awaitNext(away)
}

// A power cut at any point of the way leaves either the whole replica or nothing that runs.
func TestPowerCutWhileAReplicaIsDestroyedLeavesItWholeOrGone(t *testing.T) {
	r := newMovingRig(t)
	for c := range uint64(4) {
		r.mustWrite(1, c, 0, pattern(byte(c), 3))
	}
	left := (r.leader(1) + 1) % 3
	r.awaitChunks(left, 1)
	r.moveAway(1, left)
	gone := 0
	for try := 0; ; try++ {
		s := r.store(uint64(left))
		if err := s.Retire(1, uint64(left+1)); err != nil {
			t.Fatal(err)
		}
		if try%2 == 1 {
			r.awaitGone(left, 1)
		}
		r.cutPower(left, disk.CrashPlan{Keep: disk.KeepNothing})
		r.open(left)
		replica, chunks := r.has(left, 1)
		if replica != chunks {
			t.Fatalf("replica %v, chunks %v", replica, chunks)
		}
		if !replica {
			gone++
			break
		}
		if err := r.status(left, 1).Err; err != nil {
			t.Fatalf("it came back damaged: %v", err)
		}
	}
	if gone != 1 {
		t.Error("it was never destroyed")
	}
}

func TestALostReplicaThatHasBeenReplacedElsewhereGivesItsSpaceBack(t *testing.T) {
	r := newMovingRig(t)
	first := pattern(3, 2)
	lost := (r.leader(1) + 1) % 3
	r.writeDurably(lost, first, pattern(4, 6))
	r.awaitChunks(lost, 1)
	r.mustWrite(1, 0, 9*block, pattern(9, 1))
	o := r.store(uint64(lost)).Owner(1)
	o.Do(func() { o.condemn(o.replicas[1], copyset.ErrDamaged) })
	r.wantLost(lost, 1)
	r.moveAway(1, lost)
	if err := r.store(uint64(lost)).Retire(1, uint64(lost+1)); err != nil {
		t.Fatal(err)
	}
	r.awaitGone(lost, 1)
	r.wantRead(1, 0, 0, first)
	r.reopenQuietly(lost)
	if replica, chunks := r.has(lost, 1); replica || chunks {
		t.Errorf("after a restart: replica %v, chunks %v", replica, chunks)
	}
}

// What the store has forgotten of and the disk has not would be the next member's after a restart.
func TestAStoreThatCannotDeleteChunksFails(t *testing.T) {
	r := newRig(t, 1, nil)
	r.mustWrite(1, 0, 0, pattern(1, 4))
	r.settle(1)
	s := r.store(0)
	r.disks[0].FailWrites(func(name string, _ int64) error {
		if strings.HasPrefix(name, chunkDir+"/") {
			return disk.ErrIO
		}
		return nil
	})
	s.clear(1)
	if err := s.Failed(); !errors.Is(err, disk.ErrIO) {
		t.Errorf("failure: %v", err)
	}
}
