package copyset

import (
	"maps"
	"slices"
	"time"
)

// simImage is a copy of a disk, as a power cut might have left it.
type simImage struct {
	log    simLog
	chunks simFiles
}

func (n *simNode) copyDisk() *simImage {
	l := &n.log
	c := &simImage{log: simLog{records: slices.Clone(l.records), head: l.head, tail: l.gone,
		gone: l.gone}}
	c.chunks.init()
	for id, blocks := range n.chunks.durable {
		c.chunks.now[id], c.chunks.durable[id] = maps.Clone(blocks), maps.Clone(blocks)
	}
	return c
}

// rollback copies the disk of a member, or puts it back to its copy, when there is one that is
// older than what the control plane has heard of. One member is replaced at a time, so it happens
// to none while that goes on.
func (s *sim) rollback() {
	m := &s.members
	n := m.places[s.rng.IntN(len(m.places))]
	switch {
	case !n.up || !n.proven || m.leaving != nil:
	case n.copied == nil:
		// A store without a trace of a member that was recorded makes none anew: it says so.
		if len(n.log.records) > 0 {
			n.copied = n.copyDisk()
		}
	case n.copied.log.head < m.reached[n.id] && s.now >= m.downUntil:
		s.mark("disk put back")
		m.leaving = n
		n.crash()
		n.log, n.chunks, n.copied = n.copied.log, n.copied.chunks, nil
		n.putBack = true
		s.after(s.around(200*time.Millisecond), n.start)
	}
}

// register asks the control plane whether the disk is what it was, as soon as there is one.
func (n *simNode) register(life int) {
	s, m := n.s, &n.s.members
	s.after(min(s.around(100*time.Millisecond), time.Second), func() {
		switch {
		case n.life != life || !n.up:
		case s.now < m.downUntil:
			n.register(life)
		case n.opened < m.reached[n.id]:
			s.mark("the control plane knew that it was longer")
			if !n.putBack {
				s.fail("replica %d: the log ends at %d and went to %d", n.id, n.opened,
					m.reached[n.id])
			}
			n.lose()
		default:
			n.proven = true
			n.post(func(int64) { n.r.Proven() })
		}
	})
}

// foundOut takes a replica away that its leader knows to have had more.
func (s *sim) foundOut(n *simNode, why error) {
	s.mark("the leader knew that it was longer")
	if !n.putBack {
		s.fail("replica %d is taken for one that was put back: %v", n.id, why)
		return
	}
	n.lose()
}
