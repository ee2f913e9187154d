package trace

import (
	"slices"
	"sort"

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
	cfg      Config
	ops      []mark.Op
	kinds    []*dissection // by number, when they are summed up; nil: there are none
	copysets map[uint64]*entries
	recent   [recentSize]*entries // of copysets, by the last bits of their numbers
	delays   []stretches          // by target
	bios     [][]Bio
	rings    [][]RingOp
	others   int
	nodeOf   []uint64 // by target; 0: it has not said yet
	// answered is the time of the prompt requests that were answered well, by their stages, and
	// elapsed from their arrivals to the telling.
	answered, elapsed int64
	resent            int
	skipped           int
}

// NewSpan begins a stretch.
func NewSpan(cfg Config) *Span {
	n := len(cfg.Targets)
	return &Span{cfg: cfg, kinds: make([]*dissection, len(cfg.Kinds)),
		copysets: map[uint64]*entries{}, delays: make([]stretches, n), bios: make([][]Bio, n),
		rings: make([][]RingOp, n), nodeOf: make([]uint64, n)}
}

// Next is a Span for what comes after this one. It knows which process is which node.
func (s *Span) Next() *Span {
	n := NewSpan(s.cfg)
	copy(n.nodeOf, s.nodeOf)
	return n
}

// Begin forgets what was gathered and begins another stretch in the same memory, which costs less
// than new memory, with the same knowledge of which process is which node.
func (s *Span) Begin() {
	s.ops = s.ops[:0]
	for _, d := range s.kinds {
		if d != nil {
			d.begin()
		}
	}
	for _, e := range s.copysets {
		e.begin()
	}
	for i := range s.delays {
		s.delays[i] = stretches{all: s.delays[i].all[:0], reach: s.delays[i].reach[:0]}
		s.bios[i], s.rings[i] = s.bios[i][:0], s.rings[i][:0]
	}
	s.others, s.answered, s.elapsed, s.resent, s.skipped = 0, 0, 0, 0, 0
}

// room counts an event that is not a request in, or out.
func (s *Span) room(target int) bool {
	if target < 0 || target >= len(s.nodeOf) || s.others >= MaxOthers {
		s.skipped++
		return false
	}
	s.others++
	return true
}

// Op takes a request that was answered; at is when that was told, by a clock that is not the
// node's, which for prompt ones is when it was answered.
func (s *Span) Op(target int, o *mark.Op, at int64) {
	if target < 0 || target >= len(s.nodeOf) || len(s.ops) >= MaxOps {
		s.skipped++
		return
	}
	if o.Status == 0 && o.Been&mark.Prompt != 0 {
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
		s.of(a.Copyset).append(target, a)
	}
}

// Ack takes a follower's word.
func (s *Span) Ack(target int, a *mark.Ack) {
	if s.room(target) {
		s.nodeOf[target] = a.Node
		s.of(a.Copyset).ack(a)
	}
}

// Delay takes a thread's wait for a processor.
func (s *Span) Delay(target int, d Delay) {
	if s.room(target) {
		s.delays[target].add(d)
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

// recentSize is of how many copysets the entries are found without a hash.
const recentSize = 64

// known is what is known of a copyset's entries; nil: nothing.
func (s *Span) known(copyset uint64) *entries {
	slot := &s.recent[copyset%recentSize]
	if e := *slot; e != nil && e.copyset == copyset {
		return e
	}
	e := s.copysets[copyset]
	if e != nil {
		*slot = e
	}
	return e
}

// of is what is known of a copyset's entries, for more of it.
func (s *Span) of(copyset uint64) *entries {
	e := s.known(copyset)
	if e == nil {
		e = &entries{copyset: copyset, appends: make([]run, len(s.nodeOf))}
		s.copysets[copyset] = e
	}
	return e
}

// stretches are a process's delays, sorted by their beginnings, and how far each and those before
// it reach: who looks for what covers a point goes back from there until nothing reaches it any
// more.
type stretches struct {
	all   []Delay
	reach []int64
}

// add takes a delay in. They come by their ends, so that it goes behind all but a few.
func (t *stretches) add(d Delay) {
	i := len(t.all)
	for i > 0 && t.all[i-1].Began > d.Began {
		i--
	}
	t.all = slices.Insert(t.all, i, d)
	t.reach = append(t.reach, 0)
	far := int64(0)
	if i > 0 {
		far = t.reach[i-1]
	}
	for ; i < len(t.all); i++ {
		far = max(far, t.all[i].Began+t.all[i].Took)
		t.reach[i] = far
	}
}

// between are the delays that may overlap a stretch of time, and some that do not.
func (t *stretches) between(from, until int64) []Delay {
	end := sort.Search(len(t.all), func(i int) bool { return t.all[i].Began >= until })
	begin := end
	for begin > 0 && t.reach[begin-1] > from {
		begin--
	}
	return t.all[begin:end]
}
