package trace

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/ashlar-storage/ashlar/ebpf/mark"
)

// Moment is something that happened while a request was under way.
type Moment struct {
	After time.Duration `json:"after_ns"` // the request's arrival
	Took  time.Duration `json:"took_ns"`
	Where string        `json:"where"`
	What  string        `json:"what"`
}

// Timeline is one request with all that is known of it, in order.
type Timeline struct {
	Op      mark.Op       `json:"request"`
	Kind    string        `json:"kind"`
	Node    string        `json:"node"`
	Took    time.Duration `json:"took_ns"`
	Moments []Moment      `json:"moments"`
}

// Slow gives the requests that took at least so long, in the order in which they were answered.
// Later is the span that follows, in which events of the same requests may be; nil: there is none.
func (s *Span) Slow(least time.Duration, later *Span, each func(Timeline)) {
	spans := []*Span{s}
	if later != nil {
		spans = append(spans, later)
	}
	for i := range s.ops {
		o := &s.ops[i]
		if total := o.Took(); total >= int64(least) && s.kindName(o.Kind) != "" {
			each(timeline(o, total, spans))
		}
	}
}

func (s *Span) kindName(kind uint8) string {
	if int(kind) >= len(s.cfg.Kinds) {
		return ""
	}
	return s.cfg.Kinds[kind]
}

func timeline(o *mark.Op, total int64, spans []*Span) Timeline {
	s := spans[0]
	t := Timeline{Op: *o, Kind: s.kindName(o.Kind), Node: s.nodeName(o.Node),
		Took: time.Duration(total)}
	at := o.Arrived
	for i, ns := range o.Spent {
		if ns > 0 {
			t.add(at, ns, t.Node, s.cfg.Stages[i])
		}
		at += ns
	}
	nodes := []uint64{o.Node}
	for _, span := range spans {
		nodes = span.logMoments(&t, nodes)
	}
	for _, span := range spans {
		span.systemMoments(&t, nodes)
	}
	slices.SortStableFunc(t.Moments, func(a, b Moment) int {
		return cmp.Compare(a.After, b.After)
	})
	return t
}

func (t *Timeline) add(at, ns int64, where, what string) {
	t.Moments = append(t.Moments, Moment{time.Duration(at - t.Op.Arrived), time.Duration(ns), where,
		what})
}

// logMoments adds what logs and followers did with the request's entry, and the nodes that did.
func (s *Span) logMoments(t *Timeline, nodes []uint64) []uint64 {
	o := &t.Op
	if o.Index == 0 {
		return nodes
	}
	s.eachAppend(o, func(a *mark.Append) {
		node := s.nodeName(a.Node)
		t.add(a.Queued, a.Began-a.Queued, node, PartLogWait)
		t.add(a.Began, a.Durable-a.Began, node, fmt.Sprintf("%s of %d entries, %d bytes",
			PartLogWrite, a.Count, a.Bytes))
		if !slices.Contains(nodes, a.Node) {
			nodes = append(nodes, a.Node)
		}
	})
	e := s.known(o.Copyset)
	if e == nil {
		return nodes
	}
	var heard []uint64
	for _, a := range e.since(o.Arrived) {
		if a.Term == o.Term && a.Index >= o.Index && a.Node == o.Node &&
			!slices.Contains(heard, a.From) && a.At <= o.Arrived+int64(t.Took) {
			heard = append(heard, a.From)
			t.add(a.At, 0, t.Node, "has the word of "+s.nodeName(a.From))
		}
	}
	return nodes
}

// systemMoments adds what the kernel saw of the nodes meanwhile.
func (s *Span) systemMoments(t *Timeline, nodes []uint64) {
	from, until := t.Op.Arrived, t.Op.Arrived+int64(t.Took)
	tag := mark.Tag(t.Op.Session, t.Op.ID)
	for _, node := range nodes {
		target := s.targetOf(node)
		if target < 0 {
			continue
		}
		name := s.cfg.Targets[target].Name
		for _, d := range s.delays[target].all {
			if d.Began < until && d.Began+d.Took > from {
				t.add(d.Began, d.Took, name, fmt.Sprintf("thread %d waits for processor %d",
					d.Thread, d.CPU))
			}
		}
		for _, r := range s.rings[target] {
			if r.Tag == tag && node == t.Op.Node && r.Began < until && r.Began+r.Took > from {
				t.add(r.Began, r.Took, name, "its operation on the ring")
			}
		}
		for _, b := range s.bios[target] {
			if b.Began < until && b.Began+b.Took > from {
				t.add(b.Began, b.Took, name, fmt.Sprintf("device %s of %d bytes at sector %d",
					b.Class, b.Bytes, b.Sector))
			}
		}
	}
}

// eachAppend gives the appends that brought a request's entry to any log.
func (s *Span) eachAppend(o *mark.Op, each func(*mark.Append)) {
	if e := s.known(o.Copyset); e != nil {
		for i := range e.appends {
			e.appends[i].with(o.Term, o.Index, each)
		}
	}
}
