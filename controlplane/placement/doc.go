// Package placement decides which stores form a copyset and which copysets get a segment, and says
// what a placement is worth. It is pure: the same input and seed give the same answer on every
// machine.
//
// # Promises of Generate
//
//   - The members of a copyset lie in distinct zones.
//   - Memberships follow the stores' weights, which are their capacities in practice: a store has
//     its part of its zone's to within one, and with equal weights two stores differ by at most
//     one, unless their zones are too few or too unequal for that. A zone can be in a copyset only
//     once; one whose stores would need more is used in every copyset, and the other zones share
//     the rest by weight.
//   - Each store meets at least ScatterWidth distinct other stores, where the number of copysets
//     and the zones allow it, and beyond that no new ones where there is a choice: a small width
//     is what makes the loss of several stores at once unlikely to hit a copyset, a large one
//     what makes rebuilds fast.
//
// Grow draws more copysets beside others in the same way, so that with them each store comes as
// near to its part of all as zones allow; what there is stays where it is.
//
// When zones are fewer than replicas, or numbers make no sense, the answer is ErrImpossible with
// what is missing.
//
// # Promises of Allocator
//
//   - A segment goes to copysets by what the fullest store of each has left: stores run full
//     together, and none waits until others have caught up.
//   - A copyset without room gets nothing while another has room, and no store is given more than
//     it has; when nothing fits any more the answer is ErrFull.
//
// # Promises of Assess
//
// Durability is arithmetic on the copysets as they are, not on their number alone: how often a year
// all replicas of one are down together, what that loses, and with which probability the failure
// of several stores in one moment hits one. The model and its source are in the comments of Assess
// and LossAtOnce; a simulation of failures and rebuilds, which shares no formula with them, agrees
// within its statistical error. What the model leaves out is said there too: above all failures
// that come together, which is what LossAtOnce is for. Options compares the placements of a pool
// that does not exist yet.
//
// # Limits
//
// MaxCopysets copysets and a sum of weights of MaxWeight per call. The work of Generate is
// copysets x replicas x stores of a zone, that of Assess copysets x C(replicas, majority), that of
// Allocator.Segment copysets x replicas while the pool is nearly full, and less before.
//
// # Use
//
//	n := placement.CountFor(len(stores), 3, 20)
//	sets, err := placement.Generate(stores, placement.Params{Replicas: 3, Copysets: n, Seed: 1})
//	worth, err := placement.Assess(stores, sets, bytesByStore, placement.DefaultModel())
package placement
