package store

import (
	"fmt"
	"time"

	"github.com/ashlar-storage/ashlar/rpc/window"
)

// The scrubber reads only while its windows are open, and goes on in the next one where it was. The
// windows are kept beside its place: a store that starts without a control plane knows them.

// SetScrubWindows changes when the scrubber reads, from its next piece on; empty texts: always. An
// error says which part cannot be read; then nothing changes.
func (s *Store) SetScrubWindows(text, zone string) error {
	s.scrubMu.Lock()
	same := s.scrub.Windows == text && s.scrub.Zone == zone
	s.scrubMu.Unlock()
	if same {
		return nil
	}
	week, err := window.Parse(text, zone)
	if err != nil {
		return fmt.Errorf("store %s: scrub %w", s.cfg.Path, err)
	}
	s.scrubMu.Lock()
	s.scrubWeek, s.scrub.Windows, s.scrub.Zone = week, text, zone
	s.scrubMu.Unlock()
	s.log.Info("scrub windows", "windows", week.String())
	s.saveScrub()
	return nil
}

// windowClosed is how long the scrubber waits before it looks again whether a window is open; 0:
// one is.
func (s *Store) windowClosed() time.Duration {
	s.scrubMu.Lock()
	defer s.scrubMu.Unlock()
	if s.scrubWeek.Open(s.cfg.Now()) {
		return 0
	}
	return scrubRest
}

// openTime is how much of a time from now on windows are open, on the average over a week. The lock
// is held.
func (s *Store) openTime(d time.Duration) time.Duration {
	return time.Duration(float64(d) * s.scrubWeek.Part())
}
