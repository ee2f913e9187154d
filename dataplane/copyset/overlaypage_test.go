package copyset

import (
	"maps"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

// modelChunk is what pages have to be like.
type modelChunk map[uint32]uint64

func (m modelChunk) oldest() uint64 {
	oldest := uint64(math.MaxUint64)
	for _, index := range m {
		oldest = min(oldest, index)
	}
	return oldest
}

// upTo is the blocks from entries up to limit, in their order.
func (m modelChunk) upTo(limit uint64) (list []uint32) {
	for _, n := range slices.Sorted(maps.Keys(m)) {
		if m[n] <= limit {
			list = append(list, n)
		}
	}
	return list
}

func heldPages(co *chunkOverlay) (n int) {
	for _, p := range co.pages {
		if p != nil {
			n++
		}
	}
	return n
}

func TestPagesHoldWhatAMapWould(t *testing.T) {
	rng := rand.New(rand.NewPCG(7, 1))
	for range 50 {
		o := newOverlay()
		co, model, blocks := o.chunk(overlayChunk), modelChunk{}, uint32(1+rng.IntN(200))
		for index := range uint64(400) {
			n := rng.Uint32N(blocks)
			if rng.IntN(3) > 0 {
				o.put(overlayChunk, n, overlayBlock{index: 1 + index, zero: true})
				model[n] = 1 + index
			} else if b := co.get(n); b != nil {
				o.settle(overlayChunk, 0, []*FlushRun{{First: n, index: []uint64{b.index}}})
				co = o.chunk(overlayChunk)
				delete(model, n)
			}
			checkPages(t, &o, co, model, rng.Uint64N(index+2))
		}
		o.clear()
		if o.blocks != 0 || co.count != 0 || o.pages != 0 || heldPages(co) != 0 {
			t.Fatalf("%d blocks are left, %d of the chunk, %d pages, %d of the chunk", o.blocks,
				co.count, o.pages, heldPages(co))
		}
	}
}

func checkPages(t *testing.T, o *overlay, co *chunkOverlay, model modelChunk, limit uint64) {
	t.Helper()
	var got []uint32
	for n, b := range co.upTo(limit) {
		if b.index != model[n] {
			t.Fatalf("block %d from entry %d, want %d", n, b.index, model[n])
		}
		got = append(got, n)
	}
	if want := model.upTo(limit); !slices.Equal(got, want) {
		t.Fatalf("blocks up to entry %d: %v, want %v", limit, got, want)
	}
	if o.blocks != len(model) || co.count != len(model) {
		t.Fatalf("%d blocks, %d of the chunk, want %d", o.blocks, co.count, len(model))
	}
	pages := map[uint32]bool{}
	for n := range model {
		pages[n/pageBlocks] = true
	}
	if o.pages != len(pages) || heldPages(co) != len(pages) {
		t.Fatalf("%d pages, %d of the chunk, want %d", o.pages, heldPages(co), len(pages))
	}
	co.findOldest()
	if want := model.oldest(); co.oldest != want {
		t.Fatalf("oldest is %d, want %d", co.oldest, want)
	}
}

// Blocks far from each other take a page each: fewer of them gather.
func TestBlocksWithoutNeighboursGoBeforeTheirPagesTakeMuchMemory(t *testing.T) {
	r := Replica{overlay: newOverlay()}
	for n := range uint32(flushPages) {
		if limit := r.flushLimit(); limit != 0 {
			t.Fatalf("with %d blocks those up to entry %d are to go", n, limit)
		}
		r.overlay.put(chunkAt(1, uint64(n%16)), n*pageBlocks, overlayBlock{index: 1, zero: true})
	}
	if r.flushLimit() == 0 {
		t.Errorf("%d pages are kept", r.overlay.pages)
	}
}

// BenchmarkFlushingAChunk writes a chunk of 16 MiB and flushes it, job after job; an operation is
// one block.
func BenchmarkFlushingAChunk(b *testing.B) {
	b.ReportAllocs()
	const blocks = 4096
	o := newOverlay()
	for i := 0; i < b.N; i += blocks {
		for n := range uint32(blocks) {
			o.put(overlayChunk, n, overlayBlock{index: uint64(i) + uint64(n) + 1})
		}
		for len(o.chunks) > 0 {
			o.settle(overlayChunk, 0, o.chunks[overlayChunk].runs(flushBlocks, math.MaxUint64))
		}
	}
}
