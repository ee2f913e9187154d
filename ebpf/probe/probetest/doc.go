// Package probetest is for the tests of what attaches probes: a process with markers, which test
// binaries have not, as they are linked without symbols.
package probetest
