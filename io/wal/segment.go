package wal

import (
	"slices"

	"github.com/ashlar-storage/ashlar/io/disk"
)

// segment is one segment file. hdr and end describe its present use.
type segment struct {
	name string
	file disk.File
	hdr  segmentHeader
	end  int64 // file offset after the last durable frame
	pins int
	odd  bool // the file has not the size of a segment: it is not used again
}

// segments is the bookkeeping of segment files: pure state, the caller holds the lock.
//
// A file is live while its records may be needed, and ready when it may be overwritten. A live
// file becomes ready, without a write to it, once a tail beyond it is durable in the log
// itself: from then on recovery ignores the stamp it still carries.
type segments struct {
	layout
	live  []*segment // by sequence number
	ready []*segment // prepared or recycled, oldest first
	// surplus is to be removed.
	surplus []*segment
	// lost are unreadable files, kept until nothing up to lostSeq is needed.
	lost    []*segment
	lostSeq uint64
	active  *segment // last of live, or nil before the first write since Open
	nextSeq uint64
	// released is the highest position given to Release. tail is the start of the first
	// segment it leaves; durableTail the tail that is durable in the log.
	released, tail, durableTail LSN
	prepared                    int
}

// endLSN returns the position after the last durable record of s.
func (g *segments) endLSN(s *segment) LSN { return g.lsn(s.hdr.seq, s.end) }

// find returns the live segment that holds at, or nil.
func (g *segments) find(at LSN) *segment {
	seq := g.seq(at)
	i, ok := slices.BinarySearchFunc(g.live, seq, func(s *segment, seq uint64) int {
		switch {
		case s.hdr.seq < seq:
			return -1
		case s.hdr.seq > seq:
			return 1
		}
		return 0
	})
	if !ok {
		return nil
	}
	return g.live[i]
}

// advanceTail moves the tail over segments that end at or before the released position. The
// active segment has no end yet. A gap, which recovery reported as damage, is kept in the
// report until a position beyond it is released.
func (g *segments) advanceTail() {
	for _, s := range g.live {
		if s == g.active || g.released < g.endLSN(s) {
			if start := g.lsn(s.hdr.seq, 0); g.released >= start {
				g.tail = max(g.tail, start)
			}
			return
		}
		g.tail = max(g.tail, g.lsn(s.hdr.seq+1, 0))
	}
}

// recycle makes every unpinned segment below the durable tail ready, and returns how many.
func (g *segments) recycle() (n int) {
	keep := g.live[:0]
	for _, s := range g.live {
		if s == g.active || s.pins > 0 || g.lsn(s.hdr.seq+1, 0) > g.durableTail {
			keep = append(keep, s)
			continue
		}
		n++
		g.retire(s)
	}
	clear(g.live[len(keep):])
	g.live = keep
	if len(g.lost) > 0 && g.lsn(g.lostSeq+1, 0) <= g.durableTail {
		g.surplus = append(g.surplus, g.lost...)
		n, g.lost = n+len(g.lost), nil
	}
	return n
}

// retire decides whether a file is kept for reuse.
func (g *segments) retire(s *segment) {
	if len(g.ready) >= g.prepared+keepReady || s.odd {
		g.surplus = append(g.surplus, s)
		return
	}
	g.ready = append(g.ready, s)
}

// activate makes the first ready segment the active one; prevEnd is where the log ends before
// it. The caller writes the header with the first frame.
func (g *segments) activate(epoch uint64, prevEnd LSN) *segment {
	s := g.ready[0]
	g.ready = slices.Delete(g.ready, 0, 1)
	g.live = append(g.live, s)
	g.active = s
	s.end = BlockSize
	s.hdr = segmentHeader{
		stamp:     stamp{store: g.store, seq: g.nextSeq, epoch: epoch},
		size:      g.size,
		prevEnd:   prevEnd,
		watermark: prevEnd,
	}
	g.nextSeq++
	g.advanceTail()
	s.hdr.tail = g.tail
	return s
}

// newest returns the live segment with the highest sequence number, or nil.
func (g *segments) newest() *segment {
	if len(g.live) == 0 {
		return nil
	}
	return g.live[len(g.live)-1]
}

// previous returns the live segment before the newest one, or nil.
func (g *segments) previous() *segment {
	if len(g.live) < 2 {
		return nil
	}
	return g.live[len(g.live)-2]
}

// usage returns the bytes of frames from the tail on.
func (g *segments) usage() (n int64) {
	for _, s := range g.live {
		if g.lsn(s.hdr.seq, 0) >= g.tail {
			n += s.end - BlockSize
		}
	}
	return n
}

// begin returns where the newest segment begins that is written to, or will be.
func (g *segments) begin() LSN {
	if g.active == nil {
		return g.lsn(g.nextSeq, 0)
	}
	return g.lsn(g.active.hdr.seq, 0)
}

// held returns the bytes of usage before begin.
func (g *segments) held() int64 {
	if g.active == nil {
		return g.usage()
	}
	return g.usage() - g.active.end + BlockSize
}

// left returns the bytes of frames that the files take without a new one. One behind the tail is
// ready once that is durable, which the next frame makes it, or the wait for a segment.
func (g *segments) left() (n int64) {
	files := len(g.ready)
	for _, s := range g.live {
		if s != g.active && s.pins == 0 && !s.odd && g.lsn(s.hdr.seq+1, 0) <= g.tail {
			files++
		}
	}
	if g.active != nil {
		n = g.size - g.active.end
	}
	return n + int64(files)*(g.size-BlockSize)
}

// files returns every segment file.
func (g *segments) files() []*segment {
	return slices.Concat(g.live, g.ready, g.surplus, g.lost)
}
