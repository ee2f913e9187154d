package copyset

import (
	"bytes"
	"fmt"
	"testing"

	"github.com/ashlar-storage/ashlar/io/buf"
)

// shelf is an overlay whose blocks come from a pool, which must have all back in the end.
type shelf struct {
	overlay
	t    *testing.T
	pool *buf.Pool
}

func newShelf(t *testing.T) *shelf {
	pool, err := buf.NewPool(buf.Config{Bytes: 4 << 20})
	if err != nil {
		t.Fatal(err)
	}
	s := &shelf{newOverlay(), t, pool}
	t.Cleanup(func() {
		s.clear()
		if s.blocks != 0 || s.bytes != 0 {
			t.Errorf("an empty overlay counts %d blocks of %d bytes", s.blocks, s.bytes)
		}
		if err := pool.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

var overlayChunk = Chunk{Volume: 1, Index: 2}

// data puts a block whose bytes are its index.
func (s *shelf) data(block uint32, index uint64) {
	b, err := s.pool.Get(BlockSize)
	if err != nil {
		s.t.Fatal(err)
	}
	b.Bytes()[0] = byte(index)
	s.put(overlayChunk, block, overlayBlock{index: index, data: NewPayload(b)})
}

func (s *shelf) zero(block uint32, index uint64) {
	s.put(overlayChunk, block, overlayBlock{index: index, zero: true})
}

// have is what the overlay says about the first blocks: - nothing, 0 zero, else the index.
func (s *shelf) have(blocks uint32) string {
	var b bytes.Buffer
	for n := range blocks {
		got, ok := s.lookup(overlayChunk, n)
		switch {
		case !ok:
			b.WriteString("- ")
		case got.zero:
			b.WriteString("0 ")
		default:
			fmt.Fprintf(&b, "%d ", got.data.B[0])
		}
	}
	return b.String()
}

func (s *shelf) want(want string) {
	s.t.Helper()
	if got := s.have(uint32(len(want)+1) / 2); got != want+" " {
		s.t.Errorf("overlay has %q, want %q", got, want)
	}
}

func release(runs []*FlushRun) {
	for _, r := range runs {
		for i := range r.Data {
			r.Data[i].Release()
		}
	}
}

func TestNewestBytesOfABlockStandInTheOverlay(t *testing.T) {
	s := newShelf(t)
	s.data(1, 5)
	s.data(1, 6)
	s.zero(2, 7)
	s.data(3, 8)
	s.zero(3, 9)
	s.want("- 6 0 0")
	if s.blocks != 3 || s.bytes != BlockSize {
		t.Errorf("%d blocks of %d bytes", s.blocks, s.bytes)
	}
}

func TestZeroedChunkHidesWhatTheFileHas(t *testing.T) {
	s := newShelf(t)
	s.data(1, 5)
	s.zeroChunk(overlayChunk, 6)
	s.data(2, 7)
	s.want("0 0 7")
	if s.clean(5) != true || s.clean(6) != false {
		t.Error("the zeroing itself does not have to be flushed")
	}
}

func TestRunsAreAdjacentBlocksOfOneSort(t *testing.T) {
	s := newShelf(t)
	for n, index := range map[uint32]uint64{1: 5, 2: 6, 3: 7, 6: 8, 7: 20} {
		s.data(n, index)
	}
	s.zero(4, 9)
	s.zero(5, 10)
	co := s.chunk(overlayChunk)
	for limit, want := range map[uint64]string{10: "1+3 4+2z 6+1 ", 20: "1+3 4+2z 6+2 ",
		5: "1+1 "} {
		got := ""
		runs := co.runs(100, limit)
		for _, r := range runs {
			got += fmt.Sprintf("%d+%d", r.First, r.Count)
			if r.Zero {
				got += "z"
			}
			got += " "
			if !r.Zero && (len(r.Data) != int(r.Count) || len(r.CRCs) != int(r.Count)) {
				t.Errorf("run of %d with %d blocks, %d checksums", r.Count, len(r.Data),
					len(r.CRCs))
			}
		}
		release(runs)
		if got != want {
			t.Errorf("up to %d: %s, want %s", limit, got, want)
		}
	}
	runs := co.runs(2, 20)
	if len(runs) != 1 || runs[0].Count != 2 {
		t.Errorf("at most 2 blocks: %+v", runs)
	}
	release(runs)
}

func TestBlockWrittenWhileItIsFlushedStays(t *testing.T) {
	s := newShelf(t)
	s.data(1, 5)
	s.data(2, 6)
	s.zero(3, 7)
	co := s.chunk(overlayChunk)
	runs := co.runs(10, 10)
	co.flushing = true
	s.data(1, 8)
	s.data(3, 9)
	co.flushing = false
	s.settle(overlayChunk, 0, runs)
	release(runs)
	s.want("- 8 - 9")
	if s.clean(8) || !s.clean(7) {
		t.Errorf("oldest is %d, want 8", co.oldest)
	}
}

func TestChunkZeroedWhileItIsFlushedStaysZeroed(t *testing.T) {
	s := newShelf(t)
	s.data(1, 5)
	co := s.chunk(overlayChunk)
	runs := co.runs(10, 10)
	co.flushing = true
	s.zeroChunk(overlayChunk, 8)
	if s.clean(5) {
		t.Error("clean while block 1 is still being flushed from the log")
	}
	co.flushing = false
	s.settle(overlayChunk, 0, runs)
	release(runs)
	s.want("0 0")
	if !s.clean(7) || s.clean(8) {
		t.Errorf("oldest is %d, want 8", co.oldest)
	}
}

func TestSecondZeroingWhileTheFirstIsFlushedStays(t *testing.T) {
	s := newShelf(t)
	s.zeroChunk(overlayChunk, 5)
	s.zeroChunk(overlayChunk, 6)
	s.settle(overlayChunk, 5, nil)
	s.want("0")
	s.settle(overlayChunk, 6, nil)
	s.want("-")
	if len(s.chunks) != 0 {
		t.Error("a chunk of which nothing is left is kept")
	}
}

func chunkAt(volume, index uint64) Chunk { return Chunk{Volume: volume, Index: index} }

func TestFullestChunkIsChosenAlikeEverywhere(t *testing.T) {
	s := newShelf(t)
	for _, c := range []Chunk{chunkAt(1, 1), chunkAt(1, 0), chunkAt(2, 0)} {
		s.put(c, 1, overlayBlock{index: 5, zero: true})
	}
	s.put(chunkAt(2, 0), 2, overlayBlock{index: 6, zero: true})
	pick := func(limit uint64, want Chunk, any bool) {
		t.Helper()
		if got, co := s.fullest(limit, 0); got != want || (co != nil) != any {
			t.Errorf("up to %d: %v (%v), want %v", limit, got, co != nil, want)
		}
	}
	pick(5, chunkAt(2, 0), true)
	s.chunks[chunkAt(2, 0)].flushing = true
	pick(5, chunkAt(1, 0), true)
	pick(4, Chunk{}, false)
}
