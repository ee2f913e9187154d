//go:build race

package chunkfile

// raceEnabled thins out the long single-goroutine sweeps, in which there is no race to find.
const raceEnabled = true
