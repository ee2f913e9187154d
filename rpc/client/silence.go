package client

// silence tells a dead peer from a slow one: a peer that owes an answer, or was quiet for long, is
// pinged, and one that then leaves the ping unanswered for long is dead. It is fed once per tick.
type silence struct {
	seen   uint64 // frames received so far
	since  int64  // when seen last changed, ns
	pingAt int64  // when the unanswered ping was queued, ns; 0: none
}

type hearing uint8

const (
	heard hearing = iota
	wantPing
	deaf
)

// reset forgives silence, after a time in which this process itself did not run.
func (s *silence) reset(now int64) {
	s.since = now
	if s.pingAt != 0 {
		s.pingAt = now
	}
}

// look judges the state of a connection that received so many frames; owed says that requests
// wait for an answer.
func (s *silence) look(now int64, received uint64, owed bool) hearing {
	if received != s.seen {
		s.seen, s.since, s.pingAt = received, now, 0
		return heard
	}
	if s.pingAt != 0 {
		if now-s.pingAt >= int64(silentAfter-pingAfter) {
			return deaf
		}
		return heard
	}
	patience := int64(idlePingAfter)
	if owed {
		patience = int64(pingAfter)
	}
	if now-s.since < patience {
		return heard
	}
	s.pingAt = now
	return wantPing
}
