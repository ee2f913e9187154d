// Package probe attaches the probes of probe.bpf.c to running processes and hands on what they
// tell. Nothing has to be restarted or set up in the process: the markers of ebpf/mark are always
// there, and the kernel's own tracepoints know it by its number.
//
// # Features
//
// Probes come in features, each of which is attached whole or not at all. A feature is a claim: on
// a kernel that is as new as Features says, with BTF and the rights to load programs, it works.
// Where the claim holds and a feature does not attach, something is broken; the tests fail then
// and do not skip. Where a condition is not met the error, of class ErrRefused, names it and what
// to do about it, and other features work without it.
//
// # How it fails
//
// Events wait in one ring of 16 MiB for whoever calls Poll; nobody is woken for them. Those that
// find it full are lost, and Counts says how many each process lost. At 20,000 writes a second
// three replicas fill it in about a second. Histograms in the kernel lose nothing.
//
// A process that ends keeps its number until Close. Up to MaxTargets processes can be looked at.
// When the tracer ends, however it ends, the kernel takes all probes away again.
//
// Processes are known by their number in the first process namespace: a tracer inside a container
// sees others there only if it shares the host's.
//
// The object and its Go twin are made by `go generate`, with clang-14; both are in the tree, so
// that nobody needs a compiler for C.
package probe
