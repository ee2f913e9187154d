package copyset

import (
	"iter"
	"math"
	"math/bits"
	"sync"
)

// pageBlocks is how many neighbouring blocks have their place in one page of a chunk's overlay: 576
// bytes beside the buffers, when there is only one.
const pageBlocks = 8

// overlayPage has the overlay's content of pageBlocks neighbouring blocks. Pages stand in the order
// of the blocks, so that a flush finds neighbours without sorting, and each knows its oldest entry,
// so that nobody looks at all blocks to learn the chunk's.
type overlayPage struct {
	used   uint8  // a bit for each block that is there
	oldest uint64 // the first entry that a block here is from
	blocks [pageBlocks]overlayBlock
}

// overlayPages keeps pages that are not needed: blocks come and go with each write and each flush.
var overlayPages = sync.Pool{New: func() any { return new(overlayPage) }}

// get is a block, nil when it is in no page. It is valid until the block is set or removed.
func (co *chunkOverlay) get(n uint32) *overlayBlock {
	k, i := n/pageBlocks, n%pageBlocks
	if int(k) >= len(co.pages) || co.pages[k] == nil || co.pages[k].used&(1<<i) == 0 {
		return nil
	}
	return &co.pages[k].blocks[i]
}

// set puts a block into its page, and forgets what was there.
func (o *overlay) set(co *chunkOverlay, n uint32, b overlayBlock) {
	k, i := n/pageBlocks, n%pageBlocks
	if need := int(k) + 1 - len(co.pages); need > 0 {
		co.pages = append(co.pages, make([]*overlayPage, need)...)
	}
	p := co.pages[k]
	if p == nil {
		p = overlayPages.Get().(*overlayPage)
		p.oldest = math.MaxUint64
		co.pages[k] = p
		o.pages++
	}
	old, was := p.blocks[i], p.used&(1<<i) != 0
	p.blocks[i] = b
	p.used |= 1 << i
	if was {
		o.forget(old)
	} else {
		co.count++
	}
	if was && old.index == p.oldest {
		p.findOldest()
	} else {
		p.oldest = min(p.oldest, b.index)
	}
}

// remove takes a block out of its page, where it is, and forgets it.
func (o *overlay) remove(co *chunkOverlay, n uint32) {
	k, i := n/pageBlocks, n%pageBlocks
	p := co.pages[k]
	b := p.blocks[i]
	o.forget(b)
	p.blocks[i] = overlayBlock{}
	p.used &^= 1 << i
	co.count--
	switch {
	case p.used == 0:
		co.pages[k] = nil
		o.pages--
		overlayPages.Put(p)
	case b.index == p.oldest:
		p.findOldest()
	}
}

func (p *overlayPage) findOldest() {
	p.oldest = math.MaxUint64
	for used := p.used; used != 0; used &= used - 1 {
		p.oldest = min(p.oldest, p.blocks[bits.TrailingZeros8(used)].index)
	}
}

// upTo goes through the blocks from entries up to limit, in their order. The one in hand may be
// removed.
func (co *chunkOverlay) upTo(limit uint64) iter.Seq2[uint32, *overlayBlock] {
	return func(yield func(uint32, *overlayBlock) bool) {
		for k, p := range co.pages {
			if p == nil || p.oldest > limit {
				continue
			}
			for used := p.used; used != 0; used &= used - 1 {
				i := uint32(bits.TrailingZeros8(used))
				b := &p.blocks[i]
				if b.index <= limit && !yield(uint32(k)*pageBlocks+i, b) {
					return
				}
			}
		}
	}
}

func (co *chunkOverlay) findOldest() {
	co.oldest = math.MaxUint64
	if co.zeroed != 0 {
		co.oldest = co.zeroed
	}
	for _, p := range co.pages {
		if p != nil {
			co.oldest = min(co.oldest, p.oldest)
		}
	}
}
