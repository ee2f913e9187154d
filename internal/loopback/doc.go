// Package loopback picks addresses of this machine for processes that start on them later, and
// perhaps again: a cluster of one machine, a measurement, a test that restarts a server.
//
// Addrs keeps nothing: between its answer and the process's start another may take the port. It
// makes that unlikely, in two ways. The ports lie below the range from which the kernel takes those
// of outgoing connections (32768 and up), for which a port of that range is free until the next
// connection gets it. And they are drawn at random, so that two that pick at a time differ.
package loopback
