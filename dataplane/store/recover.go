package store

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/ashlar-storage/ashlar/dataplane/copyset"
	"github.com/ashlar-storage/ashlar/io/chunkfile"
	"github.com/ashlar-storage/ashlar/io/wal"
)

// recovery is what an opening finds out.
type recovery struct {
	store *Store
	found map[uint64]*copyset.Recovered
	lost  map[uint64]error // why a copyset cannot be trusted, beside what its own records say
	all   error            // why none can
}

// recover replays the log and makes a replica of what it says about each copyset, or notes that it
// is lost. Nothing of the log is recycled before that note is durable.
func (s *Store) recover() error {
	begin := time.Now()
	r := &recovery{store: s, found: map[uint64]*copyset.Recovered{}, lost: map[uint64]error{}}
	known, err := s.loadLost()
	if errors.Is(err, ErrForeign) {
		return err
	}
	if err != nil {
		r.all = fmt.Errorf("%w: %w", copyset.ErrDamaged, err)
	}
	rec, err := r.replay()
	if err != nil {
		return err
	}
	discard := r.judgeChunks()
	r.takeLost(known)
	s.clearRetired(known, r.found)
	for id, rc := range r.found {
		if s.isLost(id) == nil {
			r.restore(id, rc)
		}
	}
	if len(s.lost) > 0 || len(known) > 0 || r.all != nil {
		if err := s.saveLost(); err != nil {
			return err
		}
	}
	s.wal.ForgetUnreadable()
	for _, slot := range discard {
		if err := s.chunks.Discard(slot); err != nil {
			s.log.Warn("a damaged slot cannot be used again", "slot", slot, "err", err)
		}
	}
	if len(r.found) > 0 {
		s.log.Info("recovered", "copysets", len(r.found), "lost", len(s.lost),
			"records", rec.Records, "bytes", rec.Bytes, "torn", rec.Torn,
			"took", time.Since(begin).Round(time.Millisecond))
	}
	return nil
}

// replay opens the log and gathers its records by copyset.
func (r *recovery) replay() (*wal.Recovery, error) {
	s := r.store
	log, rec, err := wal.Open(wal.Config{Disk: s.disk, Dir: logDir, StoreID: s.meta.UUID,
		AfterBatch:  s.goOn,
		SegmentSize: s.cfg.SegmentSize, Logger: s.log}, func(rec *wal.Record) error {
		rc := r.found[rec.Group]
		if rc == nil {
			rc = new(copyset.Recovered)
			r.found[rec.Group] = rc
		}
		if err := rc.Add(rec); err != nil {
			return err
		}
		s.keepPlaced(rec)
		return nil
	})
	if err != nil {
		return nil, err
	}
	s.wal, s.opened = log, rec.End
	for _, d := range rec.Damage {
		s.log.Error("the log is damaged", "file", d.File, "offset", d.Offset, "err", d.Err)
		for id, rc := range r.found {
			if len(d.Groups) == 0 || slices.Contains(d.Groups, id) {
				rc.Damage(d.To, d.Err)
			}
		}
		for _, id := range d.Groups {
			if r.found[id] == nil {
				r.lost[id] = fmt.Errorf("%w: %w", copyset.ErrDamaged, d.Err)
			}
		}
	}
	return rec, nil
}

// judgeChunks decides what slots that cannot be read mean. One that says which chunk it held costs
// that chunk's copyset its replica. One that does not may have held a chunk of any: its absence
// would read as zeroes, so none can be trusted. Those slots are free for use again, once the
// replicas are noted as lost.
func (r *recovery) judgeChunks() (discard []uint64) {
	for _, d := range r.store.chunks.Damage() {
		why := fmt.Errorf("%w: %w", copyset.ErrDamaged, d.Err)
		switch {
		case !d.Fatal:
		case d.IDKnown:
			r.lost[d.ID.Group] = why
		default:
			r.all = why
			discard = append(discard, d.Slot)
		}
	}
	return discard
}

// takeLost notes what is lost. A member with a higher number than the one on the list took its
// place, and the entry has served its purpose; so has that of a retired one, when the log has
// nothing of it any more.
func (r *recovery) takeLost(known []*lostReplica) {
	s := r.store
	for _, l := range known {
		rc := r.found[l.Copyset]
		if rc == nil && !l.Retired || rc != nil && rc.Replica() <= l.Replica {
			s.lost[l.Copyset] = l
		}
	}
	for id, why := range r.lost {
		replica := uint64(0)
		if rc := r.found[id]; rc != nil {
			replica = rc.Replica()
		}
		if s.lost[id] == nil {
			s.lose(id, replica, why)
		}
	}
	for id, rc := range r.found {
		if r.all != nil && s.lost[id] == nil {
			s.lose(id, rc.Replica(), r.all)
		}
	}
}

// restore makes the replica that was found, or notes why it cannot be.
func (r *recovery) restore(id uint64, rc *copyset.Recovered) {
	s := r.store
	st, err := rc.State()
	var replica *copyset.Replica
	if err == nil {
		replica, err = s.newReplica(st, rc)
	}
	if err != nil {
		s.lose(id, rc.Replica(), err)
		return
	}
	o, m := s.Owner(id), &member{Replica: replica, found: true}
	o.replicas[id] = m
	o.stir(m)
}

// lostChunk reports whether an error of a chunk file says that the chunk's metadata is gone, and
// not just blocks, which can be repaired one by one.
func lostChunk(err error, bad int) bool {
	return bad == 0 && (errors.Is(err, chunkfile.ErrCorrupt) || errors.Is(err, chunkfile.ErrTable))
}
