package store

import (
	"errors"
	"fmt"

	"github.com/ashlar-storage/ashlar/dataplane/copyset"
	"github.com/ashlar-storage/ashlar/io/chunkfile"
)

// A replica whose place another store has taken is of no use any more: nobody counts on its vote,
// and its space is wanted. It is put on the list of lost ones before anything of it is deleted, so
// that a restart in between does not find half of it, and leaves the list at an opening that finds
// nothing of it in the log. Unlike a lost one it is not reported: there is nothing to be done.

var errRetired = fmt.Errorf("%w: another store has its place", copyset.ErrDamaged)

// Retire ends a replica that is no member of its copyset any more, and gives its space back soon
// after. The caller must know from the copyset's leader that a majority has it on its logs that the
// replica is none. A replica that is not here, or not any more, is no error.
func (s *Store) Retire(copysetID, replica uint64) error {
	if err := s.Failed(); err != nil {
		return err
	}
	o := s.Owner(copysetID)
	ran := o.Do(func() {
		m := o.replicas[copysetID]
		switch {
		case m != nil && m.Self() == replica:
			m.retired = true
			s.noteRetired(copysetID, replica)
			o.end(m, errRetired)
		case m == nil && s.lostAs(copysetID, replica):
			s.noteRetired(copysetID, replica)
			s.background(func() { s.clear(copysetID) })
		}
	})
	if !ran {
		return errStopping
	}
	return nil
}

// lostAs says whether the store lists the member as lost.
func (s *Store) lostAs(id, replica uint64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	l := s.lost[id]
	return l != nil && !l.replaced && !l.Retired && l.Replica == replica
}

func (s *Store) noteRetired(id, replica uint64) {
	s.log.Info("replica is no member any more and is destroyed", "copyset", id, "replica", replica)
	s.mu.Lock()
	defer s.mu.Unlock()
	if was := s.lost[id]; was != nil {
		replica = max(replica, was.Replica)
	}
	s.lost[id] = &lostReplica{Copyset: id, Replica: replica, Reason: errRetired.Error(),
		Retired: true, err: errRetired, clearing: true}
}

// clear deletes the chunks of a retired replica, of which nothing is under way any more.
func (s *Store) clear(id uint64) {
	if s.saveCondemned() != nil {
		return
	}
	if err := s.deleteChunks(id); err != nil {
		s.log.Warn("chunks of a replica that was destroyed are left", "copyset", id, "err", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if l := s.lost[id]; l != nil {
		l.clearing = false
	}
}

// deleteChunks deletes all chunks of a copyset. A store that cannot fails: it does not know of them
// any more, and its next start would take them for those of whoever has the copyset by then.
func (s *Store) deleteChunks(id uint64) error {
	for _, c := range s.chunks.List(id) {
		err := s.chunks.Delete(c)
		if err == nil || errors.Is(err, chunkfile.ErrNotExist) {
			continue
		}
		err = fmt.Errorf("store %s: clearing copyset %d: %w", s.cfg.Path, id, err)
		if !errors.Is(err, chunkfile.ErrClosed) { // nothing was begun
			s.fail(err)
		}
		return err
	}
	return nil
}

// clearRetired deletes, at an opening, what a stop has left of retired replicas.
func (s *Store) clearRetired(known []*lostReplica, found map[uint64]*copyset.Recovered) {
	for _, l := range known {
		if rc := found[l.Copyset]; !l.Retired || rc != nil && rc.Replica() > l.Replica {
			continue
		}
		if err := s.deleteChunks(l.Copyset); err != nil {
			s.log.Warn("chunks of a replica that was destroyed are left", "copyset", l.Copyset,
				"err", err)
		}
	}
}
