package wal

import (
	"fmt"
	"slices"
)

// walk replays the chain of live segments and finds where the log ends.
func (r *recovery) walk() error {
	ids := make([]segmentHeader, len(r.live))
	for i, s := range r.live {
		ids[i] = s.id
	}
	links, gaps := chain(r.layout, ids, r.tail)
	for _, g := range gaps {
		r.damage(Damage{From: g.from, To: g.to, File: r.dir,
			Err: fmt.Errorf("%w: %s: segments %d to %d are missing", ErrCorrupt, r.dir,
				r.seq(g.from), r.seq(g.to)-1)})
	}
	for _, s := range r.slots {
		if s.origin == originUnreadable {
			r.damage(Damage{File: s.name, Err: fmt.Errorf(
				"%w: %s offset 0: nothing tells which segment this was", ErrCorrupt, s.name)})
		}
	}
	r.ends = map[*slot]int64{}
	r.head = r.tail
	for i, k := range links {
		s := r.live[k.id]
		r.out.Segments++
		off, cut, err := r.walkSegment(i, links)
		if err != nil {
			return err
		}
		r.ends[s] = off
		r.head = r.lsn(s.id.seq, off)
		if cut {
			break
		}
	}
	r.missingEnd()
	r.out.End = r.head
	r.out.Bytes = r.win.total
	return nil
}

// missingEnd reports the newest segments when they are gone with all their frames: what is left
// ends below what is known to have been durable. The log goes on behind them, so that their
// numbers are not used again and later recoveries find the gap too.
func (r *recovery) missingEnd() {
	if r.head >= r.watermark {
		return
	}
	if r.tail == 0 {
		r.tail = r.lsn(r.seq(r.watermark-1), 0)
		r.head = r.tail
	}
	r.damage(Damage{From: r.head, To: r.watermark, File: r.dir,
		Err: fmt.Errorf("%w: %s: the log ends at %d and was durable up to %d: segments up to "+
			"%d are missing", ErrCorrupt, r.dir, r.head, r.watermark, r.seq(r.watermark-1))})
	r.head = r.watermark
}

// walkSegment replays one segment. It returns the offset where its records end, and whether
// the log is cut there.
func (r *recovery) walkSegment(i int, links []link) (off int64, cut bool, err error) {
	s, end := r.live[links[i].id], links[i].end
	r.win.reset(s.file, r.size, scanWindow)
	off = BlockSize
	for {
		var h frameHeader
		e, desc, err := r.look(i, links, off, &h)
		if err != nil {
			return 0, false, err
		}
		if r.observe != nil {
			if err := r.observe(s, off, e, &h, desc); err != nil {
				return 0, false, err
			}
		}
		switch judge(e) {
		case verdictEnd:
			return r.cutShort(s, off, end), false, nil
		case verdictReplay:
			if err := r.deliver(s, off, &h, desc, nil); err != nil {
				return 0, false, err
			}
			off += h.bytes()
		case verdictLostRecords:
			if err := r.deliverSome(s, off, &h, desc); err != nil {
				return 0, false, err
			}
			off += h.bytes()
		case verdictLostFrame:
			if off, err = r.skipLost(s, off, end); err != nil {
				return 0, false, err
			}
		case verdictHole, verdictTornPayload, verdictTornFrame:
			r.out.Torn, r.out.TruncatedAt = true, r.lsn(s.id.seq, off)
			return off, true, nil
		case verdictClean:
			return off, true, nil
		}
	}
}

// cutShort reports what a segment has lost whose file ends before the log left it, and returns
// where that was.
func (r *recovery) cutShort(s *slot, off, end int64) int64 {
	if off >= end {
		return off
	}
	r.damage(Damage{From: r.lsn(s.id.seq, off), To: r.lsn(s.id.seq, end), File: s.name,
		Offset: off, Err: fmt.Errorf("%w: %s offset %d: the file was cut short at %d bytes, the "+
			"log went on to %d", ErrCorrupt, s.name, off, s.file.Size(), end)})
	return end
}

// look collects the evidence at off.
func (r *recovery) look(i int, links []link, off int64, h *frameHeader) (e evidence,
	desc []byte, err error) {
	s, end := r.live[links[i].id], links[i].end
	if e.atEnd = end > 0 && off >= end || off >= r.win.limit; e.atEnd {
		return e, nil, nil
	}
	if desc, err = r.win.frame(r.layout, off, h); err != nil {
		return e, nil, fmt.Errorf("%s: %w", s.name, err)
	}
	e.descriptor = desc != nil && h.stamp == s.id.stamp &&
		(end == 0 || off+h.bytes() <= end)
	if e.descriptor {
		frame := r.win.bytes(off, int(h.bytes()))
		desc = frame[:len(desc)]
		e.payload = r.intact(desc, frame[len(desc):], h)
	}
	if e.descriptor && e.payload {
		return e, desc, nil
	}
	at := r.lsn(s.id.seq, off)
	e.begun = begins(r.win.bytes(off, BlockSize), s.id.stamp, at)
	// The newest segment has been searched already. For an older one what the newest tells
	// nearly always settles it.
	if i < len(links)-1 && at >= r.watermark {
		for j := i; j < len(links)-1; j++ {
			if err := r.gather(r.live[links[j].id], BlockSize); err != nil {
				return e, nil, err
			}
		}
		r.win.reset(s.file, r.size, scanWindow)
		if e.descriptor {
			desc, err = r.win.frame(r.layout, off, h)
		}
	}
	e.promised, e.later = at < r.watermark, at < r.last
	return e, desc, err
}

// intact tells whether all payload of a frame matches its crcs.
func (r *recovery) intact(desc, payload []byte, h *frameHeader) bool {
	body := desc[frameHeaderSize:]
	for range h.records {
		body = body[getRecord(body, &r.rec):]
		n := len(r.rec.CRCs) * BlockSize
		if badBlocks(payload[:n], r.rec.CRCs) > 0 {
			return false
		}
		payload = payload[n:]
	}
	return true
}

// deliver replays the records of a frame, except those for which skip is true.
func (r *recovery) deliver(s *slot, off int64, h *frameHeader, desc []byte,
	skip func(payload []byte) bool) error {
	body := desc[frameHeaderSize:]
	pos := off + int64(len(desc))
	frame := r.win.bytes(off, int(h.bytes()))
	for range h.records {
		body = body[getRecord(body, &r.rec):]
		n := int64(len(r.rec.CRCs)) * BlockSize
		r.rec.At, r.rec.Payload = h.at, nil
		if n > 0 {
			r.rec.At = r.lsn(s.id.seq, pos)
			r.rec.Payload = frame[pos-off : pos-off+n : pos-off+n]
		}
		pos += n
		if skip != nil && skip(r.rec.Payload) {
			continue
		}
		r.out.Records++
		if r.replay == nil {
			continue
		}
		if err := r.replay(&r.rec); err != nil {
			return err
		}
	}
	return nil
}

// deliverSome replays the intact records of a frame that was durable, and reports the others.
func (r *recovery) deliverSome(s *slot, off int64, h *frameHeader, desc []byte) error {
	desc = r.win.bytes(off, int(h.bytes()))[:len(desc)]
	bad := 0
	var groups []uint64
	err := r.deliver(s, off, h, desc, func(payload []byte) bool {
		n := badBlocks(payload, r.rec.CRCs)
		if n > 0 && !slices.Contains(groups, r.rec.Group) {
			groups = append(groups, r.rec.Group)
		}
		bad += n
		return n > 0
	})
	at := r.lsn(s.id.seq, off)
	r.damage(Damage{From: at, To: at + LSN(h.bytes()), File: s.name, Offset: off,
		Groups: groups, Err: fmt.Errorf("%w: %s offset %d: %d payload blocks of a durable "+
			"frame fail their checksum", ErrCorrupt, s.name, off, bad)})
	return err
}

// skipLost reports an unreadable frame that was durable, and returns the offset where reading
// goes on: the next intact frame, or else the end of what is known to have been durable.
func (r *recovery) skipLost(s *slot, off, end int64) (int64, error) {
	limit := r.win.limit
	if end > 0 {
		limit = min(limit, end)
	} else if r.seq(r.watermark) == s.id.seq {
		limit = min(limit, r.off(r.watermark))
	}
	limit = max(limit, off+BlockSize)
	next := off + BlockSize
	for ; next < limit; next += BlockSize {
		var h frameHeader
		desc, err := r.win.frame(r.layout, next, &h)
		if err != nil {
			return 0, fmt.Errorf("%s: %w", s.name, err)
		}
		if desc != nil && h.stamp == s.id.stamp {
			break
		}
	}
	next = min(next, limit)
	r.damage(Damage{From: r.lsn(s.id.seq, off), To: r.lsn(s.id.seq, next), File: s.name,
		Offset: off, Err: fmt.Errorf("%w: %s offset %d: a durable frame is unreadable, the "+
			"next one is at %d", ErrCorrupt, s.name, off, next)})
	return next, nil
}

func (r *recovery) damage(d Damage) {
	r.logger.Error("wal: damage", "from", d.From, "to", d.To, "groups", d.Groups,
		"err", d.Err)
	r.out.Damage = append(r.out.Damage, d)
}
