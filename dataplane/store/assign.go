package store

import (
	"errors"
	"fmt"

	"github.com/ashlar-storage/ashlar/dataplane/copyset"
)

// Assignment is a replica that the control plane wants on a store.
type Assignment struct {
	State *copyset.State // with which it begins, if it is new
	Lead  bool           // a new one stands for election at once
	// Existed: the member has been recorded before. If the store has no trace of it, it lost it,
	// and the member is never made anew.
	Existed bool
	Change  copyset.Change
}

var (
	errVanished = fmt.Errorf("%w: the store has no trace of a replica that it held",
		copyset.ErrDamaged)
	errDying = errors.New("store: an earlier replica of the copyset has not ended yet")
)

// Ensure makes the replica that the control plane wants here, or tells the one that runs who its
// peers are. With lead the new replica stands for election at once.
func (s *Store) Ensure(st *copyset.State, lead bool) error {
	return s.Assign(Assignment{State: st, Lead: lead})
}

// Assign is Ensure for a member that may take another's place. A lost replica is refused with why
// it was lost, of class copyset.ErrDamaged; a member with a higher number may begin in its place,
// with nothing of what it had.
func (s *Store) Assign(a Assignment) error {
	if err := s.Failed(); err != nil {
		return err
	}
	st := a.State
	if lost := s.isLost(st.Copyset); lost != nil {
		if err := s.refuseLost(lost, st.Replica); err != nil {
			return err
		}
	}
	runs, err := s.instruct(a)
	if runs || err != nil {
		return err
	}
	if a.Existed {
		s.lose(st.Copyset, st.Replica, errVanished)
		return errors.Join(errVanished, s.saveLost())
	}
	// Nobody's: the member that had them is lost, or the store lost count of them.
	if err := s.deleteChunks(st.Copyset); err != nil {
		return err
	}
	return s.begin(a)
}

// refuseLost refuses the member that was lost. When nobody knows which one it was, it is the one
// that is asked for first. A retired one that is wanted all the same, by a control plane that has
// forgotten of it, is lost from then on.
func (s *Store) refuseLost(lost *lostReplica, replica uint64) error {
	s.mu.Lock()
	if lost.clearing {
		s.mu.Unlock()
		return errDying
	}
	changed := lost.Replica == 0
	if changed {
		lost.Replica = replica
	}
	known := lost.Replica
	if lost.Retired && replica <= known {
		lost.Retired, changed = false, true
	}
	s.mu.Unlock()
	if changed {
		if err := s.saveLost(); err != nil {
			return err
		}
	}
	if replica <= known {
		return lost.err
	}
	return nil
}

// instruct tells the replica that runs who its peers are.
func (s *Store) instruct(a Assignment) (runs bool, err error) {
	st := a.State
	o := s.Owner(st.Copyset)
	ran := o.Do(func() {
		m := o.replicas[st.Copyset]
		switch {
		case m == nil && o.dying(st.Copyset):
			err = errDying
		case m == nil:
		case m.Self() != st.Replica:
			err = fmt.Errorf("store %s: copyset %d runs as replica %d, not %d", s.cfg.Path,
				st.Copyset, m.Self(), st.Replica)
		default:
			runs = true
			m.SetPeers(st.Epoch, st.Peers)
			m.SetChange(a.Change)
			o.touch(m)
		}
	})
	if !ran {
		err = errStopping
	}
	return runs, err
}

// begin makes the replica. Its first record is queued before anything it could say.
func (s *Store) begin(a Assignment) error {
	st := a.State
	o := s.Owner(st.Copyset)
	var err error
	ran := o.Do(func() {
		var r *copyset.Replica
		if r, err = s.newReplica(st, nil); err != nil {
			return
		}
		m := &member{Replica: r}
		o.replicas[st.Copyset] = m
		r.SetChange(a.Change)
		r.BeginCheckpoint()
		r.EndCheckpoint(&o.fx)
		if a.Lead {
			r.Campaign()
		}
		o.touch(m)
		s.mu.Lock()
		if l := s.lost[st.Copyset]; l != nil {
			l.replaced = true
		}
		s.mu.Unlock()
	})
	if !ran {
		return errStopping
	}
	return err
}
