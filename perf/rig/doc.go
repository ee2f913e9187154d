// Package rig runs a cluster for a measurement: a control plane, nodes and an NBD gateway, each a
// process of its own from one binary, on loopback, in a new directory that goes with them.
//
// It is for measuring and not for keeping: addresses and settings are made up, every node has its
// admin listener, and Close stops the processes in order (killing what does not stop) and removes
// the directory. Should this process die, the others notice and stop. A process that ends by itself
// shows in Alive, with the end of its log.
package rig
