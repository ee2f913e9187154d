package copyset

import "slices"

// suspicion is a follower's reason to believe that its leader's process has ended: it heard that
// the leader's address refuses connections. Silence alone may be a slow network, and is waited out
// for an election time-out; with this the follower stands for election as soon as it may.
//
// It may be wrong: something on the way can refuse, and the leader be alive. So it never shortens
// what the follower promised. A leader serves reads alone for leaseDuration after it sent a message
// that was answered; for promiseDuration after it took one, this replica gives its vote to nobody
// else, whatever it hears. A leader that is alive and reaches its followers ends the suspicion with
// its next message.
type suspicion struct {
	leader uint64 // 0: none
	term   uint64
	heard  int64 // ns; the newest message of the leader was taken then
	since  int64 // ns; the turns of the followers count from then
	tries  int64 // elections stood for
}

// Gone tells the replica that the process of a member has ended, as far as the caller knows. at is
// when to call Wake for it, in ns; 0: never, because that member does not lead here. A leader that
// was giving the leadership to that member keeps it.
func (r *Replica) Gone(peer uint64, now int64) (at int64) {
	r.now = now
	if r.err != nil || peer == 0 {
		return 0
	}
	r.wake()
	switch {
	case r.leading():
		if r.status.LeadTransferee == peer {
			r.abortTransfer()
		}
		return 0
	case peer != r.status.Lead:
		return 0
	}
	heard := r.heardOf(r.status.Term)
	if s := &r.suspect; s.leader != peer || s.term != r.status.Term || s.heard != heard {
		*s = suspicion{leader: peer, term: r.status.Term, heard: heard,
			since: max(heard, now-int64(promiseDuration))}
	}
	return r.turnToStand()
}

// Wake lets a suspicion have its effect, which a Tick does too, but later.
func (r *Replica) Wake(now int64) {
	r.now = now
	if r.err == nil {
		r.doubt()
	}
}

// doubt forgets a leader that is believed to have ended, once what was promised to it is over, and
// stands for election when it is this replica's turn to.
func (r *Replica) doubt() {
	s := &r.suspect
	if s.leader == 0 {
		return
	}
	st := r.node.BasicStatus()
	if st.Term != s.term || st.Lead != s.leader && st.Lead != 0 || r.heardOf(st.Term) != s.heard {
		*s = suspicion{}
		return
	}
	if r.now < r.promised() {
		return
	}
	if st.Lead != 0 {
		r.ignore(r.node.ForgetLeader())
	}
	if r.now >= r.turnToStand() && slices.Contains(r.entries.conf.Voters, r.self) {
		s.tries++
		r.Campaign()
	}
}

// heardOf is when the newest message of the leader of a term was taken, in ns; 0: none was.
func (r *Replica) heardOf(term uint64) int64 {
	if r.stampTerm != term {
		return 0
	}
	return r.leaderHeard
}

// promised is until when this replica votes for nobody but the leader that it heard last.
func (r *Replica) promised() int64 {
	if r.leaderHeard == 0 {
		return 0
	}
	return r.leaderHeard + int64(promiseDuration)
}

// transferred is raft's word for an election that the leader asked for. It serves nobody any more
// by a lease of its term (lease.given).
const transferred = "CampaignTransfer"

// bound reports whether a promise forbids to vote for who asks. Raft refuses too, while it follows
// a leader; but it forgets the leader when it hears of a newer term, and what tells it may be the
// late refusal of a vote that it asked for before it heard the leader.
func (r *Replica) bound(m *Message) bool {
	return r.now < r.promised() && m.From != r.leaderFrom && string(m.Context) != transferred
}

// turnToStand is when this replica stands for election, in ns: the voters one after the other,
// because two at a time would divide the votes.
func (r *Replica) turnToStand() int64 {
	s := &r.suspect
	rank, others := int64(0), int64(0)
	for _, v := range r.entries.conf.Voters {
		if v == s.leader {
			continue
		}
		others++
		if v < r.self {
			rank++
		}
	}
	return s.since + int64(promiseDuration+standMargin) +
		(rank+s.tries*max(others, 1))*int64(standApart)
}
