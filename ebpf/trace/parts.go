package trace

import (
	"slices"
	"sort"

	"github.com/ashlar-storage/ashlar/ebpf/mark"
)

// The parts into which the commit stage is taken, and the one that is taken from all.
const (
	PartLogWait   = "log wait"
	PartLogWrite  = "log write"
	PartLink      = "link"
	PartProcessor = "processor"
)

// place is where a part of a request was spent.
type place struct {
	node uint64
	peer uint64 // of a link: its other end
}

// part is a piece of a request's time. All parts of a request add up to its time.
type part struct {
	what  string
	where place
	began int64
	took  int64
}

// device reports whether the part is one device operation, which no processor is needed for but at
// its end.
func (p *part) device() bool { return p.what == PartLogWrite }

// parts takes a request apart.
func (s *Span) parts(o *mark.Op, to []part) []part {
	s.sort()
	at := o.Arrived
	for i, ns := range o.Spent {
		switch {
		case ns == 0:
		case i == s.cfg.Commit && o.Index != 0:
			to = s.commitParts(o, at, at+ns, to)
		default:
			to = append(to, part{s.cfg.Stages[i], place{node: o.Node}, at, ns})
		}
		at += ns
	}
	return s.withoutDelays(to)
}

// commitParts divides the commit stage, from and until, by what decided when it ended.
func (s *Span) commitParts(o *mark.Op, from, until int64, to []part) []part {
	own := s.appended(o, o.Node)
	ack := s.lastAck(o, from, until)
	var follower *mark.Append
	if ack != nil {
		follower = s.appended(o, ack.From)
	}
	c := cutter{to: to, at: from, until: until}
	commit, leader := s.cfg.Stages[s.cfg.Commit], place{node: o.Node}
	switch {
	case ack == nil && own == nil:
	case ack == nil || own != nil && own.Taken <= until && ownDecided(own, ack, follower):
		c.cut(commit, leader, own.Queued)
		c.cut(PartLogWait, leader, own.Began)
		c.cut(PartLogWrite, leader, own.Durable)
	default:
		link, there := place{node: o.Node, peer: ack.From}, place{node: ack.From}
		if follower != nil {
			late := within(follower, from, ack.At)
			c.cut(PartLink, link, follower.Queued+late)
			c.cut(PartLogWait, there, follower.Began+late)
			c.cut(PartLogWrite, there, follower.Durable+late)
		}
		c.cut(PartLink, link, ack.At)
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

func (c *cutter) cut(what string, where place, end int64) {
	if end = min(end, c.until); end > c.at {
		c.to = append(c.to, part{what, where, c.at, end - c.at})
		c.at = end
	}
}

// appended finds the append that brought a request's entry to a node's log.
func (s *Span) appended(o *mark.Op, node uint64) (found *mark.Append) {
	s.eachAppend(o, func(a *mark.Append) {
		if a.Node == node {
			found = a
		}
	})
	return found
}

// lastAck is the word of a follower that came last before a request was committed, of those that
// told of its entry first.
func (s *Span) lastAck(o *mark.Op, from, until int64) *mark.Ack {
	all := s.acks[o.Copyset]
	i := sort.Search(len(all), func(i int) bool { return all[i].At >= from })
	var last *mark.Ack
	var heard []uint64
	for ; i < len(all) && all[i].At <= until; i++ {
		a := &all[i]
		if a.Term != o.Term || a.Index < o.Index || a.Node != o.Node ||
			slices.Contains(heard, a.From) {
			continue
		}
		heard, last = append(heard, a.From), a
	}
	return last
}

// withoutDelays takes from each part what a thread of its nodes waited for a processor meanwhile,
// and makes that a part of its own.
func (s *Span) withoutDelays(parts []part) []part {
	n := len(parts)
	for i := range n {
		for _, node := range []uint64{parts[i].where.node, parts[i].where.peer} {
			p := &parts[i]
			target := s.targetOf(node)
			if target < 0 {
				continue
			}
			if d := min(s.delayed(target, p), p.took); d > 0 {
				p.took -= d
				parts = append(parts, part{PartProcessor, place{node: node}, p.began, d})
			}
		}
	}
	return parts
}

// deviceEnd is how near to a device operation's end a delay must have ended to have been that of
// the thread that waited for it.
const deviceEnd = int64(500e3)

// delayed is the most that one thread of a process waited for a processor during a part. Threads
// that are on no request's way wait all the time where processors are busy, so that all their waits
// together would be nearly any part's time.
func (s *Span) delayed(target int, p *part) (most int64) {
	all, far, end := s.delays[target], s.delaysReach[target], p.began+p.took
	i := sort.Search(len(all), func(i int) bool { return all[i].Began >= end })
	for i--; i >= 0 && far[i] > p.began; i-- {
		until := all[i].Began + all[i].Took
		if p.device() && (until < end-deviceEnd || until > end+deviceEnd) {
			continue
		}
		most = max(most, min(until, end)-max(all[i].Began, p.began))
	}
	return most
}
