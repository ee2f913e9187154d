// Package datadir is the directory of a cluster that `ashlar up` keeps on one machine.
//
//	DIR/cluster.yaml   what this directory is: kind, format, addresses, nodes, first volume
//	DIR/LOCK           held (flock) by the supervisor and by each of its processes; names the pid
//	DIR/conf/*.yaml    the settings each process was started with, written anew at each start
//	DIR/log/*.log      what each process wrote to its standard error
//	DIR/control/       metadata of the control plane
//	DIR/nodes/N/store0 the store of node N
//
// Open refuses a directory that holds something else, one of a newer format, and one that is in
// use. The lock is inherited by every process of the cluster: when the supervisor is killed, the
// directory stays locked until the last of its processes has gone, so that a second `up` never
// meets the first one's survivors. Addresses are chosen once and kept, below the range from which
// the kernel takes the ports of outgoing connections.
package datadir
