// Package meter reads what processes and the machine have used: CPU time, system calls, context
// switches, load, and the counters that a node serves at /stats.
//
// All of them only grow (but for the load), so that what an interval used is the difference of two
// readings. CPU time comes from /proc in steps of 10 ms. System calls are counted by the kernel at
// the tracepoint raw_syscalls:sys_enter, which needs root or CAP_PERFMON; while a Counter is open
// every system call of the machine is dearer by some 0.1 us: measure latencies without one.
package meter
