package copyset

import (
	"encoding/binary"
	"fmt"
	"maps"
	"math"
	"slices"
)

// sessions is the exactly-once table: which operations of which client session took effect. It is
// replicated state: it changes only when an entry is applied, and every replica changes it alike.
//
// A client names each operation by (session, op id), op ids rise, and with each it sends its
// low-water mark: every id below is finished there and will not be sent again. So an id below the
// mark, or one remembered above it, is a repetition or a ghost and must not be applied.
type sessions struct {
	byID   map[uint64]*session
	epochs map[uint64]uint64 // volume -> newest session epoch that wrote, or fenced the others
}

type session struct {
	id       uint64
	lowWater uint64
	lastUsed uint64 // log index
	done     map[uint64]struct{}
}

// verdict is what becomes of a command that reached the table.
type verdict uint8

const (
	fresh    verdict = iota // apply it
	repeated                // it has taken effect already; answer as then
	fenced                  // a newer session owns the volume; refuse
	flooded                 // more unfinished operations than a client may have; refuse
)

func newSessions() sessions {
	return sessions{byID: map[uint64]*session{}, epochs: map[uint64]uint64{}}
}

// judge decides about a command without changing anything.
func (t *sessions) judge(c *Command) verdict {
	if c.Session == 0 {
		return fresh
	}
	if c.Epoch < t.epochs[c.Volume] {
		return fenced
	}
	s := t.byID[c.Session]
	if s == nil {
		return fresh
	}
	if c.OpID < s.lowWater {
		return repeated
	}
	if _, ok := s.done[c.OpID]; ok {
		return repeated
	}
	if len(s.done) >= maxSessionOps && c.LowWater <= s.lowWater {
		return flooded
	}
	return fresh
}

// record notes that a fresh command took effect at index.
func (t *sessions) record(c *Command, index uint64) {
	if c.Session == 0 {
		return
	}
	t.fence(c.Volume, c.Epoch)
	s := t.byID[c.Session]
	if s == nil {
		t.makeRoom()
		s = &session{id: c.Session, done: map[uint64]struct{}{}}
		t.byID[c.Session] = s
	}
	s.lastUsed = index
	s.done[c.OpID] = struct{}{}
	if c.LowWater > s.lowWater {
		s.raise(c.LowWater)
	}
}

// raise forgets what lies below the client's low-water mark. Ids rise by one in a session, though
// a copyset sees only some of them: walk whichever is shorter, the gap or the table.
func (s *session) raise(mark uint64) {
	if mark-s.lowWater <= uint64(len(s.done)) {
		for id := s.lowWater; id < mark; id++ {
			delete(s.done, id)
		}
	} else {
		maps.DeleteFunc(s.done, func(id uint64, _ struct{}) bool { return id < mark })
	}
	s.lowWater = mark
}

// fence ends the sessions of a volume that are older than an epoch. It reports whether that epoch
// is the newest still.
func (t *sessions) fence(volume, epoch uint64) bool {
	t.epochs[volume] = max(t.epochs[volume], epoch)
	return t.epochs[volume] == epoch
}

func (t *sessions) makeRoom() {
	if len(t.byID) < maxSessions {
		return
	}
	var oldest *session
	for _, s := range t.byID {
		if oldest == nil || s.lastUsed < oldest.lastUsed ||
			s.lastUsed == oldest.lastUsed && s.id < oldest.id {
			oldest = s
		}
	}
	delete(t.byID, oldest.id)
}

// dropVolume fences every session of a deleted volume for ever, so that a late write cannot make a
// chunk of it again. Volume ids are not reused; a deleted volume costs 16 bytes.
func (t *sessions) dropVolume(volume uint64) { t.epochs[volume] = math.MaxUint64 }

// appendTo encodes the table, in sorted order so that equal tables give equal bytes.
func (t *sessions) appendTo(dst []byte) []byte {
	le := binary.LittleEndian
	dst = le.AppendUint32(dst, uint32(len(t.epochs)))
	for _, v := range slices.Sorted(maps.Keys(t.epochs)) {
		dst = le.AppendUint64(dst, v)
		dst = le.AppendUint64(dst, t.epochs[v])
	}
	dst = le.AppendUint32(dst, uint32(len(t.byID)))
	for _, id := range slices.Sorted(maps.Keys(t.byID)) {
		s := t.byID[id]
		for _, v := range [...]uint64{s.id, s.lowWater, s.lastUsed} {
			dst = le.AppendUint64(dst, v)
		}
		dst = le.AppendUint32(dst, uint32(len(s.done)))
		for _, op := range slices.Sorted(maps.Keys(s.done)) {
			dst = le.AppendUint64(dst, op)
		}
	}
	return dst
}

// decode reads what appendTo wrote and returns the bytes behind it.
func (t *sessions) decode(b []byte) ([]byte, error) {
	*t = newSessions()
	r := reader{b: b}
	last := rising{}
	for range r.count(16) {
		v := last.next(&r)
		t.epochs[v] = r.u64()
	}
	last = rising{}
	for range r.count(28) {
		s := &session{id: last.next(&r), lowWater: r.u64(), lastUsed: r.u64()}
		n := r.count(8)
		s.done = make(map[uint64]struct{}, n)
		op := rising{}
		for range n {
			s.done[op.next(&r)] = struct{}{}
		}
		t.byID[s.id] = s
	}
	if r.err != nil {
		return nil, fmt.Errorf("copyset: exactly-once table: %w", r.err)
	}
	return r.b, nil
}

// rising reads numbers that stand in order, each once.
type rising struct {
	last uint64
	some bool
}

func (g *rising) next(r *reader) uint64 {
	v := r.u64()
	if g.some && v <= g.last && r.err == nil {
		r.err, r.b = errOrder, nil
	}
	g.last, g.some = v, true
	return v
}
