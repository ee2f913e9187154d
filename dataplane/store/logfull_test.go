package store

import (
	"testing"
	"time"

	"github.com/ashlar-storage/ashlar/dataplane/copyset"
	"github.com/ashlar-storage/ashlar/io/disk"
	"github.com/ashlar-storage/ashlar/io/wal"
	"github.com/ashlar-storage/ashlar/rpc/wire"
)

// scraps is what is left of a full device: too little for a segment or a chunk, enough for the
// small files that an opening writes.
const scraps = 64 << 10

// fullRig is stores whose log has few segments of the many that it may have. The devices of the
// first full ones have room for no other; chunk 0 of each copyset exists.
func fullRig(t *testing.T, n, full int, segment int64) *rig {
	r := newRig(t, n, func(r *rig) {
		r.patience = time.Second
		r.adapt = func(_ int, cfg *Config) {
			cfg.SegmentSize, cfg.LogBytes = segment, 8*segment
		}
	})
	for id := uint64(1); id <= copysets; id++ {
		r.mustWrite(id, 0, 0, pattern(byte(id), 4))
	}
	for i := range n {
		r.checkpoint(i)
		eventually(t, "segments are ready", func() bool {
			return r.logStats(i).ReadySegments >= wal.DefaultPrepared
		})
	}
	for i := range full {
		r.setRoom(i, scraps)
	}
	return r
}

func (r *rig) logStats(i int) wal.Stats { return r.store(uint64(i)).wal.Stats() }

// setRoom gives a device so many free bytes.
func (r *rig) setRoom(i int, free int64) {
	r.t.Helper()
	total, was, err := r.disks[i].Space()
	if err != nil {
		r.t.Fatal(err)
	}
	r.disks[i].SetBytes(total - was + free)
}

// wantUnstarved ends the test if a log had to wait for a segment.
func (r *rig) wantUnstarved(i int) {
	r.t.Helper()
	if st := r.logStats(i); st.Starved > 0 {
		r.t.Errorf("the log of store %d waited for a segment: %+v", i, st)
	}
}

// keepFromDraining has a store find no space for the chunks of a copyset.
func (r *rig) keepFromDraining(i int, id uint64) {
	slots := r.slotsOf(i, id)
	r.disks[i].FailWrites(func(name string, _ int64) error {
		for _, s := range slots {
			if name == s {
				return disk.ErrNoSpace
			}
		}
		return nil
	})
}

// overwrite writes so many blocks 60 times, and returns the last.
func (r *rig) overwrite(id uint64, blocks int) (last []byte) {
	r.t.Helper()
	for i := range byte(60) {
		last = pattern(i, blocks)
		r.mustWrite(id, 0, 0, last)
	}
	return last
}

func TestStoreOnAFullDeviceGivesLogBackBeforeItStarves(t *testing.T) {
	r := fullRig(t, 1, 1, 1<<20)
	last := r.overwrite(1, 60)
	r.wantUnstarved(0)
	if st := r.logStats(0); st.LiveSegments+st.ReadySegments > 4 {
		t.Errorf("the device was not full: %+v", st)
	}
	r.wantRead(1, 0, 0, last)
	r.wantRead(2, 0, 0, pattern(2, 4))

	r.close(0)
	r.reopen(0)
	r.wantRead(1, 0, 0, last)
	last = r.overwrite(2, 60)
	r.wantUnstarved(0)
	r.cutPower(0, disk.CrashPlan{Keep: disk.KeepNothing})
	r.open(0)
	r.wantRead(2, 0, 0, last)
}

// What nothing can free, a checkpoint for instance that finds no room for a chunk, costs the store
// its writes and no answer.
func TestStoreOnAFullDeviceAnswersWhileNoLogCanBeGivenBack(t *testing.T) {
	r := fullRig(t, 1, 1, 1<<20)
	r.keepFromDraining(0, 2)
	kept := pattern(9, 4)
	r.mustWrite(2, 0, 0, kept)
	write := copyset.Request{Kind: copyset.KindWrite, Chunk: copyset.Chunk{Volume: 1}}
	last, n := []byte(nil), byte(0)
	eventually(t, "writes are refused", func() bool {
		data := pattern(n, 60)
		res := r.op(0, 1, write, data)
		if n++; res.status == wire.StatusOK {
			last = data
		}
		return res.status == wire.StatusOverloaded
	})
	for end := time.Now().Add(time.Second); time.Now().Before(end); {
		if res := r.op(0, 2, write, pattern(1, 60)); res.status != wire.StatusOverloaded {
			t.Fatalf("a write on a store without log: %v", res.status)
		}
		r.wantRead(1, 0, 0, last)
		r.wantRead(2, 0, 0, kept)
		time.Sleep(beatEvery)
	}
	r.wantUnstarved(0)
	s := r.store(0)
	if got, want := s.statesBefore(), s.wal.Room().Begin; got != want {
		t.Errorf("checkpoints write states anew before %d, want %d: they use up the log", got, want)
	}

	r.disks[0].FailWrites(nil)
	r.setRoom(0, 1<<30)
	r.overwrite(1, 60)
	r.wantRead(2, 0, 0, kept)
}

func TestFollowerOnAFullDeviceDoesNotStarveItsLog(t *testing.T) {
	r := fullRig(t, 3, 1, 8<<20) // one takes what a message brings
	for id := uint64(1); id <= copysets; id++ {
		r.leads(id, 1)
	}
	r.keepFromDraining(0, 2)
	r.mustWrite(2, 0, 0, pattern(9, 4))
	eventually(t, "the follower has the write", func() bool {
		return r.status(0, 2).Applied == r.status(1, 2).Applied
	})
	last := r.overwrite(1, 200)
	r.wantUnstarved(0)
	if state, why := r.store(0).Health(); state == StateFailed {
		t.Fatal(why)
	}
	r.disks[0].FailWrites(nil)
	r.setRoom(0, 1<<30)
	eventually(t, "the follower catches up", func() bool {
		return r.status(0, 1).Applied == r.status(1, 1).Applied
	})
	r.wantRead(1, 0, 0, last)
}
