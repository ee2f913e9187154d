package store

import (
	"encoding/json"
	"errors"
	"slices"
	"time"

	"github.com/ashlar-storage/ashlar/io/chunkfile"
	"github.com/ashlar-storage/ashlar/rpc/window"
)

// scrubFile keeps where the scrubber is, so that a start goes on and does not begin anew: JSON with
// a checksum. It promises nothing: one that cannot be read costs the rest of a cycle.
const scrubFile = "SCRUB"

const (
	scrubFormat  = "ashlar-scrub"
	scrubVersion = 1
)

// scrubState is the scrubber's place and what it found.
type scrubState struct {
	Format   string       `json:"format"`
	Version  int          `json:"version"`
	Cycle    uint64       `json:"cycle"`
	Started  int64        `json:"started_unix_ns"`
	Finished int64        `json:"finished_unix_ns"` // not after Started: it goes on
	ID       chunkfile.ID `json:"chunk"`
	Block    uint32       `json:"block"`          // next of the chunk; 0: the next chunk
	Checked  uint64       `json:"checked_blocks"` // with data, read in this cycle
	Skipped  uint64       `json:"skipped_blocks,omitempty"`
	CycleBad uint64       `json:"cycle_bad_blocks,omitempty"`
	Compared uint64       `json:"compared_blocks,omitempty"` // in this cycle
	Bad      uint64       `json:"bad_blocks"`                // since the store was made, each once
	Repaired uint64       `json:"repaired_blocks"`
	Standing []badBlock   `json:"standing,omitempty"`

	BadMeta      uint64 `json:"bad_metadata,omitempty"` // chunks, since the store was made
	RepairedMeta uint64 `json:"repaired_metadata,omitempty"`

	Windows string `json:"windows,omitempty"` // when it may read; empty: always
	Zone    string `json:"zone,omitempty"`

	Findings []string `json:"findings"` // the newest
	CRC      uint32   `json:"crc32c"`   // of the others as compact JSON
}

func (c scrubState) sum() uint32 {
	c.CRC = 0
	return noteCRC(c)
}

var errScrub = errors.New("store: no place of a scrubber")

func decodeScrub(data []byte) (c scrubState, err error) {
	if err := json.Unmarshal(data, &c); err != nil {
		return c, errors.Join(errScrub, err)
	}
	if c.Format != scrubFormat || c.Version != scrubVersion || c.CRC != c.sum() ||
		len(c.Findings) > maxFindings || len(c.Standing) > maxStanding {
		return c, errScrub
	}
	return c, nil
}

// loadScrub goes on where the last life was, or begins the first cycle.
func (s *Store) loadScrub() {
	fresh := scrubState{Format: scrubFormat, Version: scrubVersion, Cycle: 1,
		Started: time.Now().UnixNano(), Findings: []string{}}
	data, err := s.disk.ReadFile(scrubFile)
	if err == nil {
		if c, err := decodeScrub(data); err == nil {
			s.scrub = c
			s.loadWindows()
			if c.Finished < c.Started {
				s.lookAhead(c.ID)
			}
			return
		}
		s.log.Warn("the scrubber begins anew: its place cannot be read", "file", scrubFile)
	}
	s.scrub = fresh
}

// loadWindows takes the windows of the last life, until it is told others.
func (s *Store) loadWindows() {
	week, err := window.Parse(s.scrub.Windows, s.scrub.Zone)
	if err != nil {
		s.log.Warn("the scrubber's windows cannot be read; it reads at any time", "err", err)
		s.scrub.Windows, s.scrub.Zone = "", ""
		return
	}
	s.scrubWeek = week
}

// saveScrub keeps the place. A failure costs nothing but the place.
func (s *Store) saveScrub() {
	s.scrubMu.Lock()
	c := s.scrub
	c.Findings, c.Standing = slices.Clone(c.Findings), slices.Clone(c.Standing)
	s.scrubMu.Unlock()
	c.CRC = c.sum()
	if err := s.saveNote(scrubFile, &c); err != nil {
		s.log.Warn("the scrubber's place is not kept", "err", err)
	}
}

// Scrub is how far the scrubber is, for operators.
type Scrub struct {
	On                bool
	Cycle             uint64
	Percent           int       // of the chunks of this cycle
	Started, Finished time.Time // of this cycle, of the last that ended
	Checked           uint64    // blocks with data that were read in this cycle
	Skipped           uint64    // blocks left out of this cycle: their replica did not read
	CycleBad          uint64    // blocks that were bad when this cycle read them
	Bad, Repaired     uint64    // blocks, since the store was made; one that stays bad counts once
	Unrepaired        int       // blocks that were bad when last read, in all replicas
	// BadMeta counts chunks whose metadata on the device was not what was written, since the store
	// was made; RepairedMeta those of them where it was written anew.
	BadMeta, RepairedMeta uint64
	// Compared counts the blocks of this cycle whose checksums a leader here held against those of
	// all other replicas; Diverged are those that differ, though all fit their bytes.
	Compared uint64
	Diverged int
	Findings []string

	Waits bool      // for a window to open
	Opens time.Time // when one does
}

// ScrubReport tells how far the scrubber is.
func (s *Store) ScrubReport() Scrub {
	s.scrubMu.Lock()
	c := s.scrub
	findings := slices.Clone(c.Findings)
	percent, unrepaired, standing := s.percent(), c.unrepaired(), len(c.Standing)
	now, week := s.cfg.Now(), s.scrubWeek
	s.scrubMu.Unlock()
	r := Scrub{On: s.cfg.ScrubBytes > 0, Cycle: c.Cycle, Started: time.Unix(0, c.Started),
		Percent: percent, Checked: c.Checked, Skipped: c.Skipped, CycleBad: c.CycleBad,
		Compared: c.Compared, Bad: c.Bad, Repaired: c.Repaired, BadMeta: c.BadMeta,
		RepairedMeta: c.RepairedMeta, Findings: findings}
	r.Unrepaired, r.Diverged = unrepaired, standing-unrepaired
	r.Waits, r.Opens = !week.Open(now), week.Opens(now)
	if c.Finished > 0 {
		r.Finished = time.Unix(0, c.Finished)
	}
	if c.Finished > c.Started {
		r.Percent = 100
	}
	return r
}
