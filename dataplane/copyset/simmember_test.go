package copyset

import (
	"fmt"
	"slices"
	"time"

	"github.com/ashlar-storage/ashlar/io/wal"
)

// simMembers is what the control plane knows and wants of the members. It hears of them late or
// not, and tells them late or not; one member is replaced at a time.
type simMembers struct {
	places  []*simNode // the members, each in the place of the one it replaced
	epoch   uint64
	leaving *simNode // is to be replaced: its disk is gone, or it shall move
	joining *simNode // in the place of leaving, until it votes
	givenUp uint64   // newcomers up to this number are not wanted any more
	heard   bool     // all know that joining is one of them
	// downUntil: there is no control plane.
	downUntil int64
	reached   map[uint64]wal.LSN // by node: how far its log went, as it last said
}

// controlEvery is the mean time between two looks of the control plane.
const controlEvery = 50 * time.Millisecond

// simReport is what a node last said of its replica.
type simReport struct {
	term    uint64
	leading bool
	joint   bool
	voters  []uint64
	gaveUp  uint64
	epoch   uint64
}

// added makes a node for a new member, of the next number.
func (s *sim) added() *simNode {
	for i := range s.cuts {
		s.cuts[i] = append(s.cuts[i], false)
		s.clogs[i] = append(s.clogs[i], 0)
	}
	n := newSimNode(s, len(s.nodes))
	s.nodes = append(s.nodes, n)
	s.cuts = append(s.cuts, make([]bool, len(s.nodes)))
	s.clogs = append(s.clogs, make([]int64, len(s.nodes)))
	return n
}

// wanted are the members that are to have the copyset, the joining one last.
func (m *simMembers) wanted() []*simNode {
	if m.joining == nil {
		return m.places
	}
	return append(slices.Clone(m.places), m.joining)
}

func (m *simMembers) peers() (peers []Peer) {
	for _, n := range m.wanted() {
		peers = append(peers, Peer{ReplicaID: n.id, NodeID: n.id, StoreID: n.id,
			Addr: fmt.Sprintf("node%d", n.id)})
	}
	return peers
}

func (m *simMembers) change() Change {
	if m.joining == nil {
		return Change{GivenUp: m.givenUp}
	}
	return Change{Joining: m.joining.id, Leaving: m.leaving.id, GivenUp: m.givenUp,
		Confirm: m.heard}
}

// settled says that nobody is to be replaced.
func (m *simMembers) settled() bool { return m.leaving == nil }

// replace takes a disk with all that is on it, or has its member move. While one is replaced, only
// the newcomer's disk may go: of what was promised, a majority must be left.
func (s *sim) replace() {
	m := &s.members
	switch {
	case m.joining != nil:
		if m.joining.up && s.chance(0.5) {
			s.mark("newcomer lost")
			m.joining.lose()
		}
	case m.leaving == nil:
		m.leaving = m.places[s.rng.IntN(len(m.places))]
		if s.chance(0.4) {
			s.mark("member to move")
			return
		}
		s.mark("disk lost")
		m.leaving.lose()
	}
}

// lose ends a node for good, with its log and its chunk files.
func (n *simNode) lose() {
	n.crash()
	n.dead, n.putBack = true, false
	n.log = simLog{}
	n.chunks.init()
}

// control is one look of the control plane at what was reported, and what it makes of it.
func (s *sim) control() {
	s.after(s.around(controlEvery), s.control)
	m := &s.members
	if s.now < m.downUntil {
		return
	}
	var lead *simReport
	for _, n := range m.wanted() {
		if s.chance(0.7) {
			n.report()
			if n.up && n.proven {
				m.reached[n.id] = n.log.head
			}
		}
		if r := &n.reported; n.up && r.leading && (lead == nil || r.term > lead.term) {
			lead = r
		}
	}
	switch {
	case m.leaving == nil || lead == nil || m.leaving.putBack:
	case m.joining == nil || m.joining.dead || s.tooLate():
		if s.caughtUp() > len(m.places)/2 {
			m.joining = s.added()
			m.epoch++
			m.joining.start()
		}
	case s.undone():
		s.calledBack()
	case !lead.joint && slices.Contains(lead.voters, m.joining.id) &&
		!slices.Contains(lead.voters, m.leaving.id):
		s.replaced()
	case m.givenUp < m.joining.id && !m.leaving.dead && s.chance(0.05):
		s.mark("called back")
		m.givenUp, m.heard = m.joining.id, false
		m.epoch++
	case m.givenUp == m.joining.id && !m.heard && s.allHeard():
		m.heard = true
		m.epoch++
	}
	for _, n := range m.wanted() {
		if s.chance(0.7) {
			n.tell(lead == nil)
		}
	}
}

// controlEnds ends the control plane; the next knows what was decided, and hears of nodes anew.
func (s *sim) controlEnds() {
	if m := &s.members; m.leaving != nil && m.leaving.putBack {
		return // what happens then is not promised
	}
	s.mark("control plane down")
	s.members.downUntil = s.now + int64(s.around(time.Second))
	for _, n := range s.nodes {
		n.reported = simReport{}
	}
}

// allHeard says that all members have heard of the newcomer that was given up, or begun anew.
func (s *sim) allHeard() bool {
	return !slices.ContainsFunc(s.members.places, func(n *simNode) bool {
		return n.reported.epoch != s.members.epoch
	})
}

// undone says that a newcomer that was given up will never vote, by what any member has said, and
// that nobody else has the place that it was to take.
func (s *sim) undone() bool {
	at := s.farewell()
	return at != nil && !slices.ContainsFunc(s.members.places, func(n *simNode) bool {
		return !slices.Contains(at.voters, n.id)
	})
}

// tooLate says that it never votes, and that an earlier one took the place and was lost: another
// must come all the same.
func (s *sim) tooLate() bool { return s.farewell() != nil && !s.undone() }

// farewell is what a member said that has confirmed that the newcomer never votes.
func (s *sim) farewell() *simReport {
	for _, n := range s.members.places {
		if n.reported.gaveUp == s.members.joining.id {
			return &n.reported
		}
	}
	return nil
}

// calledBack ends a newcomer that is no member.
func (s *sim) calledBack() {
	m := &s.members
	s.mark("undone")
	s.after(s.around(300*time.Millisecond), m.joining.lose)
	m.leaving, m.joining, m.heard = nil, nil, false
	m.epoch++
}

// replaced makes the newcomer a member like any other. The one that moved is told to end later.
func (s *sim) replaced() {
	m := &s.members
	s.mark("replaced")
	old := m.leaving
	m.places = slices.Clone(m.places)
	m.places[slices.Index(m.places, old)] = m.joining
	m.leaving, m.joining, m.heard = nil, nil, false
	m.epoch++
	if !old.dead {
		s.mark("moved")
		s.after(s.around(300*time.Millisecond), old.lose)
	}
}

// caughtUp counts the members that have nearly all that is committed, as a leader would say.
func (s *sim) caughtUp() (n int) {
	var commit uint64
	for _, p := range s.members.places {
		if p.up && p.r.leading() {
			commit = max(commit, p.r.status.Commit)
		}
	}
	for _, p := range s.members.places {
		if p.up && commit > 0 && p.r.entries.last()+catchUpEntries >= commit {
			n++
		}
	}
	return n
}

// report has the control plane hear what the replica says of itself now.
func (n *simNode) report() {
	if n.up && n.r != nil {
		conf := &n.r.entries.conf
		n.reported = simReport{term: n.r.status.Term, leading: n.r.leading(),
			joint: n.r.joint(), voters: slices.Clone(conf.Voters),
			gaveUp: n.r.gaveUp(), epoch: n.r.epoch}
	}
}

// tell has the replica take over what is wanted, and wakes it when nobody is known to lead.
func (n *simNode) tell(rouse bool) {
	m := &n.s.members
	epoch, peers, change := m.epoch, m.peers(), m.change()
	n.s.after(n.s.around(controlEvery), func() {
		n.post(func(now int64) {
			if rouse {
				n.r.Rouse(now)
			}
			if epoch >= n.r.epoch {
				n.r.SetPeers(epoch, peers)
				n.r.SetChange(change)
			}
		})
	})
}
