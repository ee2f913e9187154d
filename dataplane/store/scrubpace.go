package store

import (
	"time"

	"github.com/ashlar-storage/ashlar/dataplane/copyset"
)

// scrubPace decides when the next piece may be read. While no client is there, pieces follow each
// other as the rate has it. While one is, a piece is read only now and then: however short it is,
// some request waits for the device behind it, and it is the slowest requests that clients measure.
type scrubPace struct {
	rate int64 // bytes in a second
	next int64 // ns; not before it
	last int64 // ns; when the last piece was read
	presence
	atWork bool // the device has something to do at this moment
}

// presence is whether clients are there.
type presence struct {
	ops    uint64 // of clients, as last seen
	client int64  // ns; until then a client counts as there
}

// note takes how many requests of clients there have been; a new one counts for so long.
func (p *presence) note(now int64, ops uint64, calm time.Duration) {
	if ops != p.ops {
		p.ops, p.client = ops, now+int64(calm)
	}
}

// clients notes how many requests of clients there have been, and whether the device is at work.
func (p *scrubPace) clients(now int64, ops uint64, working bool) {
	p.atWork = working
	p.note(now, ops, scrubCalm)
	if working {
		p.client = now + int64(scrubCalm)
	}
}

// step tells how long to wait before asking again; 0: a piece may be read now.
func (p *scrubPace) step(now int64, patience time.Duration) time.Duration {
	if now < p.next {
		return max(time.Duration(p.next-now), scrubNap)
	}
	due := p.last + int64(patience)
	switch {
	case now >= p.client:
	case now < due:
		return max(time.Duration(min(due, p.client)-now), scrubNap)
	case p.atWork && now < due+int64(patience): // a gap may come soon
		return scrubNap
	}
	p.last = now
	return 0
}

// spend notes what was read. A pause is not made up for, but for the time that a timer is late.
func (p *scrubPace) spend(now, bytes int64) {
	p.next = max(p.next, now-int64(scrubBurst)) + bytes*int64(time.Second)/p.rate
}

// scrubPatience is how long clients may keep the scrubber from its next piece: long, unless the
// cycle would not end in its period then.
func (s *Store) scrubPatience() time.Duration {
	s.scrubMu.Lock()
	chunks := max(s.scrubWay.total-s.scrubWay.begun, 0) + 1
	left := s.openTime(time.Until(time.Unix(0, s.scrub.Started).Add(s.cfg.ScrubPeriod)))
	s.scrubMu.Unlock()
	pieces := int64(chunks) * max(s.meta.ChunkSize/copyset.BlockSize/scrubBlocks, 1)
	each := left / time.Duration(2*pieces) // half of the period is in reserve
	return min(max(each, scrubLeast), scrubMost)
}
