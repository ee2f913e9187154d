package copyset

import (
	"encoding/binary"
	"errors"
	"fmt"

	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"

	"github.com/ashlar-storage/ashlar/io/wal"
)

// ErrDamaged marks a replica whose part of the log contradicts itself or has holes: it may have
// acknowledged what it no longer has, so it must not vote, and is rebuilt from its peers.
var ErrDamaged = errors.New("copyset: log damaged")

// Recovered gathers one replica's records while the store's log is replayed.
type Recovered struct {
	entries entryLog
	state   *State
	stateAt wal.LSN
	bornAt  wal.LSN // of the state with which this member began
	seen    bool
	any     bool // a record of any kind was found
	damage  error
}

// Add takes the next record of the copyset, in log order.
func (rc *Recovered) Add(rec *wal.Record) error {
	rc.any = true
	switch rec.Kind {
	case RecordEntry, RecordConf:
		rc.addEntry(rec, Payload{Len: len(rec.Payload), At: rec.At}, rec.Meta)
	case RecordPlaced:
		p, command, err := placedPayload(rec)
		if err != nil {
			return fmt.Errorf("copyset %d: entry %d: %w", rec.Group, rec.Index, err)
		}
		rc.addEntry(rec, p, command)
	case RecordHard:
		if len(rec.Meta) != 8 {
			return fmt.Errorf("copyset %d: hard state of %d bytes, want 8", rec.Group,
				len(rec.Meta))
		}
		rc.hard(raftpb.HardState{Term: rec.Term, Vote: binary.LittleEndian.Uint64(rec.Meta),
			Commit: rec.Index})
	case RecordState:
		return rc.addState(rec)
	default:
		return fmt.Errorf("copyset %d: record of unknown kind %d: written by a newer version?",
			rec.Group, rec.Kind)
	}
	return nil
}

// hard takes the newer of two hard states; a vote given in a term is never taken back.
func (rc *Recovered) hard(h raftpb.HardState) {
	cur := &rc.entries.hard
	if h.Term > cur.Term {
		cur.Term, cur.Vote = h.Term, h.Vote
	} else if h.Term == cur.Term && h.Vote != 0 {
		cur.Vote = h.Vote
	}
	cur.Commit = max(cur.Commit, h.Commit)
}

// addEntry takes an entry. One that does not continue what is there begins the log anew: the oldest
// records may stand behind a state, or before entries that overwrote them, whose neighbours were
// recycled. Whether something is missing that should be there shows at the end, in findBase.
func (rc *Recovered) addEntry(rec *wal.Record, p Payload, data []byte) {
	l := &rc.entries
	if !rc.seen || rec.Index <= l.base || rec.Index > l.last()+1 {
		rc.seen = true
		l.reset(rec.Index-1, 0)
	}
	e := raftpb.Entry{Term: rec.Term, Index: rec.Index, Data: append([]byte(nil), data...)}
	if rec.Kind == RecordConf {
		e.Type = raftpb.EntryConfChangeV2
	}
	if err := l.append(e, p); err != nil {
		rc.damaged("%v", err)
		return
	}
	l.get(rec.Index).at = rec.At
	l.bare = rec.Index
}

// addState takes a checkpoint or an installed snapshot. With the state of a member that has just
// been made, everything before is void: it belongs to a member whose place this one took, if to
// any. One ahead of the log, or whose last entry
// the log has from another term, is a snapshot: the entries before it are of no use.
func (rc *Recovered) addState(rec *wal.Record) error {
	st := new(State)
	if err := st.Decode(rec.Payload); err != nil {
		return err
	}
	newborn := st.Applied == 0 && raft.IsEmptyHardState(st.Hard)
	if newborn || rc.state != nil && rc.state.Replica != st.Replica {
		*rc = Recovered{bornAt: rec.At, any: true}
	}
	rc.state, rc.stateAt = st, rec.At
	rc.hard(st.Hard)
	l := &rc.entries
	l.conf = st.Conf
	if !rc.seen || st.Applied > l.last() ||
		st.Applied > l.base && l.get(st.Applied).entry.Term != st.AppliedTerm {
		l.reset(st.Applied, st.AppliedTerm)
		rc.seen = true
	}
	return nil
}

func (rc *Recovered) damaged(format string, args ...any) {
	if rc.damage == nil {
		rc.damage = fmt.Errorf("%w: "+format, append([]any{ErrDamaged}, args...)...)
	}
}

// Damage declares the part of the log damaged, because the log itself found so before the position
// to; 0: nobody knows where. What lies before the member was made is not its own.
func (rc *Recovered) Damage(to wal.LSN, err error) {
	if to == 0 || to > rc.bornAt {
		rc.damaged("%v", err)
	}
}

// Replica is the member that the records belong to; 0 when no state of it was found.
func (rc *Recovered) Replica() uint64 {
	if rc.state == nil {
		return 0
	}
	return rc.state.Replica
}

// State is the newest state found, with what the log adds to it; nil when none was found. It fails
// with ErrDamaged.
func (rc *Recovered) State() (*State, error) {
	if rc.damage != nil {
		return rc.state, rc.damage
	}
	if rc.state == nil && rc.any {
		return nil, fmt.Errorf("%w: records without the state that stands before all others",
			ErrDamaged)
	}
	if rc.state == nil {
		return nil, nil
	}
	l := &rc.entries
	l.hard.Commit = max(l.hard.Commit, rc.state.Applied)
	if err := rc.findBase(); err != nil {
		return rc.state, err
	}
	if l.hard.Commit > l.last() {
		return rc.state, fmt.Errorf("%w: committed up to %d, the log ends at %d", ErrDamaged,
			l.hard.Commit, l.last())
	}
	return rc.state, nil
}

// findBase gives the log the entry before its first one, whose term raft asks for: the state's last
// entry, or else the first entry itself, which is applied and only of use to a follower.
func (rc *Recovered) findBase() error {
	l, st := &rc.entries, rc.state
	switch {
	case st.Applied < l.base:
		return fmt.Errorf("%w: applied up to %d, the log begins at %d", ErrDamaged, st.Applied,
			l.base+1)
	case st.Applied == l.base:
		l.baseTerm = st.AppliedTerm
	default:
		l.compact(l.base + 1)
	}
	return nil
}
