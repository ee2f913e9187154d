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
// mark, or one remembered above it, is a repetition or a ghost and must not be applied. A session
// is forgotten only when a newer epoch of its volume fences all that it may still send. What would
// make the table larger than a snapshot carries is refused, and nothing is forgotten for it.
type sessions struct {
	volumes map[uint64]*attachment // none of them erased
	erased  runs
	size    int // bytes of the encoded table and of the runs, as a state has them
}

// attachment is what is known of a volume's writers.
type attachment struct {
	epoch    uint64 // the newest that wrote, or fenced the others
	sessions map[uint64]*session
}

// session remembers operations in the order of their ids. They come nearly in it and leave from its
// front, a few dozen at a time: a list is less work than a map, and stands as it is encoded.
type session struct {
	lowWater uint64
	done     []uint64
}

// The bytes of the encoded table: its head, and what each volume, session and operation adds.
const (
	tableHead      = 4
	volumeBytes    = 20
	sessionBytes   = 20
	operationBytes = 8
)

// anyVolume is the number under which sessions stand whose volume is not known: tables of format 1
// did not say it. No volume has it.
const anyVolume = 0

// verdict is what becomes of a command that reached the table.
type verdict uint8

const (
	fresh    verdict = iota // apply it
	repeated                // it has taken effect already; answer as then
	fenced                  // a newer session owns the volume; refuse
	flooded                 // more unfinished operations than a client may have; refuse
	crowded                 // the table has no room for it now; refuse
)

func newSessions() sessions {
	return sessions{volumes: map[uint64]*attachment{}, size: tableHead}
}

// epoch is the newest of a volume; 0: none is known.
func (t *sessions) epoch(volume uint64) uint64 {
	if a := t.volumes[volume]; a != nil {
		return a.epoch
	}
	if t.erased.has(volume) {
		return math.MaxUint64
	}
	return 0
}

// find is a session of a volume; nil when nothing of it took effect here.
func (t *sessions) find(volume, id uint64) *session {
	for _, v := range [...]uint64{volume, anyVolume} {
		if a := t.volumes[v]; a != nil && a.sessions[id] != nil {
			return a.sessions[id]
		}
	}
	return nil
}

// judge decides about a command without changing anything.
func (t *sessions) judge(c *Command) verdict {
	if c.Session == 0 {
		return fresh
	}
	epoch := t.epoch(c.Volume)
	if c.Epoch < epoch || epoch == math.MaxUint64 && t.erased.has(c.Volume) {
		return fenced
	}
	s := t.find(c.Volume, c.Session)
	switch {
	case s == nil:
		return t.admitSession(c.Volume)
	case c.OpID < s.lowWater:
		return repeated
	}
	if _, ok := slices.BinarySearch(s.done, c.OpID); ok {
		return repeated
	}
	return t.admitOperation(s, c.LowWater)
}

// admitOperation says whether a session may have one more unfinished operation. Those that it
// finishes with it count no more.
func (t *sessions) admitOperation(s *session, mark uint64) verdict {
	finished := s.below(mark)
	switch {
	case len(s.done)-finished >= maxSessionOps:
		return flooded
	case t.size+(1-finished)*operationBytes > maxTableBytes:
		return crowded
	}
	return fresh
}

// admitSession says whether there is room for one more session of a volume.
func (t *sessions) admitSession(volume uint64) verdict {
	if !t.hasRoom(volume) || t.size+sessionBytes+operationBytes > maxTableBytes {
		return crowded
	}
	return fresh
}

// hasRoom reports whether the volume is in the table or fits with one session.
func (t *sessions) hasRoom(volume uint64) bool {
	const needs = volumeBytes + sessionBytes + operationBytes
	return t.volumes[volume] != nil || t.size+needs <= maxTableBytes || t.erased.has(volume)
}

// record notes that a fresh command took effect.
func (t *sessions) record(c *Command) {
	if c.Session == 0 {
		return
	}
	t.fence(c.Volume, c.Epoch)
	s := t.find(c.Volume, c.Session)
	if s == nil {
		s = &session{}
		t.volumes[c.Volume].sessions[c.Session] = s
		t.size += sessionBytes
	}
	before := len(s.done)
	if at, known := slices.BinarySearch(s.done, c.OpID); !known {
		s.done = slices.Insert(s.done, at, c.OpID)
	}
	if c.LowWater > s.lowWater {
		s.done = slices.Delete(s.done, 0, s.below(c.LowWater))
		s.lowWater = c.LowWater
	}
	t.size += (len(s.done) - before) * operationBytes
}

// below counts the operations whose ids lie below a mark.
func (s *session) below(mark uint64) int {
	n, _ := slices.BinarySearch(s.done, mark)
	return n
}

// fence ends the sessions of a volume that are older than an epoch, and forgets them. It reports
// whether that epoch is the newest still.
func (t *sessions) fence(volume, epoch uint64) bool {
	a := t.volumes[volume]
	if a == nil && t.erased.has(volume) {
		return epoch == math.MaxUint64
	}
	if a == nil {
		a = &attachment{sessions: map[uint64]*session{}}
		t.volumes[volume] = a
		t.size += volumeBytes
	}
	if epoch > a.epoch {
		t.size -= a.size() - volumeBytes
		clear(a.sessions)
		a.epoch = epoch
	}
	return a.epoch == epoch
}

// dropVolume fences every session of a deleted volume for ever, so that a late write cannot make a
// chunk of it again. Volume ids are not reused; a deleted volume costs volumeBytes until a run of
// erased ones takes its place.
func (t *sessions) dropVolume(volume uint64) { t.fence(volume, math.MaxUint64) }

// appendTo encodes the table, in sorted order so that equal tables give equal bytes. Numbers have 8
// bytes, counts 4:
//
//	count, volumes {volume | epoch | count, sessions {session | low water | count, done op ids}}
func (t *sessions) appendTo(dst []byte) []byte {
	le := binary.LittleEndian
	dst = le.AppendUint32(dst, uint32(len(t.volumes)))
	for _, v := range slices.Sorted(maps.Keys(t.volumes)) {
		a := t.volumes[v]
		dst = le.AppendUint64(dst, v)
		dst = le.AppendUint64(dst, a.epoch)
		dst = le.AppendUint32(dst, uint32(len(a.sessions)))
		for _, id := range slices.Sorted(maps.Keys(a.sessions)) {
			s := a.sessions[id]
			dst = le.AppendUint64(dst, id)
			dst = le.AppendUint64(dst, s.lowWater)
			dst = appendIDs(dst, s.done)
		}
	}
	return dst
}

// decode reads what appendTo wrote and returns the bytes behind it.
func (t *sessions) decode(b []byte) ([]byte, error) {
	*t = newSessions()
	r := reader{b: b}
	volume := rising{}
	for range r.count(volumeBytes) {
		v := volume.next(&r)
		t.fence(v, r.u64())
		id := rising{}
		for range r.count(sessionBytes) {
			t.add(v, id.next(&r), r.u64(), &r)
		}
	}
	return r.rest()
}

// decodeFlat reads a table of format 1: volumes {volume | epoch}, sessions {session | low water |
// log index of its last use | count, done op ids}.
func (t *sessions) decodeFlat(b []byte) ([]byte, error) {
	*t = newSessions()
	r := reader{b: b}
	volume := rising{}
	for range r.count(16) {
		t.fence(volume.next(&r), r.u64())
	}
	id := rising{}
	for range r.count(28) {
		session, lowWater := id.next(&r), r.u64()
		r.u64()
		t.fence(anyVolume, 0)
		t.add(anyVolume, session, lowWater, &r)
	}
	return r.rest()
}

// add puts a decoded session into the table; its operations are next in r.
func (t *sessions) add(volume, id, lowWater uint64, r *reader) {
	n := r.count(operationBytes)
	s := &session{lowWater: lowWater, done: make([]uint64, 0, n)}
	op := rising{}
	for range n {
		s.done = append(s.done, op.next(r))
	}
	if r.err == nil {
		t.volumes[volume].sessions[id] = s
		t.size += sessionBytes + n*operationBytes
	}
}

// rest is what a table's decoder has left.
func (r *reader) rest() ([]byte, error) {
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
