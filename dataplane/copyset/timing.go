package copyset

import "math/bits"

// Stage is where a client's request is. A request goes from stage to stage, and what it spends in
// all of them adds up to the time from its arrival to its answer's departure. Times are those of
// the owner's turns: what happens within one turn counts for the stage after.
type Stage uint8

// The stages. Not every request is in every one.
const (
	StageQueue   Stage = iota // it has arrived; the owner has not taken it yet
	StageLane                 // waits for others on the same blocks
	StageLease                // a read waits for proof of leadership
	StageRead                 // its blocks are being read
	StagePropose              // waits for the next batch of proposals
	StageCommit               // proposed: until a majority's logs have it
	StageReply                // answered in a turn of the owner, until that has sent its answers
	Stages                    // how many there are

	stageAnswered = StageReply
)

// String is the stage's name in metrics.
func (s Stage) String() string {
	return [...]string{"queue", "lane", "lease", "read", "propose", "commit", "reply"}[s]
}

// String is the kind's name in metrics.
func (k Kind) String() string {
	return [...]string{"", "read", "write", "zero", "fence"}[k]
}

// Kinds are all kinds of requests.
var Kinds = []Kind{KindRead, KindWrite, KindZero, KindFence}

// progress is where a request is and how long it was where.
type progress struct {
	stage Stage
	been  uint8 // a bit for each stage that it was in
	since int64 // ns; in stage from then on
	spent [stageAnswered]int64
}

// arrive begins the first stage.
func (r *Replica) arrive(q *Request, now int64) {
	q.copyset = r.id
	if q.at.since = q.Arrived; q.Arrived == 0 {
		q.at.since = now
	}
}

// goes ends a stage.
func (p *progress) goes(to Stage, now int64) {
	p.spent[p.stage] += now - p.since
	p.been |= 1 << p.stage
	p.stage, p.since = to, now
}

// Number tells a session's requests of one moment apart: reads have no operation id.
func (q *Request) Number() uint64 {
	if q.OpID != 0 {
		return q.OpID
	}
	return q.ID
}

// Journey is how a request came to its answer.
type Journey struct {
	Copyset     uint64 // 0: it never got to one
	Term, Index uint64 // of its entry; 0: it had none
	Arrived     int64  // on the owner's clock
	Been        uint8  // a bit for each stage that it was in
	Spent       [Stages]int64
}

// Journey tells of a request that was answered; the time until the answer leaves is the owner's to
// add.
func (q *Request) Journey() Journey {
	j := Journey{Copyset: q.copyset, Term: q.term, Index: q.index, Arrived: q.at.since,
		Been: q.at.been}
	for s, ns := range q.at.spent {
		j.Spent[s] = max(0, ns)
		j.Arrived -= j.Spent[s]
	}
	return j
}

const (
	// durationSub buckets divide each power of two; shorter ones than the first power share one.
	durationSub   = 2
	durationFirst = 10 // 1.024 us
	durationLast  = 35 // 34 s; what is longer is in the last bucket
	durationCount = (durationLast-durationFirst)<<durationSub + 1
)

// Durations counts times by size.
type Durations struct {
	N       uint64
	Sum     int64 // ns
	buckets [durationCount]uint64
}

// add counts n times of ns each.
func (d *Durations) add(ns int64, n uint64) {
	ns = max(ns, 0)
	d.N += n
	d.Sum += ns * int64(n)
	d.buckets[durationBucket(uint64(ns))] += n
}

func durationBucket(ns uint64) int {
	power := bits.Len64(ns) - 1
	if power < durationFirst {
		return 0
	}
	at := (power-durationFirst)<<durationSub + 1 +
		int(ns>>(power-durationSub)&(1<<durationSub-1))
	return min(at, durationCount-1)
}

// Powers calls each with the bounds of the buckets that end at a power of two, in ns, and how many
// times are below it.
func (d *Durations) Powers(each func(bound, count uint64)) {
	below := d.buckets[0]
	each(1<<durationFirst, below)
	for p := durationFirst; p < durationLast; p++ {
		first := (p-durationFirst)<<durationSub + 1
		for _, n := range d.buckets[first : first+1<<durationSub] {
			below += n
		}
		if p < durationLast-1 { // the last has what is longer, too
			each(2<<p, below)
		}
	}
}

func (d *Durations) merge(o *Durations) {
	d.N += o.N
	d.Sum += o.Sum
	for i, n := range o.buckets {
		d.buckets[i] += n
	}
}

// Timing is how long an owner's requests that were answered well took in each stage, and its
// replicas' appends to the log.
type Timing struct {
	of [KindFence + 1][Stages]Durations
	// LogWait is what appends waited for the writes before them, and LogWrite what their own took.
	LogWait, LogWrite Durations
}

// Of is one kind's times in one stage.
func (t *Timing) Of(k Kind, s Stage) *Durations { return &t.of[k][s] }

// Merge adds everything that o counted.
func (t *Timing) Merge(o *Timing) {
	for k := range t.of {
		for s := range t.of[k] {
			t.of[k][s].merge(&o.of[k][s])
		}
	}
	t.LogWait.merge(&o.LogWait)
	t.LogWrite.merge(&o.LogWrite)
}

// Logged counts an append that is durable.
func (t *Timing) Logged(wait, write int64) {
	t.LogWait.add(wait, 1)
	t.LogWrite.add(write, 1)
}

// note counts a request that is answered.
func (t *Timing) note(q *Request) {
	for s := range stageAnswered {
		if q.at.been&(1<<s) != 0 {
			t.of[q.Kind][s].add(q.at.spent[s], 1)
		}
	}
}

// Replied counts the last stage of n requests of a kind, which their owner saw the end of.
func (t *Timing) Replied(k Kind, n uint64, ns int64) { t.of[k][StageReply].add(ns, n) }
