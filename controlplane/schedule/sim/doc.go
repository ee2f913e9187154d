// Package sim runs the schedulers of package schedule, the very code that the control plane runs,
// on a large cluster for simulated months: disks die, nodes restart and die, a zone loses its
// power, disks are replaced, nodes are added, and replicas are filled at a limited rate. It prints
// how even the stores are, how long copysets lacked replicas, what was moved, and how long recovery
// took, as a table for docs/scheduling.md, and draws the course of the first run.
//
//	make control-sim
//	go run ./cmd/control-sim -nodes 60 -copysets 2000 -days 60 -seed 7
//
// # What is simulated
//
// Failures are drawn from rates, each from a seed: the same flags give the same run. Stores come
// and go with their node and their zone; a store that died stays dead, and an empty one takes its
// place a day later. Raft is simulated as far as it matters here: a copyset has a leader while a
// majority is up, and a member that comes back has what it lacks at once.
//
// A new replica is filled at the rate that its leader's store gives, shared among those that it
// feeds, and no faster than the new store writes; it waits while either is down. When it is full
// it takes the old one's place at once.
//
// # What is not
//
// Copysets are equally large and have no clients, so that nothing is said of latency. A round of
// the schedulers comes every five minutes while something waits, else every hour, and may begin as
// much as the control plane's rounds of a second do in five minutes.
package sim
