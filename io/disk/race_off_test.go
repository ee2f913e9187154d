//go:build !race

package disk

// raceEnabled: the race detector makes sync.Pool drop items at random.
const raceEnabled = false
