package client

import "github.com/ashlar-storage/ashlar/rpc/transport"

// silence tells a dead peer from a slow one, or from a slow line: a peer that owes an answer, or
// was quiet for long, is pinged, and one that then gives no sign of life for long is dead. A frame
// is one, and so are bytes: any that come in, and, until the ping has reached the peer's machine,
// those that this takes. Later ones say nothing, as the kernel takes them for a process that stands
// still. It is fed once per tick.
type silence struct {
	seen   uint64 // frames received so far
	since  int64  // when seen last changed, ns
	pingAt int64  // when the unanswered ping was queued, or bytes last moved since, ns; 0: none
	pingTo int64  // where the ping ends in the bytes that go out; 0: they are not written yet
	moved  transport.Moved
}

type hearing uint8

const (
	heard hearing = iota
	wantPing
	deaf
)

// line is how far bytes have come on a connection.
type line struct {
	transport.Moved
	pinged bool // the ping is written
}

// reset forgives silence, after a time in which this process itself did not run.
func (s *silence) reset(now int64) {
	s.since = now
	if s.pingAt != 0 {
		s.pingAt = now
	}
}

// look judges the state of a connection that received so many frames; owed says that requests
// wait for an answer. at is asked for while a ping is unanswered.
func (s *silence) look(now int64, received uint64, owed bool, at func() line) hearing {
	if received != s.seen {
		s.seen, s.since, s.pingAt = received, now, 0
		return heard
	}
	if s.pingAt != 0 {
		if s.stirs(at()) {
			s.pingAt = now
		}
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
	s.pingAt, s.pingTo, s.moved = now, 0, at().Moved
	return wantPing
}

// stirs reports whether bytes have moved since it was last asked.
func (s *silence) stirs(at line) bool {
	before := s.moved
	s.moved = at.Moved
	if at.pinged && s.pingTo == 0 {
		s.pingTo = at.Out
	}
	arrived := s.pingTo != 0 && before.Taken >= s.pingTo
	return at.In > before.In || at.Taken > before.Taken && !arrived
}
