package trace

import (
	"slices"

	"github.com/ashlar-storage/ashlar/ebpf/mark"
)

// The parts into which the commit stage is taken, and the one that is taken from all.
const (
	PartLogWait   = "log wait"
	PartLogWrite  = "log write"
	PartLink      = "link"
	PartProcessor = "processor"
)

// what numbers the parts of a request: its stages come first.
type what uint8

const (
	logWait what = mark.Stages + iota
	logWrite
	link
	processor
	whats
)

// partName is what a report calls a part.
func (s *Span) partName(w what) string {
	if w < logWait {
		return s.cfg.Stages[w]
	}
	return [...]string{PartLogWait, PartLogWrite, PartLink, PartProcessor}[w-logWait]
}

// place is where a part of a request was spent.
type place struct {
	node uint64
	peer uint64 // of a link: its other end
}

// part is a piece of a request's time. All parts of a request add up to its time.
type part struct {
	what  what
	where place
	began int64
	took  int64
}

// device reports whether the part is one device operation, which no processor is needed for but at
// its end.
func (p *part) device() bool { return p.what == logWrite }

// parts takes a request apart.
func (s *Span) parts(o *mark.Op, to []part) []part {
	at := o.Arrived
	for i, ns := range o.Spent {
		switch {
		case ns == 0:
		case i == s.cfg.Commit && o.Index != 0:
			to = s.commitParts(o, at, at+ns, to)
		default:
			to = append(to, part{what(i), place{node: o.Node}, at, ns})
		}
		at += ns
	}
	return s.withoutDelays(o.Arrived, at, to)
}

// commitParts divides the commit stage, from and until, by what decided when it ended.
func (s *Span) commitParts(o *mark.Op, from, until int64, to []part) []part {
	e := s.known(o.Copyset)
	own := s.appended(e, o, o.Node)
	ack := lastAck(e, o, from, until)
	var follower *mark.Append
	if ack != nil {
		follower = s.appended(e, o, ack.From)
	}
	c := cutter{to: to, at: from, until: until}
	commit, leader := what(s.cfg.Commit), place{node: o.Node}
	switch {
	case ack == nil && own == nil:
	case ack == nil || own != nil && own.Taken <= until && ownDecided(own, ack, follower):
		c.cut(commit, leader, own.Queued)
		c.cut(logWait, leader, own.Began)
		c.cut(logWrite, leader, own.Durable)
	default:
		way, there := place{node: o.Node, peer: ack.From}, place{node: ack.From}
		if follower != nil {
			late := within(follower, from, ack.At)
			c.cut(link, way, follower.Queued+late)
			c.cut(logWait, there, follower.Began+late)
			c.cut(logWrite, there, follower.Durable+late)
		}
		c.cut(link, way, ack.At)
	}
	c.cut(commit, leader, until)
	return c.to
}

// within is how much later than it says a follower must have written: not before the leader sent
// the entry, nor after its word came. Clocks of two machines are known to each other to half a
// round trip only; those of one machine never need it.
func within(a *mark.Append, sent, heard int64) int64 {
	switch {
	case a.Queued < sent:
		return sent - a.Queued
	case a.Durable > heard:
		return max(heard-a.Durable, sent-a.Queued)
	}
	return 0
}

// ownDecided reports whether the leader's own log was later than the follower's word. Where the
// leader heard of both in one turn, whose write ended last decides.
func ownDecided(own *mark.Append, ack *mark.Ack, follower *mark.Append) bool {
	if own.Taken != ack.At {
		return own.Taken > ack.At
	}
	return follower == nil || own.Durable > follower.Durable
}

// cutter divides a stretch of time at rising points.
type cutter struct {
	to        []part
	at, until int64
}

func (c *cutter) cut(what what, where place, end int64) {
	if end = min(end, c.until); end > c.at {
		c.to = append(c.to, part{what, where, c.at, end - c.at})
		c.at = end
	}
}

// appended finds the append that brought a request's entry to a node's log.
func (s *Span) appended(e *entries, o *mark.Op, node uint64) (found *mark.Append) {
	target := s.targetOf(node)
	if e == nil || target < 0 {
		return nil
	}
	e.appends[target].with(o.Term, o.Index, func(a *mark.Append) { found = a })
	return found
}

// lastAck is the word of a follower that came last before a request was committed, of those that
// told of its entry first.
func lastAck(e *entries, o *mark.Op, from, until int64) (last *mark.Ack) {
	if e == nil {
		return nil
	}
	var room [8]uint64 // more followers are rare
	heard := room[:0]
	later := e.since(from)
	for i := range later {
		a := &later[i]
		if a.At > until {
			break
		}
		if a.Term != o.Term || a.Index < o.Index || a.Node != o.Node ||
			slices.Contains(heard, a.From) {
			continue
		}
		heard, last = append(heard, a.From), a
	}
	return last
}

// withoutDelays takes from each part of a request, from and until, what a thread of its nodes
// waited for a processor meanwhile, and makes that a part of its own.
func (s *Span) withoutDelays(from, until int64, parts []part) []part {
	var room [8]around // more nodes are rare
	seen := room[:0]
	for i := range len(parts) {
		for _, node := range [...]uint64{parts[i].where.node, parts[i].where.peer} {
			if node == 0 {
				continue
			}
			at := slices.IndexFunc(seen, func(a around) bool { return a.node == node })
			if at < 0 {
				at = len(seen)
				seen = append(seen, s.around(node, from, until))
			}
			p := &parts[i]
			if d := min(seen[at].delayed(p), p.took); d > 0 {
				p.took -= d
				parts = append(parts, part{processor, place{node: node}, p.began, d})
			}
		}
	}
	return parts
}

// around are a node's delays while a request was under way, by their beginnings.
type around struct {
	node   uint64
	delays []Delay
}

// deviceEnd is how near to a device operation's end a delay must have ended to have been that of
// the thread that waited for it.
const deviceEnd = int64(500e3)

// around finds the delays of a node.
func (s *Span) around(node uint64, from, until int64) around {
	if target := s.targetOf(node); target >= 0 {
		return around{node, s.delays[target].between(from, until)}
	}
	return around{node: node}
}

// delayed is the most that one thread of a process waited for a processor during a part. Threads
// that are on no request's way wait all the time where processors are busy, so that all their waits
// together would be nearly any part's time.
func (a *around) delayed(p *part) (most int64) {
	end := p.began + p.took
	for i := range a.delays {
		d := &a.delays[i]
		if d.Began >= end {
			break
		}
		until := d.Began + d.Took
		if p.device() && (until < end-deviceEnd || until > end+deviceEnd) {
			continue
		}
		most = max(most, min(until, end)-max(d.Began, p.began))
	}
	return most
}
