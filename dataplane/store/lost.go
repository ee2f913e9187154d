package store

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/ashlar-storage/ashlar/dataplane/copyset"
	"github.com/ashlar-storage/ashlar/io/disk"
)

// A replica that may have lost something it promised must never vote or answer again, also when
// the place where the loss showed has long been recycled. So the store keeps a list of the members
// it has lost, on disk, and a copyset comes back here only as a member with a higher number. The
// control plane gives numbers out once and rising.

// lostFile holds the list: JSON, so that an operator can read it.
const lostFile = "LOST"

const (
	lostFormat  = "ashlar-lost-replicas"
	lostVersion = 2 // 1: without retired members, and written where there are none
)

// lostReplica is one entry.
type lostReplica struct {
	Copyset uint64 `json:"copyset"`
	Replica uint64 `json:"replica"` // 0: not known
	Reason  string `json:"reason"`
	Retired bool   `json:"retired,omitempty"` // no member any more: nothing is to be rebuilt

	err      error
	replaced bool // a new member runs; the entry stays until that one is found at an opening
	clearing bool // its chunks are being deleted
}

type lostList struct {
	Format   string         `json:"format"`
	Version  int            `json:"version"`
	Replicas []*lostReplica `json:"replicas"`
	CRC      uint32         `json:"crc32c"` // of the list as compact JSON
}

// errLostList marks a list that cannot be trusted, so that no replica can.
var errLostList = errors.New("store: the list of lost replicas is unreadable")

func decodeLost(data []byte) ([]*lostReplica, error) {
	var l lostList
	if err := json.Unmarshal(data, &l); err != nil {
		return nil, fmt.Errorf("%w: %w", errLostList, err)
	}
	switch {
	case l.Format != lostFormat:
		return nil, fmt.Errorf("%w: format %.40q, want %q", errLostList, l.Format, lostFormat)
	case l.Version < 1 || l.Version > lostVersion:
		return nil, fmt.Errorf("%w: %s has version %d, this build reads 1 to %d: use a newer "+
			"release", ErrForeign, lostFile, l.Version, lostVersion)
	case slices.Contains(l.Replicas, nil):
		return nil, fmt.Errorf("%w: an empty entry", errLostList)
	case l.CRC != noteCRC(l.Replicas):
		return nil, fmt.Errorf("%w: crc32c %08x, want %08x", errLostList, noteCRC(l.Replicas),
			l.CRC)
	}
	for _, r := range l.Replicas {
		r.err = fmt.Errorf("%w: %s", copyset.ErrDamaged, r.Reason)
	}
	return l.Replicas, nil
}

// loadLost reads the list; none when there is no file. With errLostList every replica counts as
// lost.
func (s *Store) loadLost() ([]*lostReplica, error) {
	data, err := s.disk.ReadFile(lostFile)
	if errors.Is(err, disk.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errLostList, err)
	}
	return decodeLost(data)
}

// saveLost makes the list durable.
func (s *Store) saveLost() error {
	s.lostMu.Lock() // the newest list is written last
	defer s.lostMu.Unlock()
	s.mu.Lock()
	l := lostList{Format: lostFormat, Version: 1, Replicas: []*lostReplica{}}
	for _, id := range slices.Sorted(maps.Keys(s.lost)) {
		r := *s.lost[id]
		if r.Retired {
			l.Version = lostVersion
		}
		l.Replicas = append(l.Replicas, &r)
	}
	s.mu.Unlock()
	l.CRC = noteCRC(l.Replicas)
	return s.saveNote(lostFile, &l)
}

// lose notes that a replica cannot be trusted; saveLost must follow. The highest number stays: a
// lower one was lost before it.
func (s *Store) lose(id, replica uint64, why error) {
	s.log.Error("replica is lost here and has to be rebuilt as a new member", "copyset", id,
		"replica", replica, "err", why)
	if !errors.Is(why, copyset.ErrDamaged) {
		why = fmt.Errorf("%w: %w", copyset.ErrDamaged, why)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if was := s.lost[id]; was != nil {
		replica = max(replica, was.Replica)
	}
	s.lost[id] = &lostReplica{Copyset: id, Replica: replica, Reason: why.Error(), err: why}
}

// isLost is the entry of a copyset whose replica here does not run; nil when there is none.
func (s *Store) isLost(id uint64) *lostReplica {
	s.mu.Lock()
	defer s.mu.Unlock()
	if l := s.lost[id]; l != nil && !l.replaced {
		return l
	}
	return nil
}

// condemn ends a replica that runs, because part of what it had is gone. What it has under way
// comes back to it as before; the store goes on.
func (o *Owner) condemn(m *member, why error) {
	if o.condemnUnsaved(m, why) {
		s := o.store
		s.background(func() { _ = s.saveCondemned() })
	}
}

// condemnUnsaved is condemn for who calls saveCondemned when it has condemned all that it must.
func (o *Owner) condemnUnsaved(m *member, why error) bool {
	if m.condemned {
		return false
	}
	o.end(m, why)
	o.store.lose(m.ID(), m.Self(), why)
	return true
}

// saveCondemned makes the list durable; a store that cannot fails, for it would start its lost
// replicas again.
func (s *Store) saveCondemned() error {
	err := s.saveLost()
	if err != nil {
		s.fail(err)
	}
	return err
}

// end stops a replica before its store does.
func (o *Owner) end(m *member, why error) {
	m.condemned = true
	m.Stop(why, &o.fx)
	delete(o.replicas, m.ID())
	o.condemned[m.Replica] = m
	o.touch(m)            // to be buried when nothing of it is under way
	o.store.noteLeaders() // whoever waits for news of leaders reports this at once
}

// bury gives the memory of a condemned replica back when nothing of it is under way any more, and
// the space of one that has retired.
func (o *Owner) bury(m *member) {
	if !m.condemned || m.busy > 0 || o.condemned[m.Replica] == nil {
		return
	}
	m.Free()
	delete(o.condemned, m.Replica)
	if m.retired {
		o.store.background(func() { o.store.clear(m.ID()) })
	}
}

// dying reports whether an earlier replica of the copyset has something under way.
func (o *Owner) dying(id uint64) bool {
	for r := range o.condemned {
		if r.ID() == id {
			return true
		}
	}
	return false
}
