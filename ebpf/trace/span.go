package trace

import (
	"cmp"
	"slices"

	"github.com/ashlar-storage/ashlar/ebpf/mark"
)

// Target is a process that is traced.
type Target struct {
	Name   string
	Device string // what its stores are on; "": unknown
}

// Config says what the numbers in the events mean.
type Config struct {
	Targets []Target // by their number
	Stages  []string // names, by number; of length mark.Stages
	Commit  int      // the stage that is taken apart
	Read    int      // the stage in which a device is read
	Kinds   []string // of requests, by number; those without a name are not reported
}

// Delay is a thread that could run and had no processor.
type Delay struct {
	Began, Took int64 // ns
	Thread, CPU uint32
}

// Bio is a device operation of a process.
type Bio struct {
	Began, Took   int64 // ns
	Sector        uint64
	Device, Bytes uint32
	Class         Class
}

// Class is what a device does.
type Class uint32

// The classes, as the probes number them.
const (
	ClassRead Class = iota
	ClassWrite
	ClassFlush
)

func (c Class) String() string {
	return [...]string{"read", "write", "flush"}[min(c, ClassFlush)]
}

// RingOp is an operation of a process on an io_uring.
type RingOp struct {
	Began, Took int64 // ns
	Tag         uint64
	Opcode      uint32
}

// Resend is a segment that TCP sent once more.
type Resend struct {
	At            int64
	Local, Remote uint32 // ports
}

// Span gathers the events of a stretch of time.
type Span struct {
	cfg     Config
	ops     []mark.Op
	appends map[uint64][]mark.Append // by copyset
	acks    map[uint64][]mark.Ack
	delays  [][]Delay // by target
	bios    [][]Bio
	rings   [][]RingOp
	others  int
	nodeOf  []uint64 // by target; 0: it has not said yet
	// answered is the time of all requests that were answered well, by their stages, and elapsed
	// from their arrivals to the telling.
	answered, elapsed int64
	resent            int
	skipped           int
	sorted            bool
	// When appends and delays are sorted: how far those up to each reach.
	appendsReach map[uint64][]uint64
	delaysReach  [][]int64
}

// NewSpan begins a stretch.
func NewSpan(cfg Config) *Span {
	n := len(cfg.Targets)
	return &Span{cfg: cfg, appends: map[uint64][]mark.Append{}, acks: map[uint64][]mark.Ack{},
		delays: make([][]Delay, n), bios: make([][]Bio, n),
		rings: make([][]RingOp, n), nodeOf: make([]uint64, n)}
}

// Next is a Span for what comes after this one. It knows which process is which node.
func (s *Span) Next() *Span {
	n := NewSpan(s.cfg)
	copy(n.nodeOf, s.nodeOf)
	return n
}

// room counts an event that is not a request in, or out.
func (s *Span) room(target int) bool {
	if target < 0 || target >= len(s.nodeOf) || s.others >= MaxOthers {
		s.skipped++
		return false
	}
	s.others++
	s.sorted = false
	return true
}

// Op takes a request that was answered; at is when that was told, by a clock that is not the
// node's.
func (s *Span) Op(target int, o *mark.Op, at int64) {
	if target < 0 || target >= len(s.nodeOf) || len(s.ops) >= MaxOps {
		s.skipped++
		return
	}
	if o.Status == 0 {
		s.answered += o.Took()
		s.elapsed += at - o.Arrived
	}
	s.nodeOf[target] = o.Node
	s.ops = append(s.ops, *o)
}

// Append takes a part of a log that became durable.
func (s *Span) Append(target int, a *mark.Append) {
	if s.room(target) {
		s.nodeOf[target] = a.Node
		s.appends[a.Copyset] = append(s.appends[a.Copyset], *a)
	}
}

// Ack takes a follower's word.
func (s *Span) Ack(target int, a *mark.Ack) {
	if s.room(target) {
		s.nodeOf[target] = a.Node
		s.acks[a.Copyset] = append(s.acks[a.Copyset], *a)
	}
}

// Delay takes a thread's wait for a processor.
func (s *Span) Delay(target int, d Delay) {
	if s.room(target) {
		s.delays[target] = append(s.delays[target], d)
	}
}

// Bio takes a device operation.
func (s *Span) Bio(target int, b Bio) {
	if s.room(target) {
		s.bios[target] = append(s.bios[target], b)
	}
}

// Ring takes an operation on an io_uring.
func (s *Span) Ring(target int, r RingOp) {
	if s.room(target) {
		s.rings[target] = append(s.rings[target], r)
	}
}

// Resend takes a segment that was sent again.
func (s *Span) Resend(int, Resend) { s.resent++ }

// targetOf is the process of a node; -1: it is not traced.
func (s *Span) targetOf(node uint64) int {
	if node == 0 {
		return -1
	}
	return slices.Index(s.nodeOf, node)
}

// sort puts the events in an order in which they are found.
func (s *Span) sort() {
	if s.sorted {
		return
	}
	s.sorted = true
	s.appendsReach = make(map[uint64][]uint64, len(s.appends))
	for copyset, all := range s.appends {
		slices.SortFunc(all, func(a, b mark.Append) int { return cmp.Compare(a.First, b.First) })
		s.appendsReach[copyset] = reach(all, appendEnd)
	}
	for _, all := range s.acks {
		slices.SortFunc(all, func(a, b mark.Ack) int { return cmp.Compare(a.At, b.At) })
	}
	s.delaysReach = make([][]int64, len(s.delays))
	for i, all := range s.delays {
		slices.SortFunc(all, func(a, b Delay) int { return cmp.Compare(a.Began, b.Began) })
		s.delaysReach[i] = reach(all, func(d *Delay) int64 { return d.Began + d.Took })
	}
}

// reach is for each of some stretches, in the order of their beginnings, how far it and those
// before it go: who looks for what covers a point goes back from there until nothing reaches it any
// more.
func reach[T any, N cmp.Ordered](all []T, end func(*T) N) []N {
	to := make([]N, len(all))
	for i := range all {
		to[i] = end(&all[i])
		if i > 0 {
			to[i] = max(to[i], to[i-1])
		}
	}
	return to
}

// appendEnd is the index behind an append's entries.
func appendEnd(a *mark.Append) uint64 { return a.First + uint64(a.Count) }
