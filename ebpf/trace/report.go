package trace

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/ashlar-storage/ashlar/ebpf/mark"
)

// Times sums many times up.
type Times struct {
	Count int           `json:"count"`
	P50   time.Duration `json:"p50_ns"`
	P99   time.Duration `json:"p99_ns"`
	P999  time.Duration `json:"p999_ns"`
	Max   time.Duration `json:"max_ns"`
}

// timesOf sums sorted times up.
func timesOf(all []int64) Times {
	if len(all) == 0 {
		return Times{}
	}
	at := func(q float64) time.Duration {
		return time.Duration(all[min(int(q*float64(len(all))), len(all)-1)])
	}
	return Times{Count: len(all), P50: at(0.5), P99: at(0.99), P999: at(0.999), Max: at(1)}
}

// Row is one part of requests, at one place or at all.
type Row struct {
	Part  string `json:"part"`
	Where string `json:"where"` // "": everywhere
	Times
	// Tail is the part's share, 0 to 1, in what made the slowest hundredth of the requests slower
	// than others.
	Tail float64 `json:"tail_share"`
}

// Kind is what a Span saw of one kind of requests.
type Kind struct {
	Name  string `json:"kind"`
	Total Times  `json:"total"`
	// Failed are requests that were not answered well. They are in no other figure.
	Failed int `json:"failed"`
	// Rows are by part in the order of a request's way, everywhere first and then by place.
	Rows []Row `json:"parts"`
	// Tail is how many requests the tail has, and From how long the shortest of them took.
	Tail    int           `json:"tail"`
	From    time.Duration `json:"tail_from_ns"`
	Verdict string        `json:"verdict"`
}

// Report is what a Span saw.
type Report struct {
	Kinds   []Kind `json:"kinds"`
	Resent  int    `json:"tcp_resent"` // segments that TCP sent once more
	Skipped int    `json:"skipped"`    // events that found no room
	// InStages is how much of the time of requests that were answered well is in their stages, 0
	// to 1. The whole is from arrival to when the kernel was told, by the kernel's clock.
	InStages float64 `json:"in_stages"`
}

// tailShare of all requests are the tail.
const tailShare = 100

// Report sums the span up.
func (s *Span) Report() Report {
	r := Report{Resent: s.resent, Skipped: s.skipped}
	if s.elapsed > 0 {
		r.InStages = float64(s.answered) / float64(s.elapsed)
	}
	for kind, name := range s.cfg.Kinds {
		if name == "" {
			continue
		}
		if k := s.kind(uint8(kind)); k.Total.Count+k.Failed > 0 {
			k.Name = name
			r.Kinds = append(r.Kinds, k)
		}
	}
	return r
}

// partKey names a part at a place, or everywhere.
type partKey struct {
	what  string
	where place
}

var everywhere = place{}

// dissection is the requests of one kind, taken apart.
type dissection struct {
	span   *Span
	totals []int64
	parts  map[partKey][]int64
	tail   int64 // from which time on a request belongs to the tail
	median map[string]int64
	excess map[partKey]int64
	sum    int64 // of excess
	slow   int
}

func (s *Span) kind(kind uint8) Kind {
	d := dissection{span: s, parts: map[partKey][]int64{}, median: map[string]int64{},
		excess: map[partKey]int64{}}
	failed := s.each(kind, 0, func(o *mark.Op, parts []part) {
		d.totals = append(d.totals, o.Took())
		for _, p := range parts {
			d.note(partKey{p.what, everywhere}, p.took)
			d.note(partKey{p.what, p.where}, p.took)
		}
	})
	slices.Sort(d.totals)
	k := Kind{Total: timesOf(d.totals), Failed: failed}
	if k.Total.Count == 0 {
		return k
	}
	d.tail = d.totals[len(d.totals)-1-(len(d.totals)-1)/tailShare]
	for key, all := range d.parts {
		if slices.Sort(all); key.where == everywhere {
			d.median[key.what] = d.typical(all)
		}
	}
	s.each(kind, d.tail, d.blame)
	k.Tail, k.From = d.slow, time.Duration(d.tail)
	k.Rows = d.rows()
	k.Verdict = d.verdict()
	return k
}

// each takes the requests of a kind apart that were answered well and took at least so long, and
// says how many were not answered well.
func (s *Span) each(kind uint8, least int64, f func(o *mark.Op, parts []part)) (failed int) {
	var parts []part
	for i := range s.ops {
		o := &s.ops[i]
		switch {
		case o.Kind != kind:
		case o.Status != 0:
			failed++
		case o.Took() >= least:
			parts = s.parts(o, parts[:0])
			f(o, parts)
		}
	}
	return failed
}

func (d *dissection) note(k partKey, ns int64) { d.parts[k] = append(d.parts[k], ns) }

// typical is the median of a part over all requests, those without it included.
func (d *dissection) typical(sorted []int64) int64 {
	without := len(d.totals) - len(sorted)
	if at := len(d.totals)/2 - without; at >= 0 && at < len(sorted) {
		return sorted[at]
	}
	return 0
}

// blame looks at a request of the tail: every part that took longer than it typically does has its
// share.
func (d *dissection) blame(_ *mark.Op, parts []part) {
	d.slow++
	for _, p := range parts {
		if more := p.took - d.median[p.what]; more > 0 {
			d.excess[partKey{p.what, p.where}] += more
			d.excess[partKey{p.what, everywhere}] += more
			d.sum += more
		}
	}
}

func (d *dissection) rows() []Row {
	order := append(slices.Clone(d.span.cfg.Stages), PartLogWait, PartLogWrite, PartLink,
		PartProcessor)
	var rows []Row
	for _, what := range order {
		for _, where := range d.places(what) {
			key := partKey{what, where}
			row := Row{Part: what, Where: d.span.name(where), Times: timesOf(d.parts[key])}
			if d.sum > 0 {
				row.Tail = float64(d.excess[key]) / float64(d.sum)
			}
			rows = append(rows, row)
		}
	}
	return rows
}

// places are where a part was spent: everywhere first.
func (d *dissection) places(what string) (all []place) {
	for k := range d.parts {
		if k.what == what {
			all = append(all, k.where)
		}
	}
	slices.SortFunc(all, func(a, b place) int {
		return cmp.Or(cmp.Compare(a.node, b.node), cmp.Compare(a.peer, b.peer))
	})
	return all
}

// name says where a place is.
func (s *Span) name(p place) string {
	if p == everywhere {
		return ""
	}
	if p.peer != 0 {
		return s.nodeName(p.node) + " - " + s.nodeName(p.peer)
	}
	return s.nodeName(p.node)
}

func (s *Span) nodeName(node uint64) string {
	if t := s.targetOf(node); t >= 0 {
		return s.cfg.Targets[t].Name
	}
	return fmt.Sprintf("node %d", node)
}

// verdict names the part and place with the largest share of the tail.
func (d *dissection) verdict() string {
	var worst partKey
	most := int64(0)
	for k, ns := range d.causes() {
		if ns > most || ns == most && k.what < worst.what {
			worst, most = k, ns
		}
	}
	if most == 0 {
		return "no part stands out"
	}
	return fmt.Sprintf("%.0f %% of what made the slowest %d slow: %s", 100*float64(most)/
		float64(d.sum), d.slow, d.span.accuse(worst))
}

// allPeers stands for the other ends of more than one link of a node.
const allPeers = ^uint64(0)

// causes are what the excess comes from. A log waits for its device, so that is one. Where several
// links of a node are slow, the node's end of them is a cause beside each.
func (d *dissection) causes() map[partKey]int64 {
	causes, links, longest := map[partKey]int64{}, map[uint64]int64{}, map[uint64]int64{}
	for k, ns := range d.excess {
		if k.where == everywhere {
			continue
		}
		switch k.what {
		case PartLogWait:
			k.what = PartLogWrite
		case PartLink:
			for _, node := range []uint64{k.where.node, k.where.peer} {
				links[node] += ns
				longest[node] = max(longest[node], ns)
			}
		}
		causes[k] += ns
	}
	for node, ns := range links {
		if longest[node] <= ns*3/4 {
			causes[partKey{PartLink, place{node, allPeers}}] = ns
		}
	}
	return causes
}

// accuse is a cause in words.
func (s *Span) accuse(k partKey) string {
	node := s.nodeName(k.where.node)
	switch k.what {
	case PartLogWrite:
		return "the device of " + s.deviceName(k.where.node) + ", in writes of its log"
	case PartLink:
		if k.where.peer == allPeers {
			return "the ways between " + node + " and the other nodes"
		}
		return "the way between " + node + " and " + s.nodeName(k.where.peer)
	case PartProcessor:
		return "processors of " + node + ", for which its threads wait"
	case s.cfg.Stages[s.cfg.Read]:
		return "the device of " + s.deviceName(k.where.node) + ", in reads"
	}
	return "stage " + k.what + " on " + node
}

func (s *Span) deviceName(node uint64) string {
	name := s.nodeName(node)
	if t := s.targetOf(node); t >= 0 && s.cfg.Targets[t].Device != "" {
		return name + " (" + s.cfg.Targets[t].Device + ")"
	}
	return name
}
