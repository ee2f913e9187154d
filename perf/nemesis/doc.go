// Package nemesis holds no code, only tests that run a cluster of processes on disks of package
// faultfs, under load from a client that knows what it was promised, and let the disks do their
// worst.
//
//	make power     100 times in a row, on the same directories: the power of every process goes at
//	               one instant, what the disks had not made durable is lost, everything is started
//	               again, and every byte that was ever acknowledged is read back.
//	make faults    in a running cluster: a bad sector under a read, a full disk, an error under the
//	               log, a disk that is slow, one that stalls for ten seconds. The client goes on,
//	               and the operator is told which disk it is and what to do about it.
//	make nemesis   the node that leads the most copysets is killed, frozen or stopped, and started
//	               again, or its ways to and from the other nodes are cut, in one direction and in
//	               both: how long the longest write took, nothing is lost, and what clients of the
//	               same few blocks saw is linearizable. With NIGHTLY=1 every kind of blow that
//	               there is: bad links, too little processor, disks that fail or are empty, the
//	               control plane gone as well.
//	make trace     a node with a slow disk, with too little processor and with slow links: `ashlar
//	               trace` names each, counts what the nodes count, and what it costs is printed.
//
// They need bin/ashlar, root and /dev/fuse; the power cuts need fio as well. Without those, plain
// `go test` skips and says so; the make targets set LANE=required, and then missing things fail.
// A disk that lies about durability is tried too, and must be found out: a lane that cannot fail
// proves nothing.
package nemesis
