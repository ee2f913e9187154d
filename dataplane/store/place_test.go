package store

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/ashlar-storage/ashlar/dataplane/copyset"
	"github.com/ashlar-storage/ashlar/io/chunkfile"
	"github.com/ashlar-storage/ashlar/io/disk"
	"github.com/ashlar-storage/ashlar/io/wal"
)

const large = 64 << 10

// placing is a rig whose stores have slots to lend.
func placing(t *testing.T, n int, logBytes int64) *rig {
	return newRig(t, n, func(r *rig) {
		r.adapt = func(_ int, cfg *Config) {
			cfg.ReserveChunks, cfg.LogBytes, cfg.PlaceBytes = 8, logBytes, large
		}
	})
}

// awaitReady waits until every store has as many slots ready as it wants.
func (r *rig) awaitReady() {
	r.t.Helper()
	for i := range r.stores {
		s := r.store(uint64(i))
		eventually(r.t, "slots are ready", func() bool { return s.chunks.Stats().Free >= 8 })
	}
}

// fillChunk writes a chunk from end to end in large writes.
func (r *rig) fillChunk(chunk uint64, seed byte) []byte {
	r.t.Helper()
	data := make([]byte, testChunk)
	rng := rand.NewChaCha8([32]byte{seed})
	_, _ = rng.Read(data)
	for off := 0; off < testChunk; off += large {
		r.mustWrite(1, chunk, uint32(off), data[off:off+large])
	}
	return data
}

func (r *rig) wantChunk(chunk uint64, want []byte) {
	r.t.Helper()
	for off := 0; off < len(want); off += large {
		r.wantRead(1, chunk, uint32(off), want[off:off+large])
	}
}

// checkpointAll takes checkpoints, when all stores that run have applied the same: a twin whose
// last write is not committed yet is not taken over.
func (r *rig) checkpointAll() {
	r.t.Helper()
	eventually(r.t, "all have applied the same", func() bool {
		applied := map[uint64]bool{}
		for i := range r.stores {
			if s := r.store(uint64(i)); s != nil {
				applied[s.applied(1)] = true
			}
		}
		return len(applied) == 1
	})
	for i := range r.stores {
		if s := r.store(uint64(i)); s != nil {
			s.Checkpoint(context.Background())
			if err := s.Failed(); err != nil {
				r.t.Fatal(err)
			}
		}
	}
}

func TestLargeWritesInOrderAreWrittenOnce(t *testing.T) {
	r := placing(t, 3, 32<<20)
	r.awaitReady()
	var want [2][]byte
	for round := range byte(2) { // a chunk that is new, and one that was there
		want[0], want[1] = r.fillChunk(0, round), r.fillChunk(1, 100+round)
		r.checkpointAll()
		r.wantChunk(0, want[0])
		r.wantChunk(1, want[1])
	}
	for i := range uint64(3) {
		st := r.store(i).Stats()
		if st.Chunks.TwinBlocks != 4*testChunk/block || st.Chunks.Adopted != 4 {
			t.Errorf("store %d: %d blocks placed, %d twins taken over", i, st.Chunks.TwinBlocks,
				st.Chunks.Adopted)
		}
		if st.Chunks.WriteBlocks != 0 || st.Chunks.CopiedBlocks != 0 {
			t.Errorf("store %d: %d blocks written again, %d copied", i, st.Chunks.WriteBlocks,
				st.Chunks.CopiedBlocks)
		}
		if st.LogBytes > testChunk {
			t.Errorf("store %d: %d bytes of log for %d written", i, st.LogBytes, 4*testChunk)
		}
	}
	for i := range 3 {
		r.close(i)
		r.reopen(i)
	}
	r.wantChunk(0, want[0])
	r.wantChunk(1, want[1])
}

func TestLargeWritesOutOfOrderAreLogged(t *testing.T) {
	r := placing(t, 1, 8<<20)
	r.awaitReady()
	data := make([]byte, large)
	for i := range uint64(8) {
		r.mustWrite(1, i, 8*large, data)
	}
	r.mustWrite(1, 9, 0, data[:large-block]) // and small ones in order
	r.mustWrite(1, 9, large-block, data[:large-block])
	if n := r.store(0).Stats().Chunks.TwinBlocks; n != 0 {
		t.Errorf("%d blocks were placed", n)
	}
}

func TestSmallWritesOverLargeOnesAreThere(t *testing.T) {
	r := placing(t, 3, 32<<20)
	r.awaitReady()
	want := r.fillChunk(0, 1)
	rng := rand.New(rand.NewPCG(1, 2))
	for n := range 40 {
		off := uint32(rng.IntN(testChunk/block)) * block
		p := bytes.Repeat([]byte{byte(n + 1)}, block)
		copy(want[off:], p)
		r.mustWrite(1, 0, off, p)
		switch n {
		case 10, 30:
			r.checkpointAll()
		case 20:
			copy(want, r.fillChunk(0, 9)[:testChunk/2])
			for off := testChunk / 2; off < testChunk; off += large {
				r.mustWrite(1, 0, uint32(off), want[off:off+large])
			}
		}
	}
	r.wantChunk(0, want)
	for i := range 3 {
		r.cutPower(i, disk.CrashPlan{Seed: 7})
	}
	for i := range 3 {
		r.open(i)
	}
	r.wantChunk(0, want)
}

// A follower that was away is sent what slots have, and chunks where they were written over.
func TestAFollowerThatWasAwayGetsWhatWasPlaced(t *testing.T) {
	for _, over := range []bool{false, true} {
		t.Run(fmt.Sprintf("written over %v", over), func(t *testing.T) {
			r := placing(t, 3, 32<<20)
			r.awaitReady()
			r.fillChunk(0, 1)
			r.close(2)
			want := r.fillChunk(0, 2)
			r.checkpointAll()
			if over {
				p := bytes.Repeat([]byte{7}, block)
				copy(want[large:], p)
				r.mustWrite(1, 0, large, p)
				r.checkpointAll()
			}
			r.reopen(2)
			s := r.store(2)
			eventually(t, "the follower has all", func() bool {
				return s.applied(1) == r.store(0).applied(1)
			})
			r.close(0)
			r.close(1)
			r.wantHas(s, 0, want)
		})
	}
}

// applied is how far a copyset's replica is.
func (s *Store) applied(id uint64) (n uint64) {
	o := s.Owner(id)
	o.Do(func() {
		if m := o.replicas[id]; m != nil {
			n = m.Applied()
		}
	})
	return n
}

// wantHas reads a chunk of a store as another replica would.
func (r *rig) wantHas(s *Store, chunk uint64, want []byte) {
	r.t.Helper()
	for off := 0; off < len(want); off += large {
		p, _, err := r.PeerBlocks(copyset.Peer{StoreID: 2}, 1, copyset.PeerRead{
			Chunk: copyset.Chunk{Volume: 1, Index: chunk}, First: uint32(off / block),
			Count: large / block})
		if err != nil {
			r.t.Fatal(err)
		}
		if !bytes.Equal(p.B, want[off:off+large]) {
			r.t.Errorf("%d bytes at %d are wrong", large, off)
		}
		p.Release()
	}
}

// All slots come back: those of chunks, of twins that came to nothing, and of a deleted volume.
func TestSlotsComeBackWhenTheLogIsReleased(t *testing.T) {
	r := placing(t, 1, 8<<20)
	r.awaitReady()
	s := r.store(0)
	half := make([]byte, testChunk/2)
	for i := range half {
		half[i] = byte(i)
	}
	for chunk := range uint64(4) {
		r.fillChunk(chunk, byte(chunk))
		for off := 0; off < len(half)/2; off += large {
			r.mustWrite(1, chunk, uint32(off), half[off:off+large])
		}
	}
	if st := s.chunks.Stats(); st.Lent == 0 {
		t.Fatalf("nothing is lent: %+v", st)
	}
	r.op(0, 1, copyset.Request{Kind: copyset.KindZero, Length: testChunk,
		Chunk: copyset.Chunk{Volume: 1, Index: 3}}, nil)
	for n := range 200 { // log that holds nothing back
		r.mustWrite(1, 5, uint32(n%16)*block, half[:block])
		if n%50 == 0 {
			r.checkpointAll()
		}
	}
	filler := make([]byte, 15*block)
	for range 80 {
		r.mustWrite(1, 5, 100*block, filler)
	}
	r.checkpointAll()
	r.checkpointAll()
	if st := s.chunks.Stats(); st.Lent != 0 || st.Used != 4 || s.placed.held() != 0 {
		t.Errorf("%+v, %d bytes held", st, s.placed.held())
	}
}

// What is kept for followers is bounded in bytes, wherever they are.
func TestPlacesKeepOfTheLogWhatItsBoundAllows(t *testing.T) {
	var p places
	p.init(1)
	for n := range uint64(6) {
		p.slots[n] = &placedSlot{last: wal.LSN(100 * (n + 1)), bytes: 10}
	}
	p.slots[7] = &placedSlot{pending: 1, bytes: 10}
	for _, c := range []struct {
		bytes int64
		from  wal.LSN
	}{{100, 0}, {60, 101}, {49, 201}, {10, 501}, {0, 601}} {
		if from := p.keepFrom(c.bytes); from != c.from {
			t.Errorf("%d bytes: from %d, want %d", c.bytes, from, c.from)
		}
	}
	if got := fmt.Sprint(p.release(300)); got != "[0 1]" {
		t.Errorf("released %v", got)
	}
	p.slots[2].pending = 1
	p.slots[3].twin = new(chunkfile.Twin)
	if got := fmt.Sprint(p.release(1000)); got != "[4 5]" {
		t.Errorf("released %v", got)
	}
}

// The log has the appends of a replica in their order, also when a later one has nothing to place.
func TestAppendsWaitForThoseBeforeThem(t *testing.T) {
	r := placing(t, 1, 8<<20)
	r.awaitReady()
	s := r.store(0)
	o := s.Owner(1)
	logged := make(chan uint64, 2) // Done runs on the log's goroutine
	waiting := 0
	o.Do(func() {
		at := o.replicas[1].Replica
		of := func(index uint64) *copyset.Append {
			return &copyset.Append{Replica: at, Append: wal.Append{
				Records: []wal.Record{{Group: 9, Kind: 1, Index: index}},
				Done:    func(a *wal.Append) { logged <- a.Records[0].Index },
			}}
		}
		first := &placement{owner: o, append: of(1)}
		o.placing[at] = []*placement{first}
		o.toLog(of(2))
		s.wal.Write()
		if waiting = len(o.placing[at]); waiting != 2 {
			t.Errorf("%d wait before the placement is done", waiting)
		}
		first.safe.Store(true)
		o.placementDone(first)
		s.wal.Write()
		waiting = len(o.placing)
	})
	eventually(t, "both are logged", func() bool { return len(logged) == 2 })
	if one, two := <-logged, <-logged; one != 1 || two != 2 || waiting != 0 {
		t.Errorf("logged %d and %d, %d wait", one, two, waiting)
	}
}
