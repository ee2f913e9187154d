package wal

import (
	"errors"
	"fmt"
	"log/slog"
	"path"
	"slices"

	"github.com/ashlar-storage/ashlar/io/disk"
)

// epochJump is added to the highest epoch seen in segments when log.id is lost, which may have
// counted higher: by one for each Open.
const epochJump = 1 << 32

// Open recovers the log in cfg.Dir, or makes a new one. replay gets every surviving record in
// log order; the record is valid only during the call, and its payload has been verified. An
// error of replay ends Open. Damage is not an error: it is listed in Recovery, and the records
// around it are replayed. Errors: ErrForeign, ErrVersion, ErrInvalid, and what the disk says.
func Open(cfg Config, replay func(r *Record) error) (*Log, *Recovery, error) {
	if err := cfg.check(); err != nil {
		return nil, nil, err
	}
	r := newRecovery(cfg, replay)
	l, err := r.open(cfg)
	if err != nil {
		r.close()
		return nil, nil, err
	}
	go l.run()
	go l.prepare()
	return l, r.out, nil
}

// check validates the configuration and fills in the defaults.
func (c *Config) check() error {
	if c.SegmentSize == 0 {
		c.SegmentSize = DefaultSegmentSize
	}
	if c.PreparedSegments == 0 {
		c.PreparedSegments = DefaultPrepared
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	switch {
	case c.Disk == nil:
		return fmt.Errorf("%w: Disk is nil", ErrInvalid)
	case c.Dir == "":
		return fmt.Errorf("%w: Dir is empty: name the log's own directory", ErrInvalid)
	case c.StoreID == [16]byte{}:
		return fmt.Errorf("%w: StoreID is zero: give the store's id", ErrInvalid)
	case c.PreparedSegments < 1 || c.PreparedSegments > MaxPrepared:
		return fmt.Errorf("%w: PreparedSegments %d: give 1 to %d", ErrInvalid,
			c.PreparedSegments, MaxPrepared)
	}
	return checkSegmentSize(c.SegmentSize)
}

// open recovers, makes the new epoch durable, and builds the log, not yet running.
func (r *recovery) open(cfg Config) (*Log, error) {
	if err := r.disk.MkdirAll(r.dir); err != nil {
		return nil, fmt.Errorf("wal: make %s: %w", r.dir, err)
	}
	id, err := r.readIdentity()
	if err != nil {
		return nil, err
	}
	if err := r.run(id); err != nil {
		return nil, err
	}
	l := r.build(cfg)
	l.epoch = r.nextEpoch(id)
	// Nothing may be written under an epoch that an earlier Open may have used: bytes of
	// its interrupted writes would pass for ours.
	if err := l.writeIdentity(l.head); err != nil {
		return nil, err
	}
	if len(r.slots) > 0 {
		return l, nil
	}
	// A new log that cannot have one segment is of no use; an old one may still be read.
	return l, l.createSegment()
}

// readIdentity reads log.id. It returns nil if that is missing or damaged: the segments say
// the same, and nextEpoch makes up for the epoch.
func (r *recovery) readIdentity() (*identity, error) {
	b, err := r.disk.ReadFile(path.Join(r.dir, identityName))
	if errors.Is(err, disk.ErrNotExist) {
		return nil, nil
	} else if err != nil {
		return nil, fmt.Errorf("wal: read %s: %w", identityName, err)
	}
	var id identity
	if err := id.parse(b); errors.Is(err, ErrVersion) {
		return nil, err
	} else if err != nil {
		name := path.Join(r.dir, identityName)
		r.repaired(name, fmt.Errorf("%s, which is written anew: %w", name, err))
		return nil, nil
	}
	switch {
	case id.store != r.store:
		return nil, fmt.Errorf("%w: %s is of store %x, this is %x: put the right disk back, "+
			"or move the directory away", ErrForeign, r.dir, id.store, r.store)
	case id.size != r.size:
		return nil, fmt.Errorf("%w: SegmentSize %d, but %s was made with %d: use that",
			ErrInvalid, r.size, r.dir, id.size)
	}
	return &id, nil
}

func (r *recovery) nextEpoch(id *identity) uint64 {
	switch {
	case id != nil:
		return max(id.epoch, r.maxEpoch) + 1
	case len(r.slots) > 0:
		return r.maxEpoch + epochJump
	}
	return 1
}

// build makes the log that goes on after what was recovered, in a fresh segment.
func (r *recovery) build(cfg Config) *Log {
	l := &Log{
		layout: r.layout, disk: r.disk, dir: r.dir, logger: r.logger,
		head: r.head, nextSlot: r.nextSlot, batch: newBatch(r.size),
		wake:    make(chan struct{}, 1),
		readyCh: make(chan struct{}, 1),
		kick:    make(chan struct{}, 1),
		stop:    make(chan struct{}),
		done:    make(chan struct{}), prepareDone: make(chan struct{}),
	}
	l.op.Done, l.afterBatch = l.wroteHere, cfg.AfterBatch
	r.buildSegments(&l.segs, cfg.PreparedSegments)
	return l
}

// segment is a file as recovery leaves it to the log.
func (r *recovery) segment(s *slot) *segment {
	return &segment{name: s.name, file: s.file, hdr: s.id, end: BlockSize,
		odd: s.file.Size() != r.size}
}

// buildSegments sorts the files into live, ready, lost and surplus ones.
func (r *recovery) buildSegments(g *segments, prepared int) {
	*g = segments{layout: r.layout, prepared: prepared}
	g.nextSeq = r.maxSeq + 1
	if r.head > 0 {
		g.nextSeq = max(g.nextSeq, r.seq(r.head-1)+1)
	}
	for _, s := range r.slots {
		seg := r.segment(s)
		switch {
		case s.origin == originUnreadable:
			// It may have been a segment beyond all others.
			g.lost, g.lostSeq = append(g.lost, seg), g.nextSeq
			g.nextSeq++
		case !slices.Contains(r.live, s):
			g.retire(seg)
		}
	}
	for _, s := range r.live {
		seg := r.segment(s)
		if end, ok := r.ends[s]; ok {
			seg.end = end
		}
		g.live = append(g.live, seg)
	}
	g.tail, g.durableTail = r.tail, r.tail
	if r.tail == 0 {
		g.tail = g.lsn(g.nextSeq, 0)
	}
}
