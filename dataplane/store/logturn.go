package store

import (
	"cmp"
	"context"
	"encoding/binary"
	"hash/fnv"
	"slices"

	"github.com/ashlar-storage/ashlar/io/wal"
)

// Copysets have their checkpoints one after the other, not all at once: the log before a place is
// free when nobody needs it any more, so the turn is that of the copyset that needs the oldest of
// it. Blocks gather in an overlay while half of the log and more is written once, and few overlays
// drain at any time. Were all drained together, the log would have to be half full at most when
// that begins, and for seconds the device would do little else.

// need is what one copyset's replica keeps from being used again.
type need struct {
	copyset uint64
	at      wal.LSN // the oldest place in the log that a restart would read
	bytes   int64   // of buffers that its overlay has
}

// logUsed is how much of its bound the log has taken, with the slots that it names.
func (s *Store) logUsed() int64 { return s.wal.Usage() + s.placed.held() }

// memoryShort reports whether the copyset whose turn is next has it for the buffers' sake.
func (s *Store) memoryShort() bool { return s.poolShare() >= turnShare }

// turnDue reports whether it may be somebody's turn: so much log has come since the last one, or
// memory runs short.
func (s *Store) turnDue() bool {
	part := max(s.logAge(), s.cfg.LogBytes/4) / logParts
	return s.logUsed()-s.logLeft.Load() >= part || s.memoryShort()
}

// logAge is how far behind the log's end a copyset may need it.
func (s *Store) logAge() int64 {
	age := logAge(s.meta.UUID, s.wal.Tail(), s.cfg.LogBytes-s.segmentBytes())
	return max(0, age-s.placed.held())
}

// logAge is between five eighths and three quarters of a log's bound. The logs of three replicas
// grow alike. If a copyset's drained at the same time, no majority of them would be without, and on
// one device the drains would add up; so each store has an age of its own, and another one each
// time that it has released log.
func logAge(store [16]byte, tail wal.LSN, bound int64) int64 {
	return bound/4*3 - int64(seedOf(store, uint64(tail))>>48)*(bound/8)>>16
}

// seedOf is a number that looks like chance, and is the same for the same.
func seedOf(store [16]byte, n uint64) uint64 {
	h := fnv.New64a()
	_, _ = h.Write(binary.LittleEndian.AppendUint64(store[:], n))
	return h.Sum64()
}

// checkpointOldest takes a checkpoint of those whose turn it is, and says whether there were any.
func (s *Store) checkpointOldest(ctx context.Context) bool {
	turn := turns{head: s.wal.Head(), age: s.logAge(), short: s.memoryShort()}
	ok := s.look(func(_ *Owner, m *member) {
		if m.Err() == nil {
			turn.needs = append(turn.needs, need{m.ID(), m.Needs(), m.OverlayBytes()})
		}
	})
	next := turn.next(func(id uint64) uint64 { return seedOf(s.meta.UUID, id) })
	if !ok || len(next) == 0 {
		s.logLeft.Store(s.logUsed())
		return false
	}
	s.checkpoint(ctx, func(id uint64) bool { return slices.Contains(next, id) })
	return true
}

// turns decides whose turn it is.
type turns struct {
	needs []need
	head  wal.LSN // where the log ends
	age   int64   // how far behind it somebody may need it
	short bool    // of memory
}

// next is those that would need log older than the age before the next part of it is written. If
// all need the same, as after a checkpoint of the whole store, an eighth of them come first, in
// time for the last to have theirs before that: so they come apart, and stay so. Where memory runs
// short, that eighth is next in any case, if it has some. Of those that need the same, the one with
// the lower tie comes first: other replicas of it should not be at theirs.
func (t *turns) next(tie func(copyset uint64) uint64) (next []uint64) {
	slices.SortFunc(t.needs, func(a, b need) int {
		return cmp.Or(cmp.Compare(a.at, b.at), cmp.Compare(tie(a.copyset), tie(b.copyset)))
	})
	part, batch := t.age/logParts, (len(t.needs)+logParts-1)/logParts
	late, begin, held := 0, false, int64(0)
	for i, n := range t.needs {
		left := int64(n.at) + t.age - int64(t.head)
		if left < part {
			late = i + 1
		}
		begin = begin || left < int64(i/batch+1)*part
		if i < batch {
			held += n.bytes
		}
	}
	if !begin && !(t.short && held >= turnBytes) {
		return nil
	}
	for _, n := range t.needs[:max(late, batch)] {
		next = append(next, n.copyset)
	}
	return next
}
