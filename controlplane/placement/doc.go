// Package placement decides which stores form a copyset. It is pure: the same input and seed give
// the same answer on every machine.
//
// # Promises of Generate
//
//   - The members of a copyset lie in distinct zones.
//   - Memberships are balanced: two stores differ by at most one, unless their zones are too few
//     or too unequal for that. A zone can be in a copyset only once; one whose stores would need
//     more is used in every copyset, and the other zones share the rest evenly.
//   - Each store meets at least ScatterWidth distinct other stores, where the number of copysets
//     and the zones allow it, and beyond that no new ones where there is a choice: a small width
//     is what makes the loss of several stores at once unlikely to hit a copyset, a large one
//     what makes rebuilds fast.
//
// When zones are fewer than replicas, or numbers make no sense, the answer is ErrImpossible with
// what is missing.
//
// # Limits
//
// MaxCopysets copysets per call. The work is copysets x replicas x stores of a zone.
//
// # What joins it later
//
// The durability of a placement (loss per year from failure rate, rebuild time and the copysets
// drawn here) is a function of the same Store and Copyset values and belongs in this package.
// Weights by capacity are a matter of quotas alone.
//
// # Use
//
//	n := placement.CountFor(len(stores), 3, 20)
//	sets, err := placement.Generate(stores, placement.Params{Replicas: 3, Copysets: n, Seed: 1})
package placement
