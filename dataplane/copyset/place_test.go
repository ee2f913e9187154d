package copyset

import (
	"errors"
	"testing"

	"go.etcd.io/raft/v3/raftpb"

	"github.com/ashlar-storage/ashlar/io/wal"
	"github.com/ashlar-storage/ashlar/rpc/wire"
)

func TestPlacesAreToldFromPositionsInTheLog(t *testing.T) {
	for _, c := range []struct {
		slot  uint64
		block uint32
	}{{0, 0}, {1, 4095}, {slotMask, 256<<20/BlockSize - 1}} {
		at := PlaceOf(c.slot, c.block)
		if slot, block, ok := PlaceAt(at); !ok || slot != c.slot || block != c.block {
			t.Errorf("slot %d block %d: %d, %d, %v", c.slot, c.block, slot, block, ok)
		}
	}
	p := Payload{Len: 3 * BlockSize, At: PlaceOf(7, 100)}
	if slot, block, ok := PlaceAt(p.only(2).At); !ok || slot != 7 || block != 102 {
		t.Errorf("the third block is in slot %d at %d", slot, block)
	}
	for _, at := range []wal.LSN{0, 1, 1<<63 - 1} {
		if _, _, ok := PlaceAt(at); ok {
			t.Errorf("%d is a place", at)
		}
	}
}

// placedWrite adds the record of a write of three blocks from 8 on, which stands in slot 5.
func (s *script) placedWrite(term, index uint64) *script {
	c := Command{Kind: CmdWrite, Session: 1, Volume: 1, First: 8, Count: 3, OpID: index,
		CRCs: []uint32{1, 2, 3}}
	a := Append{}
	a.Records = []wal.Record{{Kind: RecordEntry, Term: term, Index: index, Meta: c.AppendTo(nil),
		Payload: make([]byte, 3*BlockSize), CRCs: c.CRCs}}
	chunk, first, ok := a.Large(0, 3*BlockSize)
	if !ok || chunk != (Chunk{Volume: 1}) || first != 8 {
		panic("the write is not large")
	}
	a.Place(0, 5)
	return s.add(a.Records[0])
}

func TestPlacedEntriesComeBackWithTheirPlace(t *testing.T) {
	rc := new(script).state(0, 0, none).entry(1, 1).placedWrite(1, 2).replay(t)
	e := rc.entries.get(2)
	var c Command
	if err := c.Decode(e.entry.Data); err != nil || c.First != 8 || c.CRCs[2] != 3 {
		t.Fatalf("%+v, %v", c, err)
	}
	if e.payload.At != PlaceOf(5, 8) || e.payload.Len != 3*BlockSize || e.at != 3<<20 {
		t.Errorf("payload %+v of a record at %d", e.payload, e.at)
	}
}

func TestLargeIsAWriteOfTheSizeOnly(t *testing.T) {
	write := Command{Kind: CmdWrite, Count: 2, CRCs: []uint32{1, 2}}
	zero := Command{Kind: CmdZero, Flags: flagHead | flagTail, Count: 9, CRCs: []uint32{1, 2}}
	payload := make([]byte, 2*BlockSize)
	for name, r := range map[string]wal.Record{
		"small":     {Kind: RecordEntry, Meta: write.AppendTo(nil), Payload: payload[:BlockSize]},
		"a zeroing": {Kind: RecordEntry, Meta: zero.AppendTo(nil), Payload: payload},
		"a state":   {Kind: RecordState, Payload: payload},
		"no meta":   {Kind: RecordEntry, Payload: payload},
	} {
		a := Append{}
		a.Records = []wal.Record{r}
		if _, _, ok := a.Large(0, 2*BlockSize); ok {
			t.Errorf("%s is large", name)
		}
	}
}

func TestPlacedRecordsThatNobodyWritesAreRefused(t *testing.T) {
	s := new(script).placedWrite(1, 1)
	good := s.records[0].Meta
	for name, change := range map[string]func(b []byte) []byte{
		"short":     func(b []byte) []byte { return b[:placedHead+commandHeader-1] },
		"reserved":  func(b []byte) []byte { b[15] = 1; return b },
		"slot":      func(b []byte) []byte { b[3] = 1; return b },
		"no write":  func(b []byte) []byte { b[placedHead] = byte(CmdFence); return b },
		"a zeroing": func(b []byte) []byte { b[placedHead] = byte(CmdZero); return b },
	} {
		r := s.records[0]
		r.Meta = change(append([]byte(nil), good...))
		if err := new(Recovered).Add(&r); !errors.Is(err, ErrBadCommand) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A write that comes before a placed one in the log goes to the chunk file after it in memory.
func TestNothingIsFlushedBeforePlacedEntriesAreAppliedAgain(t *testing.T) {
	h := newSolo(t, 3)
	rc := new(script).state(0, 0, none).entry(1, 1).placedWrite(1, 2).hard(1, 0, 1).replay(t)
	st, err := rc.State()
	if err != nil {
		t.Fatal(err)
	}
	h.r, err = New(Config{State: st, Recovered: rc, ChunkBlocks: soloBlocks, Pool: h.pool,
		Now: h.now, Logger: discard})
	if err != nil {
		t.Fatal(err)
	}
	h.r.SetMemory(MemoryShort)
	flushes := func() (n int) {
		h.now++
		h.r.Ready(h.now, &h.fx)
		n = len(h.fx.Flushes)
		for _, job := range h.fx.Flushes {
			h.r.FlushDone(job, h.now, &h.fx)
		}
		h.fx.Reset()
		return n
	}
	if n := flushes(); n != 0 || h.r.Applied() != 1 {
		t.Fatalf("%d flushes, applied to %d", n, h.r.Applied())
	}
	h.r.Message(&Message{Copyset: 1, Message: raftpb.Message{Type: raftpb.MsgHeartbeat, From: 2,
		To: 1, Term: 1, Commit: 2}}, h.now, &h.fx)
	if n := flushes(); n == 0 || h.r.Applied() != 2 {
		t.Errorf("%d flushes, applied to %d", n, h.r.Applied())
	}
}

// An entry whose payload was written over is forgotten once a state has it.
func TestAnEntryThatCannotBeReadBackIsForgotten(t *testing.T) {
	h := newSolo(t, 1)
	for i := range uint64(3) {
		h.submit(h.request(KindWrite, uint32(i)*BlockSize, BlockSize, i))
		h.settle()
		if s := h.answer(); s != wire.StatusOK {
			t.Fatal(s)
		}
	}
	last := h.r.Last()
	at := PlaceOf(5, 8)
	h.r.entries.get(last - 1).payload.At = at
	if h.r.Unreadable(at) || h.r.entries.base >= last-1 {
		t.Fatalf("forgotten up to %d before a state has it", h.r.entries.base)
	}
	h.r.stateIndex = last
	if !h.r.Unreadable(at) || h.r.entries.base != last-1 {
		t.Errorf("forgotten up to %d of %d", h.r.entries.base, last-1)
	}
}
