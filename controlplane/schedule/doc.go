// Package schedule decides what should move: it turns a view of the cluster into operators. It is
// pure: no clock, no I/O, no memory between calls; what it must remember (when a copyset was last
// touched, since when a node is up) is part of the view.
//
// # Leaders
//
// Spread gives every copyset a preferred leader so that stores lead as evenly as membership
// allows. Leaders moves leaders there, and, where the preferred replica cannot lead, evens out
// what the rest of the stores lead. First of all it takes leaders from stores whose disks are much
// slower than the others' (Slow), and gives them none.
//
// # Repairs
//
// Repairs replaces replicas that lost something they had promised: a new member with a number of
// its own is filled on the same store, or on the one that has come in its place, and then takes the
// old one's place.
//
// # Promises
//
//   - A leader is handed only to a replica that is caught up, on a store and node that are up and
//     have been for Limits.Settle.
//   - A copyset gets no operator before Limits.CoolDown has passed since its last one, and one
//     call moves at most Limits.PerRound leaders, at most one of them to any one store, but for
//     those of slow stores.
//   - A replica is replaced only while a majority of its copyset, without it, is caught up: the
//     change of membership needs them. Those with the fewest good replicas come first, and a store
//     fills at most Limits.Rebuilds new members at a time.
//   - Repeated rounds come to rest: in an unchanged cluster whose transfers succeed, the number
//     of operators reaches zero and stays there.
//
// # Limits
//
// One call looks at every copyset once for each of the three rules; its memory is one counter per
// store.
//
// # What joins it later
//
// Copyset balance, recovery of lost stores, drain and scrub are further functions of View returning
// Operators of other kinds; one copyset has one operator at a time, whatever its kind.
package schedule
