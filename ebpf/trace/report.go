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

// timesOf sums n times up, of which at gives the one of each rank, from 0.
func timesOf(n int, at func(rank int) int64) Times {
	if n == 0 {
		return Times{}
	}
	share := func(q float64) time.Duration {
		return time.Duration(at(min(int(q*float64(n)), n-1)))
	}
	return Times{Count: n, P50: share(0.5), P99: share(0.99), P999: share(0.999), Max: share(1)}
}

// Row is one part of requests, at one place or at all. Its P50, P99 and P999 are right to a
// sixty-fourth of themselves; see fine.
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
	// to 1, of those that were told at once (mark.Prompt). The whole is from arrival to when the
	// kernel was told, by the kernel's clock.
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
	what  what
	where place
}

var everywhere = place{}

// dissection is the requests of one kind, taken apart.
type dissection struct {
	span   *Span
	totals []int64
	parts  [whats][]*spent // everywhere first
	tail   int64           // from which time on a request belongs to the tail
	median [whats]int64
	sum    int64 // of what is spent too much
	slow   int
}

// spent is the time of one part at one place.
type spent struct {
	where  place
	times  fine
	excess int64 // in the tail
}

// at is what a part took at a place. There are few places: of each part as many as nodes, of links
// as pairs of them.
func (d *dissection) at(what what, where place) *spent {
	for _, s := range d.parts[what] {
		if s.where == where {
			return s
		}
	}
	s := &spent{where: where}
	d.parts[what] = append(d.parts[what], s)
	return s
}

func (s *Span) kind(kind uint8) Kind {
	d := dissection{span: s}
	failed := s.each(kind, 0, func(o *mark.Op, parts []part) {
		d.totals = append(d.totals, o.Took())
		for i := range parts {
			d.at(parts[i].what, parts[i].where).times.add(parts[i].took)
		}
	})
	slices.Sort(d.totals)
	k := Kind{Failed: failed,
		Total: timesOf(len(d.totals), func(rank int) int64 { return d.totals[rank] })}
	if k.Total.Count == 0 {
		return k
	}
	d.tail = d.totals[len(d.totals)-1-(len(d.totals)-1)/tailShare]
	d.sumUp()
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

// sumUp adds to each part what it took everywhere, and its median.
func (d *dissection) sumUp() {
	for what, places := range d.parts {
		if len(places) == 0 {
			continue
		}
		slices.SortFunc(places, func(a, b *spent) int {
			return cmp.Or(cmp.Compare(a.where.node, b.where.node),
				cmp.Compare(a.where.peer, b.where.peer))
		})
		all := &spent{where: everywhere}
		for _, s := range places {
			all.times.merge(&s.times)
		}
		d.parts[what] = slices.Insert(places, 0, all)
		d.median[what] = d.typical(&all.times)
	}
}

// typical is the median of a part over all requests, those without it included.
func (d *dissection) typical(times *fine) int64 {
	without := len(d.totals) - times.n
	if at := len(d.totals)/2 - without; at >= 0 && at < times.n {
		return times.rank(at)
	}
	return 0
}

// blame looks at a request of the tail: every part that took longer than it typically does has its
// share.
func (d *dissection) blame(_ *mark.Op, parts []part) {
	d.slow++
	for i := range parts {
		p := &parts[i]
		if more := p.took - d.median[p.what]; more > 0 {
			d.at(p.what, p.where).excess += more
			d.parts[p.what][0].excess += more
			d.sum += more
		}
	}
}

func (d *dissection) rows() []Row {
	var rows []Row
	for w, places := range d.parts {
		for _, s := range places {
			row := Row{Part: d.span.partName(what(w)), Where: d.span.name(s.where),
				Times: timesOf(s.times.n, s.times.rank)}
			if d.sum > 0 {
				row.Tail = float64(s.excess) / float64(d.sum)
			}
			rows = append(rows, row)
		}
	}
	return rows
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
	for w, places := range d.parts {
		for _, s := range places {
			if s.where == everywhere {
				continue
			}
			k := partKey{what(w), s.where}
			switch k.what {
			case logWait:
				k.what = logWrite
			case link:
				for _, node := range []uint64{k.where.node, k.where.peer} {
					links[node] += s.excess
					longest[node] = max(longest[node], s.excess)
				}
			}
			causes[k] += s.excess
		}
	}
	for node, ns := range links {
		if longest[node] <= ns*3/4 {
			causes[partKey{link, place{node, allPeers}}] = ns
		}
	}
	return causes
}

// accuse is a cause in words.
func (s *Span) accuse(k partKey) string {
	node := s.nodeName(k.where.node)
	switch k.what {
	case logWrite:
		return "the device of " + s.deviceName(k.where.node) + ", in writes of its log"
	case link:
		if k.where.peer == allPeers {
			return "the ways between " + node + " and the other nodes"
		}
		return "the way between " + node + " and " + s.nodeName(k.where.peer)
	case processor:
		return "processors of " + node + ", for which its threads wait"
	case what(s.cfg.Read):
		return "the device of " + s.deviceName(k.where.node) + ", in reads"
	}
	return "stage " + s.partName(k.what) + " on " + node
}

func (s *Span) deviceName(node uint64) string {
	name := s.nodeName(node)
	if t := s.targetOf(node); t >= 0 && s.cfg.Targets[t].Device != "" {
		return name + " (" + s.cfg.Targets[t].Device + ")"
	}
	return name
}
