package store

import (
	"math"

	"github.com/ashlar-storage/ashlar/dataplane/copyset"
	"github.com/ashlar-storage/ashlar/io/wal"
)

// On a device without room for another segment the log is as large as the segments that exist. Used
// up it would rest for good: a segment is free again after a checkpoint, which first has to write
// its states to the log. So the end of such a log is kept for them, and what clients write is
// refused before that.

// logKept is how many bytes of a full device's log clients' writes leave.
func (s *Store) logKept() int64 { return s.segmentBytes() / logKeptPart }

// logBound is how much of the log may be used, and whether that is less than was configured.
func (s *Store) logBound() (room wal.Room, bound int64, pressed bool) {
	room, bound = s.wal.Room(), s.cfg.LogBytes
	if most := room.Used + room.Left - s.logKept(); room.Full && most < bound {
		return room, most, true
	}
	return room, bound, false
}

// logShort reports whether turns do not give log back as fast as it is written. On a full device
// that is from half of the log on, if a checkpoint can give any of it back.
func (s *Store) logShort() bool {
	room, bound, pressed := s.logBound()
	return room.Used+s.placed.held() > s.cfg.LogBytes/8*7 ||
		pressed && room.Held > 0 && room.Used > bound/2
}

// logSpent reports whether a request of so many bytes that writes is refused until log was given
// back. On a full device there must be room too for what the owners have let in, of which this one
// knows its own, and which may come to the log as blocks with a descriptor each.
func (s *Store) logSpent(inflight, more int64) bool {
	if !s.wal.Full() {
		return s.wal.Usage() > s.cfg.LogBytes
	}
	room := s.wal.Room()
	return room.Used > s.cfg.LogBytes ||
		2*(inflight*int64(len(s.owners))+more) > room.Left-s.logKept()
}

// logRefuses reports whether a message is dropped, as one that the network lost, since the log has
// no room for the entries that it brings: other stores may let in what this one cannot take. Those
// without payload have half of what is kept, so that a leader can still be elected.
func (s *Store) logRefuses(m *copyset.Message) bool {
	if len(m.Entries) == 0 || !s.wal.Full() {
		return false
	}
	kept, payload := s.logKept()/2, int64(0)
	for i := range m.Payloads {
		payload += int64(m.Payloads[i].Len)
	}
	if payload > 0 {
		kept = s.logKept()
	}
	return s.wal.Room().Left < kept+2*payload
}

// logRetained is how much log is kept for followers that were away: none on a full device.
func (s *Store) logRetained() int64 {
	if _, _, pressed := s.logBound(); pressed {
		return 0
	}
	return s.cfg.LogBytes / 4
}

// statesBefore is where in the log the states are that a checkpoint writes anew although nothing
// has changed. On a full device they are those that keep a segment from being given back: else
// checkpoints that give nothing back, since one copyset cannot drain, would use up the log.
func (s *Store) statesBefore() wal.LSN {
	if room, _, pressed := s.logBound(); pressed {
		return room.Begin
	}
	return math.MaxUint64
}
