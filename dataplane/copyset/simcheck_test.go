package copyset

import (
	"bytes"
	"cmp"
	"fmt"
	"slices"
	"sort"
	"strings"
	"time"
)

// register is the history of one sector: a register whose writes all have distinct values, but for
// zeroes.
type register struct {
	writes map[uint64]*zone // by value
	zeroes []*zone          // by write; what was never written counts as one
	reads  []regRead        // of zeroes
}

// zone is what is known about when a value was in the register (Gibbons and Korach, Testing Shared
// Memories, 1997): between the first end and the last begin of the write and the reads of it, it
// certainly was, when the former comes first. A history is linearizable exactly when no two such
// spans overlap, and no value whose operations all overlap each other lies inside such a span.
type zone struct {
	what       any
	begin, end int64 // of the write
	maybe      bool  // the write was not answered: it took effect by end, or never
	firstEnd   int64
	lastBegin  int64
	read       bool
}

type regRead struct {
	what       any
	begin, end int64
}

func newZone(what any, begin, end int64) *zone {
	return &zone{what: what, begin: begin, end: end, firstEnd: end, lastBegin: begin}
}

func newRegister() *register {
	return &register{writes: map[uint64]*zone{},
		zeroes: []*zone{newZone("nothing written", -1, -1)}}
}

func (g *register) write(what any, value uint64, begin, end int64, maybe bool) {
	z := newZone(what, begin, end)
	z.maybe = maybe
	if value == 0 {
		g.zeroes = append(g.zeroes, z)
	} else {
		g.writes[value] = z
	}
}

func (g *register) readValue(what any, value uint64, begin, end int64) error {
	if value == 0 {
		g.reads = append(g.reads, regRead{what, begin, end})
		return nil
	}
	z := g.writes[value]
	if z == nil {
		return fmt.Errorf("%v: value %d was never written there", what, value)
	}
	if end < z.begin {
		return fmt.Errorf("%v: reads what is written later: %v", what, z.what)
	}
	z.read = true
	z.firstEnd, z.lastBegin = min(z.firstEnd, end), max(z.lastBegin, begin)
	return nil
}

// check reports how the history contradicts itself.
func (g *register) check() error {
	var spans, points []*zone
	for _, z := range g.writes {
		switch {
		case !z.read && z.maybe:
		case z.firstEnd < z.lastBegin:
			spans = append(spans, z)
		default:
			points = append(points, z)
		}
	}
	for _, z := range g.zeroes {
		if !z.maybe {
			points = append(points, z)
		}
	}
	slices.SortFunc(spans, func(a, b *zone) int { return int(a.firstEnd - b.firstEnd) })
	for i := 1; i < len(spans); i++ {
		if spans[i].firstEnd < spans[i-1].lastBegin {
			return fmt.Errorf("both were there in turns:\n    %v\n    %v", spans[i-1].what,
				spans[i].what)
		}
	}
	for _, p := range points {
		for _, z := range spans {
			if z.firstEnd < p.lastBegin && p.firstEnd < z.lastBegin {
				return fmt.Errorf("came and went while another was there:\n    %v\n    %v", p.what,
					z.what)
			}
		}
	}
	return g.checkZeroes(spans, points)
}

// checkZeroes looks for a zeroing that each read of zeroes may have seen: one not begun after it,
// and not overwritten for certain before it.
func (g *register) checkZeroes(spans, points []*zone) error {
	over := overwriters(append(slices.Clone(points), spans...))
	zeroes := slices.Clone(g.zeroes)
	slices.SortFunc(zeroes, func(a, b *zone) int { return cmp.Compare(a.begin, b.begin) })
	ends := make([]int64, len(zeroes)) // the latest end of this one and those begun before it
	for i, z := range zeroes {
		if ends[i] = z.end; i > 0 {
			ends[i] = max(ends[i], ends[i-1])
		}
	}
	for _, r := range g.reads {
		// Spans stand one behind the other.
		if i := sort.Search(len(spans), func(i int) bool {
			return spans[i].firstEnd >= r.begin
		}); i > 0 && r.end < spans[i-1].lastBegin {
			return fmt.Errorf("%v: zeroes while another was there:\n    %v", r.what,
				spans[i-1].what)
		}
		last := over.before(r.begin)
		i := sort.Search(len(zeroes), func(i int) bool { return zeroes[i].begin > r.end })
		if i == 0 || last != nil && ends[i-1] < last.begin {
			return fmt.Errorf("%v: zeroes, long overwritten by\n    %v", r.what, last.what)
		}
	}
	return nil
}

// writers are writes in the order in which they had certainly taken effect, each with the one among
// it and those before it that began last: that overwrites for certain whatever ended before it.
type writers []struct {
	effect int64
	latest *zone
}

func overwriters(zones []*zone) (list writers) {
	slices.SortFunc(zones, func(a, b *zone) int { return cmp.Compare(a.firstEnd, b.firstEnd) })
	list = make(writers, len(zones))
	for i, z := range zones {
		list[i].effect, list[i].latest = z.firstEnd, z
		if i > 0 && list[i-1].latest.begin > z.begin {
			list[i].latest = list[i-1].latest
		}
	}
	return list
}

// before is the write that began last of those that had taken effect by then; nil: none had.
func (w writers) before(at int64) *zone {
	i := sort.Search(len(w), func(i int) bool { return w[i].effect >= at })
	if i == 0 {
		return nil
	}
	return w[i-1].latest
}

// checkHistory judges every sector's history and every block that was read.
func (s *sim) checkHistory() {
	regs := map[Chunk][]*register{}
	each := func(op *simOp, f func(g *register, i uint32) error) {
		if regs[op.chunk] == nil {
			for range simSectors {
				regs[op.chunk] = append(regs[op.chunk], newRegister())
			}
		}
		for i := range op.n {
			if err := f(regs[op.chunk][op.first+i], i); err != nil {
				s.fail("%v sector %d: %v", op.chunk, op.first+i, err)
			}
		}
	}
	for _, op := range s.ops {
		if op.kind != KindRead {
			end := s.effectBy(op)
			each(op, func(g *register, _ uint32) error {
				g.write(op, op.value, op.begin, end, !op.answered)
				return nil
			})
		}
	}
	for _, op := range s.ops {
		if op.kind == KindRead && op.answered {
			each(op, func(g *register, i uint32) error {
				return g.readValue(op, op.read[i], op.begin, op.end)
			})
		}
	}
	for _, c := range sortedChunks(regs) {
		for i, g := range regs[c] {
			if err := g.check(); err != nil {
				s.fail("%v sector %d: %v", c, i, err)
			}
		}
	}
	s.checkWhole()
}

// effectBy is when a write took effect at the latest, if it ever did: when it was answered, or when
// a newer session's write was, which fences it.
func (s *sim) effectBy(op *simOp) int64 {
	end := op.end
	for epoch, at := range s.fences[op.client.volume] {
		if epoch > op.epoch {
			end = min(end, at)
		}
	}
	return end
}

// checkFence looks for a session that a newer one had fenced before it began to write.
func (s *sim) checkFence(op *simOp) {
	for epoch, at := range s.fences[op.client.volume] {
		if epoch > op.epoch && at < op.begin {
			s.fail("%v took effect, epoch %d had the volume since %v", op, epoch, time.Duration(at))
		}
	}
}

// checkWhole looks for blocks of which a write shows in one part and is missing in another.
func (s *sim) checkWhole() {
	byValue := map[uint64]*simOp{}
	for _, op := range s.ops {
		if op.kind == KindWrite {
			byValue[op.value] = op
		}
	}
	const per = BlockSize / sectorSize
	for _, op := range s.ops {
		for i := range op.read {
			a := op.first + uint32(i)
			w := byValue[op.read[i]]
			for b := max(op.first, a/per*per); b < min(op.first+op.n, a/per*per+per); b++ {
				v := byValue[op.read[b-op.first]] // nil for zeroes, which do not say which
				if w != nil && v != nil && w.first <= b && b < w.first+w.n && v.end < w.begin {
					s.fail("%v: a block mixes\n    %v\n    %v", op, w, v)
				}
			}
		}
	}
}

// compareReplicas checks that all have the same bytes and the same exactly-once table.
func (s *sim) compareReplicas() {
	first := s.members.places[0]
	table := first.r.sessions.appendTo(nil)
	for _, n := range s.members.places[1:] {
		if !bytes.Equal(n.r.sessions.appendTo(nil), table) {
			s.fail("exactly-once tables of replicas %d and %d differ", first.id, n.id)
		}
	}
	for v := range uint64(simVolumes) {
		for index := range uint64(simChunks) {
			for b := range uint32(simChunkBlocks) {
				s.compareBlock(Chunk{Volume: v + 1, Index: index}, b)
			}
		}
	}
}

func (s *sim) compareBlock(c Chunk, block uint32) {
	var seen []byte
	var who uint64
	for _, n := range s.members.places {
		data, ok := n.content(c, block)
		if !ok {
			continue
		}
		if seen != nil && !bytes.Equal(data, seen) {
			s.fail("block %d of %v: replica %d has %s, %d has %s", block, c, who, brief(seen), n.id,
				brief(data))
		}
		seen, who = data, n.id
	}
	if seen == nil {
		s.fail("block %d of %v: no replica has it", block, c)
	}
}

func brief(block []byte) string {
	var b strings.Builder
	for i := 0; i < len(block); i += sectorSize {
		v, err := unstamp(0, block[i:i+8])
		_ = err
		fmt.Fprintf(&b, "%d ", v)
	}
	return b.String()
}
