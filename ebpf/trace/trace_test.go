package trace

import (
	"bytes"
	"cmp"
	"fmt"
	"math"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ashlar-storage/ashlar/ebpf/mark"
)

const (
	us = int64(time.Microsecond)
	ms = int64(time.Millisecond)

	kindRead  = 1
	kindWrite = 2

	stageQueue  = 0
	stageRead   = 3
	stageCommit = 5
	stageReply  = 6
)

func config() Config {
	return Config{Stages: []string{"queue", "lane", "lease", "read", "propose", "commit", "reply"},
		Commit: stageCommit, Read: stageRead, Kinds: []string{"", "read", "write"},
		Targets: []Target{{Name: "n1", Device: "sda of store-1"}, {Name: "n2"}, {Name: "n3"}}}
}

// write is one write as a cluster of three tells of it: node 1 leads copyset 7.
type write struct {
	at                 int64
	ownWait, ownWrite  int64 // of the leader's log
	out, there, answer int64 // of node 2: on the way, in its log's write, and back
	late               int64 // that node 3 is later than node 2
	ahead              int64 // that node 2's clock is, or seems to be
}

// typical is a write of 600 us, decided by the leader's log when node 2 is quicker.
func typical(at int64) write {
	return write{at: at, ownWait: 10 * us, ownWrite: 200 * us, out: 40 * us, there: 120 * us,
		answer: 30 * us, late: 500 * us}
}

// tell puts all events of a write into a span, and returns how long it took.
func (w write) tell(s *Span, index uint64) int64 {
	proposed := w.at + 20*us
	began := proposed + w.ownWait
	own := mark.Append{Copyset: 7, Term: 3, First: index, Count: 1, Bytes: 4096, Queued: proposed,
		Began: began, Durable: began + w.ownWrite, Taken: began + w.ownWrite + 5*us, Node: 1}
	there := mark.Append{Copyset: 7, Term: 3, First: index, Count: 1, Queued: proposed + w.out,
		Began: proposed + w.out + 5*us, Durable: proposed + w.out + 5*us + w.there, Node: 2}
	there.Taken = there.Durable + us
	heard := there.Durable + w.answer
	for _, at := range []*int64{&there.Queued, &there.Began, &there.Durable, &there.Taken} {
		*at += w.ahead
	}
	ack := mark.Ack{Copyset: 7, Term: 3, Index: index, At: heard, From: 2, Node: 1}
	late := ack
	late.From, late.At = 3, ack.At+w.late
	committed := max(own.Taken, ack.At)
	s.Append(0, &own)
	s.Append(1, &there)
	s.Ack(0, &ack)
	s.Ack(0, &late)
	op := mark.Op{Copyset: 7, Term: 3, Index: index, Kind: kindWrite, Length: 4096, Arrived: w.at,
		Node: 1}
	op.Spent[stageQueue], op.Spent[stageCommit] = 20*us, committed-proposed
	op.Spent[stageReply] = 15 * us
	s.Op(0, &op, committed+15*us)
	return committed - w.at + 15*us
}

// spanOf has a hundred typical writes, and slow ones.
func spanOf(slow ...func(*write)) *Span {
	s := NewSpan(config())
	for i := range 100 + len(slow) {
		w := typical(int64(i) * 100 * ms)
		if i >= 100 {
			slow[i-100](&w)
		}
		w.tell(s, uint64(i)+1)
	}
	return s
}

func verdictOf(t *testing.T, s *Span) string {
	t.Helper()
	r := s.Report()
	if len(r.Kinds) != 1 {
		t.Fatalf("kinds: %+v", r.Kinds)
	}
	return r.Kinds[0].Verdict
}

func TestVerdictNamesWhatMadeTheTail(t *testing.T) {
	for _, c := range []struct {
		name, want string
		slow       func(*write)
	}{
		{"the leader's device", "device of n1 (sda of store-1), in writes of its log",
			func(w *write) { w.ownWrite = 20 * ms }},
		{"the leader's log", "device of n1 (sda of store-1), in writes of its log",
			func(w *write) { w.ownWait = 20 * ms }},
		{"both followers' devices", "device of n2, in writes of its log",
			func(w *write) { w.there = 20 * ms }},
		{"the way there", "the way between n1 and n2", func(w *write) { w.out = 20 * ms }},
		{"the way back", "the way between n1 and n2", func(w *write) { w.answer = 20 * ms }},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := verdictOf(t, spanOf(c.slow)); !strings.Contains(got, c.want) {
				t.Errorf("verdict %q, want %q", got, c.want)
			}
		})
	}
}

func TestVerdictNamesTheNodeWhoseLinksAreAllSlow(t *testing.T) {
	slow := func(w *write) { w.answer = 20 * ms }
	s := spanOf(slow, slow)
	entries := s.copysets[7]
	for i, a := range entries.acks { // the last was decided by node 3, in the same way
		if a.Index == 102 {
			entries.acks[i].From = 5 - a.From
		}
	}
	second := &entries.appends[1].all
	last := (*second)[len(*second)-1]
	*second = (*second)[:len(*second)-1]
	last.Node = 3
	s.Append(2, &last)
	if got := verdictOf(t, s); !strings.Contains(got, "the ways between n1 and the other nodes") {
		t.Errorf("verdict %q", got)
	}
}

func TestVerdictNamesTheNodeThatLacksProcessors(t *testing.T) {
	s := spanOf(func(w *write) { w.answer = 20 * ms })
	slow := 100 * 100 * ms
	// n1 heard of the answer late because no thread of it ran.
	s.Delay(0, Delay{Began: slow + ms, Took: 19 * ms})
	s.Delay(1, Delay{Began: slow - 30*ms, Took: 2 * ms})
	if got := verdictOf(t, s); !strings.Contains(got, "processors of n1") {
		t.Errorf("verdict %q", got)
	}
}

func TestManyShortDelaysAreNoExcuseForALink(t *testing.T) {
	s := spanOf(func(w *write) { w.answer = 20 * ms })
	slow := 100 * 100 * ms
	for i := range int64(19) { // threads on both ends, one after the other all the time
		s.Delay(int(i%2), Delay{Began: slow + i*ms, Took: ms})
	}
	if got := verdictOf(t, s); !strings.Contains(got, "the way between n1 and n2") {
		t.Errorf("verdict %q", got)
	}
}

func TestADelayElsewhereInTimeIsNoExcuseForADevice(t *testing.T) {
	s := spanOf(func(w *write) { w.ownWrite = 20 * ms })
	slow := 100 * 100 * ms
	s.Delay(0, Delay{Began: slow + 2*ms, Took: 9 * ms}) // another thread, while the device was busy
	if got := verdictOf(t, s); !strings.Contains(got, "device of n1") {
		t.Errorf("verdict %q", got)
	}
}

func TestSlowReadsAreTheDevices(t *testing.T) {
	s := NewSpan(config())
	for i := range 200 {
		o := mark.Op{Copyset: 7, Kind: kindRead, Arrived: int64(i) * 100 * ms, Node: 1}
		o.Spent[stageQueue], o.Spent[stageRead], o.Spent[stageReply] = 5*us, 60*us, 9*us
		if i > 190 {
			o.Spent[stageRead] = 8 * ms
		}
		s.Op(0, &o, o.Arrived)
	}
	if got := verdictOf(t, s); !strings.Contains(got, "device of n1 (sda of store-1), in reads") {
		t.Errorf("verdict %q", got)
	}
}

// Whatever comes, in whatever order and however incomplete, the parts of a request are its time.
// The clocks of two machines are known to each other to half a round trip only: a follower that
// seems to have written before it was asked, or after it answered, has written as long all the
// same.
func TestWritesOfAFollowerAreAsLongWhateverItsClockSays(t *testing.T) {
	for _, ahead := range []int64{-2 * ms, -50 * us, 0, 35 * us, 2 * ms} {
		w := typical(0)
		w.there, w.ahead = 5*ms, ahead
		s := NewSpan(config())
		total := w.tell(s, 1)
		took := map[string]int64{}
		var sum int64
		for _, p := range s.parts(&s.ops[0], nil) {
			took[s.partName(p.what)] += p.took
			sum += p.took
		}
		if took[PartLogWrite] != w.there || took[PartLogWait] != 5*us || sum != total {
			t.Errorf("ahead by %d us: %v, in all %d of %d ns", ahead/us, took, sum, total)
		}
	}
}

func TestPartsAddUpToTheWhole(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 2000 {
		s := NewSpan(config())
		some := func(most int64) int64 { return r.Int64N(most) }
		w := write{at: some(ms), ownWait: some(ms), ownWrite: some(ms), out: some(ms),
			there: some(ms), answer: some(ms), late: some(ms) - ms/2}
		w.tell(s, 1)
		for range r.IntN(4) {
			s.Delay(r.IntN(3), Delay{Began: some(4*ms) - ms, Took: some(2 * ms)})
		}
		if r.IntN(4) == 0 {
			s.copysets[7].appends = make([]run, 3)
		}
		if r.IntN(4) == 0 {
			s.copysets[7].acks = nil
		}
		o := &s.ops[0]
		sum := int64(0)
		for _, p := range s.parts(o, nil) {
			if p.took < 0 {
				t.Fatalf("%+v: part %+v", w, p)
			}
			sum += p.took
		}
		if sum != o.Took() {
			t.Fatalf("%+v: parts %d, whole %d", w, sum, o.Took())
		}
	}
}

func TestUntracedFollowerIsAllLink(t *testing.T) {
	s := NewSpan(config())
	w := typical(0)
	w.there = 20 * ms
	w.tell(s, 1)
	s.copysets[7].appends[1] = run{}
	s.nodeOf[1] = 0
	for _, p := range s.parts(&s.ops[0], nil) {
		if p.what == link && p.took > 20*ms && s.name(p.where) == "n1 - node 2" {
			return
		}
	}
	t.Errorf("parts: %+v", s.parts(&s.ops[0], nil))
}

func TestFailedRequestsAreOnlyCounted(t *testing.T) {
	s := spanOf()
	s.Op(0, &mark.Op{Copyset: 7, Kind: kindWrite, Status: 2, Node: 1,
		Spent: [7]int64{int64(1e12)}}, 0)
	k := s.Report().Kinds[0]
	if k.Failed != 1 || k.Total.Count != 100 || k.Total.Max > time.Millisecond {
		t.Errorf("%d failed, %+v", k.Failed, k.Total)
	}
}

func TestEventsOfNobodyAreCounted(t *testing.T) {
	s := NewSpan(config())
	s.Op(7, &mark.Op{}, 0)
	s.Append(-1, &mark.Append{})
	s.Delay(3, Delay{})
	if r := s.Report(); r.Skipped != 3 || len(r.Kinds) != 0 {
		t.Errorf("%+v", r)
	}
}

func TestSlowRequestIsToldWithEverythingAroundIt(t *testing.T) {
	s := spanOf(func(w *write) { w.there, w.ownWait = 9*ms, 5*ms })
	slow := 100 * 100 * ms
	later := s.Next()
	later.Delay(1, Delay{Began: slow + ms, Took: 2 * ms, Thread: 55, CPU: 1})
	later.Bio(0, Bio{Began: slow + 6*ms, Took: 3 * ms, Bytes: 8192, Sector: 77, Class: 1})
	later.Ring(0, RingOp{Began: slow + 2*ms, Took: ms, Tag: mark.Tag(0, 0)})
	later.Ring(0, RingOp{Began: slow + 2*ms, Took: ms, Tag: mark.Tag(0, 1)}) // of another request
	// This one is of a node that had no part.
	later.Bio(2, Bio{Began: slow + 6*ms, Took: 3 * ms})
	var got []string
	s.Slow(time.Millisecond, later, func(l Timeline) {
		for _, m := range l.Moments {
			got = append(got, fmt.Sprint(m.Where, " ", m.What))
		}
	})
	want := []string{"n1 queue", "n1 commit", "n1 log wait", "n2 log wait",
		"n2 log write of 1 entries, 0 bytes", "n2 thread 55 waits for processor 1",
		"n1 its operation on the ring",
		"n1 log write of 1 entries, 4096 bytes",
		"n1 device write of 8192 bytes at sector 77", "n1 reply", "n1 has the word of n2"}
	if !slices.Equal(got, want) {
		t.Errorf("told %q\nwant %q", got, want)
	}
}

func TestHistogramsAgreeWithTheTimesTheyCount(t *testing.T) {
	for _, ns := range []uint64{0, 1, 1023, 1024, 1500, 2047, 2048, 1 << 20, 3 << 33, 1 << 40} {
		var h Hist
		h.Add(ns)
		i := bucketOf(ns)
		low := uint64(0)
		if i > 0 {
			low = bound(i - 1)
		}
		if ns < low || ns >= bound(i) && i != Buckets-1 {
			t.Errorf("%d is in bucket %d, %d to %d", ns, i, low, bound(i))
		}
		if q := uint64(h.Quantile(0.5)); q != bound(i) {
			t.Errorf("quantile of %d is %d", ns, q)
		}
	}
	var h, old Hist
	for i := range uint64(1000) {
		h.Add(i * 1000)
		if i == 499 {
			old = h
		}
	}
	if d := h.Less(&old); d.N != 500 || d.Quantile(0) < 500*time.Microsecond {
		t.Errorf("the second half has %d, from %v on", d.N, d.Quantile(0))
	}
	if q := h.Quantile(0.99); q < 990*time.Microsecond || q > 1240*time.Microsecond {
		t.Errorf("p99 is %v", q)
	}
}

func TestHistogramIsPrintedAsTracersDo(t *testing.T) {
	var h Hist
	for _, us := range []uint64{0, 1, 3, 5, 5, 6, 6} {
		h.Add(us * 1024)
	}
	var out bytes.Buffer
	h.Print(&out)
	want := "" +
		"          usecs         : count    distribution\n" +
		"         0 -> 1          : 2        |********************                    |\n" +
		"         2 -> 3          : 1        |**********                              |\n" +
		"         4 -> 7          : 4        |****************************************|\n"
	if out.String() != want {
		t.Errorf("printed\n%s\nwant\n%s", out.String(), want)
	}
}

func TestTimesAreCountedToASixtyFourth(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	var f, half fine
	var all []int64
	for i := range 5000 {
		ns := int64(math.Exp(r.Float64() * 27)) // to nine minutes
		if all = append(all, ns); i%2 == 0 {
			half.add(ns)
		} else {
			f.add(ns)
		}
	}
	f.merge(&half)
	slices.Sort(all)
	for rank, want := range all {
		if got := f.rank(rank); got < want-want/64 || got > want+want/64 {
			t.Fatalf("rank %d is %d, counted as %d", rank, want, got)
		}
	}
	if f.n != len(all) || f.rank(len(all)-1) != all[len(all)-1] {
		t.Errorf("%d of %d, the longest %d of %d", f.n, len(all), f.rank(f.n-1), all[len(all)-1])
	}
	f.add(-1)
	f.add(math.MaxInt64)
	if f.rank(0) != 0 || f.rank(f.n-1) != math.MaxInt64 {
		t.Errorf("from %d to %d", f.rank(0), f.rank(f.n-1))
	}
}

func TestRanksOfWholeRequestsAreExact(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 8))
	for _, n := range []int{1, 2, 3000} {
		var all totals
		for range n {
			all.add(int64(math.Exp(r.Float64() * 20)))
		}
		sorted := slices.Sorted(slices.Values(all.all))
		for rank := 0; rank < n; rank += 1 + n/50 {
			if got := all.rank(rank); got != sorted[rank] {
				t.Errorf("rank %d of %d is %d, want %d", rank, n, got, sorted[rank])
			}
		}
		if all.rank(n-1) != sorted[n-1] {
			t.Errorf("the longest of %d is %d, want %d", n, all.rank(n-1), sorted[n-1])
		}
	}
}

// Delays come by their ends; those that overlap a stretch are found whatever their lengths.
func TestDelaysAroundARequestAreFound(t *testing.T) {
	r := rand.New(rand.NewPCG(9, 10))
	var s stretches
	for end := range int64(500) {
		took := r.Int64N(1 << r.IntN(8))
		s.add(Delay{Began: end - took, Took: took})
	}
	for from := int64(-10); from < 510; from += 7 {
		until := from + r.Int64N(20)
		want := 0
		overlaps := func(d Delay) bool { return d.Began < until && d.Began+d.Took > from }
		for _, d := range s.all {
			if overlaps(d) {
				want++
			}
		}
		for _, d := range s.between(from, until) {
			if overlaps(d) {
				want--
			}
		}
		if want != 0 {
			t.Errorf("%d to %d: %d delays were not found", from, until, want)
		}
	}
	if !slices.IsSortedFunc(s.all, func(a, b Delay) int { return cmp.Compare(a.Began, b.Began) }) {
		t.Error("delays are not by their beginnings")
	}
}

func TestASearchNearTheLastPlaceFindsWhatAnyFinds(t *testing.T) {
	r := rand.New(rand.NewPCG(11, 12))
	for range 3000 {
		n := r.IntN(40)
		want := r.IntN(n + 1)
		found := func(i int) bool { return i >= want }
		if near := r.IntN(60); search(n, near, found) != want {
			t.Fatalf("from %d, of %d: %d, want %d", near, n, search(n, near, found), want)
		}
	}
}

func TestASpanThatBeginsAgainKnowsNothingButTheNodes(t *testing.T) {
	s := spanOf(func(w *write) { w.ownWrite = 20 * ms })
	s.Delay(0, Delay{Began: 1, Took: 2})
	s.Bio(0, Bio{})
	s.Ring(0, RingOp{})
	s.Resend(0, Resend{})
	s.Op(-1, &mark.Op{}, 0)
	want := verdictOf(t, s)
	s.Begin()
	if r := s.Report(); !reflect.DeepEqual(r, Report{}) {
		t.Errorf("left: %+v", r)
	}
	if s.nodeOf[0] != 1 || s.others != 0 || len(s.bios[0])+len(s.rings[0]) != 0 {
		t.Errorf("nodes %v, %d others", s.nodeOf, s.others)
	}
	again := spanOf(func(w *write) { w.ownWrite = 20 * ms })
	for i := range again.ops {
		s.Op(0, &again.ops[i], again.ops[i].Arrived)
	}
	for target := range again.copysets[7].appends {
		for _, a := range again.copysets[7].appends[target].all {
			s.Append(target, &a)
		}
	}
	for _, a := range again.copysets[7].acks {
		s.Ack(0, &a)
	}
	if got := verdictOf(t, s); got != want {
		t.Errorf("verdict %q, then %q", want, got)
	}
}

// Appends come out of order when a leader's term ends, and acks when two processes tell of them.
func TestWhatComesOutOfOrderIsFound(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	for range 200 {
		e := entries{appends: make([]run, 1)}
		for _, i := range r.Perm(30) {
			e.append(0, &mark.Append{Term: 1, First: uint64(i) * 10, Count: uint32(1 + r.IntN(15))})
			e.ack(&mark.Ack{At: int64(i), Index: uint64(i)})
		}
		for index := range uint64(300) {
			found, want := 0, 0
			e.appends[0].with(1, index, func(*mark.Append) { found++ })
			for _, a := range e.appends[0].all {
				if a.First <= index && index < appendEnd(&a) {
					want++
				}
			}
			if found != want {
				t.Fatalf("entry %d was found %d times, was there %d times", index, found, want)
			}
		}
		if later := e.since(12); len(later) != 18 || later[0].At != 12 || later[17].At != 29 {
			t.Fatalf("acks since 12: %+v", later)
		}
	}
}

// BenchmarkReport gives what a write costs the tracer, from its events to the report.
func BenchmarkReport(b *testing.B) {
	const writes = 40_000
	s := NewSpan(config())
	for b.Loop() {
		s.Begin()
		for i := range writes {
			w := typical(int64(i) * 50 * us)
			w.late = 10 * us // followers' words come in order
			w.tell(s, uint64(i)+1)
			if i%4 == 0 {
				s.Delay(i%3, Delay{Began: w.at, Took: 150 * us})
			}
		}
		s.Report()
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/writes, "ns/write")
}
