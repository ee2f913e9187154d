// Package cards holds the tests of a cluster whose nodes and clients have RDMA cards: processes of
// the program as it is installed, connected as they are in production. `make rdma` runs them in
// the virtual machine of cmd/rdma-guest; elsewhere they need a card, its address in RDMA_ADDRESS
// and the program in ASHLAR.
//
// # What is judged
//
// That payloads go over the cards and are not copied (by the nodes' own counters), that clients
// read what they wrote, and that they go on when the leader dies, when a client has no card and
// when no packet of RoCE passes between a client and the nodes for longer than cards try.
//
// # Limits
//
// Memory is short in the machine: nodes have 64 MiB each, stores lie in memory.
package cards
