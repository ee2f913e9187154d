//go:build !invariants

package wal

// invariants turns on checks that cost too much for every run.
const invariants = false
