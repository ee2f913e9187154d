package copyset

import (
	"bytes"
	"testing"

	"go.etcd.io/raft/v3/raftpb"

	"github.com/ashlar-storage/ashlar/io/wal"
	"github.com/ashlar-storage/ashlar/rpc/wire"
)

// uncommitted puts an entry into the log that the replica does not know to be committed: with its
// payload in memory, or only on disk at a place.
func (h *solo) uncommitted(c Command, fill byte, at wal.LSN) (data []byte) {
	h.t.Helper()
	b, err := h.pool.Get(c.PayloadBlocks() * BlockSize)
	if err != nil {
		h.t.Fatal(err)
	}
	data = b.Bytes()
	for k := range c.PayloadBlocks() {
		block := data[k*BlockSize : (k+1)*BlockSize]
		for i := range block {
			block[i] = fill + byte(k)
		}
		c.CRCs = append(c.CRCs, wire.CRC32C(block))
	}
	p := NewPayload(b)
	if at != 0 {
		data = bytes.Clone(data)
		p.Release()
		p = Payload{Len: len(data), At: at}
	}
	e := raftpb.Entry{Term: h.r.status.Term, Index: h.r.entries.last() + 1,
		Data: c.AppendTo(nil)}
	if err := h.r.entries.append(e, p); err != nil {
		h.t.Fatal(err)
	}
	return data
}

func (h *solo) wantHeld(block uint32, want []byte, at wal.LSN) {
	h.t.Helper()
	p, ok := h.r.Held(Chunk{Volume: 1}, block, wire.CRC32C(want))
	defer p.Release()
	if !ok || p.At != at || at == 0 && !bytes.Equal(p.B, want) {
		h.t.Errorf("block %d: %v, at %d, want at %d", block, ok, p.At, at)
	}
}

func TestABlockIsHeldByTheOverlayAndByEntriesThatAreNotCommitted(t *testing.T) {
	h := newSolo(t, 1)
	h.submit(h.request(KindWrite, 3*BlockSize, BlockSize, 9))
	h.settle()
	if s := h.answer(); s != wire.StatusOK {
		t.Fatal(s)
	}
	applied := bytes.Repeat([]byte{9}, BlockSize)
	write := Command{Kind: CmdWrite, Session: 1, OpID: 1, Volume: 1, First: 3, Count: 2}
	inMemory := h.uncommitted(write, 20, 0)
	onDisk := h.uncommitted(write, 40, 8<<20)
	edges := h.uncommitted(Command{Kind: CmdZero, Flags: flagHead | flagTail, Session: 1,
		OpID: 2, Volume: 1, First: 2, Count: 3}, 60, 0)
	other := h.uncommitted(Command{Kind: CmdWrite, Session: 1, OpID: 3, Volume: 2, First: 3,
		Count: 1}, 80, 0)

	p, ok := h.r.Held(Chunk{Volume: 1}, 3, wire.CRC32C(applied))
	if !ok || !bytes.Equal(p.B, applied) {
		t.Error("what the overlay has is not held")
	}
	p.Release()
	h.wantHeld(3, inMemory[:BlockSize], 0)
	h.wantHeld(4, inMemory[BlockSize:], 0)
	h.wantHeld(4, onDisk[BlockSize:], 8<<20+BlockSize)
	h.wantHeld(2, edges[:BlockSize], 0)
	h.wantHeld(4, edges[BlockSize:], 0)
	for block, data := range map[uint32][]byte{3: other, 5: inMemory[:BlockSize],
		2: applied} {
		if p, ok := h.r.Held(Chunk{Volume: 1}, block, wire.CRC32C(data)); ok {
			t.Errorf("block %d is held as %+v", block, p)
		}
	}
	if p, ok := h.r.Held(Chunk{Volume: 1}, 3, wire.CRC32C(edges[:BlockSize])); ok {
		t.Errorf("a block inside a range of zeroes is held as %+v", p)
	}
}
