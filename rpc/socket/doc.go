// Package socket makes the calls on stream sockets without a word to Go's scheduler.
//
// A call through package syscall may block, for all the scheduler knows: its monitor thread must
// look after the processor that the call holds. In a process where all was quiet, as between two
// requests at depth 1, the monitor sleeps, and the first call wakes it: a system call and an
// interrupt of another CPU before the bytes of the request are even read, and then the monitor's
// own polls, every 20 us for a while. On a socket that does not block there is nothing to look
// after.
//
// What a raw call costs the rest of the process: it cannot be stopped for a garbage collection
// until it returns. That is why calls that move more than rawMax bytes are made the usual way.
//
// Descriptors are those of package net and stay in its care: waiting, deadlines and Close work as
// ever. A connection without a descriptor is read by its own Read.
package socket
