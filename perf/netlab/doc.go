// Package netlab is a network on one machine for the processes of a measurement: each has a
// namespace with an address of its own, all are on one bridge, and every way from one to another
// can be cut by itself, in one direction or in both.
//
// A way is cut by a route of the sender to nowhere: what it sends is dropped and nobody is told, as
// on a broken wire. What comes from the other side still arrives.
//
// New makes the bridge in the namespace of the caller, which must be one that it need not share
// (Run): nothing of a lab is ever seen outside, and all of it goes with the last process in it.
package netlab
