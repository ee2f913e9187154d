package schedule

import (
	"slices"
	"time"
)

const (
	// fullShare is the part of a store's capacity beyond which it gets no more replicas: the rest
	// is for what those that are there grow by.
	fullShare = 0.9
	// In a large cluster one new member may be filled at a time for each clusterShare stores, and
	// for balance one for each balanceShare: what a store's loss costs each of the others shrinks.
	clusterShare, balanceShare = 10, 100
	// maxWaiting is how many replacements of one kind that wait are told of one by one.
	maxWaiting = 4096
)

// Limits slow a scheduler down so that it cannot do harm by itself.
type Limits struct {
	CoolDown time.Duration // between operators of one copyset
	Settle   time.Duration // how long a store must be up before it is given anything
	PerRound int           // operators per call; 0 or less means none
	Slack    int           // difference in led copysets that is left alone, at least 1
	Rebuilds int           // new members that one store fills at a time; 0 or less means none

	LostAfter time.Duration // how long a store is waited for before its replicas move
	Sources   int           // new members that the leaders of one store fill at a time
	Cluster   int           // new members filled at a time in all, or a tenth of the stores
	Drains    int           // replicas that leave one store at a time when it could keep them
	Balances  int           // of them for balance, or a hundredth of the stores; 0: no balance
	// BalanceSlack is the part of the mean number of replicas, per cent, by which two stores may
	// differ.
	BalanceSlack int
	Looks        int           // copysets that balance looks at in a round; 0: all it needs
	Losses       int           // replacements of lost replicas that a copyset may have at once
	LossEvery    time.Duration // how often it may have one more

	Hold time.Duration // nothing of a kind begins in a copyset where an operator cancelled it

	Paused KindSet // rules that begin nothing; what they began goes on
}

// DefaultLimits suit clusters of three nodes up to thousands.
func DefaultLimits() Limits {
	return Limits{CoolDown: 10 * time.Second, Settle: 3 * time.Second, PerRound: 8, Slack: 1,
		Rebuilds: 4, LostAfter: 15 * time.Minute, Sources: 4, Cluster: 64, Drains: 2, Balances: 4,
		BalanceSlack: 5, Looks: 1 << 14, Losses: 3, LossEvery: 30 * time.Minute,
		Hold: 10 * time.Minute}
}

// KindSet is a set of kinds of operators.
type KindSet uint8

// Kinds are all kinds, in the order of their urgency.
var Kinds = []Kind{TransferLeader, ReplaceReplica, RecoverReplica, DrainReplica, BalanceReplica}

// With is the set with one more.
func (s KindSet) With(k Kind) KindSet { return s | 1<<max(0, slices.Index(Kinds, k)) }

// Has says whether a kind is in the set.
func (s KindSet) Has(k Kind) bool { return s>>max(0, slices.Index(Kinds, k))&1 != 0 }
