package store

import (
	"bytes"
	"strings"
	"sync"
	"testing"

	"github.com/ashlar-storage/ashlar/dataplane/copyset"
	"github.com/ashlar-storage/ashlar/io/disk"
	"github.com/ashlar-storage/ashlar/rpc/wire"
)

// A member that restarted knows less for a while than it knew when it offered its state: a list of
// its chunks would lack those that are in its log alone.
func TestChunksAreListedOnceEnoughIsApplied(t *testing.T) {
	r := newRig(t, 3, nil)
	r.mustWrite(1, 7, 0, pattern(1, 1))
	lead := r.leader(1)
	applied := r.status(lead, 1).Applied
	to := copyset.Peer{StoreID: uint64(lead)}
	if list, err := r.PeerChunks(to, 1, applied); err != nil || len(list) != 1 {
		t.Errorf("%v, %v", list, err)
	}
	if list, err := r.PeerChunks(to, 1, applied+1); wire.StatusOf(err) != wire.StatusRetry {
		t.Errorf("listed before the index was applied: %v, %v", list, err)
	}
	if list, err := r.PeerChunks(to, 99, 0); wire.StatusOf(err) != wire.StatusWrongCopyset {
		t.Errorf("a copyset that has no replica there: %v, %v", list, err)
	}
}

// Who is filled keeps every chunk of the list, and does not replay the entry that dropped a volume
// before: a list that has the files which are still to go would have it keep them for ever.
func TestChunksAreNotListedWhileAVolumeIsDropped(t *testing.T) {
	r := newRig(t, 1, nil)
	r.mustWrite(1, 7, 0, pattern(1, 1))
	r.awaitChunks(0, 1)
	s := r.store(0)
	for _, places := range []chan struct{}{s.flushes, s.calmFlushes} {
		for range cap(places) { // so the files stay
			places <- struct{}{}
		}
	}
	release := sync.OnceFunc(func() {
		for _, places := range []chan struct{}{s.flushes, s.calmFlushes} {
			for range cap(places) {
				<-places
			}
		}
	})
	defer release()
	eventually(t, "the list is refused", func() bool {
		s.DeleteVolume(1)
		_, err := r.PeerChunks(copyset.Peer{}, 1, 0)
		return wire.StatusOf(err) == wire.StatusRetry
	})
	if _, chunks := r.has(0, 1); !chunks {
		t.Error("the files are gone: the test shows nothing")
	}
	release()
	eventually(t, "there is a list without the volume", func() bool {
		list, err := r.PeerChunks(copyset.Peer{}, 1, 0)
		return err == nil && len(list) == 0
	})
}

func TestReplicaIsFilledByAListOfSeveralPages(t *testing.T) {
	r := newRig(t, 3, nil)
	away := (r.leader(1) + 1) % 3
	r.close(away)
	const chunks = 2*listPage + 2
	for c := range uint64(chunks) {
		r.mustWrite(1, c, 0, pattern(byte(c), 1))
	}
	for i := range uint32(60) { // more than the log keeps
		r.mustWrite(1, 2, i*block, pattern(byte(i), 60))
	}
	r.recycle(away)
	r.comesBack(away)
	to := copyset.Peer{StoreID: uint64(away)}
	list, err := r.PeerChunks(to, 1, 0)
	if err != nil || len(list) != chunks {
		t.Fatalf("%d chunks, %v", len(list), err)
	}
	for i, c := range list {
		if c.Chunk != (copyset.Chunk{Volume: 1, Index: uint64(i)}) {
			t.Errorf("chunk %d of the list is %v", i, c.Chunk)
		}
	}
	r.closeOther(away) // what was fetched must carry on with one other
	for c := range uint64(chunks) {
		if c != 2 {
			r.wantRead(1, c, 0, pattern(byte(c), 1))
		}
	}
}

func TestABlockThatIsGoneKeepsNoReplicaFromComingBack(t *testing.T) {
	r := newRig(t, 3, nil)
	old, fresh := pattern(90, 1), pattern(91, 1)
	old[0], fresh[0] = 0, 2 // as no block of the others begins
	r.mustWrite(1, 7, 0, old)
	r.settle(1) // a checkpoint of each
	lead := r.leader(1)
	away := (lead + 1) % 3
	r.close(away)
	r.mustWrite(1, 7, 4*block, fresh)
	for i := range uint32(60) {
		r.mustWrite(1, uint64(i%4), i*block, pattern(byte(i), 60))
	}
	r.recycle(away)
	for i := range 3 {
		if i == away {
			continue
		}
		if !r.corrupt(i, old) || !r.corrupt(i, fresh) {
			t.Fatal("the blocks are not in the chunk files")
		}
	}
	r.comesBack(away)
	if res := r.read(1, 7, 4*block, block); res.status != wire.StatusCorrupt {
		t.Errorf("a block that is bad in all replicas: %v", res.status)
	}
	r.wantRead(1, 7, 0, old) // only the one that was away still had it
	r.wantRead(1, 7, block, make([]byte, 3*block))
	r.closeOther(away) // what was fetched must carry on with one other
	r.wantRead(1, 3, 59*block, pattern(59, 60))
	r.mustWrite(1, 7, 4*block, pattern(92, 1))
	r.wantRead(1, 7, 4*block, pattern(92, 1))
}

// TestABlockThatOnlyTheOverlayHasCountsAsHere: a snapshot clears the overlay, and what the leader
// has lost may be nowhere else.
func TestABlockThatOnlyTheOverlayHasCountsAsHere(t *testing.T) {
	r := newRig(t, 1, nil)
	data := pattern(90, 1)
	r.mustWrite(1, 7, 4*block, data)
	s := r.store(0)
	var job copyset.SnapshotJob
	s.Owner(1).Do(func() { job.Replica = s.Owner(1).replicas[1].Replica })
	c := copyset.Chunk{Volume: 1, Index: 7}
	got := make([]byte, block)
	if !s.hadBlock(&job, c, 4, got, wire.CRC32C(data)) || !bytes.Equal(got, data) {
		t.Error("a block that was just written is not found")
	}
	if s.hadBlock(&job, c, 4, got, wire.CRC32C(data)+1) {
		t.Error("found with another checksum")
	}
	if s.hadBlock(&job, c, 5, got, wire.ZeroCRC) {
		t.Error("found a block that the overlay has not")
	}
	if in := s.pool.Stats().InUseBufs; in == 0 {
		t.Fatal("the overlay is empty: the test shows nothing")
	}
}

// fillFails has a replica filled on a store whose chunk files refuse what is written; end ends the
// refusal.
func fillFails(t *testing.T, with error) (r *rig, away int, end func()) {
	r = newRig(t, 3, nil)
	r.mustWrite(1, 7, 0, pattern(90, 1))
	r.settle(1) // nothing is left to flush
	away = (r.leader(1) + 1) % 3
	r.close(away)
	for i := range uint32(60) {
		r.mustWrite(1, uint64(i%4), i*block, pattern(byte(i), 60))
	}
	r.recycle(away)
	d := r.disks[away].Crash(disk.CrashPlan{Keep: disk.KeepNothing})
	d.FailWrites(func(name string, _ int64) error {
		if strings.HasPrefix(name, chunkDir+"/") && r.store(uint64(away)) != nil { // it is open
			return with
		}
		return nil
	})
	r.disks[away] = d
	r.open(away)
	return r, away, func() { d.FailWrites(nil) }
}

func TestAFillThatTheDiskRefusesEndsTheStore(t *testing.T) {
	r, away, _ := fillFails(t, disk.ErrIO)
	eventually(t, "the store fails", func() bool { return r.store(uint64(away)).Failed() != nil })
	r.wantRead(1, 3, 59*block, pattern(59, 60))
}

func TestAFillThatFindsNoSpaceWaitsForIt(t *testing.T) {
	r, away, end := fillFails(t, disk.ErrNoSpace)
	s := r.store(uint64(away))
	eventually(t, "the store is full", func() bool {
		state, _ := s.Health()
		return state == StateFull
	})
	end()
	eventually(t, "the replica is filled", func() bool {
		a, b := r.status(away, 1), r.status(r.leader(1), 1)
		return a.Applied == b.Applied && !a.Restoring
	})
	if err := s.Failed(); err != nil {
		t.Error(err)
	}
}
