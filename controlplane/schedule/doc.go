// Package schedule decides what should move: it turns a view of the cluster into operators. It is
// pure: no clock, no I/O, no memory between calls; what it must remember (when a copyset was last
// touched, since when a node is up, what a copyset has lost of late) is part of the view.
//
// An Index is the copysets of a view, kept: who changes one puts it, and a round looks at those of
// which something may be wanted and at counters. What a round gives depends on what the copysets
// are now and not on how they came to be so; the functions of a View make an index and use it once.
//
// # Leaders
//
// Spread gives every copyset a preferred leader so that stores lead as evenly as membership
// allows, and Index.Respread does so again after members have moved, with as few changes as it
// takes.
// Leaders moves leaders there, and, where the preferred replica cannot lead, evens out what the
// rest of the stores lead. First of all it takes leaders from stores whose disks are much slower
// than the others' (Slow), then from those that shall be emptied, and gives them none.
//
// # Replicas
//
// Moves has four rules, the urgent ones first, under common limits. In each a new member with a
// number of its own is filled and then takes the old one's place.
//
//   - Repairs: a replica that lost something it had promised is replaced on its store, or on the
//     one that has come in the place of that.
//   - Recover: a replica whose store has been away for Limits.LostAfter is replaced on another, and
//     so is one whose store was replaced by a disk that takes none, as that shall be emptied or
//     went elsewhere.
//   - Drain: a replica on a store that shall be emptied is replaced on another.
//   - Balance: stores that hold more replicas than their capacity's share give some to those that
//     hold less.
//
// What is wanted and cannot begin is told beside the operators, with why (Plan.Waiting).
//
// # Promises
//
//   - A leader is handed only to a replica that is caught up, on a store and node that are up and
//     have been for Limits.Settle.
//   - A copyset gets no operator before Limits.CoolDown has passed since its last one of that kind,
//     and one call moves at most Limits.PerRound leaders, at most one of them to any one store, but
//     for those of slow and draining stores.
//   - Where an operator cancelled something, nothing of that kind begins before Limits.Hold has
//     passed.
//   - A replica is replaced only while a majority of its copyset, without it, is caught up: the
//     change of membership needs them. Those with the fewest good replicas come first.
//   - A new member goes to a zone and a node that no other member of its copyset is in, to a store
//     that is up, settled, not draining, and less than nine tenths full with what is on its way
//     there. Where the zones do not allow it, nothing moves.
//   - A store fills at most Limits.Rebuilds new members at a time, the leaders on one store feed at
//     most Limits.Sources, and there are at most Limits.Cluster in all, or one for each ten stores
//     if that is more. Members that come to lead
//     by an election while they are fed may exceed the second.
//   - A copyset that loses one replica after another, as if it killed its stores, gets
//     Limits.Losses new ones and then one each Limits.LossEvery (Losses).
//   - Repeated rounds come to rest: in an unchanged cluster whose operators succeed, their number
//     reaches zero and stays there, and then two stores of a zone, on different nodes, differ by
//     less than two replicas or a twentieth of the mean, whichever is more.
//
// # Limits
//
// One call looks at every store some times, and at the copysets that slow or draining stores lead,
// that another than the preferred replica leads, that are damaged, on lost or draining stores or
// on their way; for each operator once more at every store, and at the copysets on two of them.
// Balance looks at the copysets of the fullest stores, of Limits.Looks at most and of one store
// more, and goes on there in the next call (Plan.Resume). Of each kind that waits a few thousand
// are told of one by one, the most urgent, and the rest as a number (Plan.Unlisted).
//
// Two stores of one node cannot hold replicas of one copyset at the same time, so a replica that
// runs never moves from a disk to another of the same node: where each node is a zone of its own
// and there are no more zones than replicas, a disk cannot be emptied while it works.
//
// The loads of stores are counted in replicas: copysets are taken to be of one size.
package schedule
