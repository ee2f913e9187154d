//go:build !race

package chunkfile

const raceEnabled = false
