package copyset

import (
	"slices"

	"go.etcd.io/raft/v3/raftpb"
)

// lease is a leader's right to serve reads alone. A follower that took a message of this leader
// refuses every other candidate for promiseDuration at least (suspect.go), so while a quorum took
// messages that were sent less than leaseDuration ago there is no other leader and nothing is
// committed elsewhere. Every message of the leader carries the leader's own clock; answers carry it
// back. Only one clock is read; that two clocks run at nearly one rate is all that is assumed.
//
// Two cases would break it and are closed elsewhere: a leader handing over lets the lease go for
// the rest of its term, because the hand-over overrides the refusal; and a replica that restarted,
// and so forgot what it promised, neither votes nor campaigns for electionTicks ticks.
type lease struct {
	term    uint64
	acked   map[uint64]int64 // replica -> newest clock value it answered, ns
	given   bool             // the leadership was handed over in this term
	scratch []int64
}

func (l *lease) reset(term uint64) {
	l.term, l.given = term, false
	clear(l.acked)
}

func (l *lease) answer(from uint64, stamp int64) {
	l.acked[from] = max(l.acked[from], stamp)
}

// until is the time in ns to which the lease runs. While the membership is a joint one, a majority
// of the old voters and one of the new must have answered: either could elect somebody.
func (l *lease) until(self uint64, conf *raftpb.ConfState, now int64) int64 {
	at := l.heard(self, conf.Voters, now)
	if len(conf.VotersOutgoing) > 0 {
		at = min(at, l.heard(self, conf.VotersOutgoing, now))
	}
	return at
}

// heard is until for one set of voters; they include the leader itself, unless it is leaving.
func (l *lease) heard(self uint64, voters []uint64, now int64) int64 {
	if l.given {
		return 0
	}
	l.scratch = l.scratch[:0]
	for _, v := range voters {
		at := l.acked[v]
		if v == self {
			at = now
		}
		l.scratch = append(l.scratch, at)
	}
	if len(l.scratch) == 0 {
		return 0
	}
	slices.Sort(l.scratch)
	oldest := l.scratch[(len(l.scratch)-1)/2] // a majority answered at this time or later
	if oldest == 0 {
		return 0
	}
	return oldest + int64(leaseDuration)
}
