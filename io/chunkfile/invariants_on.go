//go:build invariants

package chunkfile

// invariants turns on checks that cost too much for production.
const invariants = true
