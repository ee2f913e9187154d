// Command rdma-guest runs test programs where there is an RDMA card: in a virtual machine with a
// stock kernel and a soft RoCE card.
//
//	rdma-guest [-run PATTERN] [-v] TEST-PROGRAM...
//
// The programs are static and made with `go test -c -tags rdma`; `make rdma` makes them and runs
// this.
//
// # What it promises
//
// Every test that a program has must say in the machine that it passed. One that fails, is skipped
// or says nothing fails the lane, and so does a machine that does not come to its end within the
// time.
//
// # Limits
//
// limits.go, and those of perf/guest: no hardware. Soft RoCE does all that the transport asks of a
// card, in the kernel's own implementation of the protocol, and is slow: figures from it compare
// ways of doing a thing, they are not what a card gives.
package main
