// Package dial chooses the transport under the native protocol: RDMA where both ends have a card
// for it, TCP else. Node, client, gateway and bench have one Set each and take dialer and listeners
// from it.
//
// # What it promises
//
// Mode Auto never fails where TCP would not: what keeps RDMA from being used (no card, a program
// built without it, a peer that does not listen, does not answer or has another key) is logged once
// and remembered for RetryAfter, in which the address is dialled over TCP at once. So is an address
// whose queue pairs broke BreaksMax times in a row soon after they were made. Refusals that TCP
// would meet as well (another cluster, another version) are the dialer's errors. Mode RDMA never
// uses TCP, mode TCP never looks for a card; mode Unix uses the local sockets of nodes on this
// machine.
//
// A connection keeps its transport for life: who lost one dials again and may get the other. Nodes
// serve the card before TCP, so that who dials a node that comes back finds the card first.
//
// # Limits
//
// limits.go. The addresses that are remembered are bounded; beyond the bound the oldest is
// forgotten. A card registers the whole pool, so that all connections of a Set must have its pool.
//
// # How to drive it
//
//	set, err := dial.Open(dial.Config{Mode: dial.Auto, Pool: pool})
//	c, err := client.Connect(ctx, client.Config{Pool: pool, Dial: set.Dial})
//	n, err := node.Start(node.Config{Dial: set.Dial, Further: set.Listeners()})
//	...
//	err = set.Close() // after all that uses it
package dial
