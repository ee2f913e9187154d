package schedule

import (
	"fmt"
	"time"
)

// Plan is what a scheduler of replicas wants: what should begin now, and what should but cannot.
type Plan struct {
	Operators []Operator
	Waiting   []Waiting    // the first maxWaiting of each kind
	Unlisted  map[Kind]int // how many more wait; nil: none
	Resume    uint64       // at which store balance goes on, that has looked at enough; 0: none
}

// Waiting is a replacement that is wanted and does not begin.
type Waiting struct {
	Kind    Kind
	Copyset uint64
	From    uint64 // the replica that shall go
	Reason  string // what it waits for, in plain words
	NoPlace bool   // no store can take it: only a change of the cluster lets it begin
}

// String is what a table test compares and a log line shows.
func (w Waiting) String() string {
	return fmt.Sprintf("waiting %s copyset=%d from=%d: %s", w.Kind, w.Copyset, w.From, w.Reason)
}

// Moves is what replicas should move now, by all rules, the urgent ones first: damaged replicas are
// replaced, lost stores recovered, draining ones emptied, and then the rest is evened out. The
// limits count over all of them.
func Moves(v View, lim Limits) Plan { return NewIndex(v.Copysets).Moves(v.Scene, lim) }

// Moves is the function of that name for copysets that are kept. It looks at those that are
// damaged, on lost or draining stores or on their way, and, for balance, at some of those on the
// fullest stores.
func (x *Index) Moves(s Scene, lim Limits) Plan {
	m := newMover(x, s, lim)
	m.all()
	return m.plan
}

func (m *mover) all() {
	for _, rule := range []struct {
		kind Kind
		run  func()
	}{{ReplaceReplica, m.repair}, {RecoverReplica, m.recover}, {DrainReplica, m.drain},
		{BalanceReplica, m.balance}} {
		if !m.lim.Paused.Has(rule.kind) {
			m.kind = rule.kind
			rule.run()
		}
	}
}

// spot is a store with what lies there and what is under way there.
type spot struct {
	*Store
	weight  float64    // its part of the capacity; the mean is 1
	members int        // replicas, with those that join and without those that leave
	filling int        // new members that are filled here
	feeding int        // copysets led here that fill a new member
	leaving int        // replicas here whose place another store takes
	held    []*Copyset // that have a member here
}

// load is how full of replicas a store would be with some more.
func (s *spot) load(more int) float64 { return float64(s.members+more) / s.weight }

// mover is one round of the rules that move replicas.
type mover struct {
	now     time.Time
	resume  uint64
	lim     Limits
	index   *Index
	stores  map[uint64]*spot
	lost    map[uint64]bool // stores that are not waited for any more
	spots   []*spot
	moved   map[uint64]bool   // copysets that have an operator of this round
	moving  int               // new members being filled in the whole cluster
	size    uint64            // bytes of a replica, on the average
	kind    Kind              // whose rule runs
	looks   int               // copysets that balance has looked at
	full    map[want]*nowhere // where no store was found, since the last operator
	waiting map[Kind]int
	plan    Plan
}

func newMover(x *Index, scene Scene, lim Limits) *mover {
	lim.Cluster = max(lim.Cluster, len(scene.Stores)/clusterShare)
	if lim.Balances > 0 {
		lim.Balances = max(lim.Balances, len(scene.Stores)/balanceShare)
	}
	m := &mover{now: scene.Now, resume: scene.Resume, lim: lim, index: x,
		stores: make(map[uint64]*spot, len(scene.Stores)), lost: map[uint64]bool{},
		moved: map[uint64]bool{}, full: map[want]*nowhere{}, waiting: map[Kind]int{}}
	var capacity, used uint64
	spots := make([]spot, len(scene.Stores))
	for i := range spots {
		s := &spots[i]
		*s = spot{Store: &scene.Stores[i], held: x.on(scene.Stores[i].ID).held}
		s.members = len(s.held)
		m.stores[s.ID] = s
		m.spots = append(m.spots, s)
		capacity, used = capacity+s.Capacity, used+s.Used
		if !s.Up && !s.DownSince.IsZero() && m.now.Sub(s.DownSince) >= lim.LostAfter {
			m.lost[s.ID] = true
		}
	}
	for _, s := range m.spots {
		s.weight = 1
		if s.Capacity > 0 {
			s.weight = float64(s.Capacity) * float64(len(m.spots)) / float64(capacity)
		}
	}
	for c := range x.joining {
		m.count(c)
	}
	m.size = used / uint64(max(1, x.replicas))
	return m
}

// count takes a replacement that is under way into the counters of its stores.
func (m *mover) count(c *Copyset) {
	if old := c.replica(c.Leaving); old != nil {
		if s := m.stores[old.Store]; s != nil {
			s.members--
			s.leaving++
		}
	}
	to := m.stores[c.Joining.Store]
	if to != nil {
		to.members++
	}
	if m.stuck(c) {
		return
	}
	m.moving++
	if to != nil {
		to.filling++
	}
	if s := m.leaderOf(c); s != nil {
		s.feeding++
	}
}

func (m *mover) leaderOf(c *Copyset) *spot {
	if at := c.replica(c.Leader); at != nil {
		return m.stores[at.Store]
	}
	return nil
}

// isLost says whether a store has been away for so long that it is not waited for any more.
func (m *mover) isLost(id uint64) bool { return len(m.lost) > 0 && m.lost[id] }

// stuck says whether a replacement cannot go on because the new member is lost as well.
func (m *mover) stuck(c *Copyset) bool {
	return c.Joining != nil && (c.Joining.Damaged || m.isLost(c.Joining.Store))
}

// wait notes why a replacement that is wanted does not begin.
func (m *mover) wait(kind Kind, c *Copyset, from *Replica, why nowhere) {
	if m.waiting[kind]++; m.waiting[kind] <= maxWaiting {
		m.plan.Waiting = append(m.plan.Waiting, Waiting{Kind: kind, Copyset: c.ID, From: from.ID,
			Reason: why.reason, NoPlace: why.noPlace})
		return
	}
	if m.plan.Unlisted == nil {
		m.plan.Unlisted = map[Kind]int{}
	}
	m.plan.Unlisted[kind]++
}

// begin has a new member on a store take the place of from.
func (m *mover) begin(kind Kind, c *Copyset, from *Replica, to *spot, reason string) {
	if c.Joining != nil {
		if s := m.stores[c.Joining.Store]; s != nil {
			s.members--
		}
	} else if s := m.stores[from.Store]; s != nil {
		s.members--
		s.leaving++
	}
	to.members++
	to.filling++
	m.leaderOf(c).feeding++
	m.moving++
	m.moved[c.ID] = true
	clear(m.full)
	m.plan.Operators = append(m.plan.Operators, Operator{Kind: kind, Copyset: c.ID, From: from.ID,
		Store: to.ID, Reason: reason, Lost: kind == ReplaceReplica || kind == RecoverReplica ||
			from.Damaged})
}

// obstacle is what keeps a copyset from getting a new member now.
type obstacle int

const (
	noObstacle obstacle = iota
	hasMoved
	leaderless
	fewGood
	coolsDown
	clusterBusy
	sourceBusy
	roundFull
	isHeld
)

// obstacleOf is what keeps a replica of the copyset from being replaced now. Those that must be
// good are a majority, without the one that goes: the change of membership needs them.
func (m *mover) obstacleOf(c *Copyset, from *Replica) obstacle {
	at := m.leaderOf(c)
	switch {
	case m.moved[c.ID]:
		return hasMoved
	case c.held(m.kind, m.now, m.lim) > 0:
		return isHeld
	case at == nil:
		return leaderless
	case c.goodBeside(from) <= len(c.Replicas)/2:
		return fewGood
	case !c.LastRepair.IsZero() && m.now.Sub(c.LastRepair) < m.lim.CoolDown:
		return coolsDown
	case m.moving >= m.lim.Cluster:
		return clusterBusy
	case at.feeding >= m.lim.Sources:
		return sourceBusy
	case len(m.plan.Operators) >= m.lim.PerRound:
		return roundFull
	}
	return noObstacle
}

// obstacle is the same in words; empty when there is none.
func (m *mover) obstacle(c *Copyset, from *Replica) string {
	switch m.obstacleOf(c, from) {
	case hasMoved:
		return "another replica of it moves"
	case leaderless:
		return "no leader is known"
	case fewGood:
		return fmt.Sprintf("%d of %d replicas beside it are good, %d must be", c.goodBeside(from),
			len(c.Replicas)-1, len(c.Replicas)/2+1)
	case coolsDown:
		return "the last replacement was just now"
	case clusterBusy:
		return fmt.Sprintf("the cluster fills %d new members, as many as may", m.moving)
	case sourceBusy:
		at := m.leaderOf(c)
		return fmt.Sprintf("its leader's store %d fills %d already", at.ID, at.feeding)
	case roundFull:
		return "its turn comes in one of the next rounds"
	case isHeld:
		return fmt.Sprintf("it was cancelled, and may begin again in %v",
			c.held(m.kind, m.now, m.lim).Round(time.Second))
	}
	return ""
}

// goodBeside is how many members other than one have everything.
func (c *Copyset) goodBeside(one *Replica) int {
	if one.CaughtUp {
		return c.good() - 1
	}
	return c.good()
}

// poisoned is why a copyset that has lost replica after replica gets no further one yet; empty when
// it may have one.
func (m *mover) poisoned(c *Copyset) string {
	rest := c.Losses.wait(m.now, m.lim)
	if rest <= 0 {
		return ""
	}
	return fmt.Sprintf("it has lost one replica after another, and may be what kills its stores: "+
		"the next one may begin in %v", rest.Round(time.Second))
}
