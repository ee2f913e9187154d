package copyset

import (
	"testing"

	"github.com/ashlar-storage/ashlar/rpc/wire"
)

// fetched is the answer to a Fetch, which must come at once or after what the replica wants read.
func (h *solo) fetched(p *PeerRead) wire.Status {
	h.t.Helper()
	status := wire.Status(9999)
	p.Done = func(s wire.Status, _ [][]byte, _ []uint32, hold []Payload) {
		for i := range hold {
			hold[i].Release()
		}
		status = s
	}
	h.r.Fetch(p, h.now, &h.fx)
	h.turn()
	return status
}

func TestReadsOfOtherReplicasAreChecked(t *testing.T) {
	h := newSolo(t, 1)
	for name, c := range map[string]struct {
		p    PeerRead
		want wire.Status
	}{
		"nothing":       {PeerRead{}, wire.StatusBadRequest},
		"too many":      {PeerRead{Count: MaxOpBytes/BlockSize + 1}, wire.StatusBadRequest},
		"past the end":  {PeerRead{First: soloBlocks, Count: 1}, wire.StatusBadRequest},
		"wraps around":  {PeerRead{First: 1<<32 - 2, Count: 2}, wire.StatusBadRequest},
		"not that far":  {PeerRead{Count: 1, Applied: 1 << 40}, wire.StatusRetry},
		"first of many": {PeerRead{Count: MaxOpBytes / BlockSize}, 9999},
	} {
		if got := h.fetched(&c.p); got != c.want {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
}

func TestChecksumsOnRecordAreTheOverlaysAndTheChunkFiles(t *testing.T) {
	h := newSolo(t, 1)
	h.submit(h.request(KindWrite, BlockSize, BlockSize, 9))
	h.settle()
	h.answer()
	nine := make([]byte, BlockSize)
	for i := range nine {
		nine[i] = 9
	}
	p := &PeerRead{Chunk: Chunk{Volume: 1}, Count: 4, Sums: true}
	if st := h.fetched(p); st != 9999 || len(h.reads) != 1 {
		t.Fatalf("%v, %d reads", st, len(h.reads))
	}
	job := h.reads[0]
	h.reads = nil
	if len(job.Parts) != 2 || job.Parts[0].Count != 1 || job.Parts[1].First != 2 ||
		job.Parts[1].Count != 2 || job.Parts[1].Dst != nil || job.CRCs[1] != wire.CRC32C(nine) {
		t.Fatalf("%+v", job)
	}
	copy(job.Parts[1].CRCs, []uint32{22, 33})
	status := wire.Status(9999)
	var crcs []uint32
	p.Done = func(st wire.Status, body [][]byte, c []uint32, hold []Payload) {
		status, crcs = st, c
		if len(body)+len(hold) != 0 {
			t.Error("bytes with it")
		}
	}
	h.r.ReadDone(job, h.now, &h.fx)
	h.turn()
	if status != wire.StatusOK || len(crcs) != 4 || crcs[1] != wire.CRC32C(nine) ||
		crcs[2] != 22 || crcs[3] != 33 ||
		p.At != h.r.applied {
		t.Errorf("%v, %v at %d", status, crcs, p.At)
	}
	h.r.deletes = []uint64{1} // the files may be gone already, or not yet
	if st := h.fetched(&PeerRead{Count: 4, Sums: true}); st != wire.StatusRetry {
		t.Errorf("while a volume is deleted: %v", st)
	}
	h.r.deletes = nil
}

// badRead submits a read of one block and answers it as bad, and gives the repair that follows.
func (h *solo) badRead() *RepairJob {
	h.t.Helper()
	h.submit(h.request(KindRead, 0, BlockSize, 0))
	h.turn()
	job := h.reads[0]
	h.reads = nil
	job.Err, job.Bad = errSimBad, []uint32{0}
	h.r.ReadDone(job, h.now, &h.fx)
	if len(h.fx.Repairs) != 1 {
		h.t.Fatalf("%d repairs", len(h.fx.Repairs))
	}
	repair := h.fx.Repairs[0]
	repair.Good, repair.CRCs = map[uint32]Payload{}, map[uint32]uint32{}
	h.turn()
	return repair
}

func (h *solo) good(repair *RepairJob, fill byte) {
	b, err := h.pool.Get(BlockSize)
	if err != nil {
		h.t.Fatal(err)
	}
	for i := range b.Bytes() {
		b.Bytes()[i] = fill
	}
	repair.Good[0], repair.CRCs[0] = NewPayload(b), wire.CRC32C(b.Bytes())
}

func (h *solo) wantBlock(fill byte) {
	h.t.Helper()
	h.turn()
	if len(h.replies) != 1 || h.replies[0].Status != wire.StatusOK ||
		h.replies[0].Body[0][0] != fill {
		h.t.Errorf("answers %+v, want one that begins with %d", h.replies, fill)
	}
	if len(h.replies) == 1 {
		h.answer()
	}
}

func TestRepairedBlockIsAnsweredAndFlushed(t *testing.T) {
	h := newSolo(t, 1)
	repair := h.badRead()
	h.good(repair, 7)
	h.r.RepairDone(repair, h.now, &h.fx)
	h.wantBlock(7)
	if h.r.overlay.blocks != 1 {
		t.Error("the good block will not be written back")
	}
}

func TestRepairOfABlockOfZeroes(t *testing.T) {
	h := newSolo(t, 1)
	repair := h.badRead()
	repair.Good[0] = Payload{}
	h.r.RepairDone(repair, h.now, &h.fx)
	h.wantBlock(0)
}

func TestRepairDoesNotUndoAWriteThatCameMeanwhile(t *testing.T) {
	h := newSolo(t, 1)
	repair := h.badRead()
	h.submit(h.request(KindWrite, 0, BlockSize, 9))
	h.settle()
	h.answer()
	h.good(repair, 7)
	h.r.RepairDone(repair, h.now, &h.fx)
	h.wantBlock(9)
}

// badFetch has another replica read a block that is bad here, and says what it was answered.
func (h *solo) badFetch(p *PeerRead) (repair *RepairJob, status func() wire.Status) {
	h.t.Helper()
	got := wire.Status(9999)
	p.Count = 1
	p.Done = func(s wire.Status, _ [][]byte, _ []uint32, hold []Payload) {
		for i := range hold {
			hold[i].Release()
		}
		got = s
	}
	h.r.Fetch(p, h.now, &h.fx)
	h.turn()
	job := h.reads[0]
	h.reads = nil
	job.Err, job.Bad = errSimBad, []uint32{0}
	h.r.ReadDone(job, h.now, &h.fx)
	if len(h.fx.Repairs) == 1 {
		repair = h.fx.Repairs[0]
		repair.Good, repair.CRCs = map[uint32]Payload{}, map[uint32]uint32{}
	}
	h.turn()
	return repair, func() wire.Status { h.turn(); return got }
}

func TestFetchOfABadBlockIsRepairedFirstWhereItMayBe(t *testing.T) {
	h := newSolo(t, 1)
	mend := &PeerRead{Mend: true}
	repair, status := h.badFetch(mend)
	h.good(repair, 7)
	h.r.RepairDone(repair, h.now, &h.fx)
	h.turn()
	if len(h.reads) != 1 || len(h.reads[0].Parts) != 0 {
		t.Fatal("the device is asked again, though the good block is in memory")
	}
	h.r.ReadDone(h.reads[0], h.now, &h.fx)
	h.reads = nil
	if s := status(); s != wire.StatusOK || len(mend.Bad) != 1 {
		t.Errorf("answered %v, bad blocks %v", s, mend.Bad)
	}
}

// TestRepairForAFetchDoesNotUndoAWriteThatWasFlushedMeanwhile: a fetch keeps no write away, and
// what the write left in the overlay may be in the chunk file when the older block arrives.
func TestRepairForAFetchDoesNotUndoAWriteThatWasFlushedMeanwhile(t *testing.T) {
	for name, c := range map[string]struct {
		offset uint32
		kept   int // blocks in the overlay after the repair
	}{
		"the same block": {0, 0},
		"another one":    {BlockSize, 1},
	} {
		h := newSolo(t, 1)
		repair, status := h.badFetch(&PeerRead{Chunk: Chunk{Volume: 1}, Mend: true})
		h.submit(h.request(KindWrite, c.offset, BlockSize, 9))
		h.settle()
		h.answer()
		h.r.SetMemory(MemoryShort)
		h.r.FlushDone(h.flushJob(), h.now, &h.fx)
		h.r.SetMemory(MemoryAmple)
		h.good(repair, 7)
		h.r.RepairDone(repair, h.now, &h.fx)
		h.turn()
		if h.r.overlay.blocks != c.kept || len(h.r.repairs) != 0 {
			t.Errorf("%s was written: %d blocks in the overlay, want %d", name, h.r.overlay.blocks,
				c.kept)
		}
		if len(h.reads) != 1 || status() != 9999 {
			t.Errorf("%s was written: %d reads, want one more of the block", name, len(h.reads))
		}
		h.r.ReadDone(h.reads[0], h.now, &h.fx)
		h.reads = nil
		h.turn()
	}
}

func TestFetchOfABlockThatNobodyHasIsRefused(t *testing.T) {
	h := newSolo(t, 1)
	repair, status := h.badFetch(&PeerRead{Mend: true})
	h.r.RepairDone(repair, h.now, &h.fx)
	if s := status(); s != wire.StatusCorrupt || h.r.lanes.Len() != 0 {
		t.Errorf("answered %v, %d in the lanes", s, h.r.lanes.Len())
	}
	if repair, status := h.badFetch(&PeerRead{}); repair != nil || status() != wire.StatusCorrupt {
		t.Errorf("a repair begins another: %v", status())
	}
}

func TestBlockThatNobodyHasIsRefused(t *testing.T) {
	h := newSolo(t, 1)
	repair := h.badRead()
	h.r.RepairDone(repair, h.now, &h.fx)
	h.turn()
	if s := h.answer(); s != wire.StatusCorrupt {
		t.Errorf("answered %v", s)
	}
}

// TestBlockThatIsBadInTheLogIsRepaired: after a restart the overlay's bytes are in the log only.
func TestBlockThatIsBadInTheLogIsRepaired(t *testing.T) {
	h := newSolo(t, 1)
	h.r.overlay.put(Chunk{Volume: 1}, 0, overlayBlock{index: 1, crc: 5,
		data: Payload{At: 4096, Len: BlockSize}})
	repair := h.badRead()
	h.good(repair, 7)
	h.r.RepairDone(repair, h.now, &h.fx)
	h.wantBlock(7)
}

// TestFlushOfABlockThatIsBadInTheLogRepairsIt: the flush fails, the block comes from a peer, and
// the next flush has it.
func TestFlushOfABlockThatIsBadInTheLogRepairsIt(t *testing.T) {
	h := newSolo(t, 1)
	h.r.overlay.put(Chunk{Volume: 1}, 0, overlayBlock{index: 1, crc: 5,
		data: Payload{At: 4096, Len: BlockSize}})
	h.r.SetMemory(MemoryShort)
	job := h.flushJob()
	job.Err, job.Bad = errSimBad, []uint32{0}
	h.r.FlushDone(job, h.now, &h.fx)
	if len(h.fx.Repairs) != 1 {
		t.Fatalf("%d repairs", len(h.fx.Repairs))
	}
	repair := h.fx.Repairs[0]
	repair.Good, repair.CRCs = map[uint32]Payload{}, map[uint32]uint32{}
	h.good(repair, 7)
	h.r.RepairDone(repair, h.now, &h.fx)
	h.turn()
	h.now += flushRetry
	job = h.flushJob()
	if b := job.Runs[0].Data[0].B; b == nil || b[0] != 7 {
		t.Errorf("the next flush writes %v", b)
	}
	h.r.FlushDone(job, h.now, &h.fx)
	if h.r.overlay.blocks != 0 {
		t.Error("the repaired block stays in the overlay")
	}
}

// flushJob is the flush that the replica wants now.
func (h *solo) flushJob() *FlushJob {
	h.t.Helper()
	h.r.Ready(h.now, &h.fx)
	if len(h.fx.Flushes) != 1 {
		h.t.Fatalf("%d flushes", len(h.fx.Flushes))
	}
	job := h.fx.Flushes[0]
	h.turn()
	return job
}

// The peer may have applied what the log here has and this replica does not know to be committed,
// or not yet have in its own log on disk.
func TestABlockThatMayBeFromTheFutureIsNotUsed(t *testing.T) {
	h := newSolo(t, 1)
	repair := h.badRead()
	h.uncommitted(Command{Kind: CmdWrite, Session: 1, OpID: 1, Volume: 1, First: 0, Count: 1}, 8,
		0)
	h.good(repair, 9)
	h.r.RepairDone(repair, h.now, &h.fx)
	h.turn()
	if s := h.answer(); s != wire.StatusRetry {
		t.Errorf("answered %v", s)
	}
	if h.r.overlay.blocks != 0 {
		t.Error("a block from the future is in the overlay")
	}
}

func TestEntriesForOtherBlocksDoNotHoldARepairUp(t *testing.T) {
	h := newSolo(t, 1)
	repair := h.badRead()
	for _, c := range []Command{
		{Kind: CmdWrite, Session: 1, OpID: 1, Volume: 1, First: 1, Count: 1},
		{Kind: CmdWrite, Session: 1, OpID: 2, Volume: 1, Chunk: 1, First: 0, Count: 1},
		{Kind: CmdWrite, Session: 1, OpID: 3, Volume: 2, First: 0, Count: 1},
	} {
		h.uncommitted(c, 8, 0)
	}
	h.good(repair, 9)
	h.r.RepairDone(repair, h.now, &h.fx)
	h.wantBlock(9)
}
