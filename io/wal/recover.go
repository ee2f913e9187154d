package wal

import (
	"errors"
	"fmt"
	"log/slog"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/ashlar-storage/ashlar/io/disk"
)

// slot is a segment file as found at Open. id describes its use when origin says that it is
// known.
type slot struct {
	name   string
	file   disk.File
	origin origin
	id     segmentHeader
}

// known tells whether the slot's use is known.
func (s *slot) known() bool { return s.origin <= originScan }

// recovery reads a log. It changes nothing on the disk.
type recovery struct {
	layout
	disk   disk.Disk
	dir    string
	logger *slog.Logger
	replay func(*Record) error
	// observe gets the verdict at every position of the walk; nil: nobody looks.
	observe func(s *slot, off int64, e evidence, h *frameHeader, desc []byte) error
	win     window

	slots    []*slot
	nextSlot int
	maxSeq   uint64
	maxEpoch uint64

	// What the log itself tells: nothing below tail is needed, everything below watermark
	// was durable, and last is the position of the last intact descriptor seen.
	tail, watermark, last LSN

	live []*slot // by seq, from the tail on
	head LSN     // where the log ends
	ends map[*slot]int64
	rec  Record
	out  *Recovery
}

func newRecovery(cfg Config, replay func(*Record) error) *recovery {
	return &recovery{
		layout: layout{store: cfg.StoreID, size: cfg.SegmentSize},
		disk:   cfg.Disk, dir: cfg.Dir, logger: cfg.Logger,
		replay: replay,
		out:    &Recovery{},
	}
}

// close gives the files up after a failed Open, whose error is the one to report.
func (r *recovery) close() {
	for _, s := range r.slots {
		if s.file != nil {
			_ = s.file.Close()
		}
	}
}

// run reads the log and replays it. id is what log.id says, nil when that is lost.
func (r *recovery) run(id *identity) error {
	if err := r.survey(id); err != nil {
		return err
	}
	// Bytes read back may still be in the device's cache, written by a process that was
	// killed before it could make them durable. Whoever is told of a record may act on it.
	for _, s := range r.slots {
		if !s.known() {
			continue
		}
		if err := s.file.Sync(); err != nil {
			return fmt.Errorf("wal: sync %s before recovery: %w", s.name, err)
		}
	}
	return r.walk()
}

// survey learns what every segment file is and which of them hold the log. id is what log.id says,
// nil when that is lost.
func (r *recovery) survey(id *identity) error {
	if id != nil {
		r.watermark = id.watermark
	}
	if err := r.openSlots(); err != nil {
		return err
	}
	return r.choose()
}

// openSlots opens every segment file and learns its use.
func (r *recovery) openSlots() error {
	names, err := r.disk.List(r.dir)
	if err != nil {
		return fmt.Errorf("wal: list %s: %w", r.dir, err)
	}
	for _, base := range names {
		num, ok := slotNumber(base)
		if !ok {
			continue
		}
		r.nextSlot = max(r.nextSlot, num+1)
		s := &slot{name: path.Join(r.dir, base)}
		if s.file, err = r.disk.Open(s.name); err != nil {
			return fmt.Errorf("wal: open %s: %w", s.name, err)
		}
		r.slots = append(r.slots, s)
		if err := r.classify(s); err != nil {
			return err
		}
	}
	return nil
}

func slotNumber(base string) (int, bool) {
	digits, ok := strings.CutSuffix(base, segmentExt)
	if !ok || len(digits) != 8 {
		return 0, false
	}
	n, err := strconv.Atoi(digits)
	return n, err == nil && n >= 0
}

// classify learns what a segment file is used for.
func (r *recovery) classify(s *slot) error {
	r.win.reset(s.file, r.size, BlockSize)
	var e slotEvidence
	block := r.win.bytes(0, BlockSize)
	if block == nil {
		s.origin = originBlank
		return nil
	}
	e.blank = allZero(block)
	if err := s.id.parse(block); err == nil {
		e.header = true
	} else if onlyVersion(err) != nil {
		return fmt.Errorf("%s: %w", s.name, err)
	}
	if err := r.checkOwner(s, e.header); err != nil {
		return err
	}
	var h frameHeader
	if err := r.lookInside(s, &e, &h); err != nil {
		return fmt.Errorf("%s: %w", s.name, err)
	}
	s.origin = judgeSlot(e)
	if e.rotten() && s.origin != originUnreadable {
		r.repaired(s.name, fmt.Errorf("%w: %s offset 0: the segment header is damaged: %s",
			ErrCorrupt, s.name, s.origin.instead()))
	}
	if s.origin == originFrame || s.origin == originScan {
		s.id = h.segment(r.size)
		r.out.Headers++
		r.logger.Warn("wal: segment header is told by frames", "file", s.name, "seq", s.id.seq)
	}
	if s.known() {
		r.maxSeq = max(r.maxSeq, s.id.seq)
		r.maxEpoch = max(r.maxEpoch, s.id.epoch)
	}
	return nil
}

// instead says what takes the place of a damaged header.
func (o origin) instead() string {
	if o == originBlank {
		return "the segment is not in use, its next use writes a new one"
	}
	return "the frames behind it say the same"
}

// repaired notes bytes that are wrong and cost nothing.
func (r *recovery) repaired(file string, err error) {
	r.logger.Warn("wal: damage that costs no record: watch this disk", "err", err)
	r.out.Repaired = append(r.out.Repaired, Damage{File: file, Err: err})
}

// lookInside collects what the frames of a segment file tell of its use; h is the frame that
// tells it. Only a file whose header and first frame are both unreadable is searched.
func (r *recovery) lookInside(s *slot, e *slotEvidence, h *frameHeader) error {
	desc, err := r.win.frame(r.layout, BlockSize, h)
	if err != nil {
		return err
	}
	e.frame = desc != nil
	e.newer = e.frame && e.header && h.stamp.newer(s.id.stamp)
	first := r.win.bytes(BlockSize, BlockSize)
	untouched := e.blank && (first == nil || allZero(first))
	if !e.header && !e.frame && !untouched {
		e.found, e.empty, err = r.search(h)
	}
	return err
}

// segment returns what a frame says of its segment.
func (h *frameHeader) segment(size int64) segmentHeader {
	return segmentHeader{stamp: h.stamp, size: size, prevEnd: h.prevEnd, tail: h.tail,
		watermark: h.watermark}
}

func (r *recovery) checkOwner(s *slot, header bool) error {
	switch {
	case !header:
		return nil
	case s.id.store != r.store:
		return fmt.Errorf("%w: %s is of store %x, this is %x: put the right disk back, or "+
			"move the file away", ErrForeign, s.name, s.id.store, r.store)
	case s.id.size != r.size:
		return fmt.Errorf("%w: SegmentSize %d, but %s was made with %d: use that",
			ErrInvalid, r.size, s.name, s.id.size)
	}
	return nil
}

// search looks at every block of the file for the frame with the newest stamp.
func (r *recovery) search(best *frameHeader) (found, empty bool, err error) {
	empty = true
	r.win.ahead = scanWindow
	for off := int64(BlockSize); off < r.win.limit; off += BlockSize {
		var h frameHeader
		desc, err := r.win.frame(r.layout, off, &h)
		if err != nil {
			return false, false, err
		}
		if desc != nil && (!found || h.stamp.newer(best.stamp)) {
			*best, found = h, true
		}
		empty = empty && allZero(r.win.bytes(off, BlockSize))
	}
	return found, empty, nil
}

// choose finds the tail, from the newest segment, and the slots from there on.
func (r *recovery) choose() error {
	bySeq := func(a, b *slot) int {
		if a.id.stamp.newer(b.id.stamp) {
			return 1
		}
		return -1
	}
	for _, s := range r.slots {
		if s.known() {
			r.live = append(r.live, s)
			r.tail = max(r.tail, s.id.tail)
			r.watermark = max(r.watermark, s.id.watermark)
		}
	}
	slices.SortStableFunc(r.live, bySeq)
	if n := len(r.live); n > 0 {
		if err := r.gather(r.live[n-1], BlockSize); err != nil {
			return err
		}
	}
	// Of two files with one sequence number the newer stamp counts.
	keep := r.live[:0]
	for i, s := range r.live {
		double := i+1 < len(r.live) && r.live[i+1].id.seq == s.id.seq
		if r.lsn(s.id.seq, 0) >= r.tail && !double {
			keep = append(keep, s)
		}
	}
	r.live = keep
	return nil
}

// gather takes the evidence of every intact descriptor of s from off on.
func (r *recovery) gather(s *slot, off int64) error {
	r.win.reset(s.file, r.size, scanWindow)
	for off < r.win.limit {
		var h frameHeader
		desc, err := r.win.frame(r.layout, off, &h)
		if err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
		if desc == nil || h.stamp != s.id.stamp {
			off += BlockSize
			continue
		}
		r.tail = max(r.tail, h.tail)
		r.watermark = max(r.watermark, h.watermark)
		r.last = max(r.last, h.at)
		off += h.bytes()
	}
	return nil
}

// onlyVersion drops every error but ErrVersion.
func onlyVersion(err error) error {
	if errors.Is(err, ErrVersion) {
		return err
	}
	return nil
}
