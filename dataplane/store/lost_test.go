package store

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/ashlar-storage/ashlar/dataplane/copyset"
	"github.com/ashlar-storage/ashlar/io/chunkfile"
	"github.com/ashlar-storage/ashlar/io/disk"
	"github.com/ashlar-storage/ashlar/rpc/wire"
)

// newcomer is the number of the member that joins in these tests.
const newcomer = 50

// damageLog takes a store down and rots a block of its log that was durable: data was written
// before something else.
func (r *rig) damageLog(i int, data []byte) {
	r.t.Helper()
	r.cutPower(i, disk.CrashPlan{Keep: disk.KeepAll})
	if !r.corruptIn(i, "log", data[:block]) {
		r.t.Fatal("the block is not in the log")
	}
	r.open(i)
}

// writeDurably writes twice, so that a later frame in the log of store i says of the first write
// that it was durable.
func (r *rig) writeDurably(i int, first, second []byte) {
	r.t.Helper()
	for n, data := range [][]byte{first, second} {
		r.mustWrite(1, 0, uint32(n*len(first)), data)
		eventually(r.t, "the replica has it", func() bool {
			return r.status(i, 1).Applied == r.status(r.leader(1), 1).Applied
		})
	}
}

// replace tells every store that runs that a new member joins copyset id on store i, in place of
// the one that was lost there.
func (r *rig) replace(id uint64, i int) {
	r.t.Helper()
	var peers []copyset.Peer
	for k := range r.stores {
		peers = append(peers, copyset.Peer{ReplicaID: uint64(k + 1), StoreID: uint64(k)})
	}
	founders := copyset.NewState(id, 1, 1, peers).Conf
	peers = append(peers, copyset.Peer{ReplicaID: newcomer, StoreID: uint64(i)})
	for k, s := range r.stores {
		if s == nil {
			continue
		}
		st := copyset.NewState(id, 2, uint64(k+1), peers)
		if k == i {
			st.Replica = newcomer
		}
		st.Conf = founders
		eventually(r.t, "the store takes the assignment", func() bool {
			return s.Assign(Assignment{State: st, Change: copyset.Change{Joining: newcomer,
				Leaving: uint64(i + 1)}}) == nil
		})
	}
}

func (r *rig) wantLost(i int, id uint64) {
	r.t.Helper()
	st := r.status(i, id)
	if !errors.Is(st.Err, copyset.ErrDamaged) || st.Replica != uint64(i+1) {
		r.t.Fatalf("copyset %d on store %d: replica %d, %v: it is not lost", id, i, st.Replica,
			st.Err)
	}
	q := copyset.Request{Kind: copyset.KindRead, Length: block}
	if res := r.op(i, id, q, nil); res.status != wire.StatusUnavailable {
		r.t.Errorf("a lost replica answers %v", res.status)
	}
	st2 := copyset.NewState(id, 1, uint64(i+1), nil)
	if err := r.store(uint64(i)).Ensure(st2, true); !errors.Is(err, copyset.ErrDamaged) {
		r.t.Errorf("a lost replica is made anew: %v", err)
	}
}

// awaitVoters waits until the leader has the newcomer among its voters, and not the lost member.
func (r *rig) awaitVoters(id uint64, lost int) {
	r.t.Helper()
	eventually(r.t, "the newcomer votes in place of the lost member", func() bool {
		st := r.status(r.leader(id), id)
		return !st.Joint && slices.Contains(st.Voters, newcomer) &&
			!slices.Contains(st.Voters, uint64(lost+1))
	})
}

func TestReplicaWithADamagedLogIsRebuiltAsANewMember(t *testing.T) {
	for name, recycled := range map[string]bool{"from the log": false, "from chunks": true} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, 3, nil)
			first := pattern(3, 2)
			lead := r.leader(1)
			lost := (lead + 1) % 3
			r.writeDurably(lost, first, pattern(4, 6))
			r.damageLog(lost, first)
			r.wantLost(lost, 1)
			if err := r.status(lost, 2).Err; err != nil {
				t.Errorf("the other copyset is damaged too: %v", err)
			}
			r.mustWrite(1, 1, 0, pattern(5, 40))
			if recycled {
				r.recycleLog(lost)
			}
			r.replace(1, lost)
			r.awaitVoters(1, lost)
			r.mustWrite(1, 1, 8*block, pattern(6, 1))
			other := 3 - lead - lost
			r.close(other) // the new member is needed for every majority now
			r.mustWrite(1, 1, 9*block, pattern(7, 1))
			r.wantRead(1, 0, 0, first)
			r.wantRead(1, 0, 2*block, pattern(4, 6))
			r.wantRead(1, 1, 8*block, append(pattern(6, 1), pattern(7, 1)...))
			r.cutPower(lost, disk.CrashPlan{Keep: disk.KeepNothing})
			r.open(lost)
			if st := r.status(lost, 1); st.Err != nil || st.Replica != newcomer {
				t.Fatalf("after a restart: replica %d, %v", st.Replica, st.Err)
			}
			r.wantRead(1, 0, 0, first)
		})
	}
}

// recycleLog writes and checkpoints until no running store but i's has the beginning of its log.
func (r *rig) recycleLog(i int) {
	for n := range uint32(80) {
		r.mustWrite(1, 2+uint64(n%3), n%60*block, pattern(byte(n), 60))
	}
	for k := range r.stores {
		if k != i {
			r.checkpoint(k)
			r.checkpoint(k)
		}
	}
}

func TestLostReplicaStaysLostWhenItsLogIsRecycled(t *testing.T) {
	r := newRig(t, 3, nil)
	first := pattern(3, 1)
	r.writeDurably(0, first, pattern(4, 1))
	r.damageLog(0, first)
	r.wantLost(0, 1)
	for n := range uint32(80) {
		r.mustWrite(2, 2+uint64(n%3), n%60*block, pattern(byte(n), 60))
	}
	eventually(t, "the log is recycled", func() bool {
		r.checkpoint(0)
		return r.store(0).wal.Tail() > 2<<20
	})
	for range 2 {
		r.close(0)
		r.reopen(0)
		r.wantLost(0, 1)
	}
}

// metadataOf finds the slot files of a store's chunks of a copyset.
func (r *rig) slotsOf(i int, id uint64) (files []string) {
	s := r.store(uint64(i))
	for _, c := range s.chunks.List(id) {
		chunk, _ := s.chunks.Get(c)
		files = append(files, fmt.Sprintf("chunks/slot-%010d", chunk.Slot()))
	}
	return files
}

func TestChunkWhoseMetadataIsGoneCostsItsReplicaAndNeverReadsAsZeroes(t *testing.T) {
	for name, named := range map[string]bool{"the chunk is known": true, "it is not": false} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, 3, nil)
			want := pattern(1, 8)
			r.mustWrite(1, 0, 0, want)
			r.mustWrite(2, 0, 0, want)
			lead := r.leader(1)
			for i := range 3 {
				r.checkpoint(i)
			}
			files := r.slotsOf(lead, 1)
			r.close(lead)
			d := r.disks[lead]
			for _, half := range []int64{0, 12 << 10} {
				at := half + 5000 // the bitmap: the header still names the chunk
				if !named {
					at = half + 20
				}
				d.Corrupt(files[0], at, []byte("rot!"))
			}
			r.reopen(lead)
			r.wantLost(lead, 1)
			if lost := r.status(lead, 2).Err != nil; lost == named {
				t.Errorf("the other copyset of the store is lost: %v", lost)
			}
			r.wantRead(1, 0, 0, want)
			r.replace(1, lead)
			r.awaitVoters(1, lead)
			if err := r.status(lead, 1).Err; err != nil {
				t.Fatal(err)
			}
			r.reopenQuietly(lead)
			if st := r.status(lead, 1); st.Err != nil || st.Replica != newcomer {
				t.Errorf("after a restart: replica %d, %v", st.Replica, st.Err)
			}
		})
	}
}

// The table of the chunk is not in memory, and the device cannot read it back.
func TestTableThatCannotBeReadCostsItsReplicaAndTheStoreGoesOn(t *testing.T) {
	r := newRig(t, 1, func(r *rig) {
		r.adapt = func(_ int, cfg *Config) { cfg.tables = 1 }
	})
	want := pattern(1, 8)
	r.mustWrite(1, 0, 0, want)
	r.mustWrite(2, 0, 0, want)
	r.checkpoint(0)
	r.reopenQuietly(0)
	r.leader(1)
	s := r.store(0)
	if st := s.chunks.Stats(); st.Resident != 0 {
		t.Fatalf("tables are in memory: %+v", st)
	}
	for _, half := range []int64{0, 12 << 10} {
		r.disks[0].BadSectors(r.slotsOf(0, 1)[0], half+5000, 1)
	}
	r.mustWrite(1, 0, 0, pattern(2, 1))
	r.checkpoint(0)
	eventually(t, "the replica is lost", func() bool { return r.status(0, 1).Err != nil })
	r.wantLost(0, 1)
	r.wantRead(2, 0, 0, want)
	r.mustWrite(2, 0, 0, pattern(3, 1))
	r.checkpoint(0)
	if err := s.Failed(); err != nil {
		t.Fatal(err)
	}
	r.reopenQuietly(0)
	r.wantLost(0, 1)
	r.wantRead(2, 0, 0, pattern(3, 1))
}

func TestRotInAFreeSlotLosesNoReplica(t *testing.T) {
	r := newRig(t, 3, nil)
	want := pattern(1, 8)
	r.mustWrite(1, 0, 0, want)
	for i := range 3 {
		r.checkpoint(i)
	}
	s := r.store(0)
	eventually(t, "a slot is ready", func() bool { return s.chunks.Stats().Free > 0 })
	used := r.slotsOf(0, 1)
	names, err := r.disks[0].List(chunkDir)
	if err != nil {
		t.Fatal(err)
	}
	r.close(0)
	for _, name := range names {
		if file := chunkDir + "/" + name; !slices.Contains(used, file) {
			r.disks[0].Corrupt(file, 12<<10+200, []byte{0x55}) // the newest half since it was made
		}
	}
	r.reopen(0)
	for id := uint64(1); id <= copysets; id++ {
		if err := r.status(0, id).Err; err != nil {
			t.Errorf("copyset %d is lost: %v", id, err)
		}
	}
	r.wantRead(1, 0, 0, want)
}

func (r *rig) reopenQuietly(i int) {
	r.close(i)
	r.reopen(i)
}

func TestChunkThatVanishesWhileItIsUsedEndsItsReplicaOnly(t *testing.T) {
	r := newRig(t, 3, nil)
	want := pattern(1, 4)
	r.mustWrite(1, 0, 0, want)
	r.mustWrite(2, 0, 0, want)
	lead := r.leader(1)
	for i := range 3 {
		r.checkpoint(i)
	}
	r.reopenQuietly(lead)
	eventually(t, "it leads again", func() bool {
		r.store(uint64(r.leader(1))).Transfer(1, uint64(lead+1))
		return r.leader(1) == lead
	})
	s := r.store(uint64(lead))
	// What a chunk answers when its table cannot be read back any more.
	o := s.Owner(1)
	o.Do(func() {
		m := o.replicas[1]
		o.condemn(m, fmt.Errorf("%w: %w", copyset.ErrDamaged, chunkfile.ErrCorrupt))
	})
	r.wantLost(lead, 1)
	r.wantRead(1, 0, 0, want)
	r.wantRead(2, 0, 0, want)
	if err := s.Failed(); err != nil {
		t.Fatal(err)
	}
	r.reopenQuietly(lead) // its log is well: only the list says that it is lost
	r.wantLost(lead, 1)
	r.replace(1, lead)
	r.awaitVoters(1, lead)
	r.reopenQuietly(lead)
	if st := r.status(lead, 1); st.Err != nil || st.Replica != newcomer {
		t.Errorf("after a restart: replica %d, %v", st.Replica, st.Err)
	}
}

// reopenWithoutTables starts a store again with a cache that has no room for its chunks' tables.
func (r *rig) reopenWithoutTables(i int) {
	r.t.Helper()
	r.close(i)
	r.disks[i] = r.disks[i].Crash(disk.CrashPlan{Keep: disk.KeepNothing})
	s, err := Open(r.config(i))
	if err != nil {
		r.t.Fatal(err)
	}
	if err := s.chunks.Close(); err != nil {
		r.t.Fatal(err)
	}
	if s.chunks, err = chunkfile.Open(chunkfile.Config{Disk: s.disk, Dir: chunkDir,
		StoreID: s.meta.UUID, ChunkSize: s.meta.ChunkSize, Reserve: 1, CacheChunks: 1,
		Logger: s.log}); err != nil {
		r.t.Fatal(err)
	}
	r.mu.Lock()
	r.stores[i] = s
	r.mu.Unlock()
	s.Run()
}

// A trim alone leaves the chunk's table where it is, so that it is the checkpoint that misses it.
func TestChunkThatACheckpointFindsGoneEndsItsReplicaOnly(t *testing.T) {
	r := newRig(t, 3, nil)
	want := pattern(1, 4)
	r.mustWrite(1, 0, 0, want)
	r.mustWrite(2, 0, 0, want)
	r.settle(1)
	r.settle(2)
	lost := (r.leader(1) + 1) % 3
	r.reopenWithoutTables(lost)
	for _, half := range []int64{0, 12 << 10} {
		r.disks[lost].Corrupt(r.slotsOf(lost, 1)[0], half+5000, []byte("rot!"))
	}
	trim := copyset.Request{Kind: copyset.KindZero, Length: block, Chunk: copyset.Chunk{Volume: 1}}
	if res := r.onLeader(1, trim, nil); res.status != wire.StatusOK {
		t.Fatal(res.status)
	}
	eventually(t, "the checkpoint has the trim", func() bool {
		r.checkpoint(lost)
		return r.status(lost, 1).Err != nil || r.store(uint64(lost)).Failed() != nil
	})
	if err := r.store(uint64(lost)).Failed(); err != nil {
		t.Fatalf("the whole store ends: %v", err)
	}
	r.wantLost(lost, 1)
	if err := r.status(lost, 2).Err; err != nil {
		t.Errorf("the other copyset of the store is lost: %v", err)
	}
	r.reopenQuietly(lost)
	r.wantLost(lost, 1)
	r.wantRead(1, 0, block, want[block:])
	r.wantRead(2, 0, 0, want)
}

// stallSyncs holds the syncs of so many chunk files; held tells of how many it does.
func (r *rig) stallSyncs(i, n int) (held func() int, release func()) {
	var mu sync.Mutex
	files := map[string]bool{}
	release = r.disks[i].Stall(func(kind disk.Kind, name string, _ int64) bool {
		mu.Lock()
		defer mu.Unlock()
		if kind != disk.Sync || !strings.HasPrefix(name, chunkDir) {
			return false
		}
		if len(files) < n {
			files[name] = true
		}
		return files[name]
	})
	return func() int { mu.Lock(); defer mu.Unlock(); return len(files) }, release
}

func TestChunkThatIsDeletedWhileACheckpointWaitsEndsNothing(t *testing.T) {
	r := newRig(t, 1, nil)
	s := r.store(0)
	for c := range uint64(chunkSyncs) {
		r.mustWrite(1, c, 0, pattern(1, 1))
	}
	last := copyset.Request{Kind: copyset.KindWrite, Chunk: copyset.Chunk{Volume: 2}}
	if res := r.onLeader(1, last, pattern(2, 1)); res.status != wire.StatusOK {
		t.Fatal(res.status)
	}
	held, release := r.stallSyncs(0, chunkSyncs)
	done := make(chan struct{})
	go func() { r.checkpoint(0); close(done) }()
	eventually(t, "all slots are taken", func() bool { return held() == chunkSyncs })
	eventually(t, "the volume whose chunk waits is deleted", func() bool {
		return s.DeleteVolume(2)
	})
	release()
	<-done
	if err := s.Failed(); err != nil {
		t.Fatal(err)
	}
	r.wantRead(1, 0, 0, pattern(1, 1))
}

func TestReplicaThatExistedIsNeverMadeAnewInAnEmptyStore(t *testing.T) {
	r := newRig(t, 1, nil)
	s := r.store(0)
	st := copyset.NewState(9, 1, 1, []copyset.Peer{{ReplicaID: 1}})
	err := s.Assign(Assignment{State: st, Existed: true})
	if !errors.Is(err, copyset.ErrDamaged) {
		t.Fatalf("%v", err)
	}
	r.wantLost(0, 9)
	r.reopenQuietly(0)
	r.wantLost(0, 9)
}

func TestUnreadableListOfLostReplicasTrustsNone(t *testing.T) {
	r := newRig(t, 3, nil)
	first := pattern(3, 1)
	r.writeDurably(0, first, pattern(4, 1))
	r.damageLog(0, first)
	r.close(0)
	r.disks[0] = r.disks[0].Crash(disk.CrashPlan{Keep: disk.KeepNothing})
	data, err := r.disks[0].ReadFile(lostFile)
	if err != nil {
		t.Fatal(err)
	}
	if err := r.disks[0].WriteFile(lostFile, bytes.Replace(data, []byte(`"copyset": 1`),
		[]byte(`"copyset": 7`), 1)); err != nil {
		t.Fatal(err)
	}
	r.open(0)
	r.wantLost(0, 1)
	r.wantLost(0, 2)
	r.reopenQuietly(0)
	r.wantLost(0, 1)
}

// Every byte of the list, changed three ways: what decodes is what was written.
func TestListOfLostReplicasIsGuarded(t *testing.T) {
	r := newRig(t, 1, nil)
	s := r.store(0)
	s.lose(3, 4, copyset.ErrDamaged)
	s.lose(1, 2, errors.New("frame lost"))
	if err := s.saveLost(); err != nil {
		t.Fatal(err)
	}
	if data, err := r.disks[0].ReadFile(lostFile); err != nil ||
		!bytes.Contains(data, []byte(`"version": 1`)) {
		t.Fatalf("older builds cannot read %s: %v", data, err)
	}
	s.noteRetired(5, 6)
	if err := s.saveLost(); err != nil {
		t.Fatal(err)
	}
	data, err := r.disks[0].ReadFile(lostFile)
	if err != nil {
		t.Fatal(err)
	}
	golden, err := decodeLost(data)
	if err != nil || len(golden) != 3 || golden[0].Replica != 2 || !golden[2].Retired {
		t.Fatalf("%+v, %v", golden, err)
	}
	for at := range data {
		for _, b := range []byte{data[at] ^ 1, 0, 0xff} {
			bad := bytes.Clone(data)
			bad[at] = b
			got, err := decodeLost(bad)
			if err == nil && noteCRC(got) != noteCRC(golden) {
				t.Fatalf("byte %d as %#x: %+v", at, b, got)
			}
		}
	}
	newer := strings.Replace(string(data), `"version": 2`, `"version": 3`, 1)
	if _, err := decodeLost([]byte(newer)); !errors.Is(err, ErrForeign) {
		t.Errorf("a newer list: %v", err)
	}
}
