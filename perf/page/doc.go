// Package page makes one self-contained HTML page of reports: curves of latency against rate for
// jobs that differ by their depth, percentiles, what an operation cost, and a table of everything.
//
// It reads fio's JSON, ours or fio's own. Jobs belong to one curve when they come from one file and
// have the same direction, kind, block size and name but for a depth at its end (w-qd8). Several
// runs of a job are one point: the medians.
//
// The page needs nothing from anywhere: style and drawings are inside, there is no script. The
// package is pure but for Read.
package page
