package schedule

import (
	"cmp"
	"fmt"
	"slices"
	"time"
)

// View is what a scheduler knows of the cluster.
type View struct {
	Scene
	Copysets []Copyset
}

// Scene is what a round goes by beside the copysets.
type Scene struct {
	Now    time.Time
	Stores []Store
	Resume uint64 // Plan.Resume of the round before; 0: none
}

// Store is a disk and the node around it.
type Store struct {
	ID      uint64
	Up      bool      // the node is heard from and the store works, and takes what is given to it
	Full    bool      // not Up only as it has no room for more: it serves what it has
	Stalled bool      // not Up only as its device hangs: its replicas run
	UpSince time.Time // of the node, as far as this control plane has seen
	// LogWrite is what a durable write of its log takes; 0: unknown.
	LogWrite  time.Duration
	DownSince time.Time // since when it is not there or has failed; zero: it is not away
	Zone      string    // what fails together
	Node      string
	Capacity  uint64 // bytes; 0: unknown
	Used      uint64 // bytes
	Draining  bool   // to be emptied
	Replaced  bool   // another disk was put in its place: it never comes back
}

// Copyset is a raft group as its leader last reported it.
type Copyset struct {
	ID           uint64
	Replicas     []Replica
	Leader       uint64    // replica id; 0: unknown, and nothing is done
	Preferred    uint64    // replica id; 0: anywhere
	LastOperator time.Time // zero: never
	LastRepair   time.Time // when a replacement began last; zero: never
	Joining      *Replica  // a new member that takes another's place, until it has; nil: none
	Leaving      uint64    // replica id: whose place that is; 0: none
	Why          Kind      // of the replacement under way
	Losses       Losses    // replacements of lost replicas of late
	Held         []Hold    // what was cancelled
}

// Hold is a kind of operator that somebody cancelled in a copyset, and when.
type Hold struct {
	Kind  Kind
	Since time.Time
}

// Replica is one member of a copyset.
type Replica struct {
	ID       uint64
	Store    uint64
	CaughtUp bool   // follows the leader closely enough to lead at once
	Place    uint64 // where a new member goes that takes its place; 0: Store
	Damaged  bool   // lost something it had promised, says its store, and does not run
}

// Kind is what an operator does.
type Kind string

const (
	// TransferLeader makes Operator.To the leader of the copyset.
	TransferLeader Kind = "transfer-leader"
	// The others have a new member on Operator.Store take the place of Operator.From: because it is
	// damaged,
	ReplaceReplica Kind = "replace-replica"
	// because its store is lost,
	RecoverReplica Kind = "recover-replica"
	// because its store shall be emptied,
	DrainReplica Kind = "drain-replica"
	// or because its store has more than its share.
	BalanceReplica Kind = "balance-replica"
)

// Operator is one change to one copyset.
type Operator struct {
	Kind    Kind
	Copyset uint64
	From    uint64 // replica that leads now, or shall go
	To      uint64 // replica that shall lead; 0 where it has no number yet
	Store   uint64 // where a new member goes; 0 for none
	Reason  string // for operators, in plain words
	Lost    bool   // From is lost or damaged: this counts in Copyset.Losses
}

// String is what a table test compares and a log line shows.
func (o Operator) String() string {
	if o.Kind != TransferLeader {
		return fmt.Sprintf("%s copyset=%d from=%d store=%d: %s", o.Kind, o.Copyset, o.From,
			o.Store, o.Reason)
	}
	return fmt.Sprintf("%s copyset=%d from=%d to=%d: %s", o.Kind, o.Copyset, o.From, o.To, o.Reason)
}

// Leaders returns the transfers that bring leaders to where they should be.
func Leaders(v View, lim Limits) []Operator { return NewIndex(v.Copysets).Leaders(v.Scene, lim) }

// Leaders is the function of that name for copysets that are kept. It looks at those that are led
// on slow or draining stores, and at those that their preferred member does not lead.
func (x *Index) Leaders(s Scene, lim Limits) []Operator {
	if lim.Paused.Has(TransferLeader) {
		return nil
	}
	r := newRound(x, s, lim)
	r.slow = Slow(s.Stores)
	r.each(x.ledFrom(s.Stores, func(s *Store) bool { return r.slow[s.ID] }), r.offSlow)
	r.each(x.ledFrom(s.Stores, func(s *Store) bool { return s.Draining }), r.offDraining)
	astray := x.astray.sorted()
	r.each(astray, r.toPreferred)
	r.each(r.byLoad(astray), r.toLightest)
	return r.ops
}

// round is one call of Leaders.
type round struct {
	now    time.Time
	lim    Limits
	index  *Index
	stores map[uint64]*Store
	slow   map[uint64]bool
	shift  map[uint64]int  // copysets that stores lead more, by this round's moves
	target map[uint64]bool // stores that already get a leader in this round
	moved  map[uint64]bool // copysets that already have an operator
	ops    []Operator
}

func newRound(x *Index, s Scene, lim Limits) *round {
	r := &round{
		now: s.Now, lim: lim, index: x,
		stores: make(map[uint64]*Store, len(s.Stores)),
		shift:  map[uint64]int{}, target: map[uint64]bool{}, moved: map[uint64]bool{},
	}
	r.lim.Slack = max(1, lim.Slack)
	for i := range s.Stores {
		r.stores[s.Stores[i].ID] = &s.Stores[i]
	}
	return r
}

// each applies a rule to copysets in turn, until the round has all the operators that it may have.
func (r *round) each(copysets []*Copyset, rule func(*Copyset)) {
	for _, c := range copysets {
		if len(r.ops) >= r.lim.PerRound {
			return
		}
		rule(c)
	}
}

// led is how many copysets a store leads, counting this round's moves as done.
func (r *round) led(store uint64) int { return r.index.on(store).led + r.shift[store] }

func (c *Copyset) replica(id uint64) *Replica {
	if id == 0 {
		return nil
	}
	i := slices.IndexFunc(c.Replicas, func(m Replica) bool { return m.ID == id })
	if i < 0 {
		return nil
	}
	return &c.Replicas[i]
}

// fit says whether the replica may be given leadership now.
func (r *round) fit(m *Replica) bool {
	if m == nil || !m.CaughtUp {
		return false
	}
	s := r.stores[m.Store]
	return s != nil && s.Up && !s.Draining && !r.slow[m.Store] &&
		r.now.Sub(s.UpSince) >= r.lim.Settle
}

// movable says whether the copyset may get an operator now.
func (r *round) movable(c *Copyset) bool {
	if len(r.ops) >= r.lim.PerRound || r.moved[c.ID] || c.replica(c.Leader) == nil ||
		c.held(TransferLeader, r.now, r.lim) > 0 {
		return false
	}
	return c.LastOperator.IsZero() || r.now.Sub(c.LastOperator) >= r.lim.CoolDown
}

// held is for how long nothing of a kind begins in the copyset, as somebody cancelled it.
func (c *Copyset) held(kind Kind, now time.Time, lim Limits) time.Duration {
	for _, h := range c.Held {
		if h.Kind == kind {
			return max(0, lim.Hold-now.Sub(h.Since))
		}
	}
	return 0
}

func (r *round) move(c *Copyset, to *Replica, reason string) {
	from := c.replica(c.Leader)
	r.shift[from.Store]--
	r.shift[to.Store]++
	r.target[to.Store], r.moved[c.ID] = true, true
	r.ops = append(r.ops, Operator{
		Kind: TransferLeader, Copyset: c.ID, From: c.Leader, To: to.ID, Reason: reason,
	})
}

func (r *round) toPreferred(c *Copyset) {
	to := c.replica(c.Preferred)
	if c.Leader == c.Preferred || c.Joining != nil || !r.movable(c) || !r.fit(to) ||
		r.target[to.Store] {
		return
	}
	r.move(c, to, "its preferred leader is ready")
}

// byLoad orders copysets that may be led anywhere by how much their leader's store leads, so that
// the most loaded gives away first.
func (r *round) byLoad(astray []*Copyset) (all []*Copyset) {
	for _, c := range astray {
		if r.isAstray(c) {
			all = append(all, c)
		}
	}
	slices.SortStableFunc(all, func(a, b *Copyset) int {
		return cmp.Compare(r.led(b.replica(b.Leader).Store), r.led(a.replica(a.Leader).Store))
	})
	return all
}

// isAstray says whether a copyset's preferred replica cannot lead. Those that are where they
// belong, or will soon be, stay: the two rules must not undo each other.
func (r *round) isAstray(c *Copyset) bool {
	return c.Leader != c.Preferred && c.Joining == nil && r.movable(c) &&
		!r.fit(c.replica(c.Preferred))
}

// toLightest evens out copysets whose preferred replica cannot lead.
func (r *round) toLightest(c *Copyset) {
	if !r.movable(c) {
		return
	}
	from := r.led(c.replica(c.Leader).Store)
	best := r.lightest(c, func(m *Replica) bool { return r.fit(m) && !r.target[m.Store] })
	if best == nil || from-r.led(best.Store) <= r.lim.Slack {
		return
	}
	reason := fmt.Sprintf("its store leads %d, store %d leads %d", from, best.Store,
		r.led(best.Store))
	r.move(c, best, reason)
}

// lightest is the replica, other than the leader and one that leaves, that may lead and whose store
// leads the fewest; nil when none may.
func (r *round) lightest(c *Copyset, may func(*Replica) bool) (best *Replica) {
	for i := range c.Replicas {
		m := &c.Replicas[i]
		if m.ID == c.Leader || m.ID == c.Leaving || !may(m) {
			continue
		}
		if best == nil || r.led(m.Store) < r.led(best.Store) {
			best = m
		}
	}
	return best
}
