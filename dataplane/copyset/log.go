package copyset

import (
	"fmt"

	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"

	"github.com/ashlar-storage/ashlar/io/wal"
)

// entryLog is the copyset's view of its part of the store's log: what every entry is, where its
// payload stands, and, for the newest, the payload itself. It is raft's Storage.
//
//	base < entries <= last
//	payloads of entries <= bare are only in the log on disk
type entryLog struct {
	base, baseTerm uint64
	ents           []logEntry // ents[i] has index base+1+i
	bare           uint64
	cached         int64 // bytes of payload held in memory
	hard           raftpb.HardState
	conf           raftpb.ConfState
	snapshot       func() (raftpb.Snapshot, error)
	copies         room[raftpb.Entry] // of entries, for messages
}

type logEntry struct {
	entry   raftpb.Entry
	payload Payload
	at      wal.LSN // of the record; 0 until durable
}

func (l *entryLog) last() uint64 { return l.base + uint64(len(l.ents)) }

func (l *entryLog) get(index uint64) *logEntry {
	if index <= l.base || index > l.last() {
		return nil
	}
	return &l.ents[index-l.base-1]
}

// append adds an entry behind its predecessor, in place of whatever an older term had there. It
// takes over the payload's reference.
func (l *entryLog) append(e raftpb.Entry, p Payload) error {
	if e.Index <= l.base || e.Index > l.last()+1 {
		return fmt.Errorf("copyset: entry %d behind a log of %d..%d", e.Index, l.base+1, l.last())
	}
	l.truncate(e.Index)
	l.ents = append(l.ents, logEntry{entry: e, payload: p})
	if p.B != nil {
		l.cached += int64(p.Len)
	}
	return nil
}

// truncate drops the entries from index on.
func (l *entryLog) truncate(index uint64) {
	keep := index - l.base - 1
	for i := keep; i < uint64(len(l.ents)); i++ {
		l.unload(&l.ents[i])
		l.ents[i] = logEntry{}
	}
	l.ents = l.ents[:min(keep, uint64(len(l.ents)))]
	l.bare = min(l.bare, l.last())
}

func (l *entryLog) unload(e *logEntry) {
	if e.payload.B != nil {
		l.cached -= int64(e.payload.Len)
	}
	e.payload.Release()
}

// strip lets the payloads of entries up to index go, as far as the log on disk has them.
func (l *entryLog) strip(index uint64) {
	for i := max(l.bare, l.base) + 1; i <= min(index, l.last()); i++ {
		e := l.get(i)
		if e.at == 0 {
			return
		}
		l.unload(e)
		l.bare = i
	}
}

// compact forgets the entries up to index.
func (l *entryLog) compact(index uint64) {
	if index <= l.base {
		return
	}
	l.strip(index)
	e := l.get(index)
	l.baseTerm = e.entry.Term
	l.ents = l.ents[index-l.base:]
	l.base = index
}

// reset makes the log empty behind a snapshot.
func (l *entryLog) reset(index, term uint64) {
	l.truncate(l.base + 1)
	l.ents, l.base, l.baseTerm, l.bare = nil, index, term, index
}

// firstNeeded is the place of the first entry above index; 0 when there is none.
func (l *entryLog) firstNeeded(index uint64) wal.LSN {
	for i := max(index, l.base) + 1; i <= l.last(); i++ {
		if e := l.get(i); e.at != 0 {
			return e.at
		}
	}
	return 0
}

// below is the newest entry up to limit that the log on disk has before lsn; 0 when there is none.
func (l *entryLog) below(lsn wal.LSN, limit uint64) uint64 {
	found := uint64(0)
	for i := l.base + 1; i <= min(limit, l.last()); i++ {
		if e := l.get(i); e.at == 0 || e.at >= lsn {
			break
		}
		found = i
	}
	return found
}

// InitialState implements raft.Storage.
func (l *entryLog) InitialState() (raftpb.HardState, raftpb.ConfState, error) {
	return l.hard, l.conf, nil
}

// Entries implements raft.Storage. What a message carries is payloads above all, which raft does
// not know of, so they are bounded here.
func (l *entryLog) Entries(lo, hi, maxSize uint64) ([]raftpb.Entry, error) {
	if lo <= l.base {
		return nil, raft.ErrCompacted
	}
	if hi > l.last()+1 {
		return nil, raft.ErrUnavailable
	}
	size, payload := uint64(0), 0
	out := l.copies.take(int(min(hi-lo, entryPiece)), entryPiece)[:0]
	for i := lo; i < hi; i++ {
		e := l.get(i)
		size += uint64(e.entry.Size())
		payload += e.payload.Len
		if len(out) > 0 && (size > maxSize || payload > maxPayloadPerMsg) {
			break
		}
		out = append(out, e.entry)
	}
	return out, nil
}

// Term implements raft.Storage.
func (l *entryLog) Term(i uint64) (uint64, error) {
	switch {
	case i == l.base:
		return l.baseTerm, nil
	case i < l.base:
		return 0, raft.ErrCompacted
	case i > l.last():
		return 0, raft.ErrUnavailable
	}
	return l.get(i).entry.Term, nil
}

// LastIndex implements raft.Storage.
func (l *entryLog) LastIndex() (uint64, error) { return l.last(), nil }

// FirstIndex implements raft.Storage.
func (l *entryLog) FirstIndex() (uint64, error) { return l.base + 1, nil }

// Snapshot implements raft.Storage.
func (l *entryLog) Snapshot() (raftpb.Snapshot, error) { return l.snapshot() }
