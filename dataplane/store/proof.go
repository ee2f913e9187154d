package store

import (
	"fmt"

	"github.com/ashlar-storage/ashlar/dataplane/copyset"
)

// A disk that has been put back to an earlier state is sound in itself: only somebody else can tell
// that there was more. The store says up to where its log is durable, whoever listens remembers the
// highest, and at the next start compares it with where the log ends then. The position rises with
// every write and never falls; where the log ends at an opening is told apart from what the same
// opening has written since by a number of that opening.

// LogMark is how far a store's log goes.
type LogMark struct {
	Life   uint64 // of this opening of the store; random, never 0
	Opened uint64 // where the log ended when it was opened
	End    uint64 // where it ends now, durable
}

// LogMark says how far the log goes.
func (s *Store) LogMark() LogMark {
	return LogMark{Life: s.life, Opened: uint64(s.opened), End: uint64(s.wal.Durable())}
}

// Proven tells that nobody knows of a longer log than was found: the replicas may take part in
// elections.
func (s *Store) Proven() {
	s.each(func(_ *Owner, m *member) { m.Proven() })
}

// Regressed tells that the log reached up to a position beyond where it was found to end. What is
// missing there may have been acknowledged, by any replica. All that were found are lost, which is
// durable when it returns nil.
func (s *Store) Regressed(reached uint64) error {
	if reached <= uint64(s.opened) {
		return nil
	}
	why := fmt.Errorf("%w: the log ends at %d and once reached %d: the disk was put back to an "+
		"earlier state", copyset.ErrDamaged, s.opened, reached)
	s.log.Error("the disk holds an earlier state of the store: its replicas are rebuilt; unless "+
		"it was put back on purpose, replace it", "err", why)
	ran := s.each(func(o *Owner, m *member) {
		if m.found {
			o.condemnUnsaved(m, why)
		}
	})
	if !ran {
		return errStopping
	}
	return s.saveCondemned()
}
