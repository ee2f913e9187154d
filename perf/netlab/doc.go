// Package netlab is a network on one machine for the processes of a measurement: each has a
// namespace with an address of its own, all are on one bridge, and every way from one to another
// can be cut by itself, in one direction or in both, or be made slow and lossy.
//
// A way is cut by a route of the sender to nowhere: what it sends is dropped and nobody is told, as
// on a broken wire. What comes from the other side still arrives.
//
// A way is made slow by a route of the sender through a device of this process, which hands each
// packet on to the other member's device, late, or not at all. That needs /dev/net/tun and no more
// of the kernel; the packets cost this process processor time.
//
// New makes the bridge in the namespace of the caller, which must be one that it need not share
// (Run): nothing of a lab is ever seen outside, and all of it goes with the last process in it.
package netlab
