package store

import (
	"math"
	"strings"
	"testing"
	"time"

	"github.com/ashlar-storage/ashlar/dataplane/copyset"
	"github.com/ashlar-storage/ashlar/io/disk"
	"github.com/ashlar-storage/ashlar/rpc/wire"
)

func TestWatermarksAreAShareUsedOrBytesLeft(t *testing.T) {
	for _, c := range []struct {
		mark           Watermark
		capacity, want int64
	}{
		{Watermark{}, 1000, 0},
		{Watermark{Percent: 85}, 1000, 850},
		{Watermark{Percent: 100}, 1000, 1000},
		{Watermark{Left: 300}, 1000, 700},
		{Watermark{Left: 3000}, 1000, 1}, // of a store that is too small: full from the start
		{Watermark{Percent: 85}, 0, 1},
	} {
		if got := c.mark.of(c.capacity); got != c.want {
			t.Errorf("%+v of %d: %d, want %d", c.mark, c.capacity, got, c.want)
		}
	}
}

// markedRig is one store that is full when half of its room for 20 chunks is used.
func markedRig(t *testing.T) (*rig, *Store) {
	r := newRig(t, 1, func(r *rig) {
		r.limit, r.patience = 20*(testChunk+64<<10), time.Second
		r.adapt = func(_ int, cfg *Config) {
			cfg.High, cfg.Full = Watermark{Percent: 40}, Watermark{Percent: 50}
		}
	})
	return r, r.store(0)
}

func TestStoreRefusesNewChunksAtItsMarkAndServesWhatItHas(t *testing.T) {
	r, s := markedRig(t)
	s.countRoom()
	made := uint64(0)
	for r.write(1, made, 0, pattern(byte(made), 4)) == wire.StatusOK {
		if made++; made > 20 {
			t.Fatal("never full")
		}
	}
	r.checkpoint(0)
	sp := s.Space()
	if want := sp.Full/sp.ChunkFile - keepChunks; int64(made) != want || sp.Chunks > sp.Full {
		t.Errorf("%d chunks were let in, want %d: %+v", made, want, sp)
	}
	if spare := sp.Capacity - sp.Chunks; spare < sp.Capacity*45/100 {
		t.Errorf("%d of %d bytes are left at a mark of half", spare, sp.Capacity)
	}
	state, why := s.Health()
	if state != StateFull || !strings.Contains(why.Error(), "store_full") {
		t.Errorf("state %s: %v", state, why)
	}
	for c := range made {
		r.mustWrite(1, c, 4*block, pattern(byte(c+50), 2))
		r.wantRead(1, c, 0, append(pattern(byte(c), 4), pattern(byte(c+50), 2)...))
	}
	if err := s.Trouble(); err != nil {
		t.Errorf("a full store serves what it has, and says that it is in trouble: %v", err)
	}
}

// What was promised room and has it now is no longer in the count of what can be made.
func TestChunksThatAreMadeBetweenTwoCountsUseTheirRoom(t *testing.T) {
	r, s := markedRig(t)
	s.nextCount.Store(math.MaxInt64) // nobody counts but this test
	s.countRoom()
	made := uint64(0)
	for ; r.write(1, made, 0, pattern(byte(made), 4)) == wire.StatusOK; made++ {
		if r.checkpoint(0); made > 20 {
			t.Fatal("never full")
		}
	}
	sp := s.Space()
	if want := sp.Full/sp.ChunkFile - keepChunks; int64(made) != want {
		t.Errorf("%d chunks were let in, want %d: %+v", made, want, sp)
	}
}

func TestDiscardedChunksGiveTheirSpaceBack(t *testing.T) {
	r, s := markedRig(t)
	version, _ := s.VolumeChunks()
	for c := range uint64(6) {
		r.mustWrite(1, c, 0, pattern(byte(c), 4))
	}
	r.checkpoint(0)
	before := s.Space()
	if now, chunks := s.VolumeChunks(); chunks[1] != 6 || len(chunks) != 1 || now == version ||
		now != s.VolumesVersion() || before.Chunks != 6*before.ChunkFile {
		t.Errorf("6 chunks written: %v, %+v", chunks, before)
	}
	version = s.VolumesVersion()
	for c := range uint64(4) {
		zero := copyset.Request{Kind: copyset.KindZero, Length: testChunk,
			Chunk: copyset.Chunk{Volume: 1, Index: c}}
		if res := r.onLeader(1, zero, nil); res.status != wire.StatusOK {
			t.Fatal(res.status)
		}
	}
	eventually(t, "the space is given back", func() bool {
		r.checkpoint(0)
		return s.Space().Chunks == 2*before.ChunkFile
	})
	after := s.Space()
	if _, chunks := s.VolumeChunks(); chunks[1] != 2 || s.VolumesVersion() == version {
		t.Errorf("2 chunks are left: %v", chunks)
	}
	if held := after.Chunks + after.Ready; held < before.Chunks+before.Ready {
		t.Errorf("%d bytes of files, before %d: those of old chunks await new ones", held,
			before.Chunks+before.Ready)
	}
}

func TestChunkFilesMadeAheadLeaveTheLogRoom(t *testing.T) {
	r := newRig(t, 1, func(r *rig) {
		r.disks[0].SetBytes(8 << 20)
		r.adapt = func(_ int, cfg *Config) { cfg.ReserveChunks = 64 }
	})
	eventually(t, "chunk files are made ahead", func() bool {
		return r.store(0).chunks.Stats().Slots >= 2
	})
	eventually(t, "the log has segments ready", func() bool {
		st := r.store(0).wal.Stats()
		return st.LiveSegments+st.ReadySegments >= spareSegments
	})
	r.mustWrite(1, 0, 0, pattern(1, 4))
}

// What was acknowledged while there was plenty has its place in memory and in the log at first.
// That its file is still to be made is nothing that a client may learn from a device that is full
// all at once.
func TestChunksThatAwaitTheirFilesAreServedByAStoreThatIsFullAllAtOnce(t *testing.T) {
	r := newRig(t, 1, func(r *rig) {
		r.patience = time.Second
		r.adapt = func(_ int, cfg *Config) { cfg.ReserveChunks = 2 }
	})
	s, o := r.store(0), r.store(0).Owner(1)
	s.nextCount.Store(math.MaxInt64) // nobody counts but this test
	const chunks = 6
	for c := range uint64(chunks) {
		r.mustWrite(1, c, 0, pattern(byte(c), 2))
	}
	s.noSpace(disk.ErrNoSpace)
	for c := range uint64(chunks) {
		r.mustWrite(1, c, block, pattern(byte(c+50), 2))
		r.wantRead(1, c, 0, append(pattern(byte(c), 1), pattern(byte(c+50), 2)...))
	}
	o.Do(func() { o.claimRoom(o.replicas[1]) })
	if status := r.write(1, 100, 0, pattern(9, 1)); status != wire.StatusNoSpace {
		t.Errorf("a new chunk took the room of those that await their files: %v", status)
	}
	zero := copyset.Request{Kind: copyset.KindZero, Offset: 0, Length: block,
		Chunk: copyset.Chunk{Volume: 1, Index: 101}}
	if res := r.onLeader(1, zero, nil); res.status != wire.StatusOK {
		t.Fatal(res.status)
	}
	if status := r.write(1, 101, block, pattern(9, 1)); status != wire.StatusNoSpace {
		t.Errorf("a chunk that has zeros alone took the room of one with bytes: %v", status)
	}
}
