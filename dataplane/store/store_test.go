package store

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/ashlar-storage/ashlar/dataplane/copyset"
	"github.com/ashlar-storage/ashlar/io/disk"
	"github.com/ashlar-storage/ashlar/io/wal"
	"github.com/ashlar-storage/ashlar/rpc/wire"
)

var errDevice = errors.New("device does not answer")

func TestFailedLogWriteStopsTheStoreAndNoOther(t *testing.T) {
	r := newRig(t, 1, nil)
	other := newRig(t, 1, nil)
	r.mustWrite(1, 0, 0, pattern(1, 2))
	r.disks[0].FailWrites(func(name string, _ int64) error {
		if strings.HasPrefix(name, "log/") {
			return errDevice
		}
		return nil
	})
	for id := uint64(1); id <= copysets; id++ {
		q := copyset.Request{Kind: copyset.KindWrite}
		if res := r.op(0, id, q, pattern(9, 1)); res.status == wire.StatusOK {
			t.Fatal("a write that is not in the log is acknowledged")
		}
	}
	s := r.store(0)
	eventually(t, "the store reports its failure", func() bool { return s.Failed() != nil })
	if err := s.Failed(); !errors.Is(err, ErrFailed) || !errors.Is(err, disk.ErrIO) {
		t.Errorf("failure %v", err)
	}
	r.disks[0].FailWrites(nil) // too late: what the device has is not known any more
	for _, kind := range []copyset.Kind{copyset.KindWrite, copyset.KindRead} {
		q, data := copyset.Request{Kind: kind, Length: block}, []byte(nil)
		if kind == copyset.KindWrite {
			data = pattern(9, 1)
		}
		if res := r.op(0, 2, q, data); res.status != wire.StatusUnavailable {
			t.Errorf("kind %d after the failure: %v", kind, res.status)
		}
	}
	if !s.DeleteVolume(1) {
		t.Error("the deletion of a volume waits for a failed store")
	}
	if err := s.Ensure(copyset.NewState(9, 1, 1, nil), true); !errors.Is(err, ErrFailed) {
		t.Errorf("a new replica on a failed store: %v", err)
	}
	other.mustWrite(1, 0, 0, pattern(3, 2))
	other.wantRead(1, 0, 0, pattern(3, 2))
}

func TestFailureOfTheStoreStopsReplicasThatWroteNothing(t *testing.T) {
	r := newRig(t, 1, nil)
	r.mustWrite(1, 0, 0, pattern(1, 2))
	r.mustWrite(2, 0, 0, pattern(1, 2))
	r.disks[0].FailWrites(func(name string, _ int64) error {
		if strings.HasPrefix(name, "log/") {
			return errDevice
		}
		return nil
	})
	r.op(0, 1, copyset.Request{Kind: copyset.KindWrite}, pattern(9, 1))
	read := copyset.Request{Kind: copyset.KindRead, Length: block, Chunk: copyset.Chunk{Volume: 1}}
	eventually(t, "the other replica refuses", func() bool {
		return r.op(0, 2, read, nil).status == wire.StatusUnavailable
	})
}

func TestLogOfACopysetThatCannotDrainIsKept(t *testing.T) {
	r := newRig(t, 1, nil)
	r.mustWrite(2, 0, 0, pattern(1, 1))
	r.mustWrite(1, 0, 0, pattern(1, 1))
	r.checkpoint(0)
	stuck := r.slotsOf(0, 2)[0]
	r.disks[0].FailWrites(func(name string, _ int64) error {
		if name == stuck {
			return disk.ErrNoSpace
		}
		return nil
	})
	want := pattern(7, 3)
	r.mustWrite(2, 0, 4*block, want)
	for i := range uint32(15) { // more than is kept for followers, less than presses
		r.mustWrite(1, 0, i%4*60*block, pattern(byte(i), 60))
		if i%5 == 4 {
			ctx, cancel := context.WithTimeout(context.Background(), 300*time.Millisecond)
			r.store(0).Checkpoint(ctx)
			cancel()
		}
	}
	r.mustWrite(1, 0, 0, pattern(60, 1)) // carries what was released
	r.cutPower(0, disk.CrashPlan{Keep: disk.KeepNothing})
	r.open(0)
	r.wantRead(2, 0, 4*block, want)
	r.wantRead(1, 0, 2*60*block, pattern(14, 60))
}

// A checkpoint that was waiting its turn when the store began to stop found no owner that could say
// what is needed still, and released the log that the next start needs.
func TestCheckpointOfAStoppedStoreReleasesNothing(t *testing.T) {
	r := newRig(t, 1, nil)
	want := pattern(7, 3)
	r.mustWrite(2, 0, 0, want)
	for i := range uint32(15) { // more than is kept for followers, less than presses
		r.mustWrite(1, 0, i%4*60*block, pattern(byte(i), 60))
	}
	s := r.store(0)
	tail := s.wal.Tail()
	s.stopped.Do(func() { // as Close does, without its own last checkpoint
		s.halt()
		r.checkpoint(0)
		if now := s.wal.Tail(); now != tail {
			t.Errorf("the log begins at %d, before at %d", now, tail)
		}
		if err := errors.Join(s.wal.Close(), s.chunks.Close(), s.disk.Close()); err != nil {
			t.Error(err)
		}
		for _, o := range s.owners {
			o.finish()
		}
	})
	r.reopen(0)
	r.wantRead(2, 0, 0, want)
	r.wantRead(1, 0, 2*60*block, pattern(14, 60))
}

// A node that cannot open another of its stores closes those that it has, before any of them runs.
func TestStoreThatNeverRanCloses(t *testing.T) {
	r := newRig(t, 1, nil)
	want := pattern(7, 3)
	r.mustWrite(1, 0, 0, want)
	r.cutPower(0, disk.CrashPlan{Keep: disk.KeepNothing}) // there is something to replay
	s, err := Open(r.config(0))
	if err != nil {
		t.Fatal(err)
	}
	closed := make(chan error, 1)
	go func() { closed <- s.Close(context.Background()) }()
	select {
	case err := <-closed:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(time.Minute):
		t.Fatal("it waits for owners that never ran")
	}
	r.reopen(0)
	r.wantRead(1, 0, 0, want)
}

func TestLeaderOfAFailedStoreMovesAway(t *testing.T) {
	r := newRig(t, 3, nil)
	r.mustWrite(1, 0, 0, pattern(1, 4))
	lead := r.leader(1)
	r.disks[lead].FailWrites(func(string, int64) error { return errDevice })
	r.mustWrite(1, 0, block, pattern(5, 1))
	if r.leader(1) == lead {
		t.Error("the failed store still leads")
	}
	r.wantRead(1, 0, block, pattern(5, 1))
}

// leader is the store whose replica serves a copyset.
func (r *rig) leader(id uint64) int {
	r.t.Helper()
	found := -1
	eventually(r.t, "a leader", func() bool {
		for i := range r.stores {
			s := r.store(uint64(i))
			if s == nil {
				continue
			}
			for _, st := range s.Replicas() {
				if st.Copyset == id && st.Serving && st.Err == nil {
					found = i
				}
			}
		}
		return found >= 0
	})
	return found
}

func TestFullStoreRefusesWritesAndKeepsReading(t *testing.T) {
	// Three slots with their metadata fit, and one of them is kept.
	r := newRig(t, 1, func(r *rig) { r.limit, r.patience = 4*testChunk, time.Second })
	chunk := uint64(0)
	eventually(t, "the store is full", func() bool {
		chunk++
		s := r.write(1, chunk, 0, pattern(byte(chunk), 4))
		r.store(0).runShort()
		time.Sleep(20 * time.Millisecond)
		return s == wire.StatusNoSpace
	})
	if chunk < 3 {
		t.Errorf("full after %d chunks", chunk-1)
	}
	for c := uint64(1); c < chunk; c++ {
		r.wantRead(1, c, 0, pattern(byte(c), 4))
	}
	if rep := r.store(0).Report(); rep.State != StateFull || !errors.Is(rep.Why, disk.ErrNoSpace) {
		t.Errorf("report %+v", rep)
	}
}

// runShort has the overlays flushed at once.
func (s *Store) runShort() {
	s.each(func(_ *Owner, m *member) { m.SetMemory(copyset.MemoryShort) })
}

func TestOverlaysAreFlushedByTheShareOfMemoryThatIsTaken(t *testing.T) {
	const ample, less, short = copyset.MemoryAmple, copyset.MemoryLess, copyset.MemoryShort
	was := ample
	for _, c := range []struct {
		share int64
		want  copyset.Memory
	}{
		{0, ample}, {47, ample}, {48, less}, {41, less}, {39, ample}, {47, ample}, {55, less},
		{56, short}, {49, short}, {47, less}, {40, less}, {39, ample}, {80, short}, {10, ample},
	} {
		got := memoryAt(c.share, was)
		if got != c.want {
			t.Errorf("at %d %%, after %d, memory is %d, want %d", c.share, was, got, c.want)
		}
		was = got
	}
}

func TestStoreOfOthersIsRefused(t *testing.T) {
	good := disk.NewSim(disk.SimConfig{})
	r := &rig{t: t, disks: []*disk.Sim{good}, stores: make([]*Store, 1)}
	s, err := Open(r.config(0))
	if err != nil {
		t.Fatal(err)
	}
	s.Run()
	if err := s.Adopt("cluster", 7); err != nil {
		t.Fatal(err)
	}
	if err := s.Adopt("cluster", 7); err != nil {
		t.Error(err)
	}
	for cluster, id := range map[string]uint64{"other": 7, "cluster": 8} {
		if err := s.Adopt(cluster, id); !errors.Is(err, ErrForeign) {
			t.Errorf("adopted by %s as %d: %v", cluster, id, err)
		}
	}
	identityBytes, err := good.ReadFile(identityFile)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(context.Background()); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(m map[string]any) any{
		"no JSON":          func(map[string]any) any { return "x" },
		"another format":   func(m map[string]any) any { m["format"] = "ext4"; return m },
		"newer version":    func(m map[string]any) any { m["version"] = 2; return m },
		"no uuid":          func(m map[string]any) any { delete(m, "uuid"); return m },
		"damaged uuid":     func(m map[string]any) any { m["uuid"] = "12"; return m },
		"no chunk size":    func(m map[string]any) any { m["chunk_bytes"] = 0; return m },
		"nothing but this": nil,
	} {
		d := disk.NewSim(disk.SimConfig{})
		if change == nil {
			if err := d.WriteFile("family.jpg", []byte("x")); err != nil {
				t.Fatal(err)
			}
		} else {
			var m map[string]any
			if err := json.Unmarshal(identityBytes, &m); err != nil {
				t.Fatal(err)
			}
			b, err := json.Marshal(change(m))
			if err != nil {
				t.Fatal(err)
			}
			if err := d.WriteFile(identityFile, b); err != nil {
				t.Fatal(err)
			}
		}
		before := fmt.Sprint(d)
		r.disks[0] = d
		if _, err := Open(r.config(0)); !errors.Is(err, ErrForeign) {
			t.Errorf("%s: %v", name, err)
		}
		if fmt.Sprint(d) != before {
			t.Errorf("%s: refused, but changed", name)
		}
	}
}

// corrupt flips a byte of a block in the chunk files of a store; false when it is not there.
func (r *rig) corrupt(i int, data []byte) bool { return r.corruptIn(i, "chunks", data) }

// corruptIn is corrupt in another folder.
func (r *rig) corruptIn(i int, folder string, data []byte) bool {
	d := r.disks[i]
	names, err := d.List(folder)
	if err != nil {
		r.t.Fatal(err)
	}
	found := false
	for _, name := range names {
		f, err := d.Open(folder + "/" + name)
		if err != nil {
			continue
		}
		page := make([]byte, block)
		for off := int64(0); off+block <= f.Size(); off += block {
			if _, err := f.ReadAt(page, off); err == nil && bytes.Equal(page, data) {
				d.Corrupt(folder+"/"+name, off+100, []byte{data[100] ^ 0xff})
				found = true
			}
		}
		f.Close()
	}
	return found
}

func TestFlippedByteIsRepairedFromAPeerAndNeverReturned(t *testing.T) {
	r := newRig(t, 3, nil)
	want := pattern(1, 4)
	r.mustWrite(1, 0, 0, want)
	lead := r.leader(1)
	r.checkpoint(lead)
	if !r.corrupt(lead, want[2*block:3*block]) {
		t.Fatal("the block is not in a chunk file after a checkpoint")
	}
	r.wantRead(1, 0, 0, want)
	rep := r.store(uint64(lead)).Report()
	if lead == r.leader(1) && (rep.CorruptBlocks == 0 || rep.Repaired != 1) {
		t.Errorf("%d bad blocks, %d repaired", rep.CorruptBlocks, rep.Repaired)
	}
	r.checkpoint(lead)
	r.wantRead(1, 0, 0, want)
	if again := r.store(uint64(lead)).Report(); again.CorruptBlocks != rep.CorruptBlocks {
		t.Error("the block was not written back whole")
	}
}

func TestFlippedByteUnderAPartialWriteIsRepairedFirst(t *testing.T) {
	r := newRig(t, 3, nil)
	want := pattern(1, 1)
	r.mustWrite(1, 0, 0, want)
	lead := r.leader(1)
	r.checkpoint(lead)
	if !r.corrupt(lead, want) {
		t.Fatal("the block is not in a chunk file after a checkpoint")
	}
	copy(want[1000:], "partial")
	r.mustWrite(1, 0, 1000, []byte("partial"))
	r.wantRead(1, 0, 0, want)
}

func TestBlockOfZeroesIsRepairedToo(t *testing.T) {
	r := newRig(t, 3, nil)
	r.mustWrite(1, 0, 0, append(pattern(1, 1), make([]byte, block)...))
	lead := r.leader(1)
	r.checkpoint(lead)
	d := r.disks[lead]
	names, err := d.List("chunks")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names { // the block behind the one with the pattern
		f, err := d.Open("chunks/" + name)
		if err != nil {
			continue
		}
		page := make([]byte, block)
		for off := int64(0); off+block <= f.Size(); off += block {
			if _, err := f.ReadAt(page, off); err == nil && bytes.Equal(page, pattern(1, 1)) {
				d.Corrupt("chunks/"+name, off+block+5, []byte{1})
			}
		}
		f.Close()
	}
	r.wantRead(1, 0, block, make([]byte, block))
}

func TestBlockWithoutAGoodCopyIsRefused(t *testing.T) {
	r := newRig(t, 1, nil)
	want := pattern(1, 2)
	r.mustWrite(1, 0, 0, want)
	r.checkpoint(0)
	if !r.corrupt(0, want[block:]) {
		t.Fatal("the block is not in a chunk file after a checkpoint")
	}
	if res := r.read(1, 0, 0, 2*block); res.status != wire.StatusCorrupt || len(res.body) != 0 {
		t.Errorf("%v with %d bytes", res.status, len(res.body))
	}
	r.wantRead(1, 0, 0, want[:block])
	r.mustWrite(1, 0, block, pattern(7, 1)) // a new write makes it good
	r.wantRead(1, 0, block, pattern(7, 1))
}

func TestCheckpointRecyclesTheLogAndRestartReplaysTheRest(t *testing.T) {
	r := newRig(t, 1, nil)
	for i := range uint32(40) {
		r.mustWrite(1, uint64(i%3), i*2*block, pattern(byte(i), 64))
	}
	before := r.store(0).wal.Tail()
	r.checkpoint(0)
	// A checkpoint of the store's own may have come first: then little is left to recycle.
	tail, head := r.store(0).wal.Tail(), r.store(0).wal.Head()
	if tail <= before && head-tail > 3<<20 {
		t.Errorf("the log still begins at %d after a checkpoint, its head is at %d", tail,
			r.store(0).wal.Head())
	}
	for i := range uint32(40) { // again, so that the segments are used a second time
		r.mustWrite(1, uint64(i%3), i*2*block, pattern(byte(i), 64))
	}
	r.checkpoint(0)
	for i := range uint32(3) {
		r.mustWrite(1, 9, i*block, pattern(byte(100+i), 1))
	}
	r.cutPower(0, disk.CrashPlan{Keep: disk.KeepNothing})
	r.open(0)
	for i := range uint32(3) {
		r.wantRead(1, 9, i*block, pattern(byte(100+i), 1))
	}
	r.wantRead(1, 0, 39*2*block, pattern(39, 64))
	r.mustWrite(2, 0, 0, pattern(1, 1))
}

func TestAcknowledgedWritesSurviveEveryPowerCut(t *testing.T) {
	r := newRig(t, 1, nil)
	want := map[[2]uint32][]byte{}
	for round := range uint32(8) {
		for i := range uint32(12) {
			key := [2]uint32{i % 2, (i*5 + round) % 40}
			want[key] = pattern(byte(round*20+i), 1)
			r.mustWrite(1, uint64(key[0]), key[1]*block, want[key])
		}
		switch round % 4 {
		case 1:
			r.checkpoint(0)
		case 2:
			r.store(0).runShort()
		}
		r.cutPower(0, disk.CrashPlan{Seed: uint64(round)})
		r.open(0)
		for key, p := range want {
			r.wantRead(1, uint64(key[0]), key[1]*block, p)
		}
	}
}

func TestRetriedWriteOfAnEarlierLifeIsNotAppliedAgain(t *testing.T) {
	r := newRig(t, 1, nil)
	first := copyset.Request{Kind: copyset.KindWrite, Chunk: copyset.Chunk{Volume: 1}, Session: 5,
		Epoch: 1, OpID: 1, LowWater: 1}
	second := first
	second.OpID = 2
	r.leader(1)
	for _, c := range []struct {
		q    copyset.Request
		data []byte
	}{{first, pattern(1, 1)}, {second, pattern(2, 1)}} {
		if res := r.send(0, 1, c.q, c.data); res.status != wire.StatusOK {
			t.Fatal(res.status)
		}
	}
	for _, checkpoint := range []bool{false, true} {
		if checkpoint {
			r.checkpoint(0)
		}
		r.cutPower(0, disk.CrashPlan{Keep: disk.KeepNothing})
		r.open(0)
		r.leader(1)
		if res := r.send(0, 1, first, pattern(1, 1)); res.status != wire.StatusOK {
			t.Errorf("a repetition is answered %v", res.status)
		}
		r.wantRead(1, 0, 0, pattern(2, 1))
	}
}

func TestUnknownAndDamagedCopysetsAreToldApart(t *testing.T) {
	r := newRig(t, 1, nil)
	q := copyset.Request{Kind: copyset.KindRead, Length: block}
	if res := r.op(0, 77, q, nil); res.status != wire.StatusWrongCopyset {
		t.Errorf("unknown copyset: %v", res.status)
	}
	s := r.store(0)
	s.lose(78, 1, copyset.ErrDamaged)
	if res := r.op(0, 78, q, nil); res.status != wire.StatusUnavailable {
		t.Errorf("damaged copyset: %v", res.status)
	}
	if err := s.Ensure(copyset.NewState(78, 1, 1, nil), true); !errors.Is(err, copyset.ErrDamaged) {
		t.Errorf("a damaged replica is made anew: %v", err)
	}
}

func TestReplicaThatWasAwayFetchesTheChunks(t *testing.T) {
	r := newRig(t, 3, nil)
	r.mustWrite(1, 0, 0, pattern(1, 8))
	lead := r.leader(1)
	away := (lead + 1) % 3
	was := r.status(away, 1).Applied
	r.close(away)
	for i := range uint32(60) {
		r.mustWrite(1, uint64(i%4), i*block, pattern(byte(i), 60))
	}
	r.recycle(away)
	r.comesBack(away)
	if st := r.status(away, 1); st.First <= was+1 {
		t.Errorf("the log goes on from %d, as before: nothing was fetched", st.First)
	}
	for i := range r.stores { // what it has must carry on alone with one other
		if i != away && i != lead {
			r.close(i)
			break
		}
	}
	r.wantRead(1, 3, 59*block, pattern(59, 60))
}

func (r *rig) status(i int, id uint64) copyset.Status {
	for _, st := range r.store(uint64(i)).Replicas() {
		if st.Copyset == id {
			return st
		}
	}
	return copyset.Status{}
}

func TestStoppingStoreAnswersWhatIsUnderWay(t *testing.T) {
	r := newRig(t, 1, nil)
	r.leader(1)
	s := r.store(0)
	answers := make(chan result, 200)
	for i := range uint64(200) {
		q := &copyset.Request{Kind: copyset.KindZero, Offset: uint32(i) * 100, Length: 5000,
			Session: 1, Epoch: 1, OpID: i + 1, Tag: answers}
		if !s.Owner(1).Submit(1, q) {
			answers <- result{status: wire.StatusUnavailable}
		}
	}
	r.close(0)
	for range 200 {
		select {
		case <-answers:
		case <-time.After(5 * time.Second):
			t.Fatal("a request was not answered when the store stopped")
		}
	}
}

func TestPayloadOfTheLogIsVerifiedBeforeItIsUsed(t *testing.T) {
	r := newRig(t, 1, nil)
	s := r.store(0)
	b, err := r.pool.Get(block)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Release()
	want := pattern(9, 1)
	copy(b.Bytes(), want)
	crc := wire.CRC32C(want)
	done := make(chan *wal.Append, 1)
	s.wal.Append(&wal.Append{Records: []wal.Record{{Group: 77, Kind: copyset.RecordEntry, Index: 1,
		Payload: b.Bytes(), CRCs: []uint32{crc}}}, Done: func(a *wal.Append) { done <- a }})
	a := <-done
	if a.Err != nil {
		t.Fatal(a.Err)
	}
	if err := s.readLogBlock(a.Records[0].At, b.Bytes(), crc); err != nil ||
		!bytes.Equal(b.Bytes(), want) {
		t.Fatalf("%v, right bytes %v", err, bytes.Equal(b.Bytes(), want))
	}
	if !r.corruptIn(0, "log", want) {
		t.Fatal("the block is not in the log")
	}
	if err := s.readLogBlock(a.Records[0].At, b.Bytes(), crc); !errors.Is(err, wal.ErrCorrupt) {
		t.Errorf("rotten payload: %v", err)
	}
}
