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

// look takes all requests apart, of all kinds in one pass. To do so as they come is no less work
// in the end: it comes in pieces, and finds the processor's caches cold for each.
func (s *Span) look() {
	for i := range s.ops {
		o := &s.ops[i]
		if int(o.Kind) < len(s.kinds) && s.cfg.Kinds[o.Kind] != "" {
			s.dissection(o.Kind).take(i, o)
		}
	}
}

func (s *Span) dissection(kind uint8) *dissection {
	if s.kinds[kind] == nil {
		s.kinds[kind] = &dissection{span: s}
	}
	return s.kinds[kind]
}

// Report sums the span up. After it, a Span has to begin again.
func (s *Span) Report() Report {
	r := Report{Resent: s.resent, Skipped: s.skipped}
	if s.elapsed > 0 {
		r.InStages = float64(s.answered) / float64(s.elapsed)
	}
	s.look()
	for kind, name := range s.cfg.Kinds {
		d := s.kinds[kind]
		if d == nil {
			continue
		}
		if k := d.sumUp(); k.Total.Count+k.Failed > 0 {
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
	failed int
	totals totals
	ops    []uint32        // whose they are, by their places in the span
	room   []part          // for one of them
	parts  [whats][]*spent // everywhere first, when they are summed up
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

// begin forgets everything, in the same memory.
func (d *dissection) begin() {
	*d = dissection{span: d.span, ops: d.ops[:0], room: d.room,
		totals: totals{all: d.totals.all[:0]}}
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

// take takes a request apart.
func (d *dissection) take(place int, o *mark.Op) {
	if o.Status != 0 {
		d.failed++
		return
	}
	d.ops = append(d.ops, uint32(place))
	d.totals.add(o.Took())
	d.room = d.span.parts(o, d.room[:0])
	for i := range d.room {
		p := &d.room[i]
		d.at(p.what, p.where).times.add(p.took)
	}
}

// sumUp looks at the tail, when all requests are taken apart.
func (d *dissection) sumUp() Kind {
	n := len(d.ops)
	k := Kind{Failed: d.failed, Total: timesOf(n, d.totals.rank)}
	if n == 0 {
		return k
	}
	d.everywhere()
	from := d.totals.rank(n - 1 - (n-1)/tailShare)
	for i, took := range d.totals.all {
		if took >= from {
			d.room = d.span.parts(&d.span.ops[d.ops[i]], d.room[:0])
			d.blame(d.room)
		}
	}
	k.Tail, k.From = d.slow, time.Duration(from)
	k.Rows = d.rows()
	k.Verdict = d.verdict()
	return k
}

// everywhere adds to each part what it took everywhere, and its median.
func (d *dissection) everywhere() {
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
	n := len(d.totals.all)
	if at := n/2 - (n - times.n); at >= 0 && at < times.n {
		return times.rank(at)
	}
	return 0
}

// blame looks at a request of the tail: every part that took longer than it typically does has its
// share.
func (d *dissection) blame(parts []part) {
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
