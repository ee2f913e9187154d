// Bench measures a three-node cluster of its own beside the floor of the machine it runs on, and
// what an operation costs.
//
// The cluster is separate processes from bin/ashlar on loopback, its directory is on the file
// system of -dir, and so is the raw file that fio works on. Every case is a few seconds long; the
// cases take turns for several rounds, so that what else the machine does hits all of them alike,
// and each figure is the median over the rounds with their range. Ratios are formed inside a round.
//
//	bench [-rounds 5] [-seconds 3] [-size 1GiB] [-dir DIR] [-json FILE] [-write docs/performance.md]
//	bench -peers 'nbdkit qemu-nbd ceph:ioengine=rbd,pool=rbd,rbdname=img{n}'
//	bench -profile DIR    also writes CPU and allocation profiles of one node under load
//
// Peers are other block stores, measured by fio in the same rounds: nbdkit and qemu-nbd are started
// here, each with a file of its own that every write is durable on; one that runs already is named
// with fio's options for it, in which {n} is the number of a volume from 1 to 4. Their volumes are
// written over.
//
// It needs fio, and root for counting system calls (without it that column stays empty). A case
// that fails ends the run with the end of the process's log and status 1; nothing stays behind.
package main
